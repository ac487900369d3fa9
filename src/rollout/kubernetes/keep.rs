//! Looks after what is live: takes it over at a start, and makes it again as it is wished where anything differs.

use super::drift::{self, Due, Keeper};
use super::rollout::{Rollouts, left_over};
use super::unmade;
use crate::runtime::{Adopted, RunnableRelease};
use async_trait::async_trait;
use hythe_model::ToolName;
use kube::api::DynamicObject;
use std::sync::{Arc, PoisonError, Weak};
use tokio_util::sync::CancellationToken;

impl Rollouts {
    /// Looks after every tool until `end`, from the next adoption on.
    pub(crate) fn lead(self: Arc<Self>, end: CancellationToken) {
        let ends = self.end.child_token();
        let (own, told) = (self.end.clone(), ends.clone());
        tokio::spawn(async move {
            let _ended = told.drop_guard();
            own.run_until_cancelled(end.cancelled()).await;
        });
        *self.leading.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    /// Sees to it, in the background, that every live release is as it is wished.
    pub(crate) fn adopt(self: Arc<Self>, live: Vec<RunnableRelease>) -> Adopted {
        let kept = live.len();
        for release in &live {
            self.seen.update(&release.release.tool, |view| view.declared = true);
        }
        self.live().extend(live.into_iter().map(|release| (release.release.tool.clone(), release)));
        // What is listed is compared with what is live: known first.
        let leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = leading {
            self.logs.lead(end.clone(), &self.seen);
            let (own, until) = (self.clone(), end.clone());
            let mut pods = self.looked.clone();
            let looking = async move {
                // A run whose pod was not seen yet is not one without.
                let tell = async {
                    if pods.wait_for(|lists| lists.iter().all(|done| *done)).await.is_ok() {
                        own.tell_unmade_runs().await;
                    }
                };
                tokio::join!(own.end_left_commands(), tell)
            };
            tokio::spawn(until.run_until_cancelled_owned(looking));
            let keeper: Weak<dyn Keeper> = Arc::<Self>::downgrade(&self);
            let (mut looked, cluster, dirty) =
                (self.looked.clone(), self.cluster.clone(), self.dirty.clone());
            // What is wished where load decides follows from what is there.
            let begin = async move {
                if looked.wait_for(|lists| lists.iter().all(|done| *done)).await.is_ok() {
                    drift::start(&cluster, &keeper, &dirty, &end);
                }
            };
            tokio::spawn(begin);
        }
        Adopted { kept, ..Adopted::default() }
    }
}

#[async_trait]
impl Keeper for Rollouts {
    fn tools(&self) -> Vec<ToolName> {
        self.live().keys().cloned().collect()
    }

    fn note(&self, kind: &str, object: &DynamicObject) {
        if kind == unmade::CRON {
            self.runs.see(object);
        }
    }

    fn due(&self, tool: &ToolName) -> Due {
        if self.pending().contains_key(tool) {
            return Due::Unsettled;
        }
        let live = self.live().get(tool).cloned();
        match live.map(|release| self.objects(&release)) {
            None => Due::Nothing,
            Some(Ok(objects)) => Due::Live(self.owner(tool), objects),
            Some(Err(_)) => Due::Unsettled,
        }
    }

    async fn is_right(&self, tool: &ToolName) -> bool {
        let (owner, objects) = match self.due(tool) {
            Due::Live(owner, objects) => (owner, objects),
            Due::Nothing | Due::Unsettled => return true,
        };
        match self.cluster.unwatched_is_right(&owner, &objects).await {
            Ok(right) => right,
            Err(error) => {
                tracing::warn!(%tool, %error, "its Secrets are looked at with the next round");
                true
            }
        }
    }

    /// Writes nothing where the tool is as it is wished.
    async fn mend(&self, tool: &ToolName) {
        let _alone = self.alone(tool).await;
        let coming = self.pending().get(tool).cloned();
        let is_coming = coming.is_some();
        let live = if is_coming { Ok(None) } else { self.live_in_turn(tool).await };
        let objects = match (&coming, &live) {
            (Some(pending), _) => self.pending_objects(pending),
            (None, Ok(Some(wished))) => self.objects(&wished.release),
            (None, Ok(None)) => return,
            // Whoever changes it now sees to it, and what is there afterwards is looked at once more.
            (None, Err(_)) => return self.look_again(tool),
        };
        let objects = match objects {
            Ok(objects) => objects,
            Err(fault) => return tracing::error!(%tool, %fault, "a live release cannot be applied"),
        };
        let owner = self.owner(tool);
        let applied = match self.cluster.apply(&owner, &objects).await {
            Ok(applied) => applied,
            Err(error) => {
                tracing::error!(%tool, %error, "a live release could not be applied");
                return self.look_again(tool);
            }
        };
        if !applied.written.is_empty() {
            let objects = applied.written.join(", ");
            tracing::info!(%tool, objects, "what differed from its release was mended");
        }
        // While a release comes, what served before is still wanted.
        if !is_coming && let Err(error) = self.prune(tool, &objects, applied.present).await {
            left_over(tool, &error);
        }
    }
}
