//! The table `[hythe]` of a repository's `project.toml`: found, read and judged before anything is built.
//!
//! Enter at [`project_of`]. The other tables of the file are the CNB project descriptor's and left alone here.

mod file;

use crate::findings::shown;
use crate::tree::{Body, Entry, SurveyError};
use file::{File, Mistake};
use git2::Odb;
use hythe_model::mistake::{explain, section_at};
use hythe_model::render::size;
use hythe_model::{Fault, Project};

/// Where it lies: the root of the tree (CNB project descriptor specification).
const NAME: &str = "project.toml";
/// The largest file that is read, in bytes.
const MOST: u64 = 64 << 10;

/// What a tree says of how it is run; nothing where it has no such file.
pub(crate) fn project_of(odb: &Odb<'_>, entries: &[Entry]) -> Result<Project, SurveyError> {
    let Some(entry) = entries.iter().find(|entry| entry.path == NAME) else { return Ok(Project::default()) };
    let Body::File { blob, bytes, .. } = entry.body else {
        return Err(refused(None, "it is not a regular file", Some("Replace it by a file.")));
    };
    if bytes > MOST {
        let what = format!("it has {}; {} are read at most", size(bytes), size(MOST));
        return Err(refused(None, &what, None));
    }
    let object = odb.read(blob)?;
    let Ok(text) = str::from_utf8(object.data()) else {
        return Err(refused(None, "it is not UTF-8", None));
    };
    parse(text).map_err(SurveyError::Refused)
}

/// Reads the text of the file.
fn parse(text: &str) -> Result<Project, Fault> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| span.start.min(text.len()));
        let section = at.map(|at| section_at(text, at)).unwrap_or_default();
        let (what, next) = explain(error.message(), &section);
        fault(at.map(|at| line(text, at)), &what, next.as_deref())
    })?;
    file.hythe.check().map_err(|Mistake { path, what }| {
        let at = place(text, &path);
        let keys: Vec<_> = path.iter().map(|key| written(key)).collect();
        fault(at.map(|at| line(text, at)), &format!("{} of [hythe]: {what}", keys.join(".")), None)
    })
}

/// A key as it stands in the file: in quotes where it is not a bare one (TOML 1.0.0, Keys).
fn written(key: &str) -> String {
    let is_bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// Where a setting's value stands.
fn place(text: &str, path: &[String]) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut value = document.get_ref().get("hythe")?;
    for key in path {
        match value.get_ref().get(key.as_str()) {
            Some(inner) => value = inner,
            None => break,
        }
    }
    Some(value.span().start)
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn refused(line: Option<usize>, what: &str, next: Option<&str>) -> SurveyError {
    SurveyError::Refused(fault(line, what, next))
}

fn fault(line: Option<usize>, what: &str, next: Option<&str>) -> Fault {
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    // What a parser says may have several lines, and words of the file in it.
    let what = what.lines().map(|line| shown(line.as_bytes())).collect::<Vec<_>>().join(" ");
    let fault =
        Fault::new("source/project-file", format!("The source was refused: {NAME} cannot be followed."))
            .why(format!("{place}{what}"));
    let fault = next.into_iter().fold(fault, Fault::next);
    fault.next("What can be set there: docs/reference/project.md")
}

#[cfg(test)]
mod tests;
