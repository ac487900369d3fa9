//! The policy: a pure function from standing and action to a decision.

use crate::Action;
use hythe_model::{Fault, ToolName};
use hythe_store::Role;

/// What the rows say of an actor, with regard to one tool or to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The platform itself.
    Platform,
    /// An administrator.
    Admin,
    /// A maintainer with a role in the tool, or, without one, a stranger to it.
    Maintainer(Option<Role>),
    /// The deploy key of this tool.
    DeployKey,
    /// Nobody: a removed account, or a deploy key of another tool.
    Nobody,
}

/// Whether something may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It may not, and the actor may know that the thing exists.
    Forbidden(Fault),
    /// It may not, and looks as if the thing did not exist.
    Absent(Fault),
}

impl Decision {
    /// Whether it may.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }

    /// The fault to answer with, where it may not.
    pub fn check(self) -> Result<(), Fault> {
        match self {
            Self::Allowed => Ok(()),
            Self::Forbidden(fault) | Self::Absent(fault) => Err(fault),
        }
    }
}

/// Decides. `tool` is for the message alone.
pub fn decide(standing: Standing, action: Action, tool: Option<&ToolName>) -> Decision {
    todo!("{standing:?} {action:?} {tool:?}")
}
