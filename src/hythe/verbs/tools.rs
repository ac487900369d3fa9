//! `hythe tools`.

use crate::client::{delete, get, post, put, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Cell, Table, ago, exact, since};
use crate::{confirm, target, watch};
use clap::{Args, Subcommand};
use hythe_api::types::{NewTool, Release, Tool, ToolSettings};
use hythe_model::ToolName;

/// Tools: make, list, show, set and delete them
#[derive(Args)]
pub(crate) struct Tools {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Info(Info),
    Set(Set),
    Delete(Delete),
}

/// Make a tool and, inside a git folder, add the git remote `hythe`
#[derive(Args)]
struct Create {
    /// Its name: 1 to 40 lower-case letters, digits and hyphens
    name: ToolName,
    /// Leave the git folder as it is
    #[arg(long)]
    no_remote: bool,
}

/// List your tools, those that are not well first
#[derive(Args)]
struct List {}

/// Show one tool
#[derive(Args)]
struct Info {
    /// The tool, instead of --tool
    name: Option<ToolName>,
}

/// Change settings of a tool; they count from its next release
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Set {
    /// Branches whose push deploys
    #[arg(long, value_name = "BRANCH", value_delimiter = ',')]
    branches: Option<Vec<String>>,
    /// Path asked by HTTP for readiness; an empty one goes back to a TCP connection
    #[arg(long, value_name = "PATH")]
    health_path: Option<String>,
    /// Seconds a release may take to get ready; 0 goes back to the default
    #[arg(long, value_name = "SECONDS")]
    readiness: Option<u32>,
    /// Seconds an instance may take to stop; 0 goes back to the default
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
    /// Memory of an instance in MB; 0 goes back to the default
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
    /// Whether the root file system of instances is read-only
    #[arg(long, value_name = "BOOL")]
    read_only_root: Option<bool>,
}

/// Delete a tool with its releases, repository, config and logs
#[derive(Args)]
struct Delete {
    /// The tool, instead of --tool
    name: Option<ToolName>,
    /// Do it without a question
    #[arg(long, short)]
    yes: bool,
}

impl Tools {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::Create(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Info(verb) => verb.run(context).await,
            Verb::Set(verb) => verb.run(context).await,
            Verb::Delete(verb) => verb.run(context).await,
        }
    }
}

fn named(name: Option<ToolName>, context: &Context) -> Result<ToolName, Failure> {
    name.map_or_else(|| context.tool(), Ok)
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let answer = context.client()?.call(post(&["tools"]).body(&NewTool { name: self.name })).await?;
        let tool: Tool = read(answer.clone())?;
        let remote = if self.no_remote { Remote::NoFolder } else { Remote::add(&tool.git) };
        if context.json {
            return output::object(&answer);
        }
        let push =
            format!("git push {} {}", target::REMOTE, target::branch().unwrap_or_else(|| "main".to_owned()));
        match remote {
            Remote::Added => {
                output::line(format!("{}: made, git remote hythe added. Deploy it: {push}", tool.name))
            }
            Remote::Same => output::line(format!("{}: made. Deploy it: {push}", tool.name)),
            Remote::NoFolder => output::line(format!(
                "{}: made. In its git folder: git remote add hythe {}",
                tool.name, tool.git
            )),
            Remote::Other(url) => {
                output::line(format!("{}: made.", tool.name))?;
                output::note(format!(
                    "The git remote hythe is {}; it was left as it is.",
                    output::clean(&url)
                ))?;
                output::note(format!(
                    "  To push this folder to {}: git remote set-url hythe {}",
                    tool.name, tool.git
                ))
            }
        }
    }
}

/// What became of the git remote `hythe` of the current folder.
enum Remote {
    Added,
    Same,
    Other(String),
    NoFolder,
}

impl Remote {
    fn add(url: &str) -> Self {
        match target::remote_url() {
            Some(old) if old == url => Self::Same,
            Some(old) => Self::Other(old),
            None if target::in_git() && target::add_remote(url) => Self::Added,
            None => Self::NoFolder,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let answer = context.client()?.call(get(&["tools"])).await?;
        if context.json {
            return output::object(&answer);
        }
        let mut tools: Vec<Tool> = read(answer)?;
        if tools.is_empty() {
            return output::line("No tool yet. Make one: hythe tools create NAME");
        }
        tools.sort_by(|a, b| (a.state, &a.name).cmp(&(b.state, &b.name)));
        let mut table = Table::new(&["TOOL", "STATE", "RELEASE", "SINCE", "URL"]);
        for tool in tools {
            let release = tool.release.map_or_else(|| "-".to_owned(), |number| number.to_string());
            table.row([
                String::from(tool.name).into(),
                Cell::state(tool.state.word()),
                release.into(),
                tool.since.map_or_else(|| "-".to_owned(), since).into(),
                tool.url.into(),
                tool.detail.unwrap_or_default().into(),
            ]);
        }
        table.print()
    }
}

impl Info {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let name = named(self.name, context)?;
        let answer = context.client()?.call(get(&["tools", name.as_str()])).await?;
        if context.json {
            return output::object(&answer);
        }
        show(&read(answer)?)
    }
}

fn show(tool: &Tool) -> Result<(), Failure> {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, cell: Cell| table.row([name.into(), cell]);
    row("tool", tool.name.as_str().into());
    row("state", Cell::state(tool.state.word()));
    if let Some(detail) = &tool.detail {
        row("", detail.as_str().into());
    }
    if let Some(release) = tool.release {
        let since = tool.since.map(|at| format!("  since {}", exact(at))).unwrap_or_default();
        row("release", format!("{release}{since}").into());
    }
    row("url", tool.url.as_str().into());
    row("git", tool.git.as_str().into());
    row("made", format!("{}  ({})", ago(tool.created_at), exact(tool.created_at)).into());
    for (name, text) in settings(&tool.settings) {
        row(name, text.into());
    }
    table.print()
}

fn settings(settings: &ToolSettings) -> Vec<(&'static str, String)> {
    let readiness =
        settings.health_path.as_ref().map_or("a TCP connection".to_owned(), |path| format!("GET {path}"));
    let within = settings.readiness_seconds.map(|s| format!(" within {s} s")).unwrap_or_default();
    let mut rows =
        vec![("deploys", settings.deploy_branches.join(", ")), ("ready by", format!("{readiness}{within}"))];
    rows.extend(settings.grace_seconds.map(|seconds| ("stops in", format!("{seconds} s at most"))));
    rows.extend(settings.memory_bytes.map(|bytes| ("memory", hythe_model::render::size(bytes))));
    rows.extend(settings.read_only_root.then(|| ("root", "read-only".to_owned())));
    rows
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let name = context.tool()?;
        let client = context.client()?;
        let tool: Tool = read(client.call(get(&["tools", name.as_str()])).await?)?;
        let path = ["tools", name.as_str(), "settings"];
        let answer = client.call(put(&path).body(&self.applied(tool.settings))).await?;
        if context.json {
            return output::object(&answer);
        }
        show(&read(answer)?)
    }

    /// The settings with the flags' changes.
    fn applied(self, old: ToolSettings) -> ToolSettings {
        let seconds = |new: Option<u32>, old| new.map_or(old, |seconds| Some(seconds).filter(|s| *s > 0));
        let memory = self.memory.map(|mb| Some(mb.saturating_mul(1_000_000)).filter(|bytes| *bytes > 0));
        ToolSettings {
            deploy_branches: self.branches.unwrap_or(old.deploy_branches),
            health_path: self
                .health_path
                .map_or(old.health_path, |path| Some(path).filter(|path| !path.is_empty())),
            readiness_seconds: seconds(self.readiness, old.readiness_seconds),
            grace_seconds: seconds(self.grace, old.grace_seconds),
            memory_bytes: memory.unwrap_or(old.memory_bytes),
            read_only_root: self.read_only_root.unwrap_or(old.read_only_root),
        }
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let name = named(self.name, context)?;
        let client = context.client()?;
        let warning = format!(
            "This deletes {name} with its releases, repository, config and logs. It cannot be undone."
        );
        confirm::by_name(self.yes, &warning, name.as_str())?;
        let path = ["tools", name.as_str()];
        let now_true = |_: Option<&Release>| "deleted.".to_owned();
        watch::until_done(context, &client, delete(&path), &name, "deleting", now_true).await
    }
}
