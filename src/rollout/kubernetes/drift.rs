//! What somebody else changes in a tool's objects is changed back.
//!
//! A watch of each kind begins with a list, in pages. Its objects are compared as they pass with what is wished of their tool,
//! and of those that are right a hash is kept: so a start asks nothing about a tool that is as it should be, and what a watch
//! shows later is known by its hash. Where one differs, is missing or is left over, the tool is looked after with requests of
//! its own. Status does not count, and what we write ourselves is right.
//!
//! Secrets and our own rights are not watched: the server may not read them in the whole cluster. A pod that misses a Secret
//! says so, or does not get beyond its volumes; beyond that a round goes through all tools, one after the other and slowly, for as long as this server leads.

use super::view;
use async_trait::async_trait;
use futures::StreamExt;
use hythe_cluster::{Cluster, Known, Object, Owner, stays, watched_kinds};
use hythe_model::ToolName;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher as watch};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Tools that are looked after at once.
const AT_ONCE: usize = 8;
/// Between the tools of a round, and the least between the beginnings of two.
const PACE: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_mins(10);

/// What is wished of a tool's objects.
pub(crate) enum Due {
    /// Nothing is live.
    Nothing,
    /// It is being changed, or cannot be told: it is looked after.
    Unsettled,
    /// These, of this owner, and no others.
    Live(Owner, Vec<Object>),
}

/// Knows what is wished, and makes it so.
#[async_trait]
pub(crate) trait Keeper: Send + Sync {
    /// The tools of which something is live.
    fn tools(&self) -> Vec<ToolName>;

    /// What is wished of a tool now.
    fn due(&self, tool: &ToolName) -> Due;

    /// Whether what no watch shows of a tool is as it is wished.
    async fn is_right(&self, tool: &ToolName) -> bool;

    /// Takes note of an object, as a watch shows it with its status.
    fn note(&self, _kind: &str, _object: &DynamicObject) {}

    /// Makes a tool as it is wished.
    async fn mend(&self, tool: &ToolName);
}

/// Tools that are to be looked after.
#[derive(Default)]
pub(crate) struct Dirty {
    tools: Mutex<Waiting>,
    told: Notify,
}

#[derive(Default)]
struct Waiting {
    tools: HashSet<ToolName>,
    /// Those whose turn it is: what happens to them meanwhile waits for its end.
    in_hand: HashSet<ToolName>,
}

impl Dirty {
    pub(crate) fn add(&self, tools: impl IntoIterator<Item = ToolName>) {
        let mut tools = tools.into_iter().peekable();
        if tools.peek().is_some() {
            self.tools().tools.extend(tools);
            self.told.notify_one();
        }
    }

    fn tools(&self) -> MutexGuard<'_, Waiting> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn next(&self) -> Vec<ToolName> {
        loop {
            self.told.notified().await;
            sleep(TOGETHER).await;
            let mut all = self.tools();
            let Waiting { tools, in_hand } = &mut *all;
            let ready: Vec<_> = tools.extract_if(|tool| !in_hand.contains(tool)).collect();
            in_hand.extend(ready.iter().cloned());
            if !ready.is_empty() {
                return ready;
            }
        }
    }

    /// A tool's turn is over.
    pub(super) fn done(&self, tool: &ToolName) {
        let mut all = self.tools();
        all.in_hand.remove(tool);
        if all.tools.contains(tool) {
            self.told.notify_one();
        }
    }
}

/// Watches every kind and has what differs looked after, until `end`.
pub(crate) fn start(
    cluster: &Cluster,
    keeper: &Weak<dyn Keeper>,
    dirty: &Arc<Dirty>,
    end: &CancellationToken,
) {
    let unread = Arc::new(AtomicUsize::new(watched_kinds().count()));
    let watching = |resource| Watching {
        cluster: cluster.clone(),
        resource,
        keeper: keeper.clone(),
        dirty: dirty.clone(),
        unread: unread.clone(),
    };
    for resource in watched_kinds() {
        let (watching, end) = (watching(resource), end.clone());
        tokio::spawn(async move { end.run_until_cancelled(watching.follow()).await });
    }
    tokio::spawn(look_after(keeper.clone(), dirty.clone(), end.clone()));
    let (keeper, dirty, end) = (keeper.clone(), dirty.clone(), end.clone());
    tokio::spawn(async move { end.run_until_cancelled(go_round(keeper, dirty)).await });
}

/// Looks after tools until `end`; one that takes long holds nobody up.
async fn look_after(keeper: Weak<dyn Keeper>, dirty: Arc<Dirty>, end: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(tools) = end.run_until_cancelled(dirty.next()).await {
        for tool in tools {
            let place = end.run_until_cancelled(places.clone().acquire_owned()).await;
            let (Some(Ok(place)), Some(keeper)) = (place, keeper.upgrade()) else {
                dirty.done(&tool);
                continue;
            };
            let dirty = dirty.clone();
            tokio::spawn(async move {
                keeper.mend(&tool).await;
                dirty.done(&tool);
                drop(place);
            });
        }
    }
}

/// Goes round all tools for what no watch shows.
async fn go_round(keeper: Weak<dyn Keeper>, dirty: Arc<Dirty>) {
    loop {
        let next = Instant::now() + ROUND;
        let Some(tools) = keeper.upgrade().map(|keeper| keeper.tools()) else { return };
        for tool in tools {
            sleep(PACE).await;
            let Some(keeper) = keeper.upgrade() else { return };
            if !keeper.is_right(&tool).await {
                dirty.add([tool]);
            }
        }
        sleep_until(next).await;
    }
}

/// One watch of one kind.
struct Watching {
    cluster: Cluster,
    resource: ApiResource,
    keeper: Weak<dyn Keeper>,
    dirty: Arc<Dirty>,
    /// Kinds of which no list has been read yet.
    unread: Arc<AtomicUsize>,
}

impl Watching {
    async fn follow(&self) {
        let mut is_first = true;
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &self.resource);
        let mut events = watch(api, self.cluster.watched()).default_backoff().boxed();
        let (kind, known) = (self.resource.kind.as_str(), &*self.cluster.known);
        let mut list = List::default();
        while let Some(event) = events.next().await {
            let Some(keeper) = self.keeper.upgrade() else { return };
            match event {
                Ok(Event::Init) => list = List::default(),
                Ok(Event::InitApply(object)) => {
                    keeper.note(kind, &object);
                    self.dirty.add(list.take(kind, &object, known, |tool| keeper.due(tool)));
                }
                Ok(Event::InitDone) => {
                    let (list, kind, dirty) =
                        (std::mem::take(&mut list), kind.to_owned(), self.dirty.clone());
                    // What many tools wish takes a while to be told.
                    let ending = move || {
                        dirty.add(list.end(&kind, keeper.tools(), |tool| keeper.due(tool)));
                    };
                    let _ = tokio::task::spawn_blocking(ending).await;
                    if std::mem::take(&mut is_first) && self.unread.fetch_sub(1, Ordering::AcqRel) == 1 {
                        tracing::info!("what runs was compared with what is live");
                    }
                }
                Ok(Event::Apply(object)) => {
                    keeper.note(kind, &object);
                    if !known.is_right(kind, &object) {
                        self.dirty.add(view::tool(&object.metadata));
                    }
                }
                Ok(Event::Delete(object)) => {
                    if known.is_known(kind, &object) {
                        self.dirty.add(view::tool(&object.metadata));
                    }
                }
                Err(error) => tracing::warn!(kind, %error, "a watch is taken up again"),
            }
        }
    }
}

/// A list of one kind as it passes, of which one tool is remembered: lists are in the order of namespaces. In another order tools
/// would be looked after that need not be.
#[derive(Default)]
struct List {
    at: Option<OfTool>,
    passed: HashSet<ToolName>,
}

/// What is wished of one tool's objects of one kind, and not yet found.
struct OfTool {
    tool: ToolName,
    owner: Option<Owner>,
    missing: HashMap<String, Object>,
    /// Whether what is not wished any more stays.
    stays: bool,
    differs: bool,
}

impl OfTool {
    fn new(tool: ToolName, kind: &str, due: Due) -> Self {
        let (owner, objects, differs) = match due {
            Due::Nothing => (None, Vec::new(), false),
            Due::Unsettled => (None, Vec::new(), true),
            Due::Live(owner, objects) => (Some(owner), objects, false),
        };
        let own = objects.into_iter().filter(|object| object.resource.kind == kind);
        let missing = own.map(|object| (object.value.name_any(), object)).collect();
        Self { tool, owner, missing, stays: stays(kind), differs }
    }

    fn look(&mut self, object: &DynamicObject, known: &Known) {
        let Some(owner) = &self.owner else { return };
        let wanted = self.missing.remove(&object.name_any());
        self.differs |= !wanted.map_or(self.stays, |wanted| known.look(owner, &wanted, object));
    }

    fn end(self) -> Option<ToolName> {
        (self.differs || !self.missing.is_empty()).then_some(self.tool)
    }
}

impl List {
    /// The next object; the tool before it, where that is to be looked after.
    fn take(
        &mut self,
        kind: &str,
        object: &DynamicObject,
        known: &Known,
        due: impl Fn(&ToolName) -> Due,
    ) -> Option<ToolName> {
        let tool = view::tool(&object.metadata)?;
        let mut before = None;
        let at = match &mut self.at {
            Some(at) if at.tool == tool => at,
            at => {
                let due = due(&tool);
                self.passed.insert(tool.clone());
                before = at.replace(OfTool::new(tool, kind, due)).and_then(OfTool::end);
                at.as_mut()?
            }
        };
        at.look(object, known);
        before
    }

    /// The tools that are to be looked after still: the last one, and those that were not in it.
    fn end(
        self,
        kind: &str,
        tools: Vec<ToolName>,
        due: impl Fn(&ToolName) -> Due,
    ) -> impl Iterator<Item = ToolName> {
        let passed = self.passed;
        let absent = tools.into_iter().filter(move |tool| !passed.contains(tool));
        let absent = absent.filter_map(move |tool| {
            let due = due(&tool);
            OfTool::new(tool, kind, due).end()
        });
        self.at.and_then(OfTool::end).into_iter().chain(absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn tool(name: &str) -> ToolName {
        name.parse().unwrap()
    }

    fn owner(of: &ToolName) -> Owner {
        Owner::new("test", hythe_cluster::LABEL_TOOL, of)
    }

    fn service(of: &ToolName, name: &str, port: u16) -> Object {
        let resource = ApiResource::erase::<Service>(&());
        let mut value = DynamicObject::new(name, &resource).within(of.as_str());
        value.metadata.labels = Some(owner(of).labels());
        value.data = json!({ "spec": { "port": port } });
        Object { resource, value }
    }

    /// Every tool wants the Services `a` and `b`, but for `gone`, of which nothing is live.
    fn due(of: &ToolName) -> Due {
        match of.as_str() {
            "gone" => Due::Nothing,
            "coming" => Due::Unsettled,
            _ => Due::Live(owner(of), vec![service(of, "a", 80), service(of, "b", 80)]),
        }
    }

    fn listed(objects: &[(&str, &str, u16)], live: &[&str]) -> (Vec<String>, Known) {
        let (known, mut list, mut found) = (Known::default(), List::default(), Vec::new());
        for (of, name, port) in objects {
            let object = service(&tool(of), name, *port).value;
            found.extend(list.take("Service", &object, &known, due));
        }
        found.extend(list.end("Service", live.iter().map(|name| tool(name)).collect(), due));
        (found.iter().map(ToString::to_string).collect(), known)
    }

    #[test]
    fn a_list_that_is_as_wished_asks_for_nothing_and_is_known_afterwards() {
        let all = [("one", "a", 80), ("one", "b", 80), ("two", "a", 80), ("two", "b", 80)];
        let (found, known) = listed(&all, &["one", "two"]);
        assert!(found.is_empty(), "{found:?}");
        assert!(known.is_right("Service", &service(&tool("two"), "b", 80).value));
        assert!(!known.is_right("Service", &service(&tool("two"), "b", 81).value));
    }

    #[test]
    fn what_differs_is_missing_or_left_over_is_looked_after() {
        let all = [
            ("changed", "a", 80),
            ("changed", "b", 81),
            ("half", "b", 80),
            ("more", "a", 80),
            ("more", "b", 80),
            ("more", "c", 80),
            ("well", "a", 80),
            ("well", "b", 80),
        ];
        let (found, _) = listed(&all, &["changed", "half", "more", "none", "well"]);
        assert_eq!(found, ["changed", "half", "more", "none"]);
    }

    #[test]
    fn a_tool_of_which_nothing_is_live_is_left_alone_and_one_that_changes_is_not() {
        let (found, _) = listed(&[("coming", "a", 80), ("gone", "a", 80)], &[]);
        assert_eq!(found, ["coming"]);
    }

    #[test]
    fn another_order_costs_requests_and_misses_nothing() {
        let all = [("one", "a", 80), ("two", "a", 80), ("two", "b", 80), ("one", "b", 80)];
        let (found, _) = listed(&all, &["one", "two"]);
        assert_eq!(found, ["one", "one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_that_come_together_are_one() {
        let dirty = Dirty::default();
        dirty.add([tool("weather")]);
        dirty.add([tool("weather"), tool("quotes")]);
        assert_eq!(dirty.next().await.len(), 2);
        dirty.add([tool("notes")]);
        assert_eq!(dirty.next().await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_it_is_looked_after_is_looked_after_again() {
        let dirty = Dirty::default();
        dirty.add([tool("weather")]);
        assert_eq!(dirty.next().await.len(), 1);
        dirty.add([tool("weather")]);
        assert!(tokio::time::timeout(ROUND, dirty.next()).await.is_err());
        dirty.done(&tool("weather"));
        assert_eq!(dirty.next().await, [tool("weather")]);
    }

    /// Mends for ever what is called `stuck`.
    struct Slow(Mutex<Vec<ToolName>>);

    #[async_trait]
    impl Keeper for Slow {
        fn tools(&self) -> Vec<ToolName> {
            Vec::new()
        }

        fn due(&self, _: &ToolName) -> Due {
            Due::Nothing
        }

        async fn is_right(&self, _: &ToolName) -> bool {
            true
        }

        async fn mend(&self, tool: &ToolName) {
            if tool.as_str() == "stuck" {
                std::future::pending::<()>().await;
            }
            self.0.lock().unwrap().push(tool.clone());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_takes_long_holds_nobody_up() {
        let (slow, dirty, end) = (Arc::new(Slow(Mutex::default())), Arc::default(), CancellationToken::new());
        let keeper: Arc<dyn Keeper> = slow.clone();
        tokio::spawn(look_after(Arc::downgrade(&keeper), Arc::clone(&dirty), end.clone()));
        dirty.add([tool("stuck"), tool("weather")]);
        sleep(TOGETHER * 2).await;
        // Again and again: it has one place of all, whatever happens to it.
        for _ in 0..AT_ONCE {
            dirty.add([tool("stuck")]);
            sleep(TOGETHER * 2).await;
        }
        dirty.add([tool("quotes")]);
        sleep(TOGETHER * 2).await;
        assert_eq!(*slow.0.lock().unwrap(), [tool("weather"), tool("quotes")]);
        end.cancel();
    }
}
