//! Mistakes in the file, shown with their line and what was probably meant.

use crate::Contradiction;
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

/// The words of a mistake, from those of the parser.
pub(crate) fn explain(message: &str, section: &str) -> (String, Option<String>) {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (given, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let what = match section {
            "" => format!("there is no section [{given}]"),
            section => format!("there is no setting `{given}` in [{section}]"),
        };
        return (what, Some(nearest(given, &known)));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (given, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return (
            format!("`{given}` is not one of the choices"),
            Some(format!("There are: {}.", known.join(", "))),
        );
    }
    if let Some((given, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return (format!("{given} does not fit here"), Some(format!("This setting takes {expected}.")));
    }
    match message {
        "invalid socket address syntax" => {
            let next = "Write it as in 127.0.0.1:2222 or [::1]:2222.";
            ("this is not an address with a port".to_owned(), Some(next.to_owned()))
        }
        "invalid IP address syntax" => (
            "this is not an IP address".to_owned(),
            Some("Write it as in 192.0.2.53 or 2001:db8::53.".to_owned()),
        ),
        other => (other.to_owned(), None),
    }
}

/// "Did you mean", or all there is.
fn nearest(given: &str, known: &[&str]) -> String {
    let given = given.replace('-', "_").to_lowercase();
    let distance = |name: &&&str| strsim::osa_distance(&given, name);
    let contained =
        || known.iter().find(|name| given.len() > 3 && (name.contains(&given) || given.contains(**name)));
    let close = known.iter().min_by_key(distance).filter(|name| distance(name) <= given.len() / 3 + 1);
    match close.or_else(contained) {
        Some(name) => format!("Did you mean `{name}`?"),
        None => format!("There are: {}.", known.join(", ")),
    }
}

/// The table that a place in the text belongs to; empty where it stands before or in a header, or the header is wrong.
fn section_at(text: &str, at: usize) -> String {
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    if text[line_start..].trim_start().starts_with('[') {
        let header = header_name(&text[line_start..]).unwrap_or_default();
        return header.rsplit_once('.').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
    }
    text[..line_start].lines().rev().find_map(header_name).unwrap_or_default()
}

fn header_name(line: &str) -> Option<String> {
    let line = line.lines().next()?.trim();
    let name = line.strip_prefix('[')?.split_once(']')?.0;
    Some(name.trim().to_owned())
}

/// Where a setting's value stands.
fn setting(text: &str, section: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let table = document.get_ref().get(section)?;
    let value = table.get_ref().get(key).map_or_else(|| table.span(), toml::Spanned::span);
    Some(value)
}
