//! `hythe keys`.

use crate::client::{delete, get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::input;
use crate::output::{self, Table, ago};
use clap::{Args, Subcommand};
use hythe_api::types::{Key, NewKey};
use hythe_model::ToolName;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Public keys that may push: yours, or with --deploy those of one tool
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Add(Add),
    List(List),
    Remove(Remove),
}

/// Add a public key
///
/// Without a path the key that ssh would offer first is taken: `~/.ssh/id_ed25519.pub`, `id_ecdsa.pub` or
/// `id_rsa.pub`, or the only `*.pub` there is.
#[derive(Args)]
struct Add {
    /// A file that ends in .pub; `-` reads standard input
    path: Option<PathBuf>,
    /// What to call it, instead of the key's comment
    #[arg(long)]
    name: Option<String>,
    /// A key of the tool: it may push there and nothing else
    #[arg(long)]
    deploy: bool,
}

/// List keys
#[derive(Args)]
struct List {
    /// Keys of the tool
    #[arg(long)]
    deploy: bool,
}

/// Remove a key
#[derive(Args)]
struct Remove {
    /// Its fingerprint, as `hythe keys list` shows it
    fingerprint: String,
    /// A key of the tool
    #[arg(long)]
    deploy: bool,
}

impl Keys {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::Add(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
        }
    }
}

/// Whose keys: a tool's, or one's own.
struct Owner(Option<ToolName>);

impl Owner {
    fn of(context: &Context, deploy: bool) -> Result<Self, Failure> {
        Ok(Self(if deploy { Some(context.tool()?) } else { None }))
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let head = self.0.as_ref().map(|tool| vec!["tools", tool.as_str()]).unwrap_or_default();
        [&head[..], &["keys"], rest].concat()
    }

    fn may(&self) -> String {
        self.0.as_ref().map_or_else(|| "push to your tools".to_owned(), |tool| format!("push to {tool}"))
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let owner = Owner::of(context, self.deploy)?;
        let (from, key) = match self.path {
            Some(path) if path.as_os_str() == "-" => ("standard input".to_owned(), input::text()?),
            Some(path) => (path.display().to_string(), read_key(&path)?),
            None => {
                let path = first_key()?;
                (path.display().to_string(), read_key(&path)?)
            }
        };
        if key.contains("PRIVATE KEY") {
            return Err(Failure::usage(
                "private-key",
                format!("{from} is a private key: it stays on this machine."),
            )
            .next("Give its public half, the file that ends in .pub."));
        }
        let body = NewKey { key: key.trim().to_owned(), name: self.name };
        let answer = context.client()?.call(post(&owner.path(&[])).body(&body)).await?;
        if context.json {
            return output::object(&answer);
        }
        let key: Key = read(answer)?;
        output::line(format!("{} ({from}) may now {}.", key.fingerprint, owner.may()))
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let owner = Owner::of(context, self.deploy)?;
        let answer = context.client()?.call(get(&owner.path(&[]))).await?;
        if context.json {
            return output::object(&answer);
        }
        let keys: Vec<Key> = read(answer)?;
        if keys.is_empty() {
            return output::line("No key yet. Add one: hythe keys add ~/.ssh/id_ed25519.pub");
        }
        let mut table = Table::new(&["FINGERPRINT", "KIND", "ADDED", "USED", "NAME"]);
        for key in keys {
            let used = key.last_used_at.map_or_else(|| "never".to_owned(), ago);
            let added = ago(key.created_at);
            table.row([
                key.fingerprint.into(),
                key.algorithm.into(),
                added.into(),
                used.into(),
                key.name.into(),
            ]);
        }
        table.print()
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let owner = Owner::of(context, self.deploy)?;
        let answer = context.client()?.call(delete(&owner.path(&[&self.fingerprint]))).await?;
        if context.json {
            return output::object(&answer);
        }
        output::line(format!("{} may no longer {}.", self.fingerprint, owner.may()))
    }
}

fn read_key(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::local("key", format!("{} cannot be read.", path.display())).why(error.to_string())
    })
}

/// The public key that ssh would offer first, or the only one.
fn first_key() -> Result<PathBuf, Failure> {
    let folder = PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".ssh");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut keys: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "pub")).collect();
    keys.sort();
    let usual = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"].map(|name| folder.join(name));
    if let Some(key) = usual.into_iter().find(|key| keys.contains(key)) {
        return Ok(key);
    }
    match &keys[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no-key", format!("There is no public key in {}.", folder.display()))
            .next("Make one: ssh-keygen -t ed25519")),
        several => Err(several.iter().fold(
            Failure::usage(
                "which-key",
                format!("{} holds several public keys. Choose one:", folder.display()),
            ),
            |failure, key| failure.next(format!("hythe keys add {}", key.display())),
        )),
    }
}
