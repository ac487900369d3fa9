//! What an operator applies (`deploy/kubernetes`), judged by a real API server with the definitions that it is written for.

use crate::support::{Ran, checkout, kubectl, told};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of `deploy/kubernetes`, which goes with the first of both.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let status =
        Command::new("cp").arg("-R").arg(checkout().join("deploy/kubernetes")).arg(folder.path()).status();
    assert!(status.expect("cp").success());
    let deploy = folder.path().join("kubernetes");
    (folder, deploy)
}

/// Asks the API server about an overlay of `base` or `replicas` with a component, and changes nothing.
fn tried(shape: &str, component: &str, change: impl FnOnce(PathBuf)) -> Ran {
    let (_folder, deploy) = copied();
    change(deploy.join(component));
    let overlay = deploy.join("mine");
    fs::create_dir(&overlay).expect("a folder");
    let text = format!("resources: [../{shape}]\ncomponents: [../{component}]\n");
    fs::write(overlay.join("kustomization.yaml"), text).expect("a file");
    asked(&overlay)
}

/// Changes a file as an operator would.
fn change(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replace(from, to)).expect("a file");
}

fn asked(overlay: &Path) -> Ran {
    kubectl(&["apply", "--dry-run=server", "--validate=strict", "-k", overlay.to_str().expect("a path")])
}

fn make_namespace() {
    let namespace = checkout().join("deploy/kubernetes/base/namespace.yaml");
    kubectl(&["apply", "-f", namespace.to_str().expect("a path")]).ok();
}

#[test]
fn the_example_and_the_way_to_several_servers_are_accepted() {
    make_namespace();
    let (_folder, deploy) = copied();
    let example = deploy.join("example");
    change(&example.join("kustomization.yaml"), "10.96.0.50", "10.213.200.50");
    let example = asked(&example).ok().out;
    assert!(example.contains("statefulset.apps/hythe "), "{example}");
    let moved = tried("replicas", "move", drop).ok().out;
    for object in ["deployment.apps/hythe ", "job.batch/hythe-move "] {
        assert!(moved.contains(object), "{moved}");
    }
}

#[test]
fn the_router_stands_behind_an_ingress_or_a_gateway() {
    make_namespace();
    let definitions = PathBuf::from(told("HYTHE_CLUSTER_BIN")).join("crd");
    let files = fs::read_dir(definitions).expect("a folder").filter_map(Result::ok).map(|entry| entry.path());
    for file in files.filter(|file| file.to_string_lossy().contains("gateway.networking.k8s.io")) {
        let file = file.to_str().expect("a path");
        kubectl(&["apply", "--server-side", "-f", file]).ok();
        kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file]).ok();
    }
    let ingress = tried("base", "ingress", drop).ok().out;
    assert!(ingress.contains("ingress.networking.k8s.io/hythe"), "{ingress}");
    let gateway = tried("base", "gateway", drop).ok().out;
    for object in
        ["httproute.gateway.networking.k8s.io/tools", "backendtlspolicy.gateway.networking.k8s.io/router"]
    {
        assert!(gateway.contains(object), "{gateway}");
    }
    // The same look sees a mistake.
    let misspelt = tried("base", "gateway", |component| {
        change(&component.join("routes.yaml"), "hostnames:", "hosts:");
    });
    misspelt.failed().says("unknown field \"spec.hosts\"");
}
