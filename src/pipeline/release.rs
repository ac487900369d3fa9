//! The corridor from a release on, and the side doors that join it there.

use crate::cancel::Cancel;
use crate::lead::until_done;
use crate::log::BuildLog;
use crate::turns::Turn;
use crate::{Platform, faults};
use hythe_model::{
    Actor, CommitId, Digest, Fault, Formation, Phase, Process, Project, Release, ReleaseCause, ReleaseNumber,
    ReleaseState, ToolName,
};
use hythe_registry::{Reference, Repository};
use hythe_rollout::{InstanceStatus, Served, Switched};
use hythe_store::{DeployRef, NewRelease, RefMove, StoreError};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Time between two attempts at what could not be done at once.
const MENDING: Duration = Duration::from_secs(10);
/// Time between two looks at whether a rollout is still wanted.
const HEED: Duration = Duration::from_secs(1);

/// What a release is made against: compared again when it goes live.
pub(crate) struct Base {
    /// The live release.
    pub(crate) live: Option<Release>,
    /// The full ref that names the live commit.
    pub(crate) reference: String,
    /// Where that ref stands.
    pub(crate) stands: Option<CommitId>,
}

/// A release that has no number yet.
pub(crate) struct Draft {
    pub(crate) tool: ToolName,
    pub(crate) image: Digest,
    pub(crate) commit: CommitId,
    pub(crate) processes: Vec<Process>,
    pub(crate) project: Project,
    pub(crate) formation: Formation,
    /// The config's version; the current one where `None`.
    pub(crate) config: Option<i64>,
    pub(crate) cause: ReleaseCause,
    pub(crate) message: Option<String>,
    pub(crate) actor: Actor,
    pub(crate) build: Option<hythe_model::BuildId>,
}

impl Platform {
    /// Releases the live triple again, so that every instance is new.
    pub async fn restart(&self, actor: &Actor, tool: &ToolName) -> Result<Release, Fault> {
        self.release_again(actor, tool, |_| Ok(ReleaseCause::Restart)).await
    }

    /// Releases the live image and config with these counts changed.
    pub async fn scale(&self, actor: &Actor, tool: &ToolName, changes: Formation) -> Result<Release, Fault> {
        self.release_again(actor, tool, |draft| {
            for (kind, count) in &changes.0 {
                let known = draft.formation.0.get_mut(kind);
                *known.ok_or_else(|| faults::no_process(kind, &draft.processes))? = *count;
            }
            Ok(ReleaseCause::Scale { formation: changes })
        })
        .await
    }

    /// Releases the triple of an earlier release; no build.
    pub async fn rollback(
        &self,
        actor: &Actor,
        tool: &ToolName,
        to: ReleaseNumber,
    ) -> Result<Release, Fault> {
        let earlier = self.store().release(tool, to).await?.ok_or_else(|| faults::no_release(tool, to))?;
        if earlier.state == hythe_model::ReleaseState::Failed {
            return Err(faults::rollback_to_failed(to));
        }
        self.expect_image(&earlier).await?;
        self.release_again(actor, tool, |draft| {
            draft.image = earlier.image;
            draft.commit = earlier.commit;
            draft.processes = earlier.processes;
            draft.project = earlier.project;
            draft.formation = earlier.formation;
            draft.config = Some(earlier.config);
            Ok(ReleaseCause::Rollback { to })
        })
        .await
    }

    /// A fault where the image of a release is not kept any more.
    pub(crate) async fn expect_image(&self, release: &Release) -> Result<(), Fault> {
        let gone = || faults::image_gone(&release.tool, release.number, self.parts().settings.keep.releases);
        if self.parts().external.is_some() {
            let (log, stop) = (BuildLog::none(), CancellationToken::new());
            let provided = self.try_provide_image(&release.tool, &release.image, &log, &stop).await?;
            return provided.map_err(|error| if error.is_nowhere() { gone() } else { error.fault() });
        }
        let (content, repository) = (self.parts().content.clone(), Repository::of_tool(&release.tool));
        let reference = Reference::Digest(release.image.clone());
        let found = tokio::task::spawn_blocking(move || content.manifest(&repository, &reference)).await;
        let found = found.map_err(|error| faults::internal("look for an image", &error))?;
        let found = found.map_err(|error| faults::internal("look for an image", &error))?;
        found.map(drop).ok_or_else(gone)
    }

    /// What runs now.
    pub async fn instances(&self, tool: &ToolName) -> Result<Vec<InstanceStatus>, Fault> {
        Ok(self.parts().runtime.instances(tool).await)
    }

    /// Waits for the tool's turn and releases the live triple with one change.
    async fn release_again(
        &self,
        actor: &Actor,
        tool: &ToolName,
        change: impl FnOnce(&mut Draft) -> Result<ReleaseCause, Fault>,
    ) -> Result<Release, Fault> {
        let turn = self.turn(tool).await?;
        self.release_in_turn(&turn, actor, tool, change).await
    }

    /// Releases the live triple with one change.
    pub(crate) async fn release_in_turn(
        &self,
        _turn: &Turn,
        actor: &Actor,
        tool: &ToolName,
        change: impl FnOnce(&mut Draft) -> Result<ReleaseCause, Fault>,
    ) -> Result<Release, Fault> {
        let base = self.base(tool).await?;
        let live = base.live.clone().ok_or_else(|| faults::nothing_deployed(tool))?;
        let mut draft = Draft {
            tool: tool.clone(),
            image: live.image,
            commit: live.commit,
            processes: live.processes,
            project: live.project,
            formation: live.formation,
            config: Some(live.config),
            cause: ReleaseCause::Restart,
            message: None,
            actor: actor.clone(),
            build: None,
        };
        draft.cause = change(&mut draft)?;
        let (log, cancel) = (BuildLog::none(), Cancel::default());
        let release = self.write_release(draft, &log).await?;
        let number = release.number;
        tokio::select! {
            rolled_out = self.roll_out(release, &base, &log, &cancel) => rolled_out,
            never = self.heed(tool, number, &cancel) => match never {},
        }
    }

    /// Passes on that somebody asks for the end of a rollout.
    async fn heed(&self, tool: &ToolName, number: ReleaseNumber, cancel: &Cancel) -> Infallible {
        loop {
            tokio::time::sleep(HEED).await;
            let row = self.store().release(tool, number).await.ok().flatten();
            if let Some(reason) = row.and_then(|row| row.fault) {
                cancel.ask(reason);
                return std::future::pending().await;
            }
        }
    }

    /// Ends a rollout, whichever server is at it, before its release is live.
    pub async fn cancel_release(&self, tool: &ToolName, number: ReleaseNumber) -> Result<(), Fault> {
        let release =
            self.store().release(tool, number).await?.ok_or_else(|| faults::no_release(tool, number))?;
        if release.state != ReleaseState::RollingOut {
            return Err(faults::release_over(tool, number));
        }
        if let ReleaseCause::Code { build, .. } = release.cause {
            match self.cancel_build(build).await {
                // Its build has ended without it.
                Err(fault) if fault.id == "builds/over" => {}
                done => return done,
            }
        }
        if !self.store().ask_release_to_end(tool, number, &faults::release_cancelled()).await? {
            return Err(faults::release_over(tool, number));
        }
        self.end_left_over(tool).await
    }

    /// What is live now and where the deploy ref stands. Hold the tool's turn.
    pub(crate) async fn base(&self, tool: &ToolName) -> Result<Base, Fault> {
        let row = self.tool(tool).await?;
        let branch = row.settings.deploy_branches.first().map_or("main", String::as_str);
        let reference =
            row.deployed.map_or_else(|| format!("refs/heads/{branch}"), |deployed| deployed.reference);
        let stands = self.reference(tool, &reference).await?;
        Ok(Base { live: self.store().live_release(tool).await?, reference, stands })
    }

    /// Writes the release's row.
    pub(crate) async fn write_release(&self, draft: Draft, log: &BuildLog) -> Result<Release, Fault> {
        let before = self.store().live_release(&draft.tool).await?.map(|live| live.number);
        let release = self.store().create_release(self.new_release(draft).await?).await?;
        self.logs().mask_anew(&release.tool);
        let made_of = before.map_or("code".to_owned(), |number| format!("{number} + code"));
        log.note(Phase::Release, format!("{}  ({made_of})", release.number));
        Ok(release)
    }

    /// Writes a release in place of one that was begun before what is live now. Hold the tool's turn.
    pub(crate) async fn overtake(
        &self,
        old: &Release,
        live: ReleaseNumber,
        draft: Draft,
        log: &BuildLog,
    ) -> Result<Release, Fault> {
        self.take_back(&old.tool, old.number).await?;
        let new = self.new_release(draft).await?;
        let release = self.store().replace_release(old.number, &faults::overtaken(live), new).await?;
        self.logs().mask_anew(&release.tool);
        let made_of = format!("{live} + code, in place of {}", old.number);
        log.note(Phase::Release, format!("{}  ({made_of})", release.number));
        Ok(release)
    }

    /// A draft with all that its row says.
    async fn new_release(&self, draft: Draft) -> Result<NewRelease, Fault> {
        self.expect_mounts(&draft.tool, &draft.project)?;
        let config = match draft.config {
            Some(version) => version,
            None => self.current_config(&draft.tool).await?,
        };
        self.expect_files(&draft.tool, config, &draft.project).await?;
        Ok(NewRelease {
            tool: draft.tool,
            image: draft.image,
            commit: draft.commit,
            processes: draft.processes,
            config,
            project: draft.project,
            formation: draft.formation,
            cause: draft.cause,
            message: draft.message,
            actor: draft.actor,
            build: draft.build,
        })
    }

    /// Makes a written release run, or marks it failed. The switch of the route is the point of no return.
    pub(crate) async fn roll_out(
        &self,
        release: Release,
        base: &Base,
        log: &BuildLog,
        cancel: &Cancel,
    ) -> Result<Release, Fault> {
        match self.try_roll_out(&release, base, log, cancel).await {
            Ok(live) => Ok(live),
            Err(fault) => {
                let fault = self.told(&release.tool, Some(release.number), fault, cancel).await;
                if self.inner.turns.lost(&release.tool).is_cancelled() {
                    // Whoever has the turn next takes it back, and says that it failed.
                    return Err(if cancel.is_asked() { fault } else { faults::turn_lost() });
                }
                if base.live.is_none() && self.is_left(&release, &fault).await? {
                    self.take_back_later(&release);
                } else {
                    let outcome = cancel.outcome(fault.clone());
                    self.store().fail_release(&release.tool, release.number, &outcome).await?;
                }
                Err(still_serving(fault, base.live.as_ref().map(|live| live.number)))
            }
        }
    }

    /// Whether something of a first release that has failed is still there, as where the cluster is away: nothing that is live would be
    /// put in its place, so its row says that it goes until it has gone.
    async fn is_left(&self, release: &Release, fault: &Fault) -> Result<bool, Fault> {
        let (tool, number) = (&release.tool, release.number);
        // One that is away has been waited for.
        if fault.id != hythe_rollout::CLUSTER_AWAY && self.take_back(tool, number).await.is_ok() {
            return Ok(false);
        }
        tracing::warn!(%tool, release = %number, "a failed release is taken back later");
        Ok(self.store().ask_release_to_end(tool, number, fault).await?)
    }

    /// Tries to take a failed release back until that is done.
    fn take_back_later(&self, release: &Release) {
        let (platform, tool, number) = (self.clone(), release.tool.clone(), release.number);
        tokio::spawn(async move {
            tokio::time::sleep(MENDING).await;
            let step = || async {
                if platform.store().tool(&tool).await?.is_none() {
                    return Ok(());
                }
                platform.end_left_over(&tool).await?;
                let left = platform.store().rolling_out_of(&tool).await?;
                if left.iter().any(|left| left.number == number) {
                    Err(faults::changing(&tool))
                } else {
                    Ok(())
                }
            };
            until_done("take a failed release back", step).await;
        });
    }

    async fn try_roll_out(
        &self,
        release: &Release,
        base: &Base,
        log: &BuildLog,
        cancel: &Cancel,
    ) -> Result<Release, Fault> {
        let begun = Instant::now();
        // The config is the one that was current when its row was written, and not that of the build.
        self.mask_log(log, &release.tool, Some(release.number), None).await?;
        let runnable = self.runnable(release).await?;
        let before = match &base.live {
            Some(live) => Some(self.runnable(live).await?),
            None => None,
        };
        let runtime = &self.parts().runtime;
        let lost = self.inner.turns.lost(&release.tool);
        let (stop, _watched) = either(cancel.token(), &lost);
        self.provide_image(&release.tool, &release.image, log, &stop).await?;
        self.end_others(release).await?;
        let candidate = runtime.start(runnable, before, &|event| log.push(&event), stop.clone()).await?;
        if stop.is_cancelled() {
            runtime.abandon(candidate).await;
            return Err(if cancel.is_asked() { cancel.fault() } else { faults::turn_lost() });
        }
        let live = match self.make_live(release, base, cancel).await {
            Ok(live) => live,
            Err(fault) => {
                runtime.abandon(candidate).await;
                return Err(fault);
            }
        };
        let switched = runtime.switch(candidate).await;
        log.timed(Phase::Rollout, rolled_out(&switched), begun.elapsed());
        Ok(live)
    }

    /// The store first, then the ref: a crash between the two is mended at start from what the store says.
    async fn make_live(&self, release: &Release, base: &Base, cancel: &Cancel) -> Result<Release, Fault> {
        let expected = base.live.as_ref().map(|live| live.number);
        let deployed = DeployRef { reference: base.reference.clone(), commit: release.commit.clone() };
        // Where refs are rows this one moves with the release.
        let moved = self.parts().objects.as_ref().map(|_| RefMove {
            reference: base.reference.clone(),
            from: base.stands.clone(),
            to: release.commit.clone(),
        });
        let activating =
            self.store().activate_with_ref(&release.tool, release.number, expected, &deployed, moved);
        let activated = activating.await;
        let live = match activated {
            Ok(activation) => activation.release,
            Err(StoreError::Ended { reason }) => {
                cancel.ask(*reason);
                return Err(cancel.fault());
            }
            // The answer was lost: what is written is what holds.
            Err(unclear @ StoreError::Unclear { .. }) => {
                let row = self.store().release(&release.tool, release.number).await?;
                row.filter(|row| row.state == ReleaseState::Live).ok_or(unclear)?
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(fault) = self.point_ref(&release.tool, base.stands.as_ref(), &deployed).await {
            tracing::error!(tool = %release.tool, %fault, "the deploy ref was left behind");
            self.mend_ref_later(&release.tool);
        }
        Ok(live)
    }
}

/// A token that is cancelled with either, for as long as the second value is kept.
fn either(one: &CancellationToken, two: &CancellationToken) -> (CancellationToken, DropGuard) {
    let (both, done) = (one.child_token(), CancellationToken::new());
    let (told, two, over) = (both.clone(), two.clone(), done.clone());
    tokio::spawn(async move {
        if over.run_until_cancelled(two.cancelled()).await.is_some() {
            told.cancel();
        }
    });
    (both, done.drop_guard())
}

impl Platform {
    /// Waits for a tool's turn. What was begun in an earlier one and left, by a server that died or work that did, is ended first.
    pub(crate) async fn turn(&self, tool: &ToolName) -> Result<Turn, Fault> {
        let turn = self.inner.turns.take(tool).await?;
        self.fail_left_over(tool).await?;
        Ok(turn)
    }

    /// The same where nobody has it.
    pub(crate) async fn try_turn(&self, tool: &ToolName) -> Result<Option<Turn>, Fault> {
        let turn = self.inner.turns.try_take(tool).await?;
        if turn.is_some() {
            self.fail_left_over(tool).await?;
        }
        Ok(turn)
    }

    /// Takes back what any other release of the tool has begun and not ended: a build may go on with it yet, and a command of its
    /// own must not run beside this one's. Hold the tool's turn.
    async fn end_others(&self, release: &Release) -> Result<(), Fault> {
        for other in self.store().rolling_out_of(&release.tool).await? {
            if other.number != release.number {
                self.take_back(&other.tool, other.number).await?;
            }
        }
        Ok(())
    }

    /// Takes back what a release has begun that nobody goes on with, before its row says that it failed: cut off in between, or after a
    /// fault, it is done again. Hold the tool's turn.
    pub(crate) async fn take_back(&self, tool: &ToolName, number: ReleaseNumber) -> Result<(), Fault> {
        let left = self.store().release(tool, number).await?;
        let Some(left) = left.filter(|left| left.state == ReleaseState::RollingOut) else { return Ok(()) };
        let served = self.served(tool).await?;
        self.parts().runtime.take_back(self.without_config(&left).await?, served).await
    }

    /// What is live of a tool, for what is to serve again.
    async fn served(&self, tool: &ToolName) -> Result<Served, Fault> {
        let Some(live) = self.store().live_release(tool).await? else { return Ok(Served::Nothing) };
        match self.runnable(&live).await {
            Ok(live) => Ok(Served::Release(Box::new(live))),
            // Nor would it another time.
            Err(fault) if fault.id == faults::CONFIG_UNREADABLE => {
                tracing::error!(%tool, release = %live.number, %fault, "what is live cannot be put back");
                Ok(Served::Unknown)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Tries to point a deploy ref to what is live until it succeeds, or the tool is gone.
    fn mend_ref_later(&self, tool: &ToolName) {
        let (platform, tool) = (self.clone(), tool.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(MENDING).await;
                let Ok(_turn) = platform.turn(&tool).await else { continue };
                let mended = match platform.tool(&tool).await {
                    Ok(row) => platform.mend_ref(&row).await,
                    Err(fault) if fault.id == "tools/absent" => return,
                    Err(fault) => Err(fault),
                };
                match mended {
                    Err(fault) => tracing::error!(%tool, %fault, "the deploy ref is still behind"),
                    Ok(()) => return,
                }
            }
        });
    }
}

fn rolled_out(switched: &Switched) -> String {
    let count = switched.instances;
    let drained = switched.previous.map_or(String::new(), |previous| format!(", {previous} drains"));
    format!("{count} of {count} ready, traffic moved{drained}")
}

/// The fault, with what serves in spite of it.
pub(crate) fn still_serving(fault: Fault, serves: Option<ReleaseNumber>) -> Fault {
    let line = match serves {
        Some(number) => format!("Nothing changed; {number} goes on serving."),
        None => "Nothing was released.".to_owned(),
    };
    if fault.why.iter().chain(&fault.next).any(|known| known == &line) { fault } else { fault.next(line) }
}
