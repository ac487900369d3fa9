//! Faults of a build, in words.

use crate::BuildLimits;
use crate::hear::Told;
use crate::layer::LayerWriteError;
use crate::pods::Failed;
use hythe_carrier::{Refusal, Refused};
use hythe_cnb::protocol::{BrokenDetect, Failure, Named, WrittenFault};
use hythe_cnb::{BuildpackId, LayerName};
use hythe_model::render::{duration, size};
use hythe_model::{Fault, ToolName};
use hythe_registry::RegistryError;
use hythe_sandbox::{ErrorCode, Exit, ExitCause, SandboxError};
use std::time::Duration;

/// Lines of output that a fault shows at most.
const TAIL: usize = 20;
/// Characters of an untrusted text that a fault shows at most.
const TEXT: usize = 400;

/// The platform failed, not the build: the log has the details.
pub(crate) fn platform<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Fault + Copy {
    move |error| {
        tracing::error!(%error, "a build could not {what}");
        Fault::new("build/platform", "The build failed for a reason that is the platform's.")
            .why(format!("It could not {what}; the platform's log has the details."))
            .next("Try again, or tell the operator.")
    }
}

/// The helper failed; a full disk has a fault of its own.
pub(crate) fn sandbox(what: &'static str) -> impl Fn(SandboxError) -> Fault + Copy {
    move |error| match error.code() {
        Some(ErrorCode::DiskFull) => disk_full(what),
        _ => platform(what)(error),
    }
}

fn disk_full(what: &str) -> Fault {
    Fault::new("build/platform-disk-full", "The build failed: the platform's disk is full.")
        .why(format!("It could not {what}."))
        .next("Ask the operator to free space in the data folder.")
}

/// The content store failed; a full disk has a fault of its own.
pub(crate) fn registry(error: RegistryError) -> Fault {
    match error {
        RegistryError::Full { .. } => export_full(),
        error => platform("write the image")(error),
    }
}

/// One of the platform's own layers could not be written.
pub(crate) fn own_layer(error: LayerWriteError) -> Fault {
    match error {
        LayerWriteError::Registry(error) => registry(error),
        LayerWriteError::Blob(error) if error.kind() == std::io::ErrorKind::StorageFull => export_full(),
        error => platform("write the image")(error),
    }
}

/// The helper could not pack this layer, as `the app`.
pub(crate) fn packing(layer: &str, error: SandboxError) -> Fault {
    match error.code() {
        Some(ErrorCode::DiskFull) => export_full(),
        Some(ErrorCode::TooLarge) => match error {
            SandboxError::Refused { message, .. } => too_large(layer, &message),
            other => too_large(layer, &other.to_string()),
        },
        Some(ErrorCode::Archive | ErrorCode::Invalid | ErrorCode::NotFound) => unreadable(&error.to_string()),
        _ => platform("write a layer")(error),
    }
}

fn unreadable(why: &str) -> Fault {
    Fault::new("export/layer-unreadable", "The build failed: a layer cannot be written into the image.")
        .why(cut(why))
        .next("See what the buildpack leaves in its layers and in the app: sockets, devices or links in place of folders.")
}

fn too_large(layer: &str, why: &str) -> Fault {
    let what = format!("The build failed: {} is too large for an image.", cut(layer));
    Fault::new("export/too-large", what)
        .why(format!("{}.", cut(why)))
        .why("The holes of a sparse file count as bytes, and a file with several names counts once for each.")
        .next("Leave out what the tool does not need to run, or ask the operator for more ([builder] disk).")
}

/// The images of a tool have too many bytes together.
pub(crate) fn images_too_large(tool: &ToolName, bytes: u64, most: u64) -> Fault {
    let what =
        format!("The build failed: the images of {tool} take {}, and may take {}.", size(bytes), size(most));
    Fault::new("export/images-too-large", what)
        .why("Those that nobody needs any more go within a day or so; what builds wrote since then counts too.")
        .next("Leave out what the tool does not need to run, and push again tomorrow.")
        .next("Or ask the operator for more ([registry] tool).")
}

pub(crate) fn too_many(what: &str, count: usize, most: usize) -> Fault {
    Fault::new("export/too-many-layers", format!("The build failed: the image would have too many {what}."))
        .why(format!("It would have {count} {what}; {most} is the most."))
        .next("Let the buildpack use fewer launch layers, or fewer slices in its launch.toml.")
}

pub(crate) fn nothing_to_reuse(buildpack: &BuildpackId, layer: &LayerName) -> Fault {
    let what = format!("The build failed: {buildpack} keeps its layer `{layer}`, and there is none to keep.");
    Fault::new("export/nothing-to-reuse", what)
        .why("The buildpack left a launch layer without a folder, and the previous image does not have it.")
        .next("Build without the cache: git push -o no-cache hythe main")
}

fn export_full() -> Fault {
    Fault::new("export/disk-full", "The build failed: the platform's disk is full.")
        .why("The image was not published; nothing of it is left.")
        .next("Ask the operator to free space in the data folder.")
}

pub(crate) fn cancelled() -> Fault {
    Fault::new("build/cancelled", "The build was cancelled.")
}

/// The lifecycle said why there is nothing to export.
pub(crate) fn of_failure(failure: Failure) -> Fault {
    match failure {
        Failure::NothingMatches { looked } => nothing_matches(&looked),
        Failure::DetectBroken { broken } => detect_broken(broken),
        Failure::Build { fault: Some(written), .. } => of_written(written),
        Failure::Build { buildpack, code, signal, fault: None, tail } => {
            let how = match (code, signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "no exit code".to_owned(),
            };
            Fault::new(
                "build/buildpack-failed",
                format!("The build failed: the buildpack {buildpack} ended with {how}."),
            )
            .why_lines(last(tail))
        }
        Failure::Buildpack { buildpack, reason } => Fault::new(
            "build/buildpack-invalid",
            format!("The build failed: the buildpack {} broke the rules.", cut(&buildpack)),
        )
        .why(cut(&reason))
        .next("This is for the buildpack's author; the operator can take it out of the builder."),
        Failure::Setup { reason } => platform("set the build up")(cut(&reason)),
    }
}

fn nothing_matches(looked: &[Named]) -> Fault {
    let mut fault =
        Fault::new("detect/nothing-matches", "The build failed: nothing in the repository says what it is.");
    for buildpack in looked.iter().take(TAIL) {
        let said = buildpack.said.first().map_or("does not apply", String::as_str);
        fault = fault.why(format!("{:<16} {}", buildpack.id.to_string(), cut(said)));
    }
    fault.next("Add one of these files, or a Procfile that names a `web` process.")
}

fn detect_broken(broken: Vec<BrokenDetect>) -> Fault {
    let mut fault =
        Fault::new("detect/failed", "The build failed: a buildpack could not tell whether it applies.");
    for detect in broken.into_iter().take(4) {
        if let Some(written) = detect.fault {
            return of_written(written);
        }
        fault = fault.why(format!("{}: {}", detect.id, cut(&detect.reason))).why_lines(last(detect.tail));
    }
    fault
}

/// A buildpack's own words, held to a fault's measures.
fn of_written(written: WrittenFault) -> Fault {
    let id_is_fine = written.id.len() <= 64
        && written.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/-.".contains(&b));
    let id = if id_is_fine { written.id } else { "build/buildpack-failed".to_owned() };
    let lines = |lines: Vec<String>| lines.into_iter().take(TAIL).map(|line| cut(&line)).collect::<Vec<_>>();
    Fault { id, what: cut(&written.what), why: lines(written.why), next: lines(written.next) }
}

/// The sandbox ended before the lifecycle had said how.
pub(crate) fn of_exit(exit: &Exit, limits: &BuildLimits) -> Fault {
    of_end(exit.cause, exit.code, limits)
}

fn of_end(cause: ExitCause, code: Option<i32>, limits: &BuildLimits) -> Fault {
    let ran = |limit: std::time::Duration| duration(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    match cause {
        ExitCause::OutOfMemory => Fault::new(
            "build/out-of-memory",
            format!("The build failed: it used more than {} of memory.", size(limits.memory_bytes)),
        )
        .next("Let it do less at a time, or ask the operator for more ([builder] memory)."),
        ExitCause::DiskFull => Fault::new(
            "build/disk-full",
            format!("The build failed: it wrote more than {}.", size(limits.disk_bytes)),
        )
        .next("Remove what it need not write, or ask the operator for more ([builder] disk)."),
        ExitCause::TimedOut => Fault::new(
            "build/too-long",
            format!("The build failed: it took longer than {}.", ran(limits.wall)),
        )
        .next("See in its log where the time goes; the operator sets the limit ([builder] time)."),
        ExitCause::OutputTooLong => too_much_output(limits),
        ExitCause::Killed | ExitCause::Exited => {
            let code = code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
            Fault::new("build/ended-early", "The build failed: it ended before it was done.")
                .why(format!("The build's processes ended with {code} and no result."))
                .next("Push again; if it happens again, the build may be ending its own processes.")
        }
    }
}

/// A container of a build's pod ended, and this is how its lifecycle said that it went.
pub(crate) fn of_pod(failed: &Failed, told: Told, limits: &BuildLimits) -> Fault {
    let cause = match &failed.evicted {
        Some(words) if words.starts_with("DeadlineExceeded") => ExitCause::TimedOut,
        Some(_) => ExitCause::DiskFull,
        None if failed.out_of_memory => ExitCause::OutOfMemory,
        None => ExitCause::Exited,
    };
    match told {
        Some(Err(failure)) if cause == ExitCause::Exited => of_failure(failure),
        _ => of_end(cause, Some(failed.code), limits),
    }
}

/// It took longer than it may.
pub(crate) fn too_long(limits: &BuildLimits) -> Fault {
    of_end(ExitCause::TimedOut, None, limits)
}

/// A build's pod did not come so far as to build.
pub(crate) fn pod_not_started(hindrance: Option<&str>, patience: Duration) -> Fault {
    let seconds = patience.as_secs();
    let fault = Fault::new("build/pod-not-started", "The build failed: the cluster does not start its pod.")
        .why(format!("It has not begun within {seconds} s."));
    let fault = match hindrance {
        Some(words) => fault.why(cut(words)),
        None => fault,
    };
    fault.next("The operator sees to room on the nodes, that they are ready (`kubectl get nodes`) and that they reach the registry; then push again.")
}

/// What it sees of the config does not fit into a Secret.
pub(crate) fn config_too_large() -> Fault {
    Fault::new(
        "build/config-too-large",
        "The build failed: what it sees of the config is larger than a cluster's Secret may be.",
    )
    .why("All keys and values together, as JSON, may have 1 MiB.")
    .next("Give values that only what runs needs to that alone: hythe config set --run KEY=...")
}

/// Its pod went away twice.
pub(crate) fn pod_lost(why: &str) -> Fault {
    Fault::new("build/pod-lost", "The build failed: its pod was lost, twice.")
        .why(cut(why))
        .next("Push again; if it happens again, the operator looks at the nodes.")
}

/// A tree that a pod could not pack.
pub(crate) fn refused(refused: &Refused) -> Fault {
    match refused.why {
        Refusal::TooLarge => too_large(&refused.what, &refused.message),
        Refusal::Unreadable => unreadable(&refused.message),
    }
}

pub(crate) fn too_much_output(limits: &BuildLimits) -> Fault {
    let what = format!("The build failed: it printed more than {}.", size(limits.output_bytes));
    Fault::new("build/too-much-output", what)
        .next("Let it print less; the operator sets the limit ([builder] output).")
}

pub(crate) fn result_too_large() -> Fault {
    Fault::new("build/too-much-output", "The build failed: its result is too large.")
        .why("What the buildpacks wrote of layers, processes, labels and bills of materials is bounded in all.")
        .next("Let the buildpack write less metadata and fewer bills of materials.")
}

fn last(lines: Vec<String>) -> Vec<String> {
    let skip = lines.len().saturating_sub(TAIL);
    lines.into_iter().skip(skip).map(|line| cut(&line)).collect()
}

/// Untrusted text, without control characters and of a bearable length.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

#[cfg(test)]
mod tests;
