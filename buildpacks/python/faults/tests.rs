//! The copy, over output that pip 23.0.1 really printed.

use super::*;

const REQUIREMENTS: &str = "gunicorn==23.0.0\n# web\nflaks==3.0\n";

fn copy(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    show(&of_pip(&lines, Some(REQUIREMENTS), "3.11"))
}

fn show(fault: &Fault) -> String {
    let lines = fault.why.iter().chain(&fault.next).map(|line| format!("\n  {line}"));
    format!("{} [{}]{}", fault.what, fault.id, lines.collect::<String>())
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
fn a_line_that_is_no_requirement() {
    insta::assert_snapshot!(copy(include_str!("recorded/invalid.txt")));
}

#[test]
fn an_included_file_that_is_not_there() {
    insta::assert_snapshot!(copy(include_str!("recorded/missing-file.txt")));
}

#[test]
fn versions_that_do_not_go_together() {
    insta::assert_snapshot!(copy(include_str!("recorded/conflict.txt")));
}

#[test]
fn a_package_that_does_not_compile() {
    insta::assert_snapshot!(copy(include_str!("recorded/compile.txt")));
}

#[test]
fn a_package_whose_build_script_fails() {
    insta::assert_snapshot!(copy(include_str!("recorded/build-script.txt")));
}

#[test]
fn a_package_for_another_python() {
    insta::assert_snapshot!(copy(include_str!("recorded/python.txt")));
}

#[test]
fn an_index_that_does_not_answer() {
    insta::assert_snapshot!(copy(include_str!("recorded/unreachable.txt")));
}

#[test]
fn a_hash_that_does_not_match() {
    insta::assert_snapshot!(copy(include_str!("recorded/hash.txt")));
}

#[test]
fn anything_else_shows_what_pip_said() {
    insta::assert_snapshot!(copy("Collecting x\nERROR: something new\n"));
}

#[test]
fn faults_of_the_source() {
    let toml = "[project]\nname = \"x\"\ndependencies = [\n";
    let error = toml::from_str::<toml::Table>(toml).unwrap_err();
    let application = Application::example("main.py", "main:app");
    let wish = toml::Value::from("^1 || ^2");
    let all = [
        pyproject_invalid(toml, &error),
        sources_unsupported("shared", "tool.uv.sources"),
        poetry_unsupported("six", &wish),
        python_unreadable("latest", ".python-version"),
        python_unavailable(">=3.13", "pyproject.toml", "3.11.2"),
        no_server(&application),
        no_start_command(Path::new("/no/such/folder")),
    ];
    insta::assert_snapshot!(all.iter().map(show).collect::<Vec<_>>().join("\n\n"));
}
