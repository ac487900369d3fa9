//! Images in an external registry: there before anything of a release starts, gone once no release needs them.
//!
//! The content store is where builds write to, and what this follows; where no external registry is set, all of it is nothing. An image is
//! looked for before each rollout, in the tool's turn, whatever was done before; so a registry that has lost it gets it again, and
//! an image that was removed a moment ago is sent once more.

mod pass;

use crate::log::BuildLog;
use crate::upkeep::{blocking, small_enough};
use crate::{Platform, faults};
use hythe_model::render::size;
use hythe_model::{Digest, Fault, Phase, ToolName};
use hythe_registry::{External, ExternalError, Provided, Repository};
use hythe_store::{Build, Tool};
use pass::Pass;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Builds of a tool that are looked at for one that has not ended: a newer push ends those before it.
const LAST: u32 = 20;

/// What is remembered from pass to pass: what the log says once, and where to begin.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// The registry removes nothing.
    keeps: AtomicBool,
    /// The tool at which the last pass over the external registry ended early: the next one begins behind it.
    ended_at: Mutex<Option<ToolName>>,
}

impl Noted {
    fn ended_at(&self) -> MutexGuard<'_, Option<ToolName>> {
        self.ended_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which images of which tool are to stay.
pub(crate) type Kept = HashMap<ToolName, BTreeSet<Digest>>;

impl Platform {
    /// Sees to it that an image is where nodes pull it from.
    pub(crate) async fn provide_image(
        &self,
        tool: &ToolName,
        image: &Digest,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let provided = self.try_provide_image(tool, image, log, stop).await?;
        provided.map_err(|error| error.fault())
    }

    /// The same, with the registry's own reason.
    pub(crate) async fn try_provide_image(
        &self,
        tool: &ToolName,
        image: &Digest,
        log: &BuildLog,
        stop: &CancellationToken,
    ) -> Result<Result<(), ExternalError>, Fault> {
        let Some(external) = &self.parts().external else { return Ok(Ok(())) };
        let begun = Instant::now();
        let tell = |line| log.note(Phase::Image, line);
        let provided = stop.run_until_cancelled(Box::pin(external.provide(tool, image, &tell))).await;
        let provided = match provided.ok_or_else(faults::cancelled)? {
            Ok(provided) => provided,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(line) = sent_line(external, &provided) {
            log.timed(Phase::Image, line, begun.elapsed());
        }
        Ok(Ok(()))
    }

    /// Brings the images of what is live to a registry that is new or has lost them.
    pub(crate) async fn provide_live_images(&self) {
        let Some(external) = &self.parts().external else { return };
        match self.store().live_releases().await {
            Ok(live) => {
                let images = live.into_iter().map(|release| (release.tool, release.image));
                Pass::of(external).provide_all(images).await;
            }
            Err(error) => tracing::error!(%error, "the live releases could not be read"),
        }
    }

    /// Brings live images to the external registry that are missing there, and removes from it what no release needs; how many
    /// went.
    pub(crate) async fn tend_external(&self, kept: &Kept) -> Result<usize, Fault> {
        let Some(external) = &self.parts().external else { return Ok(0) };
        let live: HashMap<ToolName, Digest> =
            self.store().live_releases().await?.into_iter().map(|live| (live.tool, live.image)).collect();
        let (mut pass, mut removed) = (Pass::of(external), 0);
        let mut tools = self.store().tools().await?;
        if let Some(last) = self.inner.noted.ended_at().take() {
            let behind = tools.iter().position(|tool| tool.name == last).map_or(0, |at| at + 1);
            tools.rotate_left(behind);
        }
        for Tool { name: tool, .. } in tools {
            let there = pass.tend(&tool, live.get(&tool)).await;
            let needed = kept.get(&tool).is_some_and(|kept| there.is_subset(kept));
            if !there.is_empty() && !needed {
                removed += self.remove_unneeded(&mut pass, &tool, there).await?;
            }
            if pass.is_over() {
                *self.inner.noted.ended_at() = Some(tool);
                break;
            }
        }
        Ok(removed)
    }

    /// Removes those of these images that no release needs; how many went.
    ///
    /// In the tool's turn, so that no rollout begins with an image that goes; an image is named by its build's row before it is sent.
    async fn remove_unneeded(
        &self,
        pass: &mut Pass<'_>,
        tool: &ToolName,
        mut images: BTreeSet<Digest>,
    ) -> Result<usize, Fault> {
        let Some(_turn) = self.inner.turns.try_take(tool).await? else { return Ok(0) };
        let needed = self.needed_images(tool).await?;
        images.retain(|image| !needed.contains(image));
        Ok(pass.remove(tool, &images, &self.inner.noted).await)
    }

    async fn needed_images(&self, tool: &ToolName) -> Result<BTreeSet<Digest>, Fault> {
        let repository = Repository::of_tool(tool);
        let runs = self.parts().runtime.images().await?.into_iter();
        let runs = runs.filter(|image| image.repository == repository.as_str()).map(|image| image.digest);
        let keep = &self.parts().settings.keep;
        let (content, room) = (self.parts().content.clone(), keep.image_bytes);
        let retained = self.store().retained_releases_of(tool, keep.releases).await?;
        let retained = blocking(move || small_enough(&content, &retained, room)).await?;
        let retained = retained.into_iter().map(|kept| kept.image);
        let builds = self.store().builds(tool, LAST).await?.into_iter();
        Ok(runs.chain(retained).chain(builds.filter_map(coming_image)).collect())
    }

    /// Removes the images of a tool that goes. What cannot be removed now stays.
    pub(crate) async fn forget_images(&self, tool: &ToolName) {
        let Some(external) = &self.parts().external else { return };
        let removed = async { external.remove(tool, &external.images(tool).await?).await };
        if let Err(error) = removed.await {
            let place = external.prefix().repository(tool);
            tracing::warn!(%tool, %error, %place, "images of a tool that is removed stay in the external registry");
        }
    }
}

/// The image of a build that has not ended.
pub(crate) fn coming_image(build: Build) -> Option<Digest> {
    build.image.filter(|_| !build.state.is_finished()).map(|image| image.digest)
}

/// The line of a push's log.
fn sent_line(external: &External, provided: &Provided) -> Option<String> {
    let Provided::Sent { layers, sent, bytes } = provided else { return None };
    Some(format!("sent to {}: {sent} of {layers} layers, {}", external.prefix(), size(*bytes)))
}
