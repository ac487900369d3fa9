//! What somebody else changes in a tool's objects is changed back.
//!
//! Of each object a hash is kept of how it was when it was last right. A watch sees another one, or none at all, and the tool
//! is looked after: whatever still differs is written again. Status does not count, and what we write ourselves is right.

use super::view;
use futures::{StreamExt, stream};
use hythe_cluster::{Cluster, kinds, name};
use hythe_model::ToolName;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher as watch};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Tools that are looked after at once.
const AT_ONCE: usize = 8;

/// Tools that are to be looked after.
#[derive(Default)]
pub(crate) struct Dirty {
    tools: Mutex<HashSet<ToolName>>,
    told: Notify,
}

impl Dirty {
    pub(crate) fn add(&self, tools: impl IntoIterator<Item = ToolName>) {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).extend(tools);
        self.told.notify_one();
    }

    async fn next(&self) -> HashSet<ToolName> {
        loop {
            self.told.notified().await;
            tokio::time::sleep(TOGETHER).await;
            let tools = std::mem::take(&mut *self.tools.lock().unwrap_or_else(PoisonError::into_inner));
            if !tools.is_empty() {
                return tools;
            }
        }
    }
}

/// Watches every kind and has what differs looked after, until `end`.
pub(crate) fn start<F, W>(
    cluster: &Cluster,
    prefix: &str,
    dirty: &Arc<Dirty>,
    end: &CancellationToken,
    mend: F,
) where
    F: Fn(ToolName) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    // A Secret may not be watched in every namespace; ours never change, and a pod that misses one says so.
    for resource in kinds().into_iter().filter(|resource| resource.kind != "Secret") {
        tokio::spawn(follow(cluster.clone(), prefix.to_owned(), resource, dirty.clone(), end.clone()));
    }
    let (dirty, end) = (dirty.clone(), end.clone());
    tokio::spawn(async move {
        while let Some(tools) = end.run_until_cancelled(dirty.next()).await {
            stream::iter(tools).for_each_concurrent(AT_ONCE, &mend).await;
        }
    });
}

async fn follow(
    cluster: Cluster,
    prefix: String,
    resource: ApiResource,
    dirty: Arc<Dirty>,
    end: CancellationToken,
) {
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let mut events = watch(api, cluster.watched()).default_backoff().boxed();
    let (kind, known) = (resource.kind.as_str(), &cluster.known);
    let mut listed = HashSet::new();
    while let Some(Some(event)) = end.run_until_cancelled(events.next()).await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(name(&object));
                if known.is_known(kind, &object) && !known.is_right(kind, &object) {
                    dirty.add(view::tool(&object.metadata));
                }
            }
            Ok(Event::InitDone) => {
                let of = |namespace: String| namespace.strip_prefix(prefix.as_str())?.parse().ok();
                dirty.add(known.missing(kind, &std::mem::take(&mut listed)).into_iter().filter_map(of));
            }
            Ok(Event::Apply(object)) => {
                if !known.is_right(kind, &object) {
                    dirty.add(view::tool(&object.metadata));
                }
            }
            Ok(Event::Delete(object)) => {
                if known.is_known(kind, &object) {
                    dirty.add(view::tool(&object.metadata));
                }
            }
            Err(error) => tracing::warn!(kind, %error, "a watch is taken up again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_that_come_together_are_one() {
        let dirty = Dirty::default();
        let tool: ToolName = "weather".parse().unwrap();
        dirty.add([tool.clone()]);
        dirty.add([tool.clone(), "quotes".parse().unwrap()]);
        assert_eq!(dirty.next().await.len(), 2);
        dirty.add([tool]);
        assert_eq!(dirty.next().await.len(), 1);
    }
}
