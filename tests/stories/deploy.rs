//! What an operator applies (`deploy/kubernetes`), judged by a real API server with the definitions that it is written for.

use crate::support::{Ran, checkout, kubectl, told};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Asks the API server about `base` with a component, and changes nothing.
fn tried(component: &str, change: impl FnOnce(PathBuf)) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let copied =
        Command::new("cp").arg("-R").arg(checkout().join("deploy/kubernetes")).arg(folder.path()).status();
    assert!(copied.expect("cp").success());
    let deploy = folder.path().join("kubernetes");
    change(deploy.join(component));
    let overlay = deploy.join("mine");
    fs::create_dir(&overlay).expect("a folder");
    let text = format!("resources: [../base]\ncomponents: [../{component}]\n");
    fs::write(overlay.join("kustomization.yaml"), text).expect("a file");
    kubectl(&["apply", "--dry-run=server", "--validate=strict", "-k", overlay.to_str().expect("a path")])
}

#[test]
fn the_router_stands_behind_an_ingress_or_a_gateway() {
    let namespace = checkout().join("deploy/kubernetes/base/namespace.yaml");
    kubectl(&["apply", "-f", namespace.to_str().expect("a path")]).ok();
    let definitions = PathBuf::from(told("HYTHE_CLUSTER_BIN")).join("crd");
    let files = fs::read_dir(definitions).expect("a folder").filter_map(Result::ok).map(|entry| entry.path());
    for file in files.filter(|file| file.to_string_lossy().contains("gateway.networking.k8s.io")) {
        let file = file.to_str().expect("a path");
        kubectl(&["apply", "--server-side", "-f", file]).ok();
        kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file]).ok();
    }
    let ingress = tried("ingress", drop).ok().out;
    assert!(ingress.contains("ingress.networking.k8s.io/hythe"), "{ingress}");
    let gateway = tried("gateway", drop).ok().out;
    for object in
        ["httproute.gateway.networking.k8s.io/tools", "backendtlspolicy.gateway.networking.k8s.io/router"]
    {
        assert!(gateway.contains(object), "{gateway}");
    }
    // The same look sees a mistake.
    let misspelt = tried("gateway", |component| {
        let file = component.join("routes.yaml");
        let text = fs::read_to_string(&file).expect("a file").replace("hostnames:", "hosts:");
        fs::write(file, text).expect("a file");
    });
    misspelt.failed().says("unknown field \"spec.hosts\"");
}
