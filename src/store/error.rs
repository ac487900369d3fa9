//! What can go wrong with a row, and how it reads to a user.

use hythe_model::Fault;
use std::path::PathBuf;

/// A row could not be read or written. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened or made.
    #[error("the database {place} cannot be opened: {reason}")]
    Open {
        /// The file, or the server's place without its password.
        place: String,
        /// What the system or the database said.
        reason: String,
    },
    /// The schema was changed by a newer program in a way that this one cannot read.
    #[error("the database needs hythed with schema level {needed} or newer; this one has level {ours}")]
    SchemaTooNew {
        /// The lowest level that the schema accepts.
        needed: i32,
        /// The level of this program.
        ours: i32,
    },
    /// A migration failed; the schema is as it was before that migration.
    #[error("the database could not be brought up to date: {reason}")]
    Migrate {
        /// What the database said.
        reason: String,
    },
    /// The name, key or number is taken.
    #[error("{what} exists already")]
    Exists {
        /// The thing, as in "tool weather".
        what: String,
    },
    /// There is no such row.
    #[error("there is no {what}")]
    Absent {
        /// The thing, as in "tool weather".
        what: String,
    },
    /// The row is no longer as the caller believed; nothing was changed.
    #[error("{what}")]
    Conflict {
        /// What was expected and what is.
        what: String,
    },
    /// Somebody has asked for the end of the work that this row is about; nothing was changed.
    #[error("{reason}")]
    Ended {
        /// Why it was to end.
        reason: Box<Fault>,
    },
    /// A stored value cannot be read back.
    #[error("the database holds an unreadable {column}: {reason}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// Why it cannot be read.
        reason: String,
    },
    /// The backup could not be written.
    #[error("the database could not be copied to {path}: {reason}")]
    Backup {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system or `SQLite` said.
        reason: String,
    },
    /// The server has not answered for as long as it is waited for. Nothing was changed.
    #[error("the database {place} has been away for {waited} s: {reason}")]
    Away {
        /// The server's place without its password.
        place: String,
        /// How long it was waited for, in seconds.
        waited: u64,
        /// What was seen last.
        reason: String,
    },
    /// Others changed the same rows again and again. Nothing was changed.
    #[error("the database was too busy to {operation}: others went first {attempts} times ({reason})")]
    Busy {
        /// What was tried, as in "read a tool".
        operation: &'static str,
        /// How often.
        attempts: u32,
        /// What it said last.
        reason: String,
    },
    /// The connection was lost with the answer to a change: it was made or it was not.
    #[error(
        "the connection to the database was lost while it was asked to {operation}, and whether it did is not known: {reason}"
    )]
    Unclear {
        /// What was tried, as in "queue a build".
        operation: &'static str,
        /// How the connection ended.
        reason: String,
    },
    /// The rows could not be copied into another database; that one is as it was.
    #[error("the rows could not be copied: {reason}")]
    Copy {
        /// Why.
        reason: String,
    },
    /// The database refused an operation.
    #[error("the database failed to {operation}: {reason}")]
    Query {
        /// What was tried, as in "read a tool".
        operation: &'static str,
        /// What it said.
        reason: String,
    },
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let what = format!("{}.", capital(&error.to_string()));
        match error {
            StoreError::Exists { .. } => Fault::new("store/exists", what),
            StoreError::Absent { .. } => Fault::new("store/absent", what),
            StoreError::Conflict { .. } => Fault::new("store/conflict", what).next("Try again."),
            StoreError::Ended { reason } => *reason,
            // Whoever reads these need not know where the database is.
            StoreError::Busy { operation, .. } => {
                Fault::new("store/busy", format!("The database was too busy to {operation}."))
                    .why("Others changed the same rows again and again; nothing was changed here.")
                    .next("Try again.")
            }
            StoreError::Away { .. } => Fault::new("store/away", "The platform's database does not answer.")
                .why("Nothing was changed.")
                .next("Try again in a minute, or tell the operator."),
            StoreError::Unclear { operation, .. } => {
                let what =
                    format!("The connection to the database was lost in the middle of this: {operation}.");
                Fault::new("store/unclear", what)
                    .why("Whether the change was made is not known.")
                    .next("Look whether it was before you try again.")
            }
            StoreError::SchemaTooNew { .. } => Fault::new("store/schema-too-new", what)
                .next("Start the newer hythed, or restore a backup made before the upgrade."),
            _ => Fault::new("store/failed", what)
                .next("The server's log says more; `hythed check-config` checks the disk."),
        }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
