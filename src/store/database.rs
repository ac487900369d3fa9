//! Where the rows are.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where the rows are. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// In a file of `SQLite`, which is made where it is missing.
    File(PathBuf),
    /// In a database of a PostgreSQL server, which exists and may be empty.
    Postgres {
        /// As in `postgresql://user:password@host:5432/name?sslmode=verify-full`; holds a secret.
        url: String,
    },
}

impl Database {
    /// A database of a PostgreSQL server.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres { url: url.into() }
    }
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Database {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<PathBuf> for Database {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres { url } => match crate::postgres::Address::read(url) {
                Ok(address) => f.write_str(&address.place),
                Err(_) => f.write_str("a PostgreSQL database"),
            },
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}
