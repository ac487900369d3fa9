//! A push: the corridor's entrance.

use crate::log::BuildLog;
use crate::{Platform, faults};
use futures::StreamExt;
use hythe_model::render::{Renderer, heading, size, with_log};
use hythe_model::{
    Actor, BuildCause, BuildEvent, BuildId, CommitId, Fault, Phase, PushOptions, PushRequest, ReleaseNumber,
    SourceTree, ToolName,
};
use hythe_store::{Build, BuildState, NewBuild};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Time in which a build whose log has ended must have ended too.
const ENDING: Duration = Duration::from_secs(10);

/// Where lines for the pusher's eyes go. Bounded: a slow reader slows the reader of the log, never the build.
pub type Screen = mpsc::Sender<String>;

/// How a push ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The release is live and the ref has moved.
    Live {
        /// The release.
        release: ReleaseNumber,
    },
    /// The build is durably queued and the ref has not moved.
    Detached {
        /// The build.
        build: BuildId,
    },
}

impl Platform {
    /// Takes a push all the way, or says why not. `cancel` counts until the route switches.
    pub async fn push(
        &self,
        request: PushRequest,
        screen: Screen,
        cancel: CancellationToken,
    ) -> Result<PushOutcome, Fault> {
        let begun = Instant::now();
        self.expect_ref(&request).await?;
        let source = self.read_source(&request.tool, &request.new).await?;
        self.share_packs(&request.tool).await?;
        let build = self.enqueue(request, source, begun.elapsed()).await?;
        if build.options.detach {
            for line in queued(&build) {
                // Who has gone can read it later: hythe builds list.
                let _ = screen.send(line).await;
            }
            return Ok(PushOutcome::Detached { build: build.id });
        }
        self.follow(&build, &screen, &cancel).await
    }

    /// Builds the live commit again; the build's log tells the rest.
    pub async fn redeploy(&self, actor: &Actor, tool: &ToolName, no_cache: bool) -> Result<BuildId, Fault> {
        let begun = Instant::now();
        if let Some(other) = self.unfinished_build_of(tool).await? {
            return Err(faults::build_under_way(other));
        }
        let base = self.base(tool).await?;
        let live = base.live.ok_or_else(|| faults::nothing_deployed(tool))?;
        self.prepare_repository(tool).await?;
        let source = self.read_source(tool, &live.commit).await?;
        let new = NewBuild {
            tool: tool.clone(),
            source,
            reference: base.reference,
            old: base.stands,
            options: PushOptions { no_cache, detach: true, message: None },
            cause: BuildCause::Redeploy,
            actor: actor.clone(),
        };
        Ok(self.queue_build(new, begun.elapsed()).await?.id)
    }

    async fn expect_ref(&self, request: &PushRequest) -> Result<(), Fault> {
        self.tool(&request.tool).await?;
        let (tool, reference) = (&request.tool, &request.reference);
        let stands = self.reference(tool, reference).await?;
        if stands != request.old {
            return Err(faults::branch_moved(tool, reference, stands));
        }
        if stands.is_none() { self.expect_no_clash(tool, reference).await } else { Ok(()) }
    }

    async fn read_source(&self, tool: &ToolName, commit: &CommitId) -> Result<SourceTree, Fault> {
        let (sources, repositories) = (self.parts().sources.clone(), self.parts().repositories.clone());
        let (of, tool, commit) = (tool.clone(), tool.clone(), commit.clone());
        let read = tokio::task::spawn_blocking(move || sources.read_tree(&repositories, &tool, &commit));
        let source = read.await.map_err(|error| faults::internal("read the source", &error))??;
        self.expect_mounts(&of, &source.project)?;
        self.expect_files(&of, self.current_config(&of).await?, &source.project).await?;
        self.share_source(&source).await?;
        Ok(source)
    }

    async fn enqueue(
        &self,
        request: PushRequest,
        source: SourceTree,
        took: Duration,
    ) -> Result<Build, Fault> {
        let cause = if request.options.detach { BuildCause::Detached } else { BuildCause::Push };
        let new = NewBuild {
            tool: request.tool,
            source,
            reference: request.reference,
            old: request.old,
            options: request.options,
            cause,
            actor: request.actor,
        };
        self.queue_build(new, took).await
    }

    /// Writes the build's row, names its commit so that git keeps it, and ends what it replaces.
    async fn queue_build(&self, new: NewBuild, took: Duration) -> Result<Build, Fault> {
        let build = self.store().enqueue_build(new).await?;
        match self.announce(&build, took).await {
            Ok(()) => {
                self.inner.running.wake();
                Ok(build)
            }
            // Who asked is told no: it must not be built after all.
            Err(fault) => {
                self.end_build(&build, fault.clone()).await?;
                Err(fault)
            }
        }
    }

    async fn announce(&self, build: &Build, took: Duration) -> Result<(), Fault> {
        // A log of this number is left of a platform that was restored to a time before it.
        let stale = self.logs().remove_build(build.id).await;
        stale.map_err(|error| faults::internal("begin a build's log", &error))?;
        self.keep_commit(build).await?;
        let log = self.build_log(build);
        head_of(build, &log, took);
        for older in self.supersede(build).await? {
            log.note(Phase::Queue, format!("takes the place of build {older}"));
        }
        Ok(())
    }

    /// Shows the build's log until it ends.
    async fn follow(
        &self,
        build: &Build,
        screen: &Screen,
        cancel: &CancellationToken,
    ) -> Result<PushOutcome, Fault> {
        let mut tail = self.logs().tail(build.id, 0);
        let mut renderer = Renderer::new();
        let SourceTree { commit, subject, .. } = &build.source;
        for line in heading(&build.tool, &build.reference, commit, subject) {
            let _ = screen.send(line).await;
        }
        let mut leaving = false;
        loop {
            let event = tokio::select! {
                event = tail.next() => event,
                () = cancel.cancelled(), if !leaving => {
                    leaving = true;
                    // Where the route has switched already, the release stands and the log says so.
                    let _ = self.end_build(build, faults::client_gone()).await;
                    continue;
                }
            };
            let Some(event) = event else { return self.ended(build).await };
            let event = match event {
                Ok(logged) => logged.event,
                // Who asked is told no: it must not go live after all.
                Err(error) => {
                    let fault = faults::internal("read the build's log", &error);
                    let _ = self.end_build(build, fault).await;
                    return self.ended(build).await;
                }
            };
            if let BuildEvent::Failed { fault } = event {
                return Err(with_log(fault, &build.tool, build.id));
            }
            for line in renderer.render(&event) {
                let _ = screen.send(line).await;
            }
            if let BuildEvent::Live { release, .. } = event {
                let release =
                    release.parse().map_err(|error| faults::internal("read a release's number", &error))?;
                return Ok(PushOutcome::Live { release });
            }
        }
    }
}

impl Platform {
    /// How a build ended whose log does not say so, as when the disk is full.
    async fn ended(&self, build: &Build) -> Result<PushOutcome, Fault> {
        let deadline = Instant::now() + ENDING;
        let row = loop {
            let row = self.store().build(build.id).await?;
            let over = row.as_ref().is_none_or(|row| row.state.is_finished());
            if over || Instant::now() > deadline {
                break row;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        match row {
            Some(Build { state: BuildState::Succeeded, release: Some(release), .. }) => {
                Ok(PushOutcome::Live { release })
            }
            Some(Build { fault: Some(fault), .. }) => Err(with_log(fault, &build.tool, build.id)),
            _ => Err(faults::interrupted()),
        }
    }
}

fn head_of(build: &Build, log: &BuildLog, took: Duration) {
    let SourceTree { files, bytes, .. } = &build.source;
    let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    log.timed(Phase::Source, format!("{files}, {}", size(*bytes)), took);
}

/// What a push that does not wait is told.
fn queued(build: &Build) -> [String; 3] {
    let (id, tool) = (build.id, &build.tool);
    let branch = build.reference.strip_prefix("refs/heads/").unwrap_or(&build.reference);
    [
        format!("Build {id} is queued; {branch} follows once it is live."),
        format!("  Watch it: hythe builds attach {id} -t {tool}"),
        format!("  End it:   hythe builds cancel {id} -t {tool}"),
    ]
}
