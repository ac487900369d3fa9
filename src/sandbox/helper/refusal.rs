//! A failure on its way to the client.

use crate::ErrorCode;
use std::fmt::Display;
use std::io;

/// Why a request was not done.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// A system call's failure, with what it was for; a full disk and a missing file keep their kind.
    pub(super) fn io(what: impl Display, error: &io::Error) -> Self {
        Self::new(code_of(error), format!("{what}: {error}"))
    }

    /// An error with its causes; where one of them is a system call's, its kind is kept.
    pub(super) fn chain(code: ErrorCode, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut found = code;
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(io) = cause.downcast_ref::<io::Error>()
                && code_of(io) == ErrorCode::DiskFull
            {
                found = ErrorCode::DiskFull;
            }
            next = cause.source();
            if let Some(cause) = next {
                message = format!("{message}: {cause}");
            }
        }
        Self::new(found, message)
    }
}

fn code_of(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        io::ErrorKind::AlreadyExists => ErrorCode::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
        _ => ErrorCode::Io,
    }
}

/// Says what a system call was for.
pub(super) trait Doing<T> {
    /// Turns the error into a refusal that begins with `what`.
    fn doing(self, what: impl Display) -> Result<T, Refusal>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::io(what, &error.into()))
    }
}
