//! Builds that have ended and whose logs have not: whoever reads such a log would wait for ever.
//!
//! A build's row ends first, and the end of its log follows from the memory of the server that ran it, which may die in between.

use crate::faults;
use crate::queue::LOOK_BACK;
use hythe_events::LogStore;
use hythe_model::{BuildId, Fault};
use hythe_store::{Build, Store};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// The builds whose logs are not known to have ended.
pub(super) struct Endings {
    /// Whatever is newer than this build is among them from the next look on.
    last: BuildId,
    open: BTreeSet<BuildId>,
    /// How long whoever ran a build is given to end its log.
    patience: SignedDuration,
}

impl Endings {
    /// Begins to look.
    pub(super) async fn begin(store: &Store, patience: SignedDuration) -> Result<Self, Fault> {
        // First: what comes after it is looked at later.
        let last = store.last_build().await?.unwrap_or(BuildId(0));
        let unfinished = store.unfinished_builds().await?;
        let ended = store.ended_builds(LOOK_BACK).await?;
        let open = unfinished.iter().chain(&ended).map(|build| build.id).collect();
        Ok(Self { last, open, patience })
    }

    /// The builds that ended a while ago, and whose logs still have not.
    pub(super) async fn overdue(&mut self, store: &Store, logs: &LogStore) -> Result<Vec<Build>, Fault> {
        let last = store.last_build().await?.unwrap_or(self.last);
        // Rows come in the order of their numbers: what is before the last one and not there has been removed.
        self.open.extend((self.last.0 + 1..=last.0).map(BuildId));
        self.last = last;
        let rows = store.builds_by_id(self.open.iter().copied().collect()).await?;
        // One that is not there any more went with its tool.
        self.open = rows.iter().map(|row| row.id).collect();
        let mut overdue = Vec::new();
        for row in rows {
            let Some(ended) = row.ended_at else { continue };
            let has_ended = logs.has_ended(row.id).await;
            if has_ended.map_err(|error| faults::internal("look at a build's log", &error))? {
                self.open.remove(&row.id);
            } else if Timestamp::now().duration_since(ended) >= self.patience {
                overdue.push(row);
            }
        }
        Ok(overdue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::new_build;
    use hythe_events::{LogLimits, SharedPlace};
    use hythe_model::{BuildEvent, ToolName};
    use hythe_objects::SharedFolder;
    use hythe_store::BuildOutcome;
    use std::sync::Arc;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_build_that_ended_without_the_end_of_its_log_is_found_until_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let objects = Arc::new(SharedFolder::open(folder.path()).unwrap());
        let place = SharedPlace { store: store.clone(), objects };
        let logs = LogStore::open_shared(folder.path().join("logs"), LogLimits::default(), place).unwrap();
        let tool: ToolName = "weather".parse().unwrap();
        store.create_tool(&tool, None).await.unwrap();
        let fault = Fault::new("push/cancelled", "It was cancelled.");
        let ended = async || {
            let id =
                store.enqueue_build(new_build(&tool, &"a".repeat(40).parse().unwrap())).await.unwrap().id;
            store.finish_build(id, BuildOutcome::Cancelled(fault.clone())).await.unwrap();
            id
        };
        let ids = |builds: Vec<Build>| builds.into_iter().map(|build| build.id).collect::<Vec<_>>();
        let before = ended().await;
        let mut endings = Endings::begin(&store, SignedDuration::ZERO).await.unwrap();
        let after = ended().await;
        assert_eq!(ids(endings.overdue(&store, &logs).await.unwrap()), [before, after]);
        logs.append(after, &BuildEvent::Failed { fault: fault.clone() }).unwrap();
        logs.settled().await;
        assert_eq!(ids(endings.overdue(&store, &logs).await.unwrap()), [before]);
        assert_eq!(endings.open, [before].into(), "what has its end is not looked at again");
        endings.patience = SignedDuration::from_hours(1);
        assert!(endings.overdue(&store, &logs).await.unwrap().is_empty(), "its server is about to");
    }
}
