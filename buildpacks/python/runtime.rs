//! The interpreter: copied from the build image into a layer, so that the run image need not have one.
//!
//! The layer holds a prefix of its own (`usr/`), found by the interpreter from where it lies, and in `lib/` those shared
//! libraries that the run image lacks. The prefix is not called `bin`: programs come from the packages' environment.

use crate::project::Project;
use crate::{PythonBuildpack, faults};
use hythe_buildpack::{BuildpackError, copy_file, copy_tree, fingerprint, note, read_optional};
use libcnb::build::BuildContext;
use libcnb::layer::{CachedLayerDefinition, InvalidMetadataAction, LayerState, RestoredLayerAction};
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};
use libcnb_data::layer_name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The build image's interpreter.
const PYTHON: &str = "/usr/bin/python3";
/// Names of the run image's shared libraries, where the stack says.
const RUN_LIBRARIES: &str = "/usr/share/hythe/run-libraries";
/// Folders and files of the standard library that a server has no use for.
const LEFT_OUT: [&str; 9] = [
    "EXTERNALLY-MANAGED",
    "sitecustomize.py",
    "test",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "ensurepip",
    "pydoc_data",
];

/// The interpreter that the build image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackPython {
    /// `3.11.2`.
    version: String,
    /// `3.11`.
    minor: String,
    /// Changes when the interpreter or a library that goes with it does.
    key: String,
}

/// The interpreter in its layer.
#[derive(Debug, Clone)]
pub(crate) struct InstalledPython {
    /// The program.
    pub(crate) program: PathBuf,
    /// What packages that are compiled for it depend on.
    pub(crate) key: String,
    /// `3.11`.
    pub(crate) minor: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: String,
    key: String,
}

/// Takes the stack's interpreter, if the source can do with it.
pub(crate) fn resolve_runtime(project: &Project) -> Result<StackPython, BuildpackError> {
    let output = Command::new(PYTHON)
        .args(["-I", "-c", "import platform; print(platform.python_version())"])
        .output()
        .map_err(|source| BuildpackError::Start { program: PYTHON.into(), source })?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let parts: Vec<&str> = version.split('.').collect();
    let [major, minor, ..] = parts.as_slice() else {
        return Err(BuildpackError::Unexpected(format!("{PYTHON} does not say its version")));
    };
    let minor = format!("{major}.{minor}");
    if let Some((wanted, file)) = &project.python {
        let has = version.parse().map_err(|_| BuildpackError::Unexpected(format!("Python {version}")))?;
        if !wanted.contains(&has) {
            return Err(faults::python_unavailable(&wanted.to_string(), file, &version).into());
        }
    }
    let packages = read_optional(Path::new("/var/lib/dpkg/status"))?.unwrap_or_default();
    let libraries = read_optional(Path::new(RUN_LIBRARIES))?.unwrap_or_default();
    let key = fingerprint([version.as_str(), env!("CARGO_PKG_VERSION"), &packages, &libraries]);
    Ok(StackPython { version, minor, key })
}

/// Puts the interpreter into its layer, or finds it there.
pub(crate) fn install_runtime(
    context: &BuildContext<PythonBuildpack>,
    python: StackPython,
) -> libcnb::Result<InstalledPython, BuildpackError> {
    let layer = context.cached_layer(
        layer_name!("python-runtime"),
        CachedLayerDefinition {
            build: true,
            launch: true,
            invalid_metadata_action: &|_| {
                (InvalidMetadataAction::DeleteLayer, "its record cannot be read".to_owned())
            },
            restored_layer_action: &|old: &Metadata, _| {
                if old.key == python.key {
                    (RestoredLayerAction::KeepLayer, String::new())
                } else if old.version == python.version {
                    (RestoredLayerAction::DeleteLayer, "the stack has changed".to_owned())
                } else {
                    (
                        RestoredLayerAction::DeleteLayer,
                        format!("python {} -> {}", old.version, python.version),
                    )
                }
            },
        },
    )?;
    let prefix = layer.path().join("usr");
    match &layer.state {
        LayerState::Restored { .. } => note("python-runtime", "reused"),
        LayerState::Empty { cause } => {
            let reason = crate::pip::reason(cause).unwrap_or_else(|| "new".to_owned());
            note("python-runtime", &format!("{reason}: python {} from the stack", python.version));
            copy_interpreter(&prefix, &python.minor)?;
            copy_libraries(&layer.path().join("lib"), &python.minor)?;
            layer.write_env(environment())?;
            layer.write_metadata(Metadata { version: python.version.clone(), key: python.key.clone() })?;
        }
    }
    let program = prefix.join("bin").join(format!("python{}", python.minor));
    Ok(InstalledPython { program, key: python.key, minor: python.minor })
}

/// Output that is shown at once, and text in UTF-8, whatever the platform's own environment says.
fn environment() -> LayerEnv {
    LayerEnv::new()
        .chainable_insert(Scope::All, ModificationBehavior::Default, "PYTHONUNBUFFERED", "1")
        .chainable_insert(Scope::All, ModificationBehavior::Default, "LANG", "C.UTF-8")
}

fn copy_interpreter(prefix: &Path, minor: &str) -> Result<(), BuildpackError> {
    let name = format!("python{minor}");
    copy_file(&Path::new("/usr/bin").join(&name), &prefix.join("bin").join(&name))?;
    let skip =
        |entry: &str| LEFT_OUT.contains(&entry) || Path::new(entry).extension().is_some_and(|e| e == "a");
    copy_tree(&Path::new("/usr/lib").join(&name), &prefix.join("lib").join(&name), &skip)?;
    // Headers stay in the build image: they are needed while packages are compiled, and never after.
    let headers = prefix.join("include").join(&name);
    let folder = prefix.join("include");
    std::fs::create_dir_all(&folder).map_err(BuildpackError::files("make", &folder))?;
    std::os::unix::fs::symlink(Path::new("/usr/include").join(&name), &headers)
        .map_err(BuildpackError::files("link", &headers))
}

/// Copies the shared libraries that the interpreter and its modules need and the run image lacks.
fn copy_libraries(folder: &Path, minor: &str) -> Result<(), BuildpackError> {
    let modules = PathBuf::from(format!("/usr/lib/python{minor}/lib-dynload"));
    let entries = modules.read_dir().map_err(BuildpackError::files("read", &modules))?;
    let output = Command::new("ldd")
        .arg(PYTHON)
        .args(entries.flatten().map(|entry| entry.path()))
        .output()
        .map_err(|source| BuildpackError::Start { program: "ldd".into(), source })?;
    let present = read_optional(Path::new(RUN_LIBRARIES))?.unwrap_or_default();
    let present: BTreeSet<&str> = present.lines().collect();
    for (name, path) in needed_libraries(&String::from_utf8_lossy(&output.stdout)) {
        if !present.contains(name.as_str()) && !is_libc(&name) {
            copy_file(&path, &folder.join(name))?;
        }
    }
    Ok(())
}

/// Libraries by name, from the output of `ldd`.
fn needed_libraries(output: &str) -> BTreeMap<String, PathBuf> {
    let line = |line: &str| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.split(" (").next()?;
        path.starts_with('/').then(|| (name.to_owned(), PathBuf::from(path)))
    };
    output.lines().filter_map(line).collect()
}

/// Parts of the C library, which must never come from elsewhere than the loader itself.
fn is_libc(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    matches!(stem, "libc" | "libm" | "libpthread" | "libdl" | "librt" | "libresolv" | "libutil")
        || stem.starts_with("ld-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let output = "/usr/bin/python3:\n\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/libm.so.6 (0x1)\n\
                      \tlibffi.so.8 => /lib/x86_64-linux-gnu/libffi.so.8 (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n\
                      \tlibgone.so => not found\n";
        let names: Vec<_> = needed_libraries(output).into_keys().collect();
        assert_eq!(names, ["libffi.so.8", "libm.so.6"]);
        assert!(is_libc("libm.so.6") && is_libc("ld-linux-x86-64.so.2") && !is_libc("libmd.so.0"));
    }
}
