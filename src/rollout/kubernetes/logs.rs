//! What pods print, brought home: one stream a container, line by line to the [`Witness`].
//!
//! A stream that breaks is taken up again behind the last line that has come, also where it came to another server; one that is
//! refused, after waits that grow, and at once where its pod changes. So many streams are open at most, and where there are more
//! containers each has its turn, and nothing is missed. Nothing is kept here: where lines come faster than they are taken, the node
//! keeps them.

use super::desired::{CONTAINER, namespace};
use super::seen::Seen;
use super::settings::ClusterSettings;
use super::view::{PodView, Stage};
use crate::runtime::{Lines, Witness};
use crate::status::ExitReason;
use hythe_cluster::{Cluster, Output};
use hythe_model::{Fault, InstanceId, ToolName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, LogParams};
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes of a piece of a line.
const PIECE: usize = 16 << 10;
/// Streams that are open at once, and how long one stays open where others wait.
const STREAMS: usize = 10_000;
const TURN: Duration = Duration::from_mins(1);
/// Streams that are being opened at once, and how long one may take: a node that hangs holds nobody else up.
const OPENING: usize = 32;
const OPENED: Duration = Duration::from_secs(30);
/// Between two attempts to take up a stream; at least and, where it is refused again and again, at most.
const AGAIN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_mins(10);
/// The longest wait between two looks at a container that has ended and whose lines are not taken.
const LATE: Duration = Duration::from_secs(30);
/// How long the end of a container may take to be told once its stream has ended.
const TOLD: Duration = Duration::from_secs(5);
/// How many attempts a container that has ended is worth.
const LAST_ATTEMPTS: u32 = 10;
/// Last lines asked of a node where none have come home.
const TAIL: i64 = 50;
const TAIL_BYTES: i64 = 64 << 10;

/// The streams of all pods that were seen.
pub(crate) struct Logs {
    cluster: Cluster,
    settings: ClusterSettings,
    witness: Arc<dyn Witness>,
    turns: Semaphore,
    /// Held by each stream that waits for its turn.
    waiting: Arc<()>,
    opening: Semaphore,
    /// By tool and pod; a pod that is gone is forgotten.
    streams: Mutex<HashMap<(ToolName, String), Streams>>,
    /// Cancelled once another server reads them; none before this one has begun to.
    reading: Mutex<Option<CancellationToken>>,
}

/// The containers of a pod by their attempts, and how to tell each one's stream that it has ended.
type Streams = BTreeMap<u32, watch::Sender<Option<End>>>;

/// How a container ended.
#[derive(Debug, Clone)]
struct End {
    exit: ExitReason,
    /// When, where that is known.
    at: Option<Timestamp>,
    /// Whether another has taken its place in the pod: its output is the previous one's then.
    replaced: bool,
}

impl End {
    /// Of the container before the pod's own.
    fn before(pod: &PodView) -> Self {
        Self { exit: pod.last_exit.clone().unwrap_or_default(), at: pod.last_finished, replaced: true }
    }
}

impl Logs {
    pub(crate) fn new(cluster: Cluster, settings: ClusterSettings, witness: Arc<dyn Witness>) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            settings,
            witness,
            turns: Semaphore::new(STREAMS),
            waiting: Arc::default(),
            opening: Semaphore::new(OPENING),
            streams: Mutex::default(),
            reading: Mutex::default(),
        })
    }

    /// Reads what the pods that were seen and those that come print, until `end`.
    pub(crate) fn lead(self: &Arc<Self>, end: CancellationToken, seen: &Seen) {
        self.streams().clear();
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        // Now that changes are heeded: none is missed between the two.
        self.take_up(&seen.pods(), seen);
    }

    /// Looks at pods that were seen a moment ago.
    fn take_up(self: &Arc<Self>, pods: &[Arc<PodView>], seen: &Seen) {
        for pod in pods {
            self.look(pod);
            // That it went was told before it was looked at, and is not told again.
            if seen.pod(&pod.id.tool, &pod.name).is_none() {
                self.gone(pod);
            }
        }
    }

    /// Until when this server reads; `None` where another one does.
    fn reading(&self) -> Option<CancellationToken> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reading.filter(|end| !end.is_cancelled())
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<(ToolName, String), Streams>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream where a container has come, and tells its stream where one has ended.
    pub(crate) fn look(self: &Arc<Self>, pod: &Arc<PodView>) {
        let Some(reading) = self.reading() else { return };
        let mut all = self.streams();
        let streams = all.entry((pod.id.tool.clone(), pod.name.clone())).or_default();
        // What is told of it by two ways may come late by one of them.
        if streams.last_key_value().is_some_and(|(latest, _)| *latest > pod.id.attempt) {
            return;
        }
        for earlier in streams.range(..pod.id.attempt).map(|(_, stream)| stream) {
            tell(earlier, || End::before(pod));
        }
        let exit = match &pod.stage {
            Stage::Waiting { .. } => return,
            Stage::Running => None,
            Stage::Ended(exit) => Some(exit.clone()),
        };
        // The container before has come and gone unseen, or while nobody read; its node has its output still.
        let before = pod.id.attempt.checked_sub(1).filter(|before| !streams.contains_key(before));
        if let Some(attempt) = before {
            let id = InstanceId { attempt, ..pod.id.clone() };
            let end = self.begin(Arc::new(PodView { id, ..PodView::clone(pod) }), reading.clone());
            tell(&end, || End::before(pod));
            streams.insert(attempt, end);
        }
        let is_new = !streams.contains_key(&pod.id.attempt);
        let stream = streams.entry(pod.id.attempt).or_insert_with(|| self.begin(pod.clone(), reading));
        match exit {
            Some(exit) => tell(stream, || End { exit, at: pod.finished, replaced: false }),
            // Whatever has changed, it may be read now.
            None if !is_new => stream.send_modify(|_| {}),
            None => {}
        }
    }

    /// Begins to read a container; what is answered tells the stream that it has ended.
    fn begin(self: &Arc<Self>, pod: Arc<PodView>, reading: CancellationToken) -> watch::Sender<Option<End>> {
        let end = watch::Sender::new(None);
        let (own, receiver) = (self.clone(), end.subscribe());
        tokio::spawn(async move { reading.run_until_cancelled(own.carry(pod, receiver)).await });
        end
    }

    /// A pod that is gone has printed all that it will.
    pub(crate) fn gone(&self, pod: &PodView) {
        let streams = self.streams().remove(&(pod.id.tool.clone(), pod.name.clone()));
        for stream in streams.iter().flat_map(BTreeMap::values) {
            let ended_because = Some("its pod was removed".to_owned());
            tell(stream, || End {
                exit: ExitReason { ended_because, ..ExitReason::default() },
                at: None,
                replaced: false,
            });
        }
    }

    /// Says of something that never began why it did not; whether that is kept.
    pub(crate) async fn never_began(&self, instance: &InstanceId, why: String) -> bool {
        let exit = ExitReason { ended_because: Some(why), ..ExitReason::default() };
        // Its log begins with its end.
        self.witness.reader(instance, None).await.is_ok() && self.witness.ended(instance, &exit, None).await
    }

    fn api(&self, client: Client, id: &InstanceId) -> Api<Pod> {
        Api::namespaced(client, &namespace(&self.settings, &id.tool))
    }

    /// Carries one container's output until it has ended, then says so.
    async fn carry(self: Arc<Self>, pod: Arc<PodView>, mut end: watch::Receiver<Option<End>>) {
        let mut reading = Reading { pod: &pod, lines: None, news: false };
        let (mut attempts, mut pause, mut late) = (0, AGAIN, AGAIN);
        let (exit, at) = loop {
            let known = end.borrow_and_update().clone();
            let copied = self.copy(known.as_ref(), &mut reading).await;
            if copied == Copied::Unwanted {
                return;
            }
            if let Some(End { exit, at, .. }) = known {
                attempts += u32::from(copied != Copied::Untaken);
                if copied == Copied::All || attempts >= LAST_ATTEMPTS {
                    break (exit, at);
                }
                sleep(late).await;
                late = if copied == Copied::Untaken { (late * 2).min(LATE) } else { AGAIN };
                continue;
            }
            let has_news = reading.has_news() && copied != Copied::Untaken;
            pause = if has_news { AGAIN } else { (pause * 2).min(SELDOM) };
            match copied {
                Copied::Nothing | Copied::Untaken if timeout(pause, end.changed()).await.is_ok() => {
                    pause = AGAIN;
                }
                Copied::Nothing | Copied::Untaken | Copied::Turn | Copied::Unwanted => {}
                // The stream of a container ends with it, before that is told; asked again at once, the node would answer
                // with what the next container prints.
                Copied::All => drop(timeout(pause.max(TOLD), end.wait_for(Option::is_some)).await),
                Copied::Part => drop(timeout(pause, end.wait_for(Option::is_some)).await),
            }
        };
        let mut pause = AGAIN;
        while !self.witness.ended(&pod.id, &exit, at).await {
            sleep(pause).await;
            pause = (pause * 2).min(SELDOM);
        }
    }

    /// Follows a container's output for a turn.
    async fn copy(&self, end: Option<&End>, reading: &mut Reading<'_>) -> Copied {
        let waits = self.waiting.clone();
        let Ok(_turn) = self.turns.acquire().await else { return Copied::Nothing };
        drop(waits);
        let taken = {
            let _opening = self.opening.acquire().await;
            reading.lines(&*self.witness, end.and_then(|end| end.at)).await
        };
        let mut lines = match taken {
            Ok(Some(lines)) => lines,
            Ok(None) => return Copied::Unwanted,
            Err(fault) => {
                tracing::warn!(instance = %reading.pod.id, %fault, "it is not known how far it was read");
                return Copied::Untaken;
            }
        };
        let copied = self.follow(end.is_some_and(|end| end.replaced), reading, &mut *lines).await;
        reading.lines = (copied != Copied::Untaken).then_some(lines);
        copied
    }

    /// Follows a container's output from behind the last line that was taken.
    async fn follow(&self, replaced: bool, reading: &mut Reading<'_>, lines: &mut dyn Lines) -> Copied {
        let place = self.cluster.streams.place();
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow: !replaced,
            previous: replaced,
            ..LogParams::default()
        };
        let mut at = lines.last();
        let output = {
            let _opening = self.opening.acquire().await;
            let api = self.api(place.client.clone(), &reading.pod.id);
            // Kept apart: what it takes to open a stream is not held while it is read.
            timeout(OPENED, Box::pin(Output::open(&api, &reading.pod.name, params, at, PIECE))).await
        };
        let Ok(Ok(mut output)) = output else { return Copied::Nothing };
        let until = Instant::now() + TURN;
        loop {
            let next = self.within_turn(until, output.next(&mut at)).await;
            let Some(next) = next else { return Copied::Turn };
            let piece = match next {
                Ok(Some(piece)) => piece,
                Ok(None) if lines.finish().await => return Copied::All,
                Ok(None) => return Copied::Untaken,
                Err(_) => return Copied::Part,
            };
            let Some(position) = at else { continue };
            reading.news = true;
            if !lines.take(position, piece).await {
                return Copied::Untaken;
            }
        }
    }

    /// What a stream gives; `None` where its turn is over and others wait.
    async fn within_turn<T>(&self, mut until: Instant, next: impl Future<Output = T>) -> Option<T> {
        let mut next = pin!(next);
        loop {
            if until <= Instant::now() {
                if Arc::strong_count(&self.waiting) > 1 {
                    return None;
                }
                until = Instant::now() + TURN;
            }
            if let Ok(done) = tokio::time::timeout_at(until, next.as_mut()).await {
                return Some(done);
            }
        }
    }

    /// The last lines of an instance: what has come home, else what the node has.
    pub(crate) async fn last_lines(&self, pod: &PodView) -> Vec<String> {
        let crashed = !matches!(pod.stage, Stage::Ended(_)) && pod.last_exit.is_some();
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            tail_lines: Some(TAIL),
            limit_bytes: Some(TAIL_BYTES),
            previous: crashed,
            ..LogParams::default()
        };
        let text =
            self.api(self.cluster.client.clone(), &pod.id).logs(&pod.name, &params).await.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What a stream brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// It could not be opened.
    Nothing,
    /// What it gave could not be kept.
    Untaken,
    /// Nobody wants it.
    Unwanted,
    /// It broke.
    Part,
    /// Others were to have their turn.
    Turn,
    /// All to its end.
    All,
}

/// Where one container's output goes.
struct Reading<'a> {
    pod: &'a PodView,
    /// Who takes it; none before that was asked, and where it is to be asked again.
    lines: Option<Box<dyn Lines>>,
    news: bool,
}

impl Reading<'_> {
    /// Whether a line has come since this was asked last.
    fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Who takes the lines; `None` where nobody does.
    async fn lines(
        &mut self,
        witness: &dyn Witness,
        ended: Option<Timestamp>,
    ) -> Result<Option<Box<dyn Lines>>, Fault> {
        match self.lines.take() {
            Some(lines) => Ok(Some(lines)),
            None => witness.reader(&self.pod.id, ended).await,
        }
    }
}

/// Says once how a container ended.
fn tell(stream: &watch::Sender<Option<End>>, end: impl FnOnce() -> End) {
    stream.send_if_modified(|known| known.is_none().then(|| *known = Some(end())).is_some());
}

#[cfg(test)]
mod tests;
