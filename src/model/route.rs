//! Where traffic goes.

use crate::{InstanceId, ReleaseNumber, ToolName};
use std::collections::HashMap;
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

/// Every tool's route. Cheap to clone: the router takes a new one from its watch channel at each change.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Arc<HashMap<ToolName, Arc<Route>>>,
}

impl RouteTable {
    /// The route of a tool; `None` where there is no such tool.
    pub fn get(&self, tool: &str) -> Option<&Arc<Route>> {
        self.routes.get(tool)
    }

    /// Changes one route or, with `None`, removes it. While nobody else holds this table, no other route is touched.
    pub fn set(&mut self, tool: ToolName, route: Option<Route>) {
        let routes = Arc::make_mut(&mut self.routes);
        match route {
            Some(route) => routes.insert(tool, Arc::new(route)),
            None => routes.remove(&tool),
        };
    }
}
