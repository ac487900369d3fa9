//! What arrives on standard input.

use crate::failure::Failure;
use std::io;

/// All of it.
pub(crate) fn text() -> Result<String, Failure> {
    io::read_to_string(io::stdin().lock()).map_err(|error| unread(&error))
}

/// It broke off, or is no text.
pub(crate) fn unread(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::local("input", "Standard input is no text.").why("Text in UTF-8 is wanted.");
    }
    Failure::local("input", "Standard input cannot be read.").why(error.to_string())
}
