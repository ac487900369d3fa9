//! Mistakes in the file, shown with their line and what was probably meant.

use crate::Contradiction;
use hythe_model::mistake::{explain, section_at};
use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;
use std::path::PathBuf;
use toml::de::DeTable;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {reason}")]
    #[diagnostic(code(config::unreadable))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line of it is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Box<Invalid>),
    /// A variable of the environment is wrong.
    #[error("{variable}: {what}")]
    #[diagnostic(code(config::environment), help("{next}"))]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        next: String,
    },
}

/// A place in the file that is wrong.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{what}")]
#[diagnostic(code(config::invalid))]
pub struct Invalid {
    what: String,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    place: Option<SourceSpan>,
    #[help]
    next: Option<String>,
    line: Option<usize>,
}

impl From<Invalid> for ConfigError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(Box::new(invalid))
    }
}

impl Invalid {
    /// The line, from 1, where the mistake has one.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What to do, where there is something to say.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    pub(crate) fn from_toml(error: &toml::de::Error, text: &str, name: &str) -> Self {
        let section = error.span().map(|span| section_at(text, span.start)).unwrap_or_default();
        let (what, next) = explain(error.message(), &section);
        Self::new(what, next, error.span(), text, name)
    }

    pub(crate) fn of_setting(found: Contradiction, text: &str, name: &str) -> Self {
        let place = setting(text, found.section, found.key);
        let what = format!("{} of [{}]: {}", found.key, found.section, found.what);
        Self::new(what, Some(found.next.to_owned()), place, text, name)
    }

    fn new(what: String, next: Option<String>, place: Option<Range<usize>>, text: &str, name: &str) -> Self {
        let line = place.as_ref().map(|span| text[..span.start].matches('\n').count() + 1);
        let text = NamedSource::new(name, masked(text)).with_language("toml");
        Self { what, text, place: place.map(SourceSpan::from), next, line }
    }
}

/// The text with stars for the passwords of its URLs, every place in it as before.
fn masked(text: &str) -> String {
    let mut shown = text.to_owned();
    for (start, _) in text.match_indices("://") {
        let rest = &text[start + 3..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(rest.len());
        let Some((login, _)) = rest[..end].rsplit_once('@') else { continue };
        let Some((user, password)) = login.split_once(':') else { continue };
        let from = start + 3 + user.len() + 1;
        shown.replace_range(from..from + password.len(), &"*".repeat(password.len()));
    }
    shown
}

/// Where a setting's value stands.
fn setting(text: &str, section: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut names = section.split('.');
    let mut table = document.get_ref().get(names.next()?)?;
    for name in names {
        table = table.get_ref().get(name)?;
    }
    let value = table.get_ref().get(key).map_or_else(|| table.span(), toml::Spanned::span);
    Some(value)
}
