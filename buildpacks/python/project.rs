//! What the source asks for: packages and a version of Python.

use crate::faults;
use crate::requirements::{self, Requirements};
use hythe_buildpack::{BuildpackError, read_optional};
use pep440_rs::VersionSpecifiers;
use serde::Deserialize;
use std::path::Path;

/// A Python tool as its files describe it.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Where packages are named.
    pub(crate) packages: Packages,
    /// The version of Python that is asked for, and the file that asks.
    pub(crate) python: Option<(VersionSpecifiers, &'static str)>,
    /// Whether the code lies in `src/`.
    pub(crate) in_src: bool,
}

/// Where packages are named.
#[derive(Debug, Clone)]
pub(crate) enum Packages {
    /// Nowhere: the standard library is enough.
    None,
    /// In requirements.txt.
    Requirements(Requirements),
    /// In pyproject.toml's `dependencies`.
    Pyproject(Requirements),
    /// Only the project's own build knows.
    Built,
}

#[derive(Debug, Default, Deserialize)]
struct Pyproject {
    project: Option<ProjectTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectTable {
    requires_python: Option<String>,
    dependencies: Option<Vec<String>>,
    #[serde(default)]
    dynamic: Vec<String>,
}

/// The file by which the source is known as Python's.
pub(crate) fn determine_sign(app: &Path) -> Option<String> {
    if let Some(name) = ["requirements.txt", "pyproject.toml"].iter().find(|name| app.join(name).is_file()) {
        return Some((*name).to_owned());
    }
    if !app.join("Procfile").is_file() {
        return None;
    }
    let names = app.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "py")).min()
}

/// Reads the source's files.
pub(crate) fn determine_project(app: &Path) -> Result<Project, BuildpackError> {
    let pyproject = match read_optional(&app.join("pyproject.toml"))? {
        Some(text) => toml::from_str::<Pyproject>(&text).map_err(|e| faults::pyproject_invalid(&text, &e))?,
        None => Pyproject::default(),
    };
    let table = pyproject.project.unwrap_or_default();
    Ok(Project {
        packages: determine_packages(app, &table)?,
        python: determine_python(app, &table)?,
        in_src: app.join("src").is_dir() && app.join("pyproject.toml").is_file(),
    })
}

fn determine_packages(app: &Path, table: &ProjectTable) -> Result<Packages, BuildpackError> {
    if app.join("requirements.txt").is_file() {
        return Ok(Packages::Requirements(requirements::read(app)?));
    }
    match &table.dependencies {
        _ if !app.join("pyproject.toml").is_file() => Ok(Packages::None),
        Some(lines) => Ok(Packages::Pyproject(requirements::of_lines(lines))),
        None if table.dynamic.iter().any(|name| name == "dependencies") => Ok(Packages::Built),
        None if has_poetry(app)? => Ok(Packages::Built),
        None => Ok(Packages::None),
    }
}

/// Whether packages are named in Poetry's older form, which its own build reads.
fn has_poetry(app: &Path) -> Result<bool, BuildpackError> {
    let text = read_optional(&app.join("pyproject.toml"))?.unwrap_or_default();
    Ok(text.lines().any(|line| line.trim() == "[tool.poetry.dependencies]"))
}

fn determine_python(
    app: &Path,
    table: &ProjectTable,
) -> Result<Option<(VersionSpecifiers, &'static str)>, BuildpackError> {
    for (name, prefix) in [(".python-version", ""), ("runtime.txt", "python-")] {
        let text = read_optional(&app.join(name))?.unwrap_or_default();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let Some(version) = line.and_then(|line| line.strip_prefix(prefix)) else { continue };
        // A patch version is a wish: the stack has the one that is maintained.
        let minor: Vec<&str> = version.split('.').take(2).collect();
        let wanted = format!("=={}.*", minor.join(".")).parse();
        return Ok(Some((wanted.map_err(|_| faults::python_unreadable(version, name))?, name)));
    }
    match &table.requires_python {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(wanted) => Ok(Some((wanted, "pyproject.toml"))),
            Err(_) => Err(faults::python_unreadable(text, "pyproject.toml").into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(app.path().join(name), text).unwrap();
        }
        app
    }

    #[test]
    fn signs_of_python() {
        let sign = |files: &[(&str, &str)]| determine_sign(source(files).path());
        assert_eq!(
            sign(&[("requirements.txt", ""), ("pyproject.toml", "")]).as_deref(),
            Some("requirements.txt")
        );
        assert_eq!(sign(&[("pyproject.toml", "")]).as_deref(), Some("pyproject.toml"));
        assert_eq!(sign(&[("bot.py", ""), ("Procfile", "web: x")]).as_deref(), Some("bot.py"));
        assert_eq!(sign(&[("bot.py", "")]), None);
        assert_eq!(sign(&[("package.json", "{}")]), None);
    }

    #[test]
    fn versions_are_read_where_they_are_written() {
        let python = |files: &[(&str, &str)]| {
            let project = determine_project(source(files).path()).map_err(|error| error.to_string());
            project.map(|p| p.python.map(|(wanted, file)| format!("{wanted} {file}")))
        };
        assert_eq!(
            python(&[(".python-version", "3.11.4\n")]).unwrap().as_deref(),
            Some("==3.11.* .python-version")
        );
        assert_eq!(
            python(&[("runtime.txt", "python-3.12.1")]).unwrap().as_deref(),
            Some("==3.12.* runtime.txt")
        );
        let toml = "[project]\nname = 'x'\nrequires-python = '>=3.9,<4'\n";
        assert_eq!(python(&[("pyproject.toml", toml)]).unwrap().as_deref(), Some(">=3.9, <4 pyproject.toml"));
        assert!(python(&[(".python-version", "pypy\n")]).is_err());
    }

    #[test]
    fn packages_of_a_pyproject() {
        let kind = |toml: &str| match determine_project(source(&[("pyproject.toml", toml)]).path())
            .unwrap()
            .packages
        {
            Packages::Pyproject(requirements) => format!("{:?}", requirements.names()),
            Packages::Built => "built".to_owned(),
            Packages::None => "none".to_owned(),
            Packages::Requirements(_) => "requirements".to_owned(),
        };
        assert_eq!(kind("[project]\nname='x'\ndependencies=['httpx>=0.28']"), "[\"httpx\"]");
        assert_eq!(kind("[project]\nname='x'\ndynamic=['dependencies']"), "built");
        assert_eq!(kind("[tool.poetry.dependencies]\npython='^3.11'"), "built");
        assert_eq!(kind("[tool.ruff]\nline-length=100"), "none");
    }
}
