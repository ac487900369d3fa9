//! What the source asks for: packages and a version of Python.

use crate::faults;
use crate::poetry;
use crate::requirements::{self, Requirements};
use hythe_buildpack::{BuildpackError, Fault, read_optional};
use pep440_rs::VersionSpecifiers;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A Python tool as its files describe it.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Where packages are named.
    pub(crate) packages: Packages,
    /// The version of Python that is asked for, and the file that asks.
    pub(crate) python: Option<(VersionSpecifiers, &'static str)>,
    /// A lockfile that pip cannot read.
    pub(crate) unread_lock: Option<&'static str>,
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
#[serde(rename_all = "kebab-case", default)]
struct Pyproject {
    project: ProjectTable,
    tool: Tool,
    build_system: Option<toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ProjectTable {
    requires_python: Option<String>,
    dependencies: Option<Vec<String>>,
    dynamic: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tool {
    uv: Uv,
    poetry: Poetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Uv {
    /// Package to where it comes from.
    sources: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Poetry {
    dependencies: BTreeMap<String, toml::Value>,
    package_mode: Option<bool>,
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
    let present = |names: &[&'static str]| names.iter().copied().find(|name| app.join(name).is_file());
    let packages = determine_packages(app, &pyproject)?;
    let unread = matches!(packages, Packages::Pyproject(_) | Packages::Built);
    Ok(Project {
        unread_lock: present(&["uv.lock", "poetry.lock", "pdm.lock"]).filter(|_| unread),
        packages,
        python: determine_python(app, &pyproject)?,
        in_src: app.join("src").is_dir() && app.join("pyproject.toml").is_file(),
    })
}

fn determine_packages(app: &Path, pyproject: &Pyproject) -> Result<Packages, BuildpackError> {
    if app.join("requirements.txt").is_file() {
        return Ok(Packages::Requirements(requirements::read(app)?));
    }
    let (table, poetry) = (&pyproject.project, &pyproject.tool.poetry);
    match &table.dependencies {
        Some(lines) => {
            let list = requirements::of_lines(lines);
            refuse_places(&list, &pyproject.tool)?;
            Ok(Packages::Pyproject(list))
        }
        None if table.dynamic.iter().any(|name| name == "dependencies") => Ok(Packages::Built),
        None if poetry.dependencies.is_empty() => Ok(Packages::None),
        None if pyproject.build_system.is_some() && poetry.package_mode != Some(false) => Ok(Packages::Built),
        // Nothing would build it, so that its dependencies are all there is to install.
        None => Ok(Packages::Pyproject(requirements::of_lines(&poetry::requirements(&poetry.dependencies)?))),
    }
}

/// Refuses packages that are meant to come from elsewhere: on the public index another may bear the same name.
fn refuse_places(list: &Requirements, tool: &Tool) -> Result<(), Fault> {
    let asked = |name: &str| list.packages().contains_key(&requirements::normal(name));
    let uv = tool.uv.sources.keys().map(|name| (name, "tool.uv.sources"));
    let poetry = tool.poetry.dependencies.iter().filter(|(_, value)| poetry::has_place(value));
    let poetry = poetry.map(|(name, _)| (name, "tool.poetry.dependencies"));
    match uv.chain(poetry).find(|(name, _)| asked(name)) {
        Some((name, table)) => Err(faults::sources_unsupported(name, table)),
        None => Ok(()),
    }
}

fn determine_python(
    app: &Path,
    pyproject: &Pyproject,
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
    match &pyproject.project.requires_python {
        None => {
            let wish = pyproject.tool.poetry.dependencies.get("python").and_then(toml::Value::as_str);
            let wanted = wish.and_then(poetry::specifiers).and_then(|wanted| wanted.parse().ok());
            Ok(wanted.map(|wanted| (wanted, "pyproject.toml")))
        }
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
        let poetry = "[tool.poetry.dependencies]\npython='^3.11'\nflask='^3.0'\n";
        let backend = "[build-system]\nbuild-backend='poetry.core.masonry.api'\n";
        assert_eq!(kind(poetry), "[\"flask\"]");
        assert_eq!(kind(&format!("{backend}{poetry}")), "built");
        assert_eq!(kind(&format!("{backend}[tool.poetry]\npackage-mode=false\n{poetry}")), "[\"flask\"]");
        assert_eq!(kind("[tool.ruff]\nline-length=100"), "none");
    }

    #[test]
    fn a_package_from_elsewhere_is_not_taken_from_the_index() {
        let fault = |tool: &str| {
            let toml = format!("[project]\nname='x'\ndependencies=['Own_Lib>=1', 'six']\n{tool}\n");
            match determine_project(source(&[("pyproject.toml", &toml)]).path()) {
                Err(BuildpackError::Fault(fault)) => fault.id,
                _ => "",
            }
        };
        let refused = "python/sources-unsupported";
        assert_eq!(fault("[tool.uv.sources]\nown-lib = { path = 'libs/own' }"), refused);
        assert_eq!(fault("[tool.uv.sources]\nsix = { index = 'private' }"), refused);
        assert_eq!(fault("[tool.poetry.dependencies]\nown-lib = { source = 'private' }"), refused);
        assert_eq!(fault("[tool.uv.sources]\npytest = { index = 'private' }"), "", "it is not installed");
    }

    #[test]
    fn a_lockfile_that_is_not_read_is_known() {
        let lock = |files: &[(&str, &str)]| determine_project(source(files).path()).unwrap().unread_lock;
        let project = ("pyproject.toml", "[project]\nname='x'\ndependencies=['six']");
        assert_eq!(lock(&[project, ("uv.lock", "")]), Some("uv.lock"));
        assert_eq!(lock(&[project, ("uv.lock", ""), ("requirements.txt", "six")]), None);
        assert_eq!(lock(&[project]), None);
    }

    #[test]
    fn poetry_names_the_interpreter_too() {
        let toml = "[tool.poetry.dependencies]\npython = '^3.12'\n";
        let project = determine_project(source(&[("pyproject.toml", toml)]).path()).unwrap();
        assert_eq!(project.python.map(|(wanted, _)| wanted.to_string()).as_deref(), Some(">=3.12, <4"));
    }
}
