//! Where traffic goes.

use crate::{InstanceId, ReleaseNumber, ToolName};
use rpds::HashTrieMapSync;
use std::sync::Arc;

/// An instance that takes traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// The instance.
    pub instance: InstanceId,
    /// The port it listens on, inside its own network namespace.
    pub port: u16,
}

/// What the router knows of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The tool exists and nothing was deployed yet, or it is scaled to none.
    Empty,
    /// Its first release is starting.
    Starting,
    /// Instances take traffic.
    Live {
        /// Of this release.
        release: ReleaseNumber,
        /// At least one.
        upstreams: Vec<Upstream>,
    },
    /// Every instance has crashed; it is being started again with back-off.
    Crashed {
        /// The exit, as in "exit code 1".
        reason: String,
    },
}

/// Every tool's route. The router takes a new one from its watch channel at each change, and a change costs the same however
/// many tools there are: two tables share what they have in common.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: HashTrieMapSync<ToolName, Arc<Route>>,
}

impl RouteTable {
    /// The route of a tool; `None` where there is no such tool.
    pub fn get(&self, tool: &str) -> Option<&Arc<Route>> {
        self.routes.get(tool)
    }

    /// Changes one route or, with `None`, removes it; tables that were cloned before stay as they are.
    pub fn set(&mut self, tool: ToolName, route: Option<Route>) {
        match route {
            Some(route) => self.routes.insert_mut(tool, Arc::new(route)),
            None => drop(self.routes.remove_mut(&tool)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_taken_stays_as_it_was_and_shares_what_did_not_change() {
        let (weather, quotes): (ToolName, ToolName) = ("weather".parse().unwrap(), "quotes".parse().unwrap());
        let mut table = RouteTable::default();
        table.set(weather.clone(), Some(Route::Empty));
        table.set(quotes.clone(), Some(Route::Starting));
        let taken = table.clone();
        table.set(weather, Some(Route::Starting));
        table.set(quotes.clone(), None);
        assert_eq!(taken.get("weather").map(AsRef::as_ref), Some(&Route::Empty));
        assert_eq!(table.get("weather").map(AsRef::as_ref), Some(&Route::Starting));
        assert!(table.get("quotes").is_none() && taken.get("quotes").is_some());
        table.set(quotes, Some(Route::Empty));
        let again = table.clone();
        assert!(Arc::ptr_eq(again.get("weather").unwrap(), table.get("weather").unwrap()));
    }
}
