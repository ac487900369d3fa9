//! The direction of imports, held by reading `cargo metadata`.
//!
//! Cargo refuses a cycle between crates; this test refuses an edge that points the wrong way, and a dependency that
//! belongs to another room (`docs/ARCHITECTURE.md`, Invariants).

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Rooms by layer; a room may see only rooms of a lower layer.
const LAYERS: &[&[&str]] = &[
    &["model", "cnb"],
    &[
        "config", "store", "objects", "events", "auth", "source", "sandbox", "oci", "stacks", "registry",
        "layers", "cluster", "carrier",
    ],
    &["build", "rollout"],
    &["pipeline"],
    &["ssh", "api", "console", "router"],
    &["hythed", "hythe", "lifecycle", "launcher"],
];

/// Edges inside a layer, each with its reason.
const WITHIN: &[(&str, &str)] = &[
    ("events", "store"),   // open logs are rows where several servers share them
    ("events", "objects"), // and closed ones objects
    ("auth", "store"),     // keys and tokens are rows
    ("sandbox", "oci"),    // layers are applied and packed inside the user namespace
    ("stacks", "sandbox"), // base images are made there
    ("stacks", "oci"),
    ("stacks", "registry"), // and published
    ("layers", "sandbox"),  // layers are unpacked there
    ("layers", "registry"), // from blobs that are here
    ("layers", "oci"),
    ("registry", "oci"),
    ("registry", "auth"),
    ("carrier", "oci"), // layers are packed and unpacked in pods
];

/// Who may depend on what from outside.
const OUTSIDE: &[(&[&str], &[&str])] = &[
    (&["axum", "axum-extra", "utoipa-axum"], &["api", "console", "registry", "router", "hythed"]),
    (&["kube", "k8s-openapi"], &["cluster", "rollout", "build"]),
    (&["oci-client"], &["carrier"]),
    (&["http-auth"], &["registry"]),
    (&["git2"], &["source"]),
    // auth parses public keys with the types that ssh compares them by.
    (&["russh"], &["ssh", "auth"]),
    (
        &[
            "diesel",
            "diesel-async",
            "diesel_migrations",
            "libsqlite3-sys",
            "rusqlite",
            "sqlx",
            "tokio-postgres",
            "tokio-postgres-rustls",
        ],
        &["store"],
    ),
];

/// What runs beside untrusted code, and the only rooms it may see.
const GUESTS: &[(&str, &[&str])] = &[
    ("lifecycle", &["cnb"]),
    ("launcher", &["cnb"]),
    ("sandbox", &["model", "oci"]),
    ("carrier", &["model", "cnb", "oci"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo metadata")
}

fn room(package: &str) -> &str {
    package.strip_prefix("hythe-").unwrap_or(package)
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The packages under `src/`, with the names of what they depend on outside tests.
fn rooms(metadata: &Metadata) -> Vec<(&str, Vec<&str>)> {
    let inside = |package: &&Package| {
        let folder = package.manifest_path.parent().and_then(|path| path.parent());
        folder.is_some_and(|path| path.ends_with("src"))
    };
    metadata
        .packages
        .iter()
        .filter(inside)
        .map(|package| {
            let kept = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
            (room(&package.name), kept.map(|d| d.name.as_str()).collect())
        })
        .collect()
}

/// What is wrong with one edge, or nothing.
fn refuse(from: &str, to: &str) -> Option<String> {
    let Some(target) = to.strip_prefix("hythe-").or_else(|| layer(to).map(|_| to)) else {
        let rule = OUTSIDE.iter().find(|(names, _)| names.contains(&to));
        return rule
            .filter(|(_, allowed)| !allowed.contains(&from))
            .map(|_| format!("{from} may not use {to}"));
    };
    if let Some((_, allowed)) = GUESTS.iter().find(|(guest, _)| *guest == from)
        && !allowed.contains(&target)
    {
        return Some(format!("{from} runs beside untrusted code and may not see {target}"));
    }
    let (Some(low), Some(high)) = (layer(target), layer(from)) else {
        return Some(format!("{from} or {target} has no layer: add it to LAYERS"));
    };
    let fine = low < high || WITHIN.contains(&(from, target));
    (!fine).then(|| format!("{from} (layer {high}) may not see {target} (layer {low})"))
}

#[test]
fn imports_point_to_a_lower_layer() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    assert!(rooms.len() > 15, "found only {} rooms", rooms.len());
    let edges = rooms.iter().flat_map(|(from, all)| all.iter().map(move |to| (*from, *to)));
    let wrong: Vec<_> = edges.filter_map(|(from, to)| refuse(from, to)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_edge_is_refused() {
    for (from, to) in [
        ("model", "hythe-store"),
        ("store", "hythe-pipeline"),
        ("router", "hythe-api"),
        ("lifecycle", "hythe-registry"),
        ("sandbox", "hythe-auth"),
        ("pipeline", "git2"),
        ("ssh", "axum"),
        ("api", "diesel"),
    ] {
        assert!(refuse(from, to).is_some(), "{from} -> {to} was let through");
    }
    assert_eq!(refuse("build", "hythe-sandbox"), None);
    assert_eq!(refuse("events", "hythe-store"), None);
}
