//! Waiting for things: a build's log as a push shows it, and verbs that take long.

use crate::client::{Client, Request, get, read};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output::{self, Wait};
use crate::stream::Patience;
use hythe_api::types::{Build, BuildRecord, Progress, Release};
use hythe_model::render::{Renderer, duration, heading, with_log};
use hythe_model::{BuildEvent, BuildId, ToolName};
use serde_json::Value;

/// A build's row.
pub(crate) async fn find(client: &Client, id: BuildId) -> Result<Build, Failure> {
    read(client.call(get(&["builds", &id.to_string()])).await?)
}

/// Prints a build's log and, with `follow`, waits for its end and fails as it does.
pub(crate) async fn build(
    context: &Context,
    client: &Client,
    build: &Build,
    follow: bool,
) -> Result<(), Failure> {
    tokio::select! {
        ended = build_log(context, client, build, follow) => ended,
        _ = tokio::signal::ctrl_c() => {
            let id = build.id;
            output::note(format!("Build {id} goes on. Watch it: hythe builds attach {id}   End it: hythe builds cancel {id}"))?;
            Err(Failure::Told(Code::Interrupted))
        }
    }
}

async fn build_log(context: &Context, client: &Client, build: &Build, follow: bool) -> Result<(), Failure> {
    let mut log = Log { build, json: context.json, renderer: Renderer::new(), next: 0, end: None };
    let mut patience = Patience::default();
    if !context.json {
        show(&heading(&build.tool, &build.branch, &build.commit, &build.subject))?;
    }
    loop {
        let before = log.next;
        let read = log.read(client, follow).await;
        // Without an end the server drained and closed the stream in an orderly way, or it was lost.
        let failure = match read {
            Ok(()) if log.end.is_some() || !follow => break,
            Ok(()) => no_end(build.id),
            Err(Failure::Fault(Code::Unreachable, fault)) => Failure::Fault(Code::Unreachable, fault),
            Err(failure) => return Err(failure),
        };
        if !patience.again(log.next > before).await {
            return Err(failure);
        }
    }
    match log.end {
        Some(false) if follow => Err(Failure::Told(Code::Failed)),
        _ => Ok(()),
    }
}

fn no_end(id: BuildId) -> Failure {
    Failure::local("no-end", format!("The log of build {id} ended before the build did."))
        .next(format!("Read on: hythe builds attach {id}"))
}

fn show(lines: &[String]) -> Result<(), Failure> {
    lines.iter().map(|line| output::clean(line)).try_for_each(output::line)
}

/// A build's log as far as it was read.
struct Log<'a> {
    build: &'a Build,
    json: bool,
    renderer: Renderer,
    next: u64,
    /// Whether the build ended well, once it has ended.
    end: Option<bool>,
}

impl Log<'_> {
    async fn read(&mut self, client: &Client, follow: bool) -> Result<(), Failure> {
        let id = self.build.id.to_string();
        let path = ["builds", &id, "log"];
        let request = get(&path).query("from", Some(self.next)).query("follow", Some(follow));
        let mut lines = client.lines(request).await?;
        while let Some(value) = lines.next().await? {
            if self.json {
                output::object_line(&value)?;
            }
            let record: BuildRecord = read(value)?;
            self.next = record.position + 1;
            if record.event.is_end() {
                self.end = Some(matches!(record.event, BuildEvent::Live { .. }));
            }
            if !self.json {
                show(&self.renderer.render(&self.as_pushed(record.event)))?;
            }
        }
        Ok(())
    }

    /// The event as whoever pushed sees it.
    fn as_pushed(&self, event: BuildEvent) -> BuildEvent {
        match event {
            BuildEvent::Failed { fault } => {
                BuildEvent::Failed { fault: with_log(fault, &self.build.tool, self.build.id) }
            }
            other => other,
        }
    }
}

/// Sends a verb that takes long, waits for its end, and prints what is now true.
pub(crate) async fn until_done(
    context: &Context,
    client: &Client,
    request: Request<'_>,
    tool: &ToolName,
    waiting: &str,
    now_true: impl FnOnce(Option<&Release>) -> String,
) -> Result<(), Failure> {
    let wait = Wait::new(format!("{tool}: {waiting}"), context.json);
    let mut lines = client.lines(request).await?;
    while let Some(value) = lines.next().await? {
        let kept: Value = value.clone();
        match read(value)? {
            Progress::Waiting { .. } => {}
            Progress::Failed { fault } => return Err(Failure::Fault(Code::Failed, fault)),
            Progress::Done { release, millis } => {
                drop(wait);
                if context.json {
                    return output::object(&kept["release"]);
                }
                let ready = if release.is_some() {
                    format!("  ready in {}", duration(millis))
                } else {
                    String::new()
                };
                return output::line(format!("{tool}: {}{ready}", now_true(release.as_deref())));
            }
        }
    }
    Err(Failure::local("no-end", "The server's answer ended before its work did.")
        .next(format!("See where it stands: hythe tools info {tool}")))
}
