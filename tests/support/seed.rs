//! Tools with a live release each, as rows and repositories and without a push: where many are needed and what they run is not.

use anyhow::{Context, Result, ensure};
use hythe_model::{Actor, CommitId, Digest, Formation, Process, Project, ReleaseCause, ToolName};
use hythe_store::{DeployRef, NewRelease, Store};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where every tool's commit is.
const REFERENCE: &str = "refs/heads/main";

/// Adds these tools to the data of a server that does not run; their web process has so many instances, of an image that nobody
/// has.
pub(crate) async fn seed(data: &Path, tools: &[ToolName], instances: u32) -> Result<()> {
    let store = Store::open(&data.join("hythe.db")).await?;
    let template = tempfile::tempdir()?;
    let commit = repository(template.path())?;
    for tool in tools {
        copy(template.path(), &data.join("repos").join(format!("{tool}.git")))?;
        store.create_tool(tool, None).await?;
        let number = store.create_release(release(tool, &commit, instances)?).await?.number;
        let deployed = DeployRef { reference: REFERENCE.to_owned(), commit: commit.clone() };
        store.activate(tool, number, None, &deployed).await?;
    }
    Ok(())
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
