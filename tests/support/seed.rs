//! Tools with a live release each, as rows and repositories and without a push: where many are needed and what they run is not.

use anyhow::{Context, Result, ensure};
use hythe_auth::KeyRing;
use hythe_model::{Actor, CommitId, Digest, Formation, Process, Project, ReleaseCause, ToolName};
use hythe_store::{ConfigEdit, ConfigScope, ConfigValue, DeployRef, NewRelease, Store};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Values of every tool's config.
const VALUES: u32 = 5;
/// Where every tool's commit is.
const REFERENCE: &str = "refs/heads/main";

/// Adds these tools to the data of a server that does not run, and has run once; their web process has so many instances, of an image
/// that nobody has, and a config of some values as they are usual.
pub(crate) async fn seed(data: &Path, tools: &[ToolName], instances: u32) -> Result<()> {
    let store = Store::open(&data.join("hythe.db")).await?;
    let keys = KeyRing::load(&data.join("keys"))?;
    let template = tempfile::tempdir()?;
    let commit = repository(template.path())?;
    for tool in tools {
        copy(template.path(), &data.join("repos").join(format!("{tool}.git")))?;
        store.create_tool(tool, None).await?;
        let config = store.change_config(tool, 0, config(tool, &keys)?, &Actor::Platform).await?;
        let release = NewRelease { config, ..release(tool, &commit, instances)? };
        let number = store.create_release(release).await?.number;
        let deployed = DeployRef { reference: REFERENCE.to_owned(), commit: commit.clone() };
        store.activate(tool, number, None, &deployed).await?;
    }
    Ok(())
}

/// Values of 40 bytes, different ones for each tool.
fn config(tool: &ToolName, keys: &KeyRing) -> Result<Vec<ConfigEdit>> {
    let value = |number: u32| {
        let key = format!("VALUE_{number}");
        let plain = format!("{:0>40}", format!("{}/value={number}", tool.as_str().replace('-', "+")));
        let sealed = keys.seal(tool, &key, &plain.into())?;
        Ok(ConfigEdit::Set(ConfigValue { key, sealed, scope: ConfigScope::Both }))
    };
    (1..=VALUES).map(value).collect()
}

fn release(tool: &ToolName, commit: &CommitId, instances: u32) -> Result<NewRelease> {
    let web: hythe_model::ProcessType = "web".parse()?;
    Ok(NewRelease {
        tool: tool.clone(),
        image: Digest::sha256([7; 32]),
        commit: commit.clone(),
        processes: vec![Process { kind: web.clone(), command: "serve".to_owned() }],
        project: Project::default(),
        config: 0,
        formation: Formation([(web, instances)].into()),
        cause: ReleaseCause::Restart,
        message: None,
        actor: Actor::Platform,
        build: None,
    })
}

/// Makes a bare repository with one empty commit.
fn repository(folder: &Path) -> Result<CommitId> {
    git(folder, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."])?;
    let tree = git(folder, &["mktree"])?;
    let commit = git(
        folder,
        &["-c", "user.name=Seed", "-c", "user.email=seed@localhost", "commit-tree", "-m", "Seed", &tree],
    )?;
    git(folder, &["update-ref", REFERENCE, &commit])?;
    Ok(commit.parse()?)
}

fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let done = Command::new("git").arg("-C").arg(folder).args(args).stdin(Stdio::null()).output()?;
    ensure!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
