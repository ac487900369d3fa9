//! The watches: lists in pages, then every change, into what was seen.
//!
//! Three of them for the whole cluster, whatever the number of tools: pods, Deployments and endpoint slices that carry this
//! platform's labels. A watch that breaks is taken up again by the library, with a growing wait.

use super::drift::Dirty;
use super::logs::Logs;
use super::seen::{Part, Seen, ToolView};
use super::view::{self, DeploymentView, PodView};
use futures::StreamExt;
use hythe_cluster::Cluster;
use hythe_model::ToolName;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as channel;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// After which time a pod that has no files yet is worth a look at them.
const FILES_COME: Duration = Duration::from_secs(10);

/// Watches until `end`; the receiver says which of the first lists are complete.
pub(crate) fn start(
    cluster: &Cluster,
    seen: &Arc<Seen>,
    logs: &Arc<Logs>,
    dirty: &Arc<Dirty>,
    end: &CancellationToken,
) -> channel::Receiver<[bool; 3]> {
    let (complete, first) = channel::channel([false; 3]);
    let complete = Arc::new(complete);
    let watching = |index: usize| Watching {
        config: cluster.watched(),
        client: cluster.client.clone(),
        seen: seen.clone(),
        end: end.clone(),
        complete: complete.clone(),
        index,
    };
    let (came, went) = (logs.clone(), logs.clone());
    let (secrets, end) = (Secrets { seen: seen.clone(), dirty: dirty.clone() }, end.clone());
    let pod = |pod: Pod| PodView::of(&pod).map(Arc::new);
    let came = move |pod: &Arc<PodView>| {
        came.look(pod);
        secrets.look(pod, &end);
    };
    watching(0).follow(ToolView::pods, pod, came, move |pod| went.gone(&pod));
    watching(1).follow(ToolView::deployments, |found: Deployment| DeploymentView::of(&found), |_| {}, drop);
    watching(2).follow(ToolView::slices, |found: EndpointSlice| Some(view::endpoints(&found)), |_| {}, drop);
    first
}

/// Has tools looked after whose pods wait for a Secret: those are not watched.
#[derive(Clone)]
struct Secrets {
    seen: Arc<Seen>,
    dirty: Arc<Dirty>,
}

impl Secrets {
    fn look(&self, pod: &PodView, end: &CancellationToken) {
        self.dirty.add(pod.lacks_secret().then(|| pod.id.tool.clone()));
        if pod.may_lack_files() {
            let (own, tool, name) = (self.clone(), pod.id.tool.clone(), pod.name.clone());
            tokio::spawn(end.clone().run_until_cancelled_owned(async move {
                sleep(FILES_COME).await;
                let waits = own.seen.pod(&tool, &name).is_some_and(|pod| pod.may_lack_files());
                own.dirty.add(waits.then_some(tool));
            }));
        }
    }
}

/// One watch of one kind.
struct Watching {
    client: Client,
    config: watcher::Config,
    seen: Arc<Seen>,
    end: CancellationToken,
    complete: Arc<channel::Sender<[bool; 3]>>,
    index: usize,
}

impl Watching {
    /// Carries every change into a part of what is known; `came` is told what is known then, `gone` what was removed.
    fn follow<K, T>(
        self,
        part: Part<T>,
        read: impl Fn(K) -> Option<T> + Send + Sync + 'static,
        came: impl Fn(&T) + Send + Sync + 'static,
        gone: impl Fn(T) + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        T: Clone + Send + 'static,
    {
        let api: Api<K> = Api::all(self.client.clone());
        tokio::spawn(async move {
            let mut events = watch(api, self.config.clone()).default_backoff().boxed();
            // What a list in the making has shown.
            let mut listed: HashSet<(ToolName, String)> = HashSet::new();
            while let Some(Some(event)) = self.end.run_until_cancelled(events.next()).await {
                let apply = |object: K| {
                    let tool = view::tool(object.meta())?;
                    let name = object.name_any();
                    let value = read(object)?;
                    self.seen.update(&tool, |view| drop(part(view).insert(name.clone(), value.clone())));
                    came(&value);
                    Some((tool, name))
                };
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(object)) => listed.extend(apply(object)),
                    Ok(Event::InitDone) => {
                        let known = std::mem::take(&mut listed);
                        let stale = self
                            .seen
                            .retain(part, |tool, name| known.contains(&(tool.clone(), name.to_owned())));
                        stale.into_iter().for_each(&gone);
                        self.complete.send_modify(|lists| lists[self.index] = true);
                    }
                    Ok(Event::Apply(object)) => drop(apply(object)),
                    Ok(Event::Delete(object)) => {
                        let Some(tool) = view::tool(object.meta()) else { continue };
                        let mut removed = None;
                        self.seen.update(&tool, |view| removed = part(view).remove(&object.name_any()));
                        removed.into_iter().for_each(&gone);
                    }
                    Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "a watch is taken up again"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Stage;
    use super::*;
    use crate::kubernetes::tests;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_waits_for_its_files_for_long_has_its_tool_looked_after() {
        let (seen, dirty, end) =
            (Arc::new(Seen::new(8080)), Arc::<Dirty>::default(), CancellationToken::new());
        let secrets = Secrets { seen: seen.clone(), dirty: dirty.clone() };
        let creating = Stage::Waiting { reason: "ContainerCreating".to_owned(), message: String::new() };
        let waits = Arc::new(PodView { has_files: true, stage: creating, ..tests::pod(1, "a") });
        let tool = waits.id.tool.clone();
        let show = |pod: &Arc<PodView>| {
            seen.update(&tool, |view| drop(view.pods.insert(pod.name.clone(), pod.clone())));
        };
        show(&waits);
        secrets.look(&waits, &end);
        assert!(timeout(FILES_COME / 2, dirty.next()).await.is_err(), "a volume takes its moment");
        show(&Arc::new(PodView { stage: Stage::Running, ..PodView::clone(&waits) }));
        assert!(timeout(FILES_COME * 2, dirty.next()).await.is_err(), "it has them");
        show(&waits);
        secrets.look(&waits, &end);
        assert_eq!(timeout(FILES_COME * 2, dirty.next()).await, Ok(vec![tool.clone()]));
        dirty.done(&tool);
        secrets.look(&PodView { has_files: false, ..PodView::clone(&waits) }, &end);
        assert!(timeout(FILES_COME * 2, dirty.next()).await.is_err(), "an image takes as long as it takes");
    }
}
