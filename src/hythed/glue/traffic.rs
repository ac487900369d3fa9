//! The router's way into instances, the runtime's view of requests under way, and where instances' output goes.

use async_trait::async_trait;
use hythe_events::{InstanceLines, InstanceLog, LinePlace, LogStore};
use hythe_model::{Fault, InstanceId, ToolName};
use hythe_rollout::{Answers, ExitReason, Lines, Piece, Position, Runtime, Traffic, Witness};
use hythe_router::{Dial, InFlight};
use hythe_store::{InstanceAnswers, Store, StoreError};
use jiff::Timestamp;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Dials through the runtime.
pub(crate) struct Dialer(pub(crate) Arc<dyn Runtime>);

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.0.dial(instance, port).await
    }
}

/// How long is waited for what other servers' routers have counted: a canary is watched on with what this one has.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Reads the router's counters, and those of other servers where several share the work.
pub(crate) struct Counted {
    in_flight: InFlight,
    /// Where servers tell each other.
    shared: Option<Store>,
    /// What this server is called there.
    server: String,
    /// Of tools that have a canary.
    canaries: Mutex<HashMap<ToolName, OfCanary>>,
}

/// What is known of a tool that has a canary.
#[derive(Default)]
struct OfCanary {
    /// What its instances had answered here when they were told of first.
    from: Option<HashMap<InstanceId, Answers>>,
    /// What was told last.
    told: Vec<InstanceAnswers>,
    /// What was heard last of other servers, by instance.
    heard: HashMap<String, Answers>,
}

impl Counted {
    /// Over this server's counters, and those of the others where they tell them in `shared`.
    pub(crate) fn new(in_flight: InFlight, shared: Option<Store>) -> Self {
        let server = format!("{:016x}", rand::random::<u64>());
        Self { in_flight, shared, server, canaries: Mutex::default() }
    }

    fn here(&self, instance: &InstanceId) -> Answers {
        let (all, errors) = self.in_flight.answered(instance);
        Answers { all, errors }
    }

    fn canaries(&self) -> MutexGuard<'_, HashMap<ToolName, OfCanary>> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be told of these now, where that differs from what was told.
    fn news(&self, tool: &ToolName, instances: &[InstanceId]) -> Option<Vec<InstanceAnswers>> {
        let mut canaries = self.canaries();
        let known = canaries.entry(tool.clone()).or_default();
        let from = || instances.iter().map(|instance| (instance.clone(), self.here(instance))).collect();
        let from = known.from.get_or_insert_with(from);
        let one = |instance: &InstanceId| {
            let (now, from) = (self.here(instance), from.get(instance).copied().unwrap_or_default());
            InstanceAnswers {
                instance: instance.to_string(),
                answers: now.all.saturating_sub(from.all),
                errors: now.errors.saturating_sub(from.errors),
            }
        };
        let counted: Vec<_> = instances.iter().map(one).filter(|one| one.answers > 0).collect();
        (counted != known.told).then_some(counted)
    }

    /// Asks what other servers' routers have counted; where that cannot be known, what was heard last counts.
    async fn listen(&self, store: &Store, tool: &ToolName) {
        let told = timeout(ELSEWHERE, store.answers_elsewhere(tool, &self.server)).await;
        match told {
            Ok(Ok(told)) => {
                let mut heard = HashMap::<String, Answers>::new();
                for InstanceAnswers { instance, answers, errors } in told {
                    let sum = heard.entry(instance).or_default();
                    (sum.all, sum.errors) = (sum.all + answers, sum.errors + errors);
                }
                self.canaries().entry(tool.clone()).or_default().heard = heard;
            }
            Ok(Err(error)) => {
                tracing::warn!(%tool, %error, "what other servers' routers have answered is not known");
            }
            Err(_) => {}
        }
    }
}

#[async_trait]
impl Traffic for Counted {
    async fn answers(&self, tool: &ToolName, sides: &[Vec<InstanceId>; 2]) -> [Answers; 2] {
        if let Some(store) = &self.shared {
            self.listen(store, tool).await;
        }
        let canaries = self.canaries();
        let heard = canaries.get(tool).map(|known| &known.heard);
        let one = |instance: &InstanceId| {
            let elsewhere = heard.and_then(|heard| heard.get(&instance.to_string()).copied());
            [self.here(instance), elsewhere.unwrap_or_default()].into_iter().sum()
        };
        sides.each_ref().map(|side| side.iter().map(one).sum())
    }

    async fn tell(&self, tool: &ToolName, instances: &[InstanceId]) -> bool {
        let Some(store) = &self.shared else { return true };
        let is_over = instances.is_empty();
        let news = if is_over { Some(Vec::new()) } else { self.news(tool, instances) };
        let Some(news) = news else { return true };
        match store.tell_answers(tool, &self.server, news.clone()).await {
            Ok(()) if !is_over => self.canaries().entry(tool.clone()).or_default().told = news,
            // The tool may be gone.
            Ok(()) | Err(StoreError::Absent { .. }) => drop(self.canaries().remove(tool)),
            Err(error) => {
                tracing::warn!(%tool, %error, "what a canary answers cannot be told");
                return false;
            }
        }
        true
    }

    async fn drained(&self, instance: &InstanceId) {
        self.in_flight.drained(instance).await;
    }
}

/// Reads what instances print into their tools' logs.
pub(crate) struct Logging(pub(crate) LogStore);

/// The name of an instance within its tool's log, as in `v14.web.1`.
fn name(instance: &InstanceId) -> String {
    let whole = instance.to_string();
    whole.strip_prefix(&format!("{}.", instance.tool)).unwrap_or(&whole).to_owned()
}

#[async_trait]
impl Witness for Logging {
    fn started(&self, instance: &InstanceId, log: &Path) {
        let (tool, dir) = (instance.tool.clone(), log.to_owned());
        let log = InstanceLog { tool, instance: name(instance), dir };
        if let Err(error) = self.0.follow_instance(log) {
            tracing::error!(%instance, %error, "an instance's output cannot be read");
        }
    }

    async fn reader(
        &self,
        instance: &InstanceId,
        ended: Option<Timestamp>,
    ) -> Result<Option<Box<dyn Lines>>, Fault> {
        let lines = self.0.read_instance(&instance.tool, &name(instance), ended).await?;
        Ok(lines.map(|lines| Box::new(Taking(lines)) as Box<dyn Lines>))
    }

    async fn ended(&self, instance: &InstanceId, exit: &ExitReason, at: Option<Timestamp>) -> bool {
        let ended = self.0.end_instance(&instance.tool, &name(instance), &exit.text(), at).await;
        ended
            .inspect_err(
                |error| tracing::error!(%instance, %error, "an instance's last output is not in the log"),
            )
            .is_ok()
    }
}

/// Takes the lines of one instance into its tool's log.
struct Taking(InstanceLines);

#[async_trait]
impl Lines for Taking {
    fn last(&mut self) -> Option<Position> {
        let LinePlace { time, count } = self.0.last()?;
        Some(Position { time, count: usize::try_from(count).ok()? })
    }

    async fn take(&mut self, at: Position, piece: Piece<'_>) -> bool {
        let place = LinePlace { time: at.time, count: at.count as u64 };
        self.0.take(place, piece.text, piece.whole).await
    }

    async fn finish(&mut self) -> bool {
        self.0.finish().await
    }
}
