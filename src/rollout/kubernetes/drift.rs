//! What somebody else changes in a tool's objects is changed back.
//!
//! Of each object a hash is kept of how it was when it was last right. A watch sees another one, or none at all, and the tool
//! is looked after: whatever still differs is written again. Status does not count, and what we write ourselves is right.

use super::apply::{Cluster, kinds};
use super::view;
use futures::{StreamExt, stream};
use hythe_model::ToolName;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher as watch};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Tools that are looked after at once.
const AT_ONCE: usize = 8;

/// Namespace and name of an object of some kind.
type Name = (String, String);

/// Hashes of what is right, by kind.
#[derive(Default)]
pub(crate) struct Known {
    hashes: Mutex<HashMap<String, HashMap<Name, u64>>>,
}

impl Known {
    fn hashes(&self) -> MutexGuard<'_, HashMap<String, HashMap<Name, u64>>> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is right as it is.
    pub(crate) fn note(&self, kind: &str, object: &DynamicObject) {
        let mut hashes = self.hashes();
        hashes.entry(kind.to_owned()).or_default().insert(name(object), hash(object));
    }

    /// An object was removed by us.
    pub(crate) fn forget(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(known) = self.hashes().get_mut(kind) {
            known.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Nothing of a namespace is ours any more.
    pub(crate) fn forget_namespace(&self, namespace: &str) {
        for known in self.hashes().values_mut() {
            known.retain(|(of, _), _| of != namespace);
        }
    }

    fn is_right(&self, kind: &str, object: &DynamicObject) -> bool {
        self.hashes().get(kind).is_some_and(|known| known.get(&name(object)) == Some(&hash(object)))
    }

    fn is_known(&self, kind: &str, object: &DynamicObject) -> bool {
        self.hashes().get(kind).is_some_and(|known| known.contains_key(&name(object)))
    }

    /// Namespaces of known objects that are none of these.
    fn missing(&self, kind: &str, listed: &HashSet<Name>) -> Vec<String> {
        let hashes = self.hashes();
        let names = hashes.get(kind).into_iter().flat_map(HashMap::keys);
        names.filter(|name| !listed.contains(name)).map(|(namespace, _)| namespace.clone()).collect()
    }
}

fn name(object: &DynamicObject) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Of everything but status and bookkeeping.
fn hash(object: &DynamicObject) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.labels().hash(&mut hasher);
    if let Some(fields) = object.data.as_object() {
        for (key, value) in fields.iter().filter(|(key, _)| *key != "status") {
            key.hash(&mut hasher);
            value.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

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
pub(crate) fn start<F, W>(cluster: &Cluster, dirty: &Arc<Dirty>, end: &CancellationToken, mend: F)
where
    F: Fn(ToolName) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    // A Secret may not be watched in every namespace; ours never change, and a pod that misses one says so.
    for resource in kinds().into_iter().filter(|resource| resource.kind != "Secret") {
        tokio::spawn(follow(cluster.clone(), resource, dirty.clone(), end.clone()));
    }
    let (dirty, end) = (dirty.clone(), end.clone());
    tokio::spawn(async move {
        while let Some(tools) = end.run_until_cancelled(dirty.next()).await {
            stream::iter(tools).for_each_concurrent(AT_ONCE, &mend).await;
        }
    });
}

async fn follow(cluster: Cluster, resource: ApiResource, dirty: Arc<Dirty>, end: CancellationToken) {
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let mut events = watch(api, cluster.watched()).default_backoff().boxed();
    let (kind, known) = (resource.kind.as_str(), &cluster.known);
    let prefix = &cluster.settings.namespace_prefix;
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

    fn object(spec: serde_json::Value) -> DynamicObject {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        DynamicObject::new("web", &resource).within("hythe-weather").data(spec)
    }

    #[test]
    fn a_status_is_no_difference_and_a_field_is() {
        let known = Known::default();
        let right = object(serde_json::json!({ "spec": { "port": 80 }, "status": { "x": 1 } }));
        known.note("Service", &right);
        assert!(known.is_right(
            "Service",
            &object(serde_json::json!({ "spec": { "port": 80 }, "status": { "x": 2 } }))
        ));
        assert!(!known.is_right("Service", &object(serde_json::json!({ "spec": { "port": 81 } }))));
        assert!(!known.is_right("Deployment", &right));
        assert_eq!(known.missing("Service", &HashSet::new()), ["hythe-weather"]);
        known.forget("Service", "hythe-weather", "web");
        assert!(!known.is_known("Service", &right));
    }

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
