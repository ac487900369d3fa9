//! One rollout of a tool at a time: of this server, and, where several share the rows, of all.

use crate::replica::{Hold, Replica};
use hythe_model::{Fault, ToolName};
use hythe_store::Lease;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as Local, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

/// The turns of every tool that has a rollout, running or waiting.
#[derive(Default)]
pub(crate) struct Turns {
    tools: Mutex<HashMap<ToolName, Weak<Local<()>>>>,
    /// This server, where others roll out too.
    replica: Option<Arc<Replica>>,
}

/// A tool's turn, until it is dropped.
pub(crate) struct Turn {
    // Dropped first: the lease is let go before another one here asks for it.
    _hold: Option<Hold>,
    _local: OwnedMutexGuard<()>,
}

impl Turns {
    /// The turns of this server among others.
    pub(crate) fn shared(replica: Arc<Replica>) -> Self {
        Self { tools: Mutex::default(), replica: Some(replica) }
    }

    /// The turn of a tool; callers are served in the order they come.
    fn of(&self, tool: &ToolName) -> Arc<Local<()>> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = tools.get(tool).and_then(Weak::upgrade) {
            return turn;
        }
        tools.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Local::new(()));
        tools.insert(tool.clone(), Arc::downgrade(&turn));
        turn
    }

    /// The turn where nobody has it.
    pub(crate) async fn try_take(&self, tool: &ToolName) -> Result<Option<Turn>, Fault> {
        let Ok(local) = self.of(tool).try_lock_owned() else { return Ok(None) };
        let Some(replica) = &self.replica else { return Ok(Some(Turn { _hold: None, _local: local })) };
        let hold = replica.take(&Lease::of_turn(tool)).await?;
        Ok(hold.map(|hold| Turn { _hold: Some(hold), _local: local }))
    }

    /// Waits for the turn.
    pub(crate) async fn take(&self, tool: &ToolName) -> Result<Turn, Fault> {
        let local = self.of(tool).lock_owned().await;
        let hold = match &self.replica {
            Some(replica) => Some(replica.wait_for(&Lease::of_turn(tool)).await?),
            None => None,
        };
        Ok(Turn { _hold: hold, _local: local })
    }

    /// Who is told when the turn that this server has is lost to another one; cancelled where it has none.
    pub(crate) fn lost(&self, tool: &ToolName) -> CancellationToken {
        let Some(replica) = &self.replica else { return CancellationToken::new() };
        replica.lost(&Lease::of_turn(tool)).unwrap_or_else(|| {
            let lost = CancellationToken::new();
            lost.cancel();
            lost
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_store::Store;

    #[tokio::test]
    async fn a_tool_has_one_turn_and_another_tool_its_own() {
        let turns = Turns::default();
        let (weather, quotes) = ("weather".parse().unwrap(), "quotes".parse().unwrap());
        let held = turns.take(&weather).await.unwrap();
        assert!(turns.try_take(&weather).await.unwrap().is_none());
        assert!(turns.try_take(&quotes).await.unwrap().is_some());
        drop(held);
        assert!(turns.try_take(&weather).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_turn_is_one_among_all_servers() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("rows.db")).await.unwrap();
        let of = |name: &str| Turns::shared(Replica::new(name.to_owned(), store.held_by(name)));
        let (one, two) = (of("a"), of("b"));
        let weather = "weather".parse().unwrap();
        let held = one.take(&weather).await.unwrap();
        assert!(two.try_take(&weather).await.unwrap().is_none());
        assert!(!one.lost(&weather).is_cancelled() && two.lost(&weather).is_cancelled());
        let waiting = async { two.take(&weather).await.unwrap() };
        let ((), _theirs) = tokio::join!(async { drop(held) }, waiting);
        assert!(one.try_take(&weather).await.unwrap().is_none());
    }
}
