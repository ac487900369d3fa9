//! Tools: made and removed.

use crate::Platform;
use hythe_model::{Actor, Fault, ToolName};
use hythe_store::Tool;

impl Platform {
    /// Makes a tool with its repository; the actor becomes its first maintainer.
    pub async fn create_tool(&self, actor: &Actor, name: ToolName) -> Result<Tool, Fault> {
        todo!()
    }

    /// Stops a tool and removes everything of it: instances, route, releases, repository, caches, logs.
    pub async fn delete_tool(&self, actor: &Actor, name: &ToolName) -> Result<(), Fault> {
        todo!()
    }

    /// Where a tool answers.
    pub fn url(&self, tool: &ToolName) -> String {
        todo!()
    }
}
