//! One build from its row to a live release: the corridor's phases in order.

use crate::cancel::Cancel;
use crate::log::BuildLog;
use crate::release::{Base, Draft, still_serving};
use crate::turns::Turn;
use crate::{Platform, faults};
use hythe_build::BuildRequest;
use hythe_model::{
    BuildCause, CommitId, Fault, Formation, Phase, Process, ProcessType, PublishedImage, Release,
    ReleaseCause, ToolName,
};
use hythe_source::Lineage;
use hythe_store::Build;
use std::collections::BTreeMap;
use tokio::sync::OwnedSemaphorePermit;

impl Platform {
    /// Builds and releases one build that is running. Everything it did is in the store and in the build's log.
    pub(crate) async fn deploy(
        &self,
        build: &Build,
        log: &BuildLog,
        cancel: &Cancel,
        slot: OwnedSemaphorePermit,
    ) -> Result<Release, Fault> {
        let building = self.build_image(build, log, cancel);
        let image = match self.inner.running.unless_given_up(building).await {
            Ok(image) => image,
            Err(fault) => return Err(self.nothing_released(build, fault).await?),
        };
        // A rollout takes as long as the tool likes, and a registry that is away too: the next build need not wait for them.
        drop(slot);
        let sending = self.provide_image(&build.tool, &image.digest, log, cancel.token());
        if let Err(fault) = self.inner.running.unless_given_up(sending).await {
            return Err(self.nothing_released(build, fault).await?);
        }
        let turn = self.wait_for_turn(build, log, cancel).await?;
        let base = self.base_for(build).await?;
        let release = self.write_release(Self::draft_of(build, &image, &base), log).await?;
        let live = self.roll_out(release, &base, log, cancel).await;
        drop(turn);
        live
    }

    /// The fault of a build that has no release.
    async fn nothing_released(&self, build: &Build, fault: Fault) -> Result<Fault, Fault> {
        let live = self.store().live_release(&build.tool).await?;
        Ok(still_serving(fault, live.map(|live| live.number)))
    }

    /// Goes on with a build whose release was written before the server stopped.
    pub(crate) async fn resume_release(
        &self,
        build: &Build,
        release: Release,
        log: &BuildLog,
        cancel: &Cancel,
    ) -> Result<Release, Fault> {
        let turn = self.wait_for_turn(build, log, cancel).await?;
        let base = self.base_for(build).await?;
        let release = match (&base.live, &build.image) {
            // Its config and counts are those of its time, and would undo what people have changed since.
            (Some(live), Some(image)) if live.number > release.number => {
                self.overtake(&release, live.number, Self::draft_of(build, image, &base), log).await?
            }
            _ => release,
        };
        let live = self.roll_out(release, &base, log, cancel).await;
        drop(turn);
        live
    }

    async fn build_image(
        &self,
        build: &Build,
        log: &BuildLog,
        cancel: &Cancel,
    ) -> Result<PublishedImage, Fault> {
        if let Some(image) = &build.image {
            return Ok(image.clone());
        }
        let parts = self.parts();
        let previous = parts.store.live_release(&build.tool).await?.map(|release| release.image);
        let config = self.current_config(&build.tool).await?;
        let masker = self.mask_log(log, &build.tool, None, Some(config)).await?;
        self.fetch_source(&build.source).await?;
        let request = BuildRequest {
            tool: build.tool.clone(),
            id: build.id,
            source: build.source.clone(),
            archive: parts.sources.path(&build.source.digest),
            previous,
            no_cache: build.options.no_cache,
            env: self.build_env(&build.tool, config).await?,
        };
        let made = parts.builder.build(request, log, cancel.token().clone()).await;
        let image = made.map_err(|fault| masker.mask_fault(fault))?;
        parts.store.set_build_image(build.id, &image).await?;
        Ok(image)
    }

    async fn build_env(&self, tool: &ToolName, config: i64) -> Result<BTreeMap<String, String>, Fault> {
        let values = self.open_config(tool, config).await?;
        Ok(values
            .into_iter()
            .filter(|entry| entry.scope.in_build())
            .map(crate::ConfigEntry::into_pair)
            .collect())
    }

    /// Waits for a rollout of the same tool to end, and says so.
    async fn wait_for_turn(&self, build: &Build, log: &BuildLog, cancel: &Cancel) -> Result<Turn, Fault> {
        if let Some(turn) = self.try_turn(&build.tool).await? {
            return Ok(turn);
        }
        log.note(Phase::Release, "waiting for a rollout of this tool to end");
        tokio::select! {
            turn = self.turn(&build.tool) => turn,
            () = cancel.token().cancelled() => Err(cancel.fault()),
        }
    }

    /// What is live now, where the deploy ref still stands as the push found it.
    async fn base_for(&self, build: &Build) -> Result<Base, Fault> {
        let base = self.base(&build.tool).await?;
        let stands = self.reference(&build.tool, &build.reference).await?;
        if stands.is_none() {
            // One that has come since the push began.
            self.expect_no_clash(&build.tool, &build.reference).await?;
        }
        if stands == build.old || self.goes_on_from(build, stands.as_ref()).await? {
            return Ok(Base { reference: build.reference.clone(), stands, ..base });
        }
        Err(faults::branch_moved(&build.tool, &build.reference, stands))
    }

    /// Whether a detached push still fits: it was promised to be built, and the commit that went live meanwhile is one of
    /// its ancestors.
    async fn goes_on_from(&self, build: &Build, stands: Option<&CommitId>) -> Result<bool, Fault> {
        let (BuildCause::Detached, Some(stands)) = (build.cause, stands) else { return Ok(false) };
        let lineage = self.lineage(&build.tool, stands, &build.source.commit).await?;
        Ok(lineage == Lineage::Forward)
    }

    fn draft_of(build: &Build, image: &PublishedImage, base: &Base) -> Draft {
        let commit = build.source.commit.clone();
        Draft {
            tool: build.tool.clone(),
            image: image.digest.clone(),
            commit: commit.clone(),
            formation: formation_for(&image.processes, base.live.as_ref().map(|live| &live.formation)),
            processes: image.processes.clone(),
            project: build.source.project.clone(),
            config: None,
            cause: ReleaseCause::Code { commit, subject: build.source.subject.clone(), build: build.id },
            message: build.options.message.clone(),
            actor: build.actor.clone(),
            build: Some(build.id),
        }
    }
}

/// The counts of the release before, for the process types that the image has; a new `web` gets one instance, any
/// other new type none until somebody scales it.
fn formation_for(processes: &[Process], before: Option<&Formation>) -> Formation {
    let count = |kind: &ProcessType| {
        before.and_then(|formation| formation.0.get(kind)).copied().unwrap_or(u32::from(kind.is_web()))
    };
    let running = processes.iter().filter(|process| !process.kind.is_release());
    Formation(running.map(|process| (process.kind.clone(), count(&process.kind))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(kind: &str) -> Process {
        Process { kind: kind.parse().unwrap(), command: "true".into() }
    }

    fn counts(formation: &Formation) -> Vec<(&str, u32)> {
        formation.0.iter().map(|(kind, count)| (kind.as_str(), *count)).collect()
    }

    #[test]
    fn a_first_release_runs_one_web_instance_and_nothing_else() {
        let formation = formation_for(&[process("web"), process("worker"), process("release")], None);
        assert_eq!(counts(&formation), [("web", 1), ("worker", 0)]);
    }

    #[test]
    fn counts_outlive_a_build_and_vanish_with_their_process() {
        let before =
            Formation([("web", 3), ("worker", 2), ("clock", 1)].map(|(k, n)| (k.parse().unwrap(), n)).into());
        let formation = formation_for(&[process("web"), process("worker"), process("mail")], Some(&before));
        assert_eq!(counts(&formation), [("mail", 0), ("web", 3), ("worker", 2)]);
    }
}
