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
    /// As for a tool that does not exist.
    pub(crate) fn absent(tool: &ToolName) -> Self {
        let fault = Fault::new("auth/no-such-tool", format!("There is no tool {tool} that you can see."))
            .next("`hythe tools list` shows yours.");
        Self::Absent(fault)
    }

    fn forbidden(what: &str) -> Self {
        Self::Forbidden(Fault::new("auth/forbidden", format!("Not allowed: {what}.")))
    }

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

/// Decides from standing and action; `tool` is `None` for what concerns the platform or the actor alone.
pub fn decide(standing: Standing, action: Action, tool: Option<&ToolName>) -> Decision {
    match (standing, tool) {
        (Standing::Platform | Standing::Admin, _) => Decision::Allowed,
        (Standing::Nobody, None) => Decision::forbidden("this account does not exist any more"),
        (Standing::Nobody | Standing::Maintainer(None), Some(tool)) => Decision::absent(tool),
        (Standing::DeployKey, _) if action == Action::Push => Decision::Allowed,
        (Standing::DeployKey, _) => Decision::forbidden("a deploy key may push, and nothing else"),
        (Standing::Maintainer(_), None) => without_tool(action),
        (Standing::Maintainer(Some(role)), Some(_)) => with_role(role, action),
    }
}

/// What every maintainer may do that concerns no tool.
fn without_tool(action: Action) -> Decision {
    match action {
        Action::ToolCreate | Action::KeysManage | Action::TokensManage | Action::RegistryPull => {
            Decision::Allowed
        }
        Action::AdminMaintainers | Action::AdminBackup | Action::RegistryPush => {
            Decision::forbidden("only an administrator may do this")
        }
        _ => Decision::forbidden("this needs a tool"),
    }
}

/// What a member and an owner of a tool may do to it.
fn with_role(role: Role, action: Action) -> Decision {
    match action {
        Action::AdminMaintainers | Action::AdminBackup => {
            Decision::forbidden("only an administrator may do this")
        }
        Action::ToolDelete | Action::MembersManage if role != Role::Owner => {
            Decision::forbidden("only an owner of the tool may do this")
        }
        _ => Decision::Allowed,
    }
}
