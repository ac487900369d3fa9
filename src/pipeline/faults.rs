//! The story's own refusals, in words.

use hythe_model::project::FilePlace;
use hythe_model::{BuildId, CommitId, Fault, MountName, Process, ProcessType, ReleaseNumber, ToolName};
use hythe_source::SourceError;

pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Fault {
    tracing::error!(error = %error, "{what}");
    Fault::new("platform/internal", "The platform failed.")
        .why(format!("It could not {what}; its log has the details."))
        .next("Try again, or tell the operator.")
}

pub(crate) fn no_tool(tool: &ToolName) -> Fault {
    Fault::new("tools/absent", format!("There is no tool {tool}, or it is not yours."))
        .next(format!("Make it first: hythe tools create {tool}"))
}

pub(crate) fn no_mount(tool: &ToolName, name: &MountName) -> Fault {
    Fault::new(
        "releases/mount",
        format!("{tool} may not read the mount `{name}`, which its project.toml asks for."),
    )
    .why("Mounts are the operator's, who allows them tool by tool ([[mounts]]).")
    .next("Take it out of `mounts`, or ask the operator for it.")
}

pub(crate) fn no_config_file(place: &FilePlace, key: &str) -> Fault {
    Fault::new(
        "releases/config-file",
        format!("The config has no {key} for what runs, which project.toml wants as the file {place}."),
    )
    .why("Its value is to be there for instances before a release asks for it.")
    .next(format!("Set it: hythe config set --run {key}=- < the-file"))
}

pub(crate) fn no_build(build: BuildId) -> Fault {
    Fault::new("builds/absent", format!("There is no build {build}.")).next("See them: hythe builds list")
}

pub(crate) fn build_over(build: BuildId) -> Fault {
    Fault::new("builds/over", format!("Build {build} has ended already, or its release is live."))
        .next("To go back to an earlier release: hythe rollback")
}

pub(crate) fn release_over(tool: &ToolName, number: ReleaseNumber) -> Fault {
    Fault::new("releases/over", format!("{number} of {tool} does not roll out."))
        .next(format!("To go back to an earlier release: hythe rollback -t {tool}"))
}

pub(crate) fn release_cancelled() -> Fault {
    Fault::new("releases/cancelled", "The release was cancelled by `hythe releases cancel`.")
}

pub(crate) fn overtaken(live: ReleaseNumber) -> Fault {
    Fault::new(
        "releases/overtaken",
        format!("{live} went live before this release, which was begun earlier."),
    )
    .why("The server that rolled it out had stopped; the release is made again on what is live now.")
}

pub(crate) fn no_release(tool: &ToolName, number: ReleaseNumber) -> Fault {
    Fault::new("releases/absent", format!("{tool} has no release {number}."))
        .next(format!("See them: hythe releases -t {tool}"))
}

pub(crate) fn rollback_to_failed(number: ReleaseNumber) -> Fault {
    Fault::new(
        "releases/never-live",
        format!("{number} failed and was never live; there is nothing to go back to."),
    )
    .next("Choose a release that was live: hythe releases")
}

pub(crate) fn image_gone(tool: &ToolName, number: ReleaseNumber, kept: u32) -> Fault {
    Fault::new("releases/image-gone", format!("The image of {number} was removed."))
        .why(format!("The images of the newest {kept} releases of a tool are kept, and fewer where they are large ([registry] keep_releases, tool)."))
        .next(format!("See what there is: hythe releases -t {tool}; or push that commit again."))
}

pub(crate) fn nothing_deployed(tool: &ToolName) -> Fault {
    Fault::new("releases/none", format!("Nothing is deployed in {tool} yet."))
        .next("Push first: git push hythe main")
}

pub(crate) fn no_process(kind: &ProcessType, known: &[Process]) -> Fault {
    let known: Vec<_> = known.iter().map(|process| process.kind.as_str()).collect();
    Fault::new("scale/no-process", format!("The image has no process `{kind}`."))
        .why(format!("It has: {}.", known.join(", ")))
}

pub(crate) fn cancelled() -> Fault {
    Fault::new("push/cancelled", "The push was cancelled before its release was live.")
}

pub(crate) fn no_job_run(tool: &ToolName, run: &str) -> Fault {
    let run: String = run.chars().take(60).collect();
    Fault::new("jobs/over", format!("No run `{run}` of {tool} goes on."))
        .next(format!("See its runs: hythe jobs runs -t {tool}"))
}

pub(crate) fn client_gone() -> Fault {
    Fault::new("push/cancelled", "The push was cancelled: its client went away before the release was live.")
        .next("To build without waiting: git push -o detach hythe main")
}

pub(crate) fn cancelled_by_request() -> Fault {
    Fault::new("push/cancelled", "The build was cancelled by `hythe builds cancel`.")
}

pub(crate) fn tool_deleted(tool: &ToolName) -> Fault {
    Fault::new("push/cancelled", format!("Cancelled: {tool} is being removed."))
}

pub(crate) fn build_under_way(build: BuildId) -> Fault {
    Fault::new("builds/under-way", format!("Build {build} of this tool is under way."))
        .next(format!("Wait for it: hythe builds attach {build}"))
        .next(format!("Or end it: hythe builds cancel {build}"))
}

pub(crate) fn config_too_much() -> Fault {
    Fault::new("config/too-much", "The tool's config is too large: it has at most 200 keys and 1 MiB in all.")
        .next("Remove what is not used: hythe config unset")
}

pub(crate) fn superseded(newer: BuildId) -> Fault {
    Fault::new("push/superseded", format!("A newer push took this one's place: build {newer}."))
        .next(format!("Watch it: hythe logs -f --build {newer}"))
}

pub(crate) fn interrupted() -> Fault {
    Fault::new("push/interrupted", "The server stopped before the release was live.")
        .why("Nothing was released.")
        .next("Push again: git push hythe main")
}

pub(crate) fn turn_lost() -> Fault {
    Fault::new("rollout/turn-lost", "The release failed: another server took the tool's turn.")
        .why("This server could not reach the database for too long.")
        .next("Try again.")
}

pub(crate) fn changing(tool: &ToolName) -> Fault {
    Fault::new("rollout/changing", format!("What runs of {tool} is being changed by another rollout."))
        .next("Try again in a moment.")
}

pub(crate) fn server_gone() -> Fault {
    Fault::new(
        "push/interrupted",
        "The server that this push was connected to stopped before the release was live.",
    )
    .why("Nothing was released.")
    .next("Push again: git push hythe main")
}

/// The same words as where the move itself is refused.
pub(crate) fn branch_moved(tool: &ToolName, reference: &str, now: Option<CommitId>) -> Fault {
    SourceError::Moved { tool: tool.clone(), reference: reference.to_owned(), now }.fault()
}

pub(crate) fn branch_clashes(reference: &str, other: &str) -> Fault {
    let short = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
    let (branch, other) = (short(reference), short(other));
    Fault::new("push/branch-clashes", format!("The branch {branch} cannot stand beside the branch {other}."))
        .why("For git one of them would be a folder of the other.")
        .next(format!(
            "Push to {other}, or choose a deploy branch of another name: hythe tools set --branches"
        ))
}

pub(crate) fn config_key(key: &str) -> Fault {
    Fault::new("config/key", format!("`{key}` is not a config key."))
        .why("A key has letters, digits and underscores, at most 128, and does not start with a digit.")
}

pub(crate) fn config_reserved(key: &str) -> Fault {
    Fault::new("config/reserved", format!("`{key}` is set by the platform and cannot be changed."))
}

/// A stored value is not what the keys of this installation have sealed.
pub(crate) const CONFIG_UNREADABLE: &str = "config/unreadable";

pub(crate) fn config_unreadable(tool: &ToolName, key: &str) -> Fault {
    Fault::new(CONFIG_UNREADABLE, format!("The value of `{key}` in the config of {tool} cannot be opened."))
        .why("The installation's keys are not those that it was sealed with.")
        .next(
            "Tell the operator, who may have the keys in a backup; or set the value again: hythe config set",
        )
}

/// The id of the next.
pub(crate) const UNMASKABLE: &str = "config/unmaskable";

pub(crate) fn config_unmaskable(tool: &ToolName, why: &dyn std::fmt::Display) -> Fault {
    Fault::new(UNMASKABLE, format!("The values that {tool} has had are too many to be kept out of its logs."))
        .why(why.to_string())
        .next("Set fewer or shorter ones: hythe config unset")
}

pub(crate) fn config_too_large() -> Fault {
    Fault::new("config/too-large", "The value is too large: a config value has at most 64 KiB.")
        .next("Keep larger things in the repository, or in a store of your own.")
}
