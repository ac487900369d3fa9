//! The router's way into instances, the runtime's view of requests under way, and where instances' output goes.

use async_trait::async_trait;
use hythe_events::{InstanceLines, InstanceLog, LinePlace, LogStore};
use hythe_model::{Fault, InstanceId, ToolName};
use hythe_rollout::{Answers, ExitReason, Lines, Piece, Position, Runtime, Traffic, Witness};
use hythe_router::{Dial, InFlight};
use hythe_store::{InstanceAnswers, Store, StoreError};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
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
    /// What it has told last.
    told: Mutex<HashMap<ToolName, Vec<InstanceAnswers>>>,
}

impl Counted {
    /// Over this server's counters, and those of the others where they tell them in `shared`.
    pub(crate) fn new(in_flight: InFlight, shared: Option<Store>) -> Self {
        Self { in_flight, shared, server: format!("{:016x}", rand::random::<u64>()), told: Mutex::default() }
    }

    fn here(&self, instances: &[InstanceId]) -> Answers {
        let one = |instance| {
            let (all, errors) = self.in_flight.answered(instance);
            Answers { all, errors }
        };
        instances.iter().map(one).sum()
    }

    fn told(&self) -> MutexGuard<'_, HashMap<ToolName, Vec<InstanceAnswers>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn elsewhere(&self, store: &Store, tool: &ToolName, instances: &[InstanceId]) -> Answers {
        let names: HashSet<_> = instances.iter().map(InstanceId::to_string).collect();
        let told = timeout(ELSEWHERE, store.answers_elsewhere(tool, &self.server)).await;
        let told = match told {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => {
                tracing::warn!(%tool, %error, "what other servers' routers have answered is not known");
                return Answers::default();
            }
            Err(_) => return Answers::default(),
        };
        let counted = told.into_iter().filter(|one| names.contains(&one.instance));
        counted.map(|one| Answers { all: one.answers, errors: one.errors }).sum()
    }
}

#[async_trait]
impl Traffic for Counted {
    async fn answers(&self, tool: &ToolName, instances: &[InstanceId]) -> Answers {
        let here = self.here(instances);
        match &self.shared {
            Some(store) => [here, self.elsewhere(store, tool, instances).await].into_iter().sum(),
            None => here,
        }
    }

    async fn tell(&self, tool: &ToolName, instances: &[InstanceId]) {
        let Some(store) = &self.shared else { return };
        let one = |instance: &InstanceId| {
            let (answers, errors) = self.in_flight.answered(instance);
            InstanceAnswers { instance: instance.to_string(), answers, errors }
        };
        let counted: Vec<_> = instances.iter().map(one).filter(|one| one.answers > 0).collect();
        if self.told().get(tool).map_or(counted.is_empty(), |told| *told == counted) {
            return;
        }
        match store.tell_answers(tool, &self.server, counted.clone()).await {
            Ok(()) if counted.is_empty() => drop(self.told().remove(tool)),
            // The tool is gone.
            Err(StoreError::Absent { .. }) => drop(self.told().remove(tool)),
            Ok(()) => drop(self.told().insert(tool.clone(), counted)),
            Err(error) => tracing::warn!(%tool, %error, "what a canary answers cannot be told"),
        }
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
