//! One rollout of a tool at a time.

use hythe_model::ToolName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The turns of every tool that has a rollout, running or waiting.
#[derive(Default)]
pub(crate) struct Turns {
    tools: Mutex<HashMap<ToolName, Weak<Turn<()>>>>,
}

impl Turns {
    /// The turn of a tool; callers are served in the order they come.
    pub(crate) fn of(&self, tool: &ToolName) -> Arc<Turn<()>> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = tools.get(tool).and_then(Weak::upgrade) {
            return turn;
        }
        tools.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        tools.insert(tool.clone(), Arc::downgrade(&turn));
        turn
    }

    /// The turn where nobody has it.
    pub(crate) fn try_take(&self, tool: &ToolName) -> Option<OwnedMutexGuard<()>> {
        self.of(tool).try_lock_owned().ok()
    }

    /// Waits for the turn.
    pub(crate) async fn take(&self, tool: &ToolName) -> OwnedMutexGuard<()> {
        self.of(tool).lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_has_one_turn_and_another_tool_its_own() {
        let turns = Turns::default();
        let (weather, quotes) = ("weather".parse().unwrap(), "quotes".parse().unwrap());
        let held = turns.take(&weather).await;
        assert!(turns.try_take(&weather).is_none());
        assert!(turns.try_take(&quotes).is_some());
        drop(held);
        assert!(turns.try_take(&weather).is_some());
    }
}
