//! The copy of every fault of a build.

use super::*;
use hythe_cnb::BuildpackId;

fn show(fault: &Fault) -> String {
    let lines = fault.why.iter().chain(&fault.next).map(|line| format!("\n  {line}"));
    format!("{} [{}]{}", fault.what, fault.id, lines.collect::<String>())
}

fn show_all(faults: impl IntoIterator<Item = Fault>) -> String {
    faults.into_iter().map(|fault| show(&fault)).collect::<Vec<_>>().join("\n\n")
}

fn id(text: &str) -> BuildpackId {
    text.parse().unwrap()
}

fn refused(operation: &'static str, code: ErrorCode, message: &str) -> SandboxError {
    SandboxError::Refused { operation, code, message: message.into() }
}

#[test]
fn limits() {
    let limits = BuildLimits::default();
    let of = |cause| {
        let exit = Exit { code: None, signal: Some(9), cause, ran: std::time::Duration::ZERO };
        of_exit(&exit, &limits)
    };
    let causes = [
        ExitCause::OutOfMemory,
        ExitCause::DiskFull,
        ExitCause::TimedOut,
        ExitCause::OutputTooLong,
        ExitCause::Killed,
        ExitCause::Exited,
    ];
    insta::assert_snapshot!(show_all(causes.map(of).into_iter().chain([result_too_large(), cancelled()])));
}

#[test]
fn what_the_platform_failed_at() {
    let unpack = sandbox("unpack the source");
    insta::assert_snapshot!(show_all([
        platform("open a pipe")("too many open files"),
        unpack(refused("unpacking", ErrorCode::Io, "no")),
        unpack(refused("unpacking", ErrorCode::DiskFull, "no space left on device")),
    ]));
}

#[test]
fn what_cannot_be_exported() {
    let of = |code, message| packing("the layer test/a:deps", refused("packing a layer", code, message));
    insta::assert_snapshot!(show_all([
        of(ErrorCode::TooLarge, "The files to be written have more than 8.5 GB"),
        of(ErrorCode::Invalid, "builds/7/layers is no folder"),
        of(ErrorCode::DiskFull, "no space left on device"),
        of(ErrorCode::Io, "builds/7/layers/test_a/deps/x changed while it was being read"),
        too_many("slices", 101, 100),
        nothing_to_reuse(&id("test/a"), &"deps".parse().unwrap()),
    ]));
}

#[test]
fn what_detect_did_not_find() {
    let named = |name: &str, said: &[&str]| Named {
        id: id(name),
        version: "1.0.0".parse().unwrap(),
        said: said.iter().map(|line| (*line).to_owned()).collect(),
    };
    let broken = BrokenDetect {
        id: id("test/b"),
        reason: "it exited with code 7".into(),
        tail: vec!["Traceback:".into(), "  \u{1b}[31mno".into()],
        fault: None,
    };
    insta::assert_snapshot!(show_all([
        of_failure(Failure::NothingMatches {
            looked: vec![named("hythe/python", &["no requirements.txt"]), named("test/silent", &[])],
        }),
        of_failure(Failure::DetectBroken { broken: vec![broken] }),
    ]));
}

#[test]
fn what_a_buildpack_failed_at() {
    let build = |code, signal| Failure::Build {
        buildpack: id("test/a"),
        code,
        signal,
        fault: None,
        tail: vec!["last words".into()],
    };
    let broken = Failure::Buildpack { buildpack: "test/a".into(), reason: "launch.toml: no type".into() };
    let failures = [build(Some(7), None), build(None, Some(11)), build(None, None), broken];
    insta::assert_snapshot!(show_all(failures.map(of_failure)));
}

#[test]
fn a_written_fault_is_held_to_measures() {
    let written = WrittenFault {
        id: "Python/../x".into(),
        what: "a\u{1b}[31mb".repeat(1000),
        why: vec!["x".into(); 1000],
        next: vec![],
    };
    let fault = of_written(written);
    assert_eq!(fault.id, "build/buildpack-failed");
    assert_eq!((fault.what.chars().count(), fault.why.len()), (TEXT, TAIL));
    assert!(!fault.what.contains('\u{1b}'));
}
