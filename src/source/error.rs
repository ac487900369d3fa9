//! What can go wrong with repositories and archives, one variant an operation.

use hythe_model::{CommitId, Fault, ToolName};
use std::io;
use std::path::PathBuf;

/// A failure of this room that is not the pusher's doing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder of repositories or archives could not be prepared.
    #[error("cannot prepare {path}: {source}")]
    Prepare {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no repository of this tool.
    #[error("there is no repository of {0}")]
    Absent(ToolName),
    /// A repository of this tool exists already.
    #[error("a repository of {0} exists already")]
    Exists(ToolName),
    /// A repository could not be made.
    #[error("cannot make the repository of {tool}: {why}")]
    Create {
        /// Its tool.
        tool: ToolName,
        /// What git said.
        why: String,
    },
    /// A repository could not be removed.
    #[error("cannot remove the repository of {tool}: {source}")]
    Delete {
        /// Its tool.
        tool: ToolName,
        /// Why.
        source: io::Error,
    },
    /// Objects or refs could not be read.
    #[error("cannot read the repository of {tool}: {source}")]
    Read {
        /// Its tool.
        tool: ToolName,
        /// Why.
        source: git2::Error,
    },
    /// The ref is not where the caller believed it to be; nothing was changed.
    #[error("{reference} of {tool} has moved meanwhile")]
    Moved {
        /// The tool.
        tool: ToolName,
        /// The ref.
        reference: String,
        /// Where it is now.
        now: Option<CommitId>,
    },
    /// The ref could not be written.
    #[error("cannot write {reference} of {tool}: {why}")]
    Write {
        /// The tool.
        tool: ToolName,
        /// The ref.
        reference: String,
        /// What git said.
        why: String,
    },
    /// The git program could not be run.
    #[error("cannot run git: {0}")]
    Git(io::Error),
    /// A quarantine is not one of the repository's own.
    #[error("{0} is not a quarantine of this repository")]
    Quarantine(PathBuf),
    /// A quarantine could not be read or emptied.
    #[error("cannot read the quarantine: {0}")]
    QuarantineRead(io::Error),
    /// An archive could not be written, read or removed.
    #[error("cannot keep the archive {path}: {source}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SourceError {
    /// The fault that a user sees: what happened, without the machine's paths.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Moved { reference, now, .. } => {
                let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
                let now = now.as_ref().map_or("gone".to_owned(), |commit| format!("at {}", commit.short()));
                Fault::new(
                    "push/branch-moved",
                    format!("The branch {branch} has moved meanwhile; it is {now}."),
                )
                .why("Another push or a rollback was first.")
                .next(format!("Fetch and look at it: git fetch hythe {branch}"))
            }
            Self::Absent(tool) => Fault::new("push/no-tool", format!("There is no tool {tool}."))
                .next(format!("Make it first: hythe tools create {tool}")),
            Self::Exists(tool) => Fault::new("tools/exists", format!("There is a tool {tool} already.")),
            other => {
                tracing::error!(error = %other, "source operation failed");
                Fault::new("source/storage", "The platform could not read or keep the source.")
                    .why("The fault is the platform's; its log has the details.")
                    .next("Try again, or tell the operator.")
            }
        }
    }
}
