//! Packages: an environment in a layer, filled by the build image's pip.

use crate::project::{Packages, Project};
use crate::requirements::describe_change;
use crate::runtime::InstalledPython;
use crate::{PythonBuildpack, faults};
use hythe_buildpack::{BuildpackError, CERTIFICATES, EPOCH, count, fingerprint, note, run, run_timed};
use libcnb::build::BuildContext;
use libcnb::layer::{
    CachedLayerDefinition, EmptyLayerCause, InvalidMetadataAction, LayerState, RestoredLayerAction,
};
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};
use libcnb_data::layer_name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the layer was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    /// The interpreter and what of the stack it goes with.
    python: String,
    /// The files that name packages.
    key: String,
    /// The packages named, to tell what changed.
    packages: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheMetadata {
    python: String,
}

/// Installs the packages, or finds them installed; gives the environment's folder.
pub(crate) fn install_packages(
    context: &BuildContext<PythonBuildpack>,
    python: &InstalledPython,
    project: &Project,
) -> libcnb::Result<PathBuf, BuildpackError> {
    let wanted = metadata(project, python);
    let file = file_name(&project.packages);
    if let Some(lock) = project.unread_lock {
        let tool = lock.trim_end_matches(".lock");
        note("pip", &format!("{lock} is not read: {tool} export -o requirements.txt makes a file that is"));
    }
    let cache = install_cache(context, python)?;
    let layer = context.cached_layer(
        layer_name!("pip"),
        CachedLayerDefinition {
            build: true,
            launch: true,
            invalid_metadata_action: &|_| {
                (InvalidMetadataAction::DeleteLayer, "its record cannot be read".to_owned())
            },
            restored_layer_action: &|old: &Metadata, _| match change(old, &wanted, file) {
                None => match renewal(&project.packages) {
                    None => (RestoredLayerAction::KeepLayer, String::new()),
                    Some(reason) => (RestoredLayerAction::DeleteLayer, reason.to_owned()),
                },
                Some(reason) => (RestoredLayerAction::DeleteLayer, reason),
            },
        },
    )?;
    let environment = layer.path();
    match &layer.state {
        LayerState::Restored { .. } => note("pip", "reused"),
        LayerState::Empty { cause } => {
            note("pip", &reason(cause).unwrap_or_else(|| describe_new(&project.packages)));
            make_environment(python, &environment)?;
            install(context, python, &environment, &cache, project)?;
            layer.write_metadata(wanted)?;
            if project.in_src {
                let source = context.app_dir.join("src");
                layer.write_env(LayerEnv::new().chainable_insert(
                    Scope::All,
                    ModificationBehavior::Default,
                    "PYTHONPATH",
                    source,
                ))?;
            }
        }
    }
    Ok(environment)
}

/// Why a restored layer was thrown away; nothing where there was none.
pub(crate) fn reason(cause: &EmptyLayerCause<String, String>) -> Option<String> {
    match cause {
        EmptyLayerCause::NewlyCreated => None,
        EmptyLayerCause::InvalidMetadataAction { cause } | EmptyLayerCause::RestoredLayerAction { cause } => {
            Some(cause.clone())
        }
    }
}

fn metadata(project: &Project, python: &InstalledPython) -> Metadata {
    let python = fingerprint([python.key.as_str(), if project.in_src { "src" } else { "" }]);
    match &project.packages {
        Packages::Requirements(list) | Packages::Pyproject(list) => {
            Metadata { python, key: list.key.clone(), packages: list.packages().clone() }
        }
        Packages::None | Packages::Built => {
            Metadata { python, key: String::new(), packages: BTreeMap::new() }
        }
    }
}

fn change(old: &Metadata, new: &Metadata, file: &str) -> Option<String> {
    if old.python != new.python {
        return Some("the interpreter has changed".to_owned());
    }
    if old.key == new.key {
        return None;
    }
    let change = describe_change(&old.packages, &new.packages);
    Some(if change.is_empty() { format!("{file} changed") } else { format!("{file} changed: {change}") })
}

fn file_name(packages: &Packages) -> &'static str {
    match packages {
        Packages::Requirements(_) => "requirements.txt",
        Packages::Pyproject(_) | Packages::Built => "pyproject.toml",
        Packages::None => "the source",
    }
}

/// Why packages are installed anew although what names them has not changed.
fn renewal(packages: &Packages) -> Option<&'static str> {
    const LOCAL: &str = "packages of the source itself";
    match packages {
        Packages::Built => Some(LOCAL),
        Packages::None => None,
        Packages::Requirements(list) | Packages::Pyproject(list) if list.local => Some(LOCAL),
        Packages::Requirements(list) | Packages::Pyproject(list) => {
            list.open.then_some("versions are not locked")
        }
    }
}

fn describe_new(packages: &Packages) -> String {
    match packages {
        Packages::None => "new: no packages, the standard library alone".to_owned(),
        Packages::Built => "new: the packages that the project's own build names".to_owned(),
        Packages::Requirements(list) | Packages::Pyproject(list) => {
            format!("new: {} of {}", count(list.packages().len(), "package"), file_name(packages))
        }
    }
}

fn make_environment(python: &InstalledPython, environment: &Path) -> Result<(), BuildpackError> {
    let ran = run(Command::new(&python.program).args(["-m", "venv", "--without-pip"]).arg(environment))?;
    if !ran.status.success() {
        return Err(BuildpackError::Unexpected(format!("the environment cannot be made: {}", ran.text())));
    }
    Ok(())
}

/// The layer that keeps what pip downloads and compiles; it never goes into the image.
///
/// A build that does not ask for it loses it: a restored layer without types is not kept.
fn install_cache(
    context: &BuildContext<PythonBuildpack>,
    python: &InstalledPython,
) -> libcnb::Result<PathBuf, BuildpackError> {
    let layer = context.cached_layer(
        layer_name!("pip-cache"),
        CachedLayerDefinition {
            build: false,
            launch: false,
            invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
            restored_layer_action: &|old: &CacheMetadata, _| {
                if old.python == python.minor {
                    RestoredLayerAction::KeepLayer
                } else {
                    RestoredLayerAction::DeleteLayer
                }
            },
        },
    )?;
    layer.write_metadata(CacheMetadata { python: python.minor.clone() })?;
    Ok(layer.path())
}

fn install(
    context: &BuildContext<PythonBuildpack>,
    python: &InstalledPython,
    environment: &Path,
    cache: &Path,
    project: &Project,
) -> Result<(), BuildpackError> {
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "--python"])
        .arg(environment.join("bin/python"))
        .args(["install", "--no-input", "--progress-bar", "off", "--no-warn-script-location"])
        .args(["--disable-pip-version-check", "--cache-dir"])
        .arg(cache)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(&context.app_dir);
    if std::env::var_os("PIP_CERT").is_none() && Path::new(CERTIFICATES).exists() {
        pip.env("PIP_CERT", CERTIFICATES);
    }
    match &project.packages {
        Packages::Requirements(_) => pip.args(["-r", "requirements.txt"]),
        Packages::Pyproject(list) if list.lines.is_empty() => return Ok(()),
        Packages::Pyproject(list) => pip.arg("--").args(&list.lines),
        Packages::Built => pip.arg("."),
        Packages::None => return Ok(()),
    };
    let ran = run_timed("pip", &mut pip)?;
    if ran.status.success() {
        return Ok(());
    }
    let requirements = hythe_buildpack::read_optional(&context.app_dir.join("requirements.txt"))?;
    Err(faults::of_pip(&ran.lines, requirements.as_deref(), &python.minor).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::of_lines;
    use hythe_buildpack::testing::{build_context, restore_layers};

    #[test]
    fn the_cache_outlives_pushes_that_change_nothing() {
        let root = tempfile::tempdir().unwrap();
        let context = build_context::<PythonBuildpack>(root.path()).unwrap();
        let python = InstalledPython { program: "/bin/true".into(), key: "a".into(), minor: "3.11".into() };
        let project = Project { packages: Packages::None, python: None, unread_lock: None, in_src: false };
        install_packages(&context, &python, &project).unwrap();
        std::fs::write(context.layers_dir.join("pip-cache/wheel"), "").unwrap();
        for _ in 0..2 {
            restore_layers(&context.layers_dir).unwrap();
            install_packages(&context, &python, &project).unwrap();
        }
        assert!(context.layers_dir.join("pip-cache/wheel").is_file());
        let record = std::fs::read_to_string(context.layers_dir.join("pip-cache.toml")).unwrap();
        assert!(record.contains("cache = true"), "{record}");
    }

    #[test]
    fn only_locked_packages_are_kept() {
        let of = |line: &str| renewal(&Packages::Requirements(of_lines(&[line.to_owned()])));
        assert_eq!(of("six==1.16.0"), None);
        assert_eq!(of("six>=1"), Some("versions are not locked"));
        assert_eq!(of("libs/own"), Some("packages of the source itself"));
        assert_eq!(renewal(&Packages::None), None);
    }
}
