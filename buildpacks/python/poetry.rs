//! Poetry's own form of dependencies, as requirements that pip reads.
//!
//! Enter at [`requirements`]. What cannot be said in requirements is a fault: a guess would install something else.

use crate::faults;
use hythe_buildpack::Fault;
use pep440_rs::VersionSpecifiers;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Keys of a dependency that name a place other than the package index.
const PLACES: [&str; 5] = ["path", "file", "git", "url", "source"];
/// Keys of a dependency that requirements can say, or that change nothing for pip.
const KNOWN: [&str; 6] = ["version", "extras", "markers", "optional", "allow-prereleases", "develop"];

/// The lines of requirements that these dependencies make; the interpreter among them makes none.
pub(crate) fn requirements(dependencies: &BTreeMap<String, Value>) -> Result<Vec<String>, Fault> {
    let packages = dependencies.iter().filter(|(name, _)| *name != "python");
    let lines = packages.map(|(name, value)| requirement(name, value));
    lines.filter_map(Result::transpose).collect()
}

/// Whether a dependency comes from a place other than the package index.
pub(crate) fn has_place(value: &Value) -> bool {
    let named = |table: &Table| PLACES.iter().any(|key| table.contains_key(*key));
    match value {
        Value::Array(values) => values.iter().any(has_place),
        value => value.as_table().is_some_and(named),
    }
}

/// The line of one dependency; nothing for one that is only installed when it is asked for.
fn requirement(name: &str, value: &Value) -> Result<Option<String>, Fault> {
    if has_place(value) {
        return Err(faults::sources_unsupported(name, "tool.poetry.dependencies"));
    }
    let line = match value {
        Value::String(version) => specifiers(version).map(|version| format!("{name}{version}")),
        Value::Table(table) if table.get("optional").and_then(Value::as_bool) == Some(true) => {
            return Ok(None);
        }
        Value::Table(table) => of_table(name, table),
        _ => None,
    };
    line.map(Some).ok_or_else(|| faults::poetry_unsupported(name, value))
}

fn of_table(name: &str, table: &Table) -> Option<String> {
    if table.keys().any(|key| !KNOWN.contains(&key.as_str())) {
        return None;
    }
    let text = |key: &str| table.get(key).map_or(Some(""), Value::as_str);
    let extras = table.get("extras").and_then(Value::as_array).into_iter().flatten();
    let extras: Vec<&str> = extras.filter_map(Value::as_str).collect();
    let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let markers = text("markers")?;
    let markers = if markers.is_empty() { String::new() } else { format!(" ; {markers}") };
    Some(format!("{name}{extras}{}{markers}", specifiers(text("version")?)?))
}

/// A constraint of Poetry's as the standard has it: `^1.2` is `>=1.2,<2`.
pub(crate) fn specifiers(constraint: &str) -> Option<String> {
    let pieces = constraint.split(',').map(|piece| specifier(piece.trim())).collect::<Option<Vec<_>>>()?;
    let text = pieces.into_iter().filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join(",");
    text.parse::<VersionSpecifiers>().ok().map(|_| text)
}

fn specifier(piece: &str) -> Option<String> {
    if piece.is_empty() || piece == "*" {
        return Some(String::new());
    }
    if let Some(version) = piece.strip_prefix('^') {
        let parts = numbers(version)?;
        let place = parts.iter().position(|part| *part > 0).unwrap_or(parts.len() - 1);
        return Some(format!(">={},<{}", version.trim(), next(&parts, place)));
    }
    if let Some(version) = piece.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        let parts = numbers(version)?;
        return Some(format!(">={},<{}", version.trim(), next(&parts, 1.min(parts.len() - 1))));
    }
    let plain = piece.starts_with(|c: char| c.is_ascii_digit());
    Some(if plain { format!("=={piece}") } else { piece.to_owned() })
}

/// The parts of a version that is nothing but numbers.
fn numbers(version: &str) -> Option<Vec<u64>> {
    version.trim().split('.').map(|part| part.parse().ok()).collect()
}

/// The first version that differs from this one at a place before or at `place`.
fn next(parts: &[u64], place: usize) -> String {
    let parts = parts[..=place].iter().enumerate();
    let parts: Vec<String> = parts.map(|(i, part)| (part + u64::from(i == place)).to_string()).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<Vec<String>, &'static str> {
        requirements(&toml::from_str(toml).unwrap()).map_err(|fault| fault.id)
    }

    #[test]
    fn constraints_become_ranges() {
        for (poetry, standard) in [
            ("^1.2.3", ">=1.2.3,<2"),
            ("^0.2.3", ">=0.2.3,<0.3"),
            ("^0.0.3", ">=0.0.3,<0.0.4"),
            ("^0", ">=0,<1"),
            ("~1.2.3", ">=1.2.3,<1.3"),
            ("~1", ">=1,<2"),
            ("~=1.2", "~=1.2"),
            ("1.2.3", "==1.2.3"),
            ("1.2.*", "==1.2.*"),
            (">=1.2, <3.0", ">=1.2,<3.0"),
            ("*", ""),
        ] {
            assert_eq!(specifiers(poetry).as_deref(), Some(standard), "{poetry}");
        }
        for unknown in ["^1.0b1", "^1.0 || ^2.0", "latest", ">=1 <2", "^"] {
            assert_eq!(specifiers(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn dependencies_become_lines() {
        let toml = "python = '^3.11'\nflask = '^3.0'\nuvicorn = { version = '~0.30', extras = ['standard'] }\n\
                    tzdata = { version = '*', markers = \"sys_platform == 'win32'\" }\nextra = { version = '1', optional = true }\n";
        assert_eq!(
            of(toml).unwrap(),
            ["flask>=3.0,<4", "tzdata ; sys_platform == 'win32'", "uvicorn[standard]>=0.30,<0.31"]
        );
    }

    #[test]
    fn what_pip_cannot_be_told_is_refused() {
        for place in ["path = '../own'", "git = 'https://x/y.git'", "version = '1', source = 'private'"] {
            assert_eq!(of(&format!("own = {{ {place} }}")), Err("python/sources-unsupported"), "{place}");
        }
        assert_eq!(of("six = '^1 || ^2'"), Err("python/poetry-unsupported"));
        assert_eq!(of("six = { version = '1', python = '^3.8' }"), Err("python/poetry-unsupported"));
        assert_eq!(of("six = [{ version = '1' }]"), Err("python/poetry-unsupported"));
    }
}
