//! `hythe releases`.

use crate::client::{get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Cell, Table, ago};
use clap::{Args, Subcommand};
use hythe_api::types::{Release, WhoAmI};
use hythe_model::{Actor, Formation, ReleaseCause, ReleaseNumber, ReleaseState};

/// List a tool's releases, newest first, or end a rollout
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Releases {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: u32,
}

#[derive(Subcommand)]
enum Verb {
    Cancel(Cancel),
}

/// End the rollout of a release that is not live yet
#[derive(Args)]
struct Cancel {
    /// The release, as in v14
    release: ReleaseNumber,
}

impl Cancel {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (tool, number) = (context.tool()?, self.release.to_string());
        let path = ["tools", tool.as_str(), "releases", &number, "cancel"];
        let answer = context.client()?.call(post(&path)).await?;
        if context.json {
            return output::object(&answer);
        }
        output::line(format!("{number} is cancelled."))
    }
}

impl Releases {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(Verb::Cancel(verb)) = self.verb {
            return verb.run(context).await;
        }
        let tool = context.tool()?;
        let client = context.client()?;
        let path = ["tools", tool.as_str(), "releases"];
        let answer = client.call(get(&path).query("limit", Some(self.limit))).await?;
        if context.json {
            return output::object(&answer);
        }
        let releases: Vec<Release> = read(answer)?;
        if releases.is_empty() {
            return output::line(format!("{tool} has no release yet. Make one: git push hythe main"));
        }
        let me: WhoAmI = read(client.call(get(&["whoami"])).await?)?;
        let mut table = Table::new(&[]);
        for release in releases {
            let by = if release.actor == me.actor { "you".to_owned() } else { who(&release.actor) };
            table.row([
                release.number.to_string().into(),
                Cell::state(state(release.state)),
                ago(release.created_at).into(),
                by.into(),
                kind(&release.cause).into(),
                what(&release).into(),
            ]);
        }
        table.print()
    }
}

/// Who, in one word.
fn who(actor: &Actor) -> String {
    match actor {
        Actor::DeployKey(_) => "deploy key".to_owned(),
        other => other.to_string(),
    }
}

/// The state of a release where it says something: most have been replaced.
fn state(state: ReleaseState) -> &'static str {
    match state {
        ReleaseState::RollingOut => "rolling out",
        ReleaseState::Live => "live",
        ReleaseState::Superseded => "",
        ReleaseState::Failed => "failed",
    }
}

fn kind(cause: &ReleaseCause) -> &'static str {
    match cause {
        ReleaseCause::Code { .. } => "code",
        ReleaseCause::Config { .. } => "config",
        ReleaseCause::Scale { .. } => "scale",
        ReleaseCause::Rollback { .. } => "rollback",
        ReleaseCause::Restart => "restart",
    }
}

fn what(release: &Release) -> String {
    let what = match &release.cause {
        ReleaseCause::Code { commit, subject, .. } => format!("{} {subject}", commit.short()),
        ReleaseCause::Config { keys } => format!("{} changed", keys.join(", ")),
        ReleaseCause::Scale { formation } => counts(formation),
        ReleaseCause::Rollback { to } => format!("to {to}"),
        ReleaseCause::Restart => String::new(),
    };
    let fault = release.fault.as_ref().map(|fault| format!("[{}]", fault.id));
    let parts = [Some(what), release.message.clone(), fault];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Counts as `hythe scale` takes them.
pub(crate) fn counts(formation: &Formation) -> String {
    let counts: Vec<_> = formation.0.iter().map(|(process, count)| format!("{process}={count}")).collect();
    counts.join(" ")
}
