//! `hythed store copy`: the rows of the embedded database, moved into PostgreSQL.

use crate::control::{self, Lock};
use crate::keys;
use crate::settings::Settings;
use anyhow::{Context, Result, ensure};
use clap::Args;
use hythe_config::Store as Section;
use hythe_store::{Database, Store};
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;

/// The database that is to hold the rows.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// URL of the empty database, as in `postgresql://hythe@db.example.org:5432/hythe`
    #[arg(long, value_name = "URL")]
    to: Option<SecretString>,
    /// A file that holds the URL, so that its password is not seen among the processes
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
}

/// Copies all rows while no server runs on them. The file stays as it is, but for the installation's number.
pub(crate) fn copy(settings: &Settings, target: &Target) -> Result<()> {
    let data = settings.data()?;
    let file = data.database();
    ensure!(file.exists(), "there are no rows in {} yet", data.root().display());
    let _lock =
        Lock::take(&data).context("the rows can be copied while the server is stopped; tools run on")?;
    let section = Section { url: target.to.clone(), url_file: target.to_file.clone(), ..Section::default() };
    let url = section.url()?.context("name the database by --to or --to-file")?;
    let to = Database::postgres(url.expose_secret());
    let shown = to.to_string();
    let copied = control::runtime()?.block_on(async {
        let from = Store::open(file).await?;
        let to = Store::open(to).await?;
        // Whoever goes back to the file is the same one.
        keys::installation(&from).await?;
        anyhow::Ok(from.copy_to(&to).await?)
    })?;
    let (rows, tools) = (copied.rows, copied.tools);
    println!(
        "{shown} holds all {rows} rows, {tools} tools among them, compared; name it in [store] url and start the server"
    );
    Ok(())
}
