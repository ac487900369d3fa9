//! `hythe jobs`.

use crate::client::{get, post, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Cell, Table, ago};
use clap::{Args, Subcommand};
use hythe_api::types::{JobRun, Jobs as Listed};
use hythe_model::JobName;

/// Jobs that run by the clock: list them, see their runs, start one now, end a run
#[derive(Args)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Runs(Runs),
    Start(Start),
    End(End),
}

/// List the jobs of the live release, with their last run
#[derive(Args)]
struct List {}

/// List runs of jobs, newest first: those that go on, and some that have ended
#[derive(Args)]
struct Runs {}

/// Start a run of a job now, beside its schedule
#[derive(Args)]
struct Start {
    /// The job's name
    job: JobName,
}

/// End a run that goes on
#[derive(Args)]
struct End {
    /// The run, as `hythe jobs runs` shows it
    run: String,
}

impl Jobs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.verb {
            Verb::List(_) => list(context).await,
            Verb::Runs(_) => runs(context).await,
            Verb::Start(verb) => verb.run(context).await,
            Verb::End(verb) => verb.run(context).await,
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let tool = context.tool()?;
    let answer = context.client()?.call(get(&["tools", tool.as_str(), "jobs"])).await?;
    if context.json {
        return output::object(&answer);
    }
    let Listed { jobs, runs } = read(answer)?;
    if jobs.is_empty() {
        return output::line(format!(
            "{tool} has no jobs. Name one in project.toml and push: [hythe.cron.NAME], schedule and command"
        ));
    }
    let mut table = Table::new(&["JOB", "SCHEDULE", "NEXT", "LAST", "COMMAND"]);
    for job in jobs {
        let last = runs.iter().find(|run| run.job == job.name.as_str());
        table.row([
            job.name.to_string().into(),
            job.schedule.into(),
            job.next.map_or_else(|| "-".to_owned(), ago).into(),
            last.map_or_else(|| "-".into(), |run| Cell::state(run.state.word())),
            job.command.into(),
        ]);
    }
    table.print()
}

async fn runs(context: &Context) -> Result<(), Failure> {
    let tool = context.tool()?;
    let answer = context.client()?.call(get(&["tools", tool.as_str(), "jobs"])).await?;
    if context.json {
        return output::object(&answer["runs"]);
    }
    let Listed { runs, .. } = read(answer)?;
    if runs.is_empty() {
        return output::line(format!("No job of {tool} has run. See its jobs: hythe jobs list -t {tool}"));
    }
    let mut table = Table::new(&["RUN", "JOB", "RELEASE", "STATE", "SINCE"]);
    for JobRun { job, run, release, state, since, exit } in runs {
        table.row([
            run.into(),
            job.into(),
            release.to_string().into(),
            Cell::state(state.word()),
            ago(since).into(),
            exit.unwrap_or_default().into(),
        ]);
    }
    table.print()
}

impl Start {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        let path = ["tools", tool.as_str(), "jobs", self.job.as_str(), "start"];
        context.client()?.call(post(&path)).await?;
        output::line(format!("{tool}: {} runs now. See it: hythe jobs runs -t {tool}", self.job))
    }
}

impl End {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let tool = context.tool()?;
        context.client()?.call(post(&["tools", tool.as_str(), "runs", &self.run, "end"])).await?;
        output::line(format!("{tool}: the run {} is told to end.", self.run))
    }
}
