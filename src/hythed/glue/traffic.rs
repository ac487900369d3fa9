//! The router's way into instances, the runtime's view of requests under way, and where instances' output goes.

use async_trait::async_trait;
use hythe_events::{InstanceLines, InstanceLog, LinePlace, LogStore};
use hythe_model::{Fault, InstanceId};
use hythe_rollout::{Answers, ExitReason, Lines, Piece, Position, Runtime, Traffic, Witness};
use hythe_router::{Dial, InFlight};
use jiff::Timestamp;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Dials through the runtime.
pub(crate) struct Dialer(pub(crate) Arc<dyn Runtime>);

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, instance: &InstanceId, port: u16) -> io::Result<TcpStream> {
        self.0.dial(instance, port).await
    }
}

/// Reads the router's counters.
pub(crate) struct Counted(pub(crate) InFlight);

#[async_trait]
impl Traffic for Counted {
    fn answers(&self, instance: &InstanceId) -> Answers {
        let (all, errors) = self.0.answered(instance);
        Answers { all, errors }
    }

    async fn drained(&self, instance: &InstanceId) {
        self.0.drained(instance).await;
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
