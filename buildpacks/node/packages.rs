//! Packages: installed into a layer of their own, keyed by what names them, or beside the source where they must be.

use crate::project::Project;
use crate::runtime::{InstalledNode, npm, reason};
use crate::{NodeBuildpack, faults};
use hythe_buildpack::{BuildpackError, copy_file, count, fingerprint, note, read_optional, run_timed};
use libcnb::build::BuildContext;
use libcnb::layer::{CachedLayerDefinition, InvalidMetadataAction, LayerState, RestoredLayerAction};
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
    node: String,
    key: String,
    packages: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CacheMetadata {
    node: String,
}

/// Installs the packages, runs the source's `build` script where there is one.
pub(crate) fn install_packages(
    context: &BuildContext<NodeBuildpack>,
    node: &InstalledNode,
    project: &Project,
) -> libcnb::Result<(), BuildpackError> {
    if let Some(other) = project.other_lockfile.filter(|_| project.lockfile.is_none()) {
        note(
            "npm",
            &format!(
                "{other} is not read: without a package-lock.json versions may differ from build to build"
            ),
        );
    } else if project.lockfile.is_none() && !project.packages.is_empty() {
        note(
            "npm",
            "there is no package-lock.json: versions may differ from build to build (npm install makes one)",
        );
    }
    if project.in_place {
        return install_in_place(context, node, project);
    }
    if project.packages.is_empty() {
        note("npm", "no packages");
        return Ok(());
    }
    install_in_layer(context, node, project)
}

fn install_in_layer(
    context: &BuildContext<NodeBuildpack>,
    node: &InstalledNode,
    project: &Project,
) -> libcnb::Result<(), BuildpackError> {
    let wanted = metadata(context, node, project)?;
    let cache = install_cache(context, node)?;
    // Without a lockfile an old layer would keep old versions for ever.
    let locked = project.lockfile.is_some();
    let layer = context.cached_layer(
        layer_name!("npm"),
        CachedLayerDefinition {
            build: true,
            launch: true,
            invalid_metadata_action: &|_| {
                (InvalidMetadataAction::DeleteLayer, "its record cannot be read".to_owned())
            },
            restored_layer_action: &|old: &Metadata, _| match change(old, &wanted) {
                None if locked => (RestoredLayerAction::KeepLayer, String::new()),
                None => (RestoredLayerAction::DeleteLayer, "versions are not locked".to_owned()),
                Some(reason) => (RestoredLayerAction::DeleteLayer, reason),
            },
        },
    )?;
    let modules = layer.path().join("node_modules");
    match &layer.state {
        LayerState::Restored { .. } => note("npm", "reused"),
        LayerState::Empty { cause } => {
            note(
                "npm",
                &reason(cause)
                    .unwrap_or_else(|| format!("new: {}", count(project.packages.len(), "package"))),
            );
            for name in ["package.json", ".npmrc"].into_iter().chain(project.lockfile) {
                let file = context.app_dir.join(name);
                if file.is_file() {
                    copy_file(&file, &layer.path().join(name))?;
                }
            }
            install(node, &layer.path(), &cache, project, true)?;
            // The registry's token, where there is one, was for the build alone.
            let _ = std::fs::remove_file(layer.path().join(".npmrc"));
            std::fs::create_dir_all(&modules).map_err(BuildpackError::files("make", &modules))?;
            layer.write_env(search_path(&modules))?;
            layer.write_metadata(wanted)?;
        }
    }
    link_modules(&modules, &context.app_dir.join("node_modules"))?;
    Ok(())
}

fn metadata(
    context: &BuildContext<NodeBuildpack>,
    node: &InstalledNode,
    project: &Project,
) -> Result<Metadata, BuildpackError> {
    let mut parts = vec![serde_json::to_string(&project.packages).unwrap_or_default()];
    for name in [".npmrc"].into_iter().chain(project.lockfile) {
        parts.push(read_optional(&context.app_dir.join(name))?.unwrap_or_default());
    }
    Ok(Metadata { node: node.version.clone(), key: fingerprint(&parts), packages: project.packages.clone() })
}

fn change(old: &Metadata, new: &Metadata) -> Option<String> {
    if old.node != new.node {
        return Some(format!("node {} -> {}", old.node, new.node));
    }
    if old.key == new.key {
        return None;
    }
    let added = new.packages.iter().filter(|(name, _)| !old.packages.contains_key(*name));
    let added = added.map(|(name, wish)| format!("+ {name} {wish}"));
    let gone =
        old.packages.keys().filter(|name| !new.packages.contains_key(*name)).map(|name| format!("- {name}"));
    let moved = new.packages.iter().filter_map(|(name, wish)| {
        let before = old.packages.get(name).filter(|before| *before != wish)?;
        Some(format!("{name} {before} -> {wish}"))
    });
    let parts: Vec<String> = added.chain(gone).chain(moved).take(4).collect();
    Some(if parts.is_empty() {
        "package-lock.json changed".to_owned()
    } else {
        format!("package.json changed: {}", parts.join(", "))
    })
}

/// The source's packages are found where Node.js looks for them, and lie in the layer.
fn link_modules(modules: &Path, link: &Path) -> Result<(), BuildpackError> {
    if link.symlink_metadata().is_ok() {
        note("npm", "node_modules of the source is left out: packages are installed anew");
        let removed =
            if link.is_symlink() { std::fs::remove_file(link) } else { std::fs::remove_dir_all(link) };
        removed.map_err(BuildpackError::files("remove", link))?;
    }
    std::os::unix::fs::symlink(modules, link).map_err(BuildpackError::files("link", link))
}

/// Programs of packages are found by name, as npm's own scripts find them.
fn search_path(modules: &Path) -> LayerEnv {
    LayerEnv::new()
        .chainable_insert(Scope::All, ModificationBehavior::Delimiter, "PATH", ":")
        .chainable_insert(Scope::All, ModificationBehavior::Prepend, "PATH", modules.join(".bin"))
}

fn install_in_place(
    context: &BuildContext<NodeBuildpack>,
    node: &InstalledNode,
    project: &Project,
) -> libcnb::Result<(), BuildpackError> {
    note("npm", &format!("{} beside the source", count(project.packages.len(), "package")));
    let cache = install_cache(context, node)?;
    install(node, &context.app_dir, &cache, project, false)?;
    if project.scripts.contains_key("build") {
        note("npm", "run build");
        let ran = run_timed("npm", with_node(npm(&context.app_dir).args(["run", "build"]), node, &cache))?;
        if !ran.status.success() {
            return Err(BuildpackError::Fault(faults::build_script_failed(&ran.lines)).into());
        }
    }
    let ran = run_timed(
        "npm",
        with_node(npm(&context.app_dir).args(["prune", "--omit=dev", "--ignore-scripts"]), node, &cache),
    )?;
    if !ran.status.success() {
        return Err(BuildpackError::Fault(faults::of_npm(&ran.lines)).into());
    }
    let layer = context.uncached_layer(
        layer_name!("npm-path"),
        libcnb::layer::UncachedLayerDefinition { build: true, launch: true },
    )?;
    layer.write_env(search_path(&context.app_dir.join("node_modules")))
}

/// The layer that keeps what npm downloads; it never goes into the image.
///
/// A build that does not ask for it loses it: a restored layer without types is not kept.
fn install_cache(
    context: &BuildContext<NodeBuildpack>,
    node: &InstalledNode,
) -> libcnb::Result<PathBuf, BuildpackError> {
    let layer = context.cached_layer(
        layer_name!("npm-cache"),
        CachedLayerDefinition {
            build: false,
            launch: false,
            invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
            restored_layer_action: &|_: &CacheMetadata, _| RestoredLayerAction::KeepLayer,
        },
    )?;
    layer.write_metadata(CacheMetadata { node: node.version.clone() })?;
    Ok(layer.path())
}

fn install(
    node: &InstalledNode,
    folder: &Path,
    cache: &Path,
    project: &Project,
    production: bool,
) -> Result<(), BuildpackError> {
    let mut npm = npm(folder);
    npm.arg(if project.lockfile.is_some() { "ci" } else { "install" });
    npm.arg(if production { "--omit=dev" } else { "--include=dev" });
    let ran = run_timed("npm", with_node(&mut npm, node, cache))?;
    if ran.status.success() { Ok(()) } else { Err(faults::of_npm(&ran.lines).into()) }
}

/// Makes npm, and what it starts, use the tool's own version of Node.js.
fn with_node<'a>(npm: &'a mut Command, node: &InstalledNode, cache: &Path) -> &'a mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    npm.env("PATH", format!("{}:{path}", node.bin.display())).env("NPM_CONFIG_CACHE", cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_buildpack::testing::{build_context, restore_layers};

    fn of(node: &str, key: &str, packages: &[(&str, &str)]) -> Metadata {
        let packages = packages.iter().map(|(n, w)| ((*n).to_owned(), (*w).to_owned())).collect();
        Metadata { node: node.into(), key: key.into(), packages }
    }

    #[test]
    fn a_change_is_told() {
        let old = of("24.0.0", "a", &[("ms", "2.1.2"), ("gone", "1")]);
        assert_eq!(change(&old, &old), None);
        assert_eq!(change(&old, &of("24.1.0", "a", &[])).as_deref(), Some("node 24.0.0 -> 24.1.0"));
        let new = of("24.0.0", "b", &[("ms", "2.1.3"), ("more", "^1")]);
        assert_eq!(
            change(&old, &new).as_deref(),
            Some("package.json changed: + more ^1, - gone, ms 2.1.2 -> 2.1.3")
        );
        let locked = of("24.0.0", "b", &[("ms", "2.1.2"), ("gone", "1")]);
        assert_eq!(change(&old, &locked).as_deref(), Some("package-lock.json changed"));
    }

    /// A Node.js whose npm does nothing.
    fn idle_npm(folder: &Path) -> InstalledNode {
        std::fs::create_dir_all(folder).unwrap();
        std::os::unix::fs::symlink("/bin/true", folder.join("npm")).unwrap();
        InstalledNode { version: "24.0.0".into(), bin: folder.to_owned() }
    }

    #[test]
    fn the_cache_outlives_pushes_that_change_nothing() {
        let root = tempfile::tempdir().unwrap();
        let context = build_context::<NodeBuildpack>(root.path()).unwrap();
        let node = idle_npm(&root.path().join("bin"));
        let package = r#"{"dependencies": {"ms": "2.1.3"}}"#;
        for (name, text) in [("package.json", package), ("package-lock.json", "{}")] {
            std::fs::write(context.app_dir.join(name), text).unwrap();
        }
        let project = crate::project::determine_project(&context.app_dir).unwrap();
        install_packages(&context, &node, &project).unwrap();
        std::fs::write(context.layers_dir.join("npm-cache/package"), "").unwrap();
        for _ in 0..2 {
            restore_layers(&context.layers_dir).unwrap();
            install_packages(&context, &node, &project).unwrap();
        }
        assert!(context.layers_dir.join("npm-cache/package").is_file());
        let record = std::fs::read_to_string(context.layers_dir.join("npm-cache.toml")).unwrap();
        assert!(record.contains("cache = true"), "{record}");
    }

    #[test]
    fn the_sources_own_modules_give_way() {
        let root = tempfile::tempdir().unwrap();
        let (modules, link) = (root.path().join("layer"), root.path().join("node_modules"));
        std::fs::create_dir_all(link.join("old")).unwrap();
        for _ in 0..2 {
            link_modules(&modules, &link).unwrap();
            assert_eq!(std::fs::read_link(&link).unwrap(), modules);
        }
    }
}
