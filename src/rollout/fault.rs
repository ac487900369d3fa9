//! What a rollout says when it fails.
//!
//! Each function is one fault with a stable id; [`of_failure`] picks the one that fits.

use crate::canary::counted;
use crate::runtime::{Answers, RunnableRelease};
use crate::settings::Readiness;
use crate::status::ExitReason;
use crate::status::limit as size;
use hythe_model::render::duration;
use hythe_model::{Fault, InstanceId, ProcessType, Release};

/// The id of the fault that the cluster does not answer.
pub const CLUSTER_AWAY: &str = "rollout/cluster-away";

/// Why the first instance of a place did not get ready.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// It could not be started.
    Start(Fault),
    /// It ended.
    Exited(ExitReason),
    /// It did not get ready in time: what was seen instead, what it had printed.
    NotReady(String, Vec<String>),
}

/// The line that a failed start leaves in the log, as in "instance 1 started, exited with code 1 after 0.8 s".
pub(crate) fn note(id: &InstanceId, failure: &Failure) -> Option<String> {
    let name = if id.process.is_web() {
        format!("instance {}", id.place)
    } else {
        format!("{} {}", id.process, id.place)
    };
    match failure {
        Failure::Start(_) => None,
        Failure::Exited(exit) => {
            let how = match (exit.code, exit.memory_limit) {
                (Some(code), None) => format!("exited with code {code}"),
                _ => exit.text(),
            };
            Some(format!("{name} started, {how} after {}", duration(exit.millis)))
        }
        Failure::NotReady(seen, _) => Some(format!("{name} started, not ready: {seen}")),
    }
}

/// Why an instance of a candidate did not get ready.
pub(crate) fn of_failure(release: &RunnableRelease, id: &InstanceId, failure: Failure) -> Fault {
    match failure {
        Failure::Start(fault) => fault,
        Failure::NotReady(seen, lines) => not_ready(release, id, &seen, &lines),
        Failure::Exited(exit) => exited(release, id, &exit),
    }
}

fn exited(release: &RunnableRelease, id: &InstanceId, exit: &ExitReason) -> Fault {
    let process = &id.process;
    let before = if process.is_web() { "before it listens" } else { "right after its start" };
    let fault = if let Some(limit) = exit.memory_limit {
        let what = format!("The release failed: the {process} process needs more memory than it may use.");
        Fault::new("rollout/out-of-memory", what)
            .why(format!("It was ended when it went over {}.", size(limit)))
    } else if let Some(limit) = exit.disk_limit {
        let what = format!("The release failed: the {process} process writes more to its disk than it may.");
        Fault::new("rollout/disk-full", what).why(format!("It was ended when it went over {}.", size(limit)))
    } else if exit.code == Some(0) {
        let what = format!("The release failed: the {process} process ends by itself {before}.");
        let why = format!(
            "It ended with code 0 after {}; a process of a tool runs until it is told to stop.",
            duration(exit.millis)
        );
        Fault::new("rollout/exited-zero", what).why(why)
    } else {
        let verb = if exit.signal.is_some() { "is killed" } else { "exits" };
        let what = format!("The release failed: the {process} process {verb} {before}.");
        Fault::new("rollout/crashed", what).why(format!(
            "It ended after {}: {}.",
            duration(exit.millis),
            exit.text()
        ))
    };
    let fault = printed(started_as(fault, release, process), &exit.last_lines);
    let fault = match exit.memory_limit {
        Some(_) => {
            fault.next("Load less at its start, run fewer workers, or ask the operator for more memory.")
        }
        None => fault,
    };
    try_it(fault, &release.release)
}

fn not_ready(release: &RunnableRelease, id: &InstanceId, seen: &str, lines: &[String]) -> Fault {
    let (settings, process) = (&release.settings, &id.process);
    let (port, limit) = (settings.port, settings.timeout.as_secs());
    let fault = match &settings.readiness {
        Readiness::Http { path } if seen.starts_with("GET") => {
            let what = format!("The release failed: the {process} process does not say that it is well.");
            Fault::new("rollout/not-healthy", what).why(format!(
                "Within {limit} s, {path} did not answer with a status of 200 to 399. Seen last: {seen}."
            ))
        }
        _ => {
            let what = format!("The release failed: the {process} process does not listen on port {port}.");
            Fault::new("rollout/not-listening", what)
                .why(format!("It ran for {limit} s and nothing answered on port {port}. Seen last: {seen}."))
                .why("The port is in the variable PORT; listen on it at 0.0.0.0, not at another port.")
        }
    };
    try_it(printed(started_as(fault, release, process), lines), &release.release)
}

fn started_as(fault: Fault, release: &RunnableRelease, kind: &ProcessType) -> Fault {
    match release.release.processes.iter().find(|process| process.kind == *kind) {
        Some(process) => fault.why(format!("It was started as: {}", process.command)),
        None => fault,
    }
}

fn printed(fault: Fault, lines: &[String]) -> Fault {
    if lines.is_empty() {
        return fault.why("It printed nothing.");
    }
    fault.why("It printed last:").why_lines(lines.iter().map(|line| format!("  {line}")))
}

fn try_it(fault: Fault, release: &Release) -> Fault {
    fault.next(format!(
        "Try the image: hythe run --tool {} --release {} -- ls -la",
        release.tool, release.number
    ))
}

/// The canary answers with errors.
pub(crate) fn canary_errs(release: &Release, new: Answers, old: Answers, allowed: u32) -> Fault {
    let beside = format!("What served beside it in the same time: {}.", counted(old));
    let fault =
        Fault::new("rollout/canary-errors", "The release failed: its canary answers with server errors.")
            .why(format!("It had {}; {allowed} % are allowed.", counted(new)))
            .why(beside);
    see_its_log(fault, release)
}

/// The canary took traffic and did not stay up.
pub(crate) fn canary_ended(release: &RunnableRelease, exit: &ExitReason) -> Fault {
    let fault = Fault::new("rollout/canary-ended", "The release failed: its canary did not stay up.").why(
        format!("It was ready, took traffic and ended after {}: {}.", duration(exit.millis), exit.text()),
    );
    see_its_log(printed(fault, &exit.last_lines), &release.release)
}

/// The canary took traffic and is not ready any more.
pub(crate) fn canary_unwell(release: &RunnableRelease, lines: &[String]) -> Fault {
    let fault = Fault::new("rollout/canary-unwell", "The release failed: its canary is not ready any more.")
        .why("It was ready, took traffic and does not answer the readiness check now.");
    see_its_log(printed(fault, lines), &release.release)
}

fn see_its_log(fault: Fault, release: &Release) -> Fault {
    fault.next(format!("See all that it printed: hythe logs --tool {}", release.tool))
}

/// The caller let go before everything was ready.
pub(crate) fn cancelled(release: &Release) -> Fault {
    Fault::new(
        "rollout/cancelled",
        format!("The release {} was cancelled before it took traffic.", release.number),
    )
}

/// Every process of the formation must be one that the image offers.
pub(crate) fn check_formation(release: &RunnableRelease) -> Result<(), Fault> {
    let offered = &release.release.processes;
    let wanted = release.release.formation.0.iter().filter(|(_, count)| **count > 0);
    let missing = |kind: &ProcessType| !offered.iter().any(|process| process.kind == *kind);
    match wanted.map(|(kind, _)| kind).find(|kind| missing(kind)) {
        Some(kind) => Err(no_such_process(&release.release, kind)),
        None => Ok(()),
    }
}

/// The formation asks for a process that the image does not offer.
pub(crate) fn no_such_process(release: &Release, kind: &ProcessType) -> Fault {
    let offered: Vec<_> = release.processes.iter().map(|process| process.kind.as_str()).collect();
    let what = format!("The release failed: its image has no process `{kind}`.");
    let fault = Fault::new("rollout/no-such-process", what);
    let fault = if offered.is_empty() {
        fault.why("It offers no process at all.")
    } else {
        fault.why(format!("It offers: {}.", offered.join(", ")))
    };
    fault
        .next("Name the process in a Procfile, one line each, as in `web: gunicorn app:app`.")
        .next(format!("Or run none of it: hythe scale --tool {} {kind}=0", release.tool))
}

/// The release's image cannot be run.
pub(crate) fn bad_image(release: &Release, why: impl Into<String>) -> Fault {
    Fault::new(
        "rollout/image",
        format!("The release failed: the image {} cannot be run.", release.image.short()),
    )
    .why(why)
    .next(format!("Build it again: hythe redeploy --tool {} --no-cache", release.tool))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::testing;

    fn web() -> (RunnableRelease, InstanceId) {
        let release = testing::release("weather", 14, "web=1");
        let id = testing::instance(&release, "web", 1);
        (release, id)
    }

    fn text(fault: &Fault) -> String {
        hythe_model::render::fault_lines(fault).join("\n").trim_start().to_owned()
    }

    #[test]
    fn every_end_of_a_first_instance_has_its_words() {
        let (release, id) = web();
        let lines = || {
            vec![
                "Traceback (most recent call last):".to_owned(),
                "ModuleNotFoundError: No module named 'settings'".to_owned(),
            ]
        };
        let exit = ExitReason { code: Some(1), millis: 812, last_lines: lines(), ..ExitReason::default() };
        let ends = [
            Failure::Exited(exit.clone()),
            Failure::Exited(ExitReason { code: Some(0), millis: 90, last_lines: Vec::new(), ..exit.clone() }),
            Failure::Exited(ExitReason { code: None, signal: Some(11), ..exit.clone() }),
            Failure::Exited(ExitReason {
                code: None,
                signal: Some(9),
                memory_limit: Some(128 << 20),
                ..exit.clone()
            }),
            Failure::Exited(ExitReason { code: None, signal: Some(9), disk_limit: Some(1 << 30), ..exit }),
            Failure::NotReady(
                "connection refused".to_owned(),
                vec!["Listening on 127.0.0.1:5000".to_owned()],
            ),
        ];
        let said = ends.into_iter().map(|end| {
            let note = note(&id, &end).unwrap_or_default();
            format!("rollout   {note}\n{}", text(&of_failure(&release, &id, end)))
        });
        insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn a_failed_health_check_says_what_was_answered() {
        let (mut release, id) = web();
        release.settings.readiness = Readiness::Http { path: "/healthz".to_owned() };
        let end = Failure::NotReady("GET /healthz answered 503".to_owned(), Vec::new());
        insta::assert_snapshot!(text(&of_failure(&release, &id, end)));
    }

    #[test]
    fn a_canary_that_does_not_do_well_has_words_of_its_own() {
        let (release, _) = web();
        let lines = vec!["KeyError: 'wind'".to_owned()];
        let exit =
            ExitReason { code: Some(1), millis: 7300, last_lines: lines.clone(), ..ExitReason::default() };
        let answers = |all, errors| Answers { all, errors };
        let faults = [
            canary_errs(&release.release, answers(50, 7), answers(211, 1), 5),
            canary_ended(&release, &exit),
            canary_unwell(&release, &lines),
        ];
        insta::assert_snapshot!(faults.iter().map(text).collect::<Vec<_>>().join("\n\n"));
    }

    #[test]
    fn mistakes_of_the_release_have_their_words() {
        let (release, _) = web();
        let release = release.release;
        let faults = [
            no_such_process(&release, &"worker".parse().unwrap()),
            bad_image(&release, "its config names the user `nobody2`, who is not in its /etc/passwd"),
            cancelled(&release),
        ];
        insta::assert_snapshot!(faults.iter().map(text).collect::<Vec<_>>().join("\n\n"));
    }
}
