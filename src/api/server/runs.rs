//! One-off processes under way: so many of a tool at a time, and a server that stops waits until each session was told.

use super::error::ApiError;
use hythe_model::{Fault, ToolName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::task::TaskTracker;

/// The one-off processes that this server runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs {
    most: usize,
    taken: Arc<Mutex<HashMap<ToolName, usize>>>,
    /// Sessions over `WebSocket`: their connections are not the HTTP server's any more.
    sessions: TaskTracker,
}

/// The place of one process; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tool: ToolName,
    runs: Runs,
}

impl Runs {
    /// At most so many of one tool at a time.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default(), sessions: TaskTracker::new() }
    }

    /// Waits until every session has had its last word. To be asked once no new one can come.
    pub async fn over(&self) {
        self.sessions.close();
        self.sessions.wait().await;
    }

    /// A place for one more.
    pub(crate) fn enter(&self, tool: &ToolName) -> Result<Place, ApiError> {
        let mut taken = self.taken();
        let count = taken.entry(tool.clone()).or_default();
        if *count >= self.most {
            return Err(self.too_many(tool).into());
        }
        *count += 1;
        Ok(Place { tool: tool.clone(), runs: self.clone() })
    }

    /// Does the work of a session.
    pub(crate) fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.sessions.spawn(session);
    }

    fn too_many(&self, tool: &ToolName) -> Fault {
        let what = format!("{} commands of {tool} run already, and no more may at a time.", self.most);
        Fault::new("run/too-many", what)
            .next("End one of them, or ask the operator for more: `[limits] runs_per_tool`.")
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<ToolName, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.runs.taken();
        if let Some(count) = taken.get_mut(&self.tool) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.tool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_has_so_many_places_and_gets_them_back() {
        let runs = Runs::new(2);
        let (weather, quotes) = ("weather".parse().unwrap(), "quotes".parse().unwrap());
        let first = runs.enter(&weather).unwrap();
        let _second = runs.enter(&weather).unwrap();
        let refused = runs.enter(&weather).unwrap_err();
        assert_eq!(refused.status(), axum::http::StatusCode::TOO_MANY_REQUESTS);
        let _other = runs.enter(&quotes).unwrap();
        drop(first);
        runs.enter(&weather).unwrap();
        assert_eq!(runs.taken().len(), 2);
    }
}
