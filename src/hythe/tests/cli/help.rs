//! The help of every verb.

use crate::stage::Stage;
use std::fmt::Write;

#[test]
fn help_of_every_verb() {
    let stage = Stage::new([]);
    let mut text = String::new();
    let mut open: Vec<Vec<String>> = vec![vec![]];
    while let Some(path) = open.pop() {
        let args: Vec<_> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let ran = stage.run(&args);
        assert_eq!(ran.code, 0, "{ran:?}");
        writeln!(text, "$ hythe {}\n{}", args.join(" "), ran.out).unwrap();
        let verbs = ran
            .out
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty());
        let verbs: Vec<_> = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).collect();
        for verb in verbs.iter().rev().filter_map(|line| line.split_whitespace().next()) {
            open.push(path.iter().cloned().chain([verb.to_owned()]).collect());
        }
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn completions_know_the_verbs() {
    let stage = Stage::new([]);
    for shell in ["bash", "zsh", "fish"] {
        let ran = stage.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("rollback"), "{shell}");
    }
}
