//! `hythe builds`.

use crate::client::{Client, get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Cell, Table, ago};
use crate::watch;
use clap::{Args, Subcommand};
use hythe_api::types::Build;
use hythe_model::BuildId;
use hythe_model::render::duration;

/// Builds of a tool: list them, watch one, end one
#[derive(Args)]
pub(crate) struct Builds {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Attach(Attach),
    Cancel(Cancel),
}

/// List the tool's builds, newest first
#[derive(Args)]
struct List {
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: u32,
}

/// Show a build's log from its beginning and wait for its end; exits as a push would
#[derive(Args)]
struct Attach {
    /// The build's number; by default the tool's newest
    build: Option<BuildId>,
}

/// End a build that is not live yet
#[derive(Args)]
struct Cancel {
    /// The build's number
    build: BuildId,
}

impl Builds {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::List(verb) => verb.run(context).await,
            Verb::Attach(verb) => verb.run(context).await,
            Verb::Cancel(verb) => verb.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let path = ["tools", tool.as_str(), "builds"];
        let answer = context.client()?.call(get(&path).query("limit", Some(self.limit))).await?;
        if context.json {
            return output::object(&answer);
        }
        let builds: Vec<Build> = read(answer)?;
        if builds.is_empty() {
            return output::line(format!("{tool} was never built. Deploy it: git push hythe main"));
        }
        let mut table = Table::new(&["BUILD", "STATE", "RELEASE", "ASKED", "TOOK", "BY", "CAUSE", "COMMIT"]);
        for build in builds {
            let span = build.started_at.zip(build.ended_at).map(|(from, to)| to.duration_since(from));
            let span = span.map(|span| duration(u64::try_from(span.as_millis()).unwrap_or_default()));
            let commit = format!("{} {}", build.commit.short(), build.subject);
            let fault = build.fault.map(|fault| format!("[{}]", fault.id)).unwrap_or_default();
            table.row([
                build.id.to_string().into(),
                Cell::state(build.state.word()),
                build.release.map_or_else(|| "-".to_owned(), |number| number.to_string()).into(),
                ago(build.created_at).into(),
                span.unwrap_or_else(|| "-".to_owned()).into(),
                build.actor.to_string().into(),
                build.cause.into(),
                format!("{commit}  {fault}").trim_end().into(),
            ]);
        }
        table.print()
    }
}

impl Attach {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let build = match self.build {
            Some(id) => watch::find(&client, id).await?,
            None => newest(context, &client).await?,
        };
        watch::build(context, &client, &build, true).await
    }
}

/// The tool's newest build.
async fn newest(context: &Context, client: &Client) -> Result<Build, Failure> {
    let tool = context.tool()?;
    let path = ["tools", tool.as_str(), "builds"];
    let builds: Vec<Build> = read(client.call(get(&path).query("limit", Some(1))).await?)?;
    let never = || Failure::local("no-build", format!("{tool} was never built."));
    builds.into_iter().next().ok_or_else(never)
}

impl Cancel {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.build.to_string();
        let answer = context.client()?.call(post(&["builds", &id, "cancel"])).await?;
        if context.json {
            return output::object(&answer);
        }
        output::line(format!("Build {id} is cancelled."))
    }
}
