//! What one server does for all: the work of whoever holds the controller's lease.
//!
//! It adopts what is live, sees to it that it stays as it is wished, reads what pods print, finishes what the dead have left half
//! done and removes what nobody needs. Another server takes the lease within its time, and begins with all of it again.

mod endings;

use crate::{Platform, faults};
use async_trait::async_trait;
use endings::Endings;
use hythe_model::{BuildId, Fault, ToolName};
use hythe_rollout::{RunnableRelease, Wished, Wishes};
use hythe_store::{Lease, StoreError};
use jiff::SignedDuration;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The lease of whoever does it.
const CONTROLLER: &str = "controller";
/// How often rollouts are looked for that nobody goes on with.
const LOOK: Duration = Duration::from_secs(15);
/// How long whoever ran a build is given to end its log.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// Between two attempts at what could not be done.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest time between them.
const RARELY: Duration = Duration::from_mins(5);

impl Platform {
    /// Does the work of one server for all, whenever this server holds the lease of it, until `shutdown`.
    pub async fn run_controller(&self, shutdown: CancellationToken) {
        let Some(replica) = self.inner.replica.clone() else { return };
        let leading = async {
            loop {
                match replica.wait_for(CONTROLLER).await {
                    Ok(hold) => {
                        tracing::info!("this server does the work of one for all");
                        let lost = hold.lost.clone();
                        let end = lost.child_token();
                        let _ended = end.clone().drop_guard();
                        Box::pin(lost.run_until_cancelled(self.lead(end))).await;
                    }
                    Err(fault) => tracing::warn!(%fault, "the controller's lease cannot be asked for"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        Box::pin(shutdown.run_until_cancelled(leading)).await;
    }

    /// Leads until it is cut off. What cannot be done now does not hold up the rest, and is tried until it is.
    async fn lead(&self, end: CancellationToken) {
        self.parts().runtime.lead(end);
        tokio::join!(
            until_done("mend tools", || self.mend_tools()),
            until_done("remove what builds have left", || self.sweep_ended_builds()),
            until_done("look after what is live", || self.adopt()),
            self.end_left_over_rollouts(),
            self.mend_overdue_logs(),
            self.run_upkeep(CancellationToken::new()),
        );
    }

    /// Ends the rollouts that nobody goes on with, again and again.
    async fn end_left_over_rollouts(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(fault) = self.end_all_left_over().await {
                tracing::warn!(%fault, "rollouts that are left over could not be looked at");
            }
        }
    }

    /// Ends the logs of builds that have ended, where whoever ran them does not any more.
    async fn mend_overdue_logs(&self) {
        let mut endings = None;
        loop {
            if let Err(fault) = self.look_for_overdue_logs(&mut endings).await {
                tracing::warn!(%fault, "logs without an end could not be looked for");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look_for_overdue_logs(&self, endings: &mut Option<Endings>) -> Result<(), Fault> {
        let endings = match endings {
            Some(endings) => endings,
            None => endings.insert(Endings::begin(self.store(), PATIENCE).await?),
        };
        for build in endings.overdue(self.store(), self.logs()).await? {
            self.end_log(&build);
        }
        Ok(())
    }

    /// Removes what builds have left that run nowhere.
    pub(crate) async fn sweep_ended_builds(&self) -> Result<(), Fault> {
        // Whatever begins after the look at the last one is younger than it.
        let last = self.store().last_build().await?;
        let running: HashSet<BuildId> =
            self.store().unfinished_builds().await?.into_iter().map(|build| build.id).collect();
        self.sweep_builds(move |build| running.contains(&build) || Some(build) > last).await
    }

    /// Removes what builds have left but for those that stay.
    pub(crate) async fn sweep_builds(
        &self,
        stays: impl Fn(BuildId) -> bool + Send + Sync + 'static,
    ) -> Result<(), Fault> {
        self.parts().builder.sweep(Arc::new(stays)).await
    }

    /// Tells the runtime of tools that other servers make and remove, for as long as this one serves.
    pub(crate) async fn follow_tools(self) {
        let mut changes = self.store().changes();
        let (mut known, mut mark) = (HashSet::new(), None);
        loop {
            if let Err(error) = self.hear_of_tools(&mut known, &mut mark).await {
                tracing::warn!(%error, "the tools could not be listed");
            }
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Tells the runtime of tools that came and went since the last call. Rows change all the time, and tools seldom.
    async fn hear_of_tools(
        &self,
        known: &mut HashSet<ToolName>,
        mark: &mut Option<(i64, Option<i64>)>,
    ) -> Result<(), StoreError> {
        let last = Some(self.store().tools_mark().await?);
        if *mark == last {
            return Ok(());
        }
        let now: HashSet<ToolName> = self.store().tools().await?.into_iter().map(|tool| tool.name).collect();
        now.difference(known).for_each(|tool| self.parts().runtime.declare_tool(tool));
        known.difference(&now).for_each(|tool| self.parts().runtime.forget_tool(tool));
        (*known, *mark) = (now, last);
        Ok(())
    }
}

/// Does this until it is done, less and less often.
pub(crate) async fn until_done<F: Future<Output = Result<(), Fault>>>(what: &str, step: impl Fn() -> F) {
    let mut pause = AGAIN;
    while let Err(fault) = step().await {
        tracing::warn!(%fault, "could not {what}; it is tried again");
        tokio::time::sleep(pause).await;
        pause = RARELY.min(pause * 2);
    }
}

#[async_trait]
impl Wishes for Platform {
    async fn live(&self, tool: &ToolName) -> Result<Option<RunnableRelease>, Fault> {
        match self.store().live_release(tool).await {
            Ok(Some(release)) => Ok(Some(self.runnable(&release).await?)),
            // A tool that is gone wants nothing.
            Ok(None) | Err(StoreError::Absent { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn live_in_turn(&self, tool: &ToolName) -> Result<Option<Wished>, Fault> {
        let turn = self.inner.turns.try_take(tool).await?;
        let turn = Box::new(turn.ok_or_else(|| faults::changing(tool))?);
        Ok(self.live(tool).await?.map(|release| Wished { release, turn }))
    }

    fn has_turn(&self, tool: &ToolName) -> bool {
        !self.inner.turns.lost(tool).is_cancelled()
    }

    fn server(&self) -> &str {
        &self.inner.holder
    }

    async fn lives(&self, server: &str) -> Result<bool, Fault> {
        Ok(self.store().lease(&Lease::of_life(server)).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_and_holds_nothing_else_up() {
        let (tries, other) = (Cell::new(0), Cell::new(0));
        let fails_twice = || async {
            tries.set(tries.get() + 1);
            assert_eq!(other.get(), 1, "it has been done meanwhile");
            if tries.get() < 3 { Err(faults::interrupted()) } else { Ok(()) }
        };
        let works = || async {
            other.set(other.get() + 1);
            Ok(())
        };
        tokio::join!(until_done("do the other", works), until_done("do it", fails_twice));
        assert_eq!((tries.get(), other.get()), (3, 1));
    }
}
