//! How a release is run: what the operator allows, over it what the tool's maintainers chose by API, over that what the
//! repository says, over that the platform's defaults.

use hythe_model::project::{Canary, CommandLine, ProcessWishes, ReleaseCommand};
use hythe_model::units::{Cores, Size, Span};
use hythe_model::{MountName, ProcessType, Project, Release, ReleaseCause, ToolName};
use hythe_rollout::{ProcessSettings, ReadMount, Readiness, RunLimits, RunSettings};
use hythe_store::ToolSettings;
use std::time::Duration;

/// The platform's settings with a tool's and a repository's laid over them. Nobody gets more than the platform's limits.
pub(crate) fn resolve(platform: &RunSettings, tool: &ToolSettings, project: &Project) -> RunSettings {
    let mut settings = platform.clone();
    let web = project.processes.get(&ProcessType::web());
    let asked = web.and_then(|web| web.readiness.as_ref());
    let path = tool.health_path.as_ref().or_else(|| asked?.path.as_ref());
    if path.is_some() {
        settings.readiness = Readiness::of(path);
    }
    let chosen = tool.readiness_seconds.map(seconds);
    let timeout = chosen.or_else(|| asked?.timeout.map(Span::duration));
    settings.timeout = timeout.unwrap_or(settings.timeout);
    settings.liveness = web.and_then(|web| web.liveness.clone());
    settings.grace = tool.grace_seconds.map_or(settings.grace, seconds);
    let memory = settings.limits.memory_bytes;
    settings.limits.memory_bytes = tool.memory_bytes.map_or(memory, |bytes| bytes.min(memory));
    settings.read_only = tool.read_only_root || project.read_only_root.unwrap_or(settings.read_only);
    let own = |(kind, wishes): (&ProcessType, &ProcessWishes)| {
        (kind.clone(), process(&platform.limits, &settings.limits, tool, wishes))
    };
    settings.processes = project.processes.iter().map(own).collect();
    settings
}

/// How long a release command of a Procfile may take.
const COMMAND: Span = Span::seconds(600);

/// What runs before a release takes traffic: the repository's command, else the process `release` that a Procfile names. Only where
/// image or config differ from what serves.
pub(crate) fn release_command(release: &Release) -> Option<ReleaseCommand> {
    if matches!(release.cause, ReleaseCause::Restart | ReleaseCause::Scale { .. }) {
        return None;
    }
    let named = release.processes.iter().any(|process| process.kind.is_release());
    let usual = || ReleaseCommand { command: CommandLine::Text("release".to_owned()), timeout: COMMAND };
    release.project.release.clone().or_else(|| named.then(usual))
}

/// A mount that the operator lets tools read.
#[derive(Debug, Clone)]
pub struct AllowedMount {
    /// The tools; all of them where empty.
    pub tools: Vec<ToolName>,
    /// What they read.
    pub mount: ReadMount,
}

/// The mounts that a repository asks for and its tool may read; the error is the first that it may not.
pub(crate) fn mounts<'a>(
    allowed: &'a [AllowedMount],
    tool: &'a ToolName,
    project: &'a Project,
) -> impl Iterator<Item = Result<ReadMount, &'a MountName>> {
    project.mounts.iter().map(move |name| {
        let may = |one: &&AllowedMount| {
            one.mount.name == *name && (one.tools.is_empty() || one.tools.contains(tool))
        };
        allowed.iter().find(may).map(|one| one.mount.clone()).ok_or(name)
    })
}

/// The part of a release that has to do well first, where image or config have never served: what goes back to what served once
/// is in a hurry.
pub(crate) fn canary(project: &Project, cause: &ReleaseCause) -> Option<Canary> {
    let is_new = matches!(cause, ReleaseCause::Code { .. } | ReleaseCause::Config { .. });
    project.canary.filter(|_| is_new)
}

fn process(
    most: &RunLimits,
    usual: &RunLimits,
    tool: &ToolSettings,
    wishes: &ProcessWishes,
) -> ProcessSettings {
    let memory = tool.memory_bytes.or(wishes.memory.map(Size::bytes));
    let cpu = wishes.cpu.map(Cores::millis);
    let limits = (memory.is_some() || cpu.is_some()).then(|| RunLimits {
        memory_bytes: memory.unwrap_or(usual.memory_bytes).min(most.memory_bytes),
        cpu_millis: cpu.unwrap_or(usual.cpu_millis).min(most.cpu_millis),
        ..usual.clone()
    });
    let grace = tool.grace_seconds.is_none().then(|| wishes.grace.map(Span::duration)).flatten();
    ProcessSettings { limits, grace, scale: wishes.scale }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_model::ReleaseNumber;
    use hythe_model::project::{Liveness, Part, ReadinessWish};

    fn repository() -> Project {
        let web = ProcessWishes {
            memory: Some(Size::mib(256)),
            cpu: Some(Cores(64_000)),
            grace: Some(Span::seconds(20)),
            readiness: Some(ReadinessWish { path: Some("/ready".into()), timeout: Some(Span::seconds(90)) }),
            liveness: Some(Liveness { path: None, every: Span::seconds(10), failures: 3 }),
            scale: None,
        };
        let worker = ProcessWishes { memory: Some(Size::mib(1 << 20)), ..ProcessWishes::default() };
        Project {
            processes: [("web", web), ("worker", worker)]
                .map(|(kind, own)| (kind.parse().unwrap(), own))
                .into(),
            ..Project::default()
        }
    }

    #[test]
    fn a_repository_counts_where_nothing_else_is_said() {
        let platform = RunSettings::default();
        let (web, worker, other) =
            ("web".parse().unwrap(), "worker".parse().unwrap(), "other".parse().unwrap());
        let settings = resolve(&platform, &ToolSettings::default(), &repository());
        assert_eq!(settings.readiness, Readiness::Http { path: "/ready".into() });
        assert_eq!((settings.timeout, settings.grace_of(&web)), (seconds(90), seconds(20)));
        assert_eq!(settings.limits_of(&web).memory_bytes, 256 << 20);
        assert_eq!(
            settings.limits_of(&web).cpu_millis,
            platform.limits.cpu_millis,
            "the platform's limit is above it"
        );
        assert_eq!(settings.limits_of(&worker).memory_bytes, platform.limits.memory_bytes, "here too");
        assert_eq!(settings.limits_of(&other), &platform.limits);
        assert_eq!(settings.grace_of(&worker), platform.grace);
        assert!(settings.liveness.is_some());
    }

    #[test]
    fn a_mount_is_its_tools_alone() {
        let allowed = |name: &str, tools: &[&str]| AllowedMount {
            tools: tools.iter().map(|tool| tool.parse().unwrap()).collect(),
            mount: ReadMount { name: name.parse().unwrap(), folder: None, volume: None },
        };
        let all = [allowed("dumps", &["weather"]), allowed("maps", &[])];
        let asked = ["dumps", "maps"].map(|name| name.parse().unwrap()).into();
        let project = Project { mounts: asked, ..Project::default() };
        let count = |tool: &str| mounts(&all, &tool.parse().unwrap(), &project).flatten().count();
        assert_eq!((count("weather"), count("quotes")), (2, 1));
    }

    #[test]
    fn only_what_never_served_has_a_canary() {
        let wished = Canary { part: Part::Count(1), pause: Span::seconds(30), errors: 5 };
        let project = Project { canary: Some(wished), ..Project::default() };
        let keys = Vec::new();
        assert_eq!(canary(&project, &ReleaseCause::Config { keys }), Some(wished));
        for cause in [ReleaseCause::Restart, ReleaseCause::Rollback { to: ReleaseNumber(1) }] {
            assert_eq!(canary(&project, &cause), None);
        }
    }

    #[test]
    fn what_was_chosen_by_api_goes_before_the_repository() {
        let tool = ToolSettings {
            health_path: Some("/up".into()),
            readiness_seconds: Some(5),
            grace_seconds: Some(7),
            memory_bytes: Some(128 << 20),
            read_only_root: true,
            ..ToolSettings::default()
        };
        let web = "web".parse().unwrap();
        let settings = resolve(&RunSettings::default(), &tool, &repository());
        assert_eq!(settings.readiness, Readiness::Http { path: "/up".into() });
        assert_eq!((settings.timeout, settings.grace_of(&web)), (seconds(5), seconds(7)));
        assert_eq!(settings.limits_of(&web).memory_bytes, 128 << 20);
        assert!(settings.read_only);
    }
}
