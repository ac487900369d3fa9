//! The file as it is written, with every key known, and its way to the noun.

use hythe_model::project::{
    Canary, CommandLine, CronJob, FilePlace, Liveness, Part, ProcessWishes, ReadinessWish, ReleaseCommand,
    ScaleRange, Schedule,
};
use hythe_model::units::{Cores, Size, Span};
use hythe_model::{Formation, JobName, MountName, ProcessType, Project};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Jobs that one tool may have by the clock.
const MOST_JOBS: usize = 50;
/// The longest command, in bytes.
const COMMAND: usize = 4096;
/// Config values that may be files.
const MOST_FILES: usize = 20;
/// The longest path that is asked for, in bytes.
const PATH: usize = 1024;
/// Server errors of a canary that are put up with, of a hundred answers.
const FEW_ERRORS: u32 = 5;

/// `project.toml`. What is beside `[hythe]` belongs to others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    pub(crate) hythe: Hythe,
}

/// `[hythe]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hythe {
    read_only_root: Option<bool>,
    mounts: BTreeSet<MountName>,
    files: BTreeMap<String, String>,
    release: Option<Release>,
    processes: BTreeMap<ProcessType, Process>,
    cron: BTreeMap<JobName, Cron>,
    rollout: Rollout,
}

/// `[hythe.release]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    command: CommandLine,
    #[serde(default = "ten_minutes")]
    timeout: Span,
}

/// `[hythe.processes.TYPE]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Process {
    memory: Option<Size>,
    cpu: Option<Cores>,
    grace: Option<Span>,
    readiness: Option<Readiness>,
    liveness: Option<Live>,
    scale: Option<Scale>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Readiness {
    path: Option<String>,
    timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    path: Option<String>,
    #[serde(default = "ten_seconds")]
    every: Span,
    #[serde(default = "three")]
    failures: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    min: u32,
    max: u32,
    #[serde(default = "seventy")]
    cpu: u32,
}

/// `[hythe.cron.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cron {
    schedule: Schedule,
    command: CommandLine,
    #[serde(default = "one_hour")]
    timeout: Span,
    #[serde(default)]
    overlap: bool,
}

/// `[hythe.rollout]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rollout {
    canary: Option<Share>,
    pause: Option<Span>,
    errors: Option<String>,
}

/// A number of instances, or a part of them as in `"10 %"`.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a canary is a number of instances, as in 1, or a part of them, as in \"10 %\""
)]
enum Share {
    Count(u32),
    Text(String),
}

fn three() -> u32 {
    3
}

fn seventy() -> u32 {
    70
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

fn ten_minutes() -> Span {
    Span::seconds(600)
}

fn one_hour() -> Span {
    Span::seconds(3600)
}

/// A setting that does not fit, by its way from `[hythe]`.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) path: Vec<String>,
    pub(crate) what: String,
}

fn mistake<T>(path: &[&str], what: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake { path: path.iter().map(|key| (*key).to_owned()).collect(), what: what.into() })
}

impl Hythe {
    /// What the file says, where all of it fits.
    pub(crate) fn check(self) -> Result<Project, Mistake> {
        if self.cron.len() > MOST_JOBS {
            return mistake(&["cron"], format!("there are more than {MOST_JOBS} jobs"));
        }
        let processes = self.processes.into_iter().map(|(kind, process)| {
            let checked = process.check(&kind)?;
            Ok((kind, checked))
        });
        let cron = self.cron.into_iter().map(|(name, job)| {
            let checked = job.check(&name)?;
            Ok((name, checked))
        });
        Ok(Project {
            release: self.release.map(Release::check).transpose()?,
            processes: processes.collect::<Result<_, _>>()?,
            cron: cron.collect::<Result<_, _>>()?,
            canary: self.rollout.check()?,
            read_only_root: self.read_only_root,
            mounts: self.mounts,
            files: files(self.files)?,
        })
    }
}

/// The files, where each has a place of its own.
fn files(said: BTreeMap<String, String>) -> Result<BTreeMap<FilePlace, String>, Mistake> {
    if said.len() > MOST_FILES {
        return mistake(&["files"], format!("there are more than {MOST_FILES} files"));
    }
    let mut all: BTreeMap<FilePlace, String> = BTreeMap::new();
    for (path, key) in said {
        let at = ["files", path.as_str()];
        let place: FilePlace = match path.parse() {
            Ok(place) => place,
            Err(error) => return mistake(&at, error.to_string()),
        };
        if let Some(other) = all.keys().find(|other| other.holds(&place) || place.holds(other)) {
            return mistake(&at, format!("it cannot be beside {other}"));
        }
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return mistake(&at, "write a key of the config, as in DATABASE_LOGIN");
        }
        all.insert(place, key);
    }
    Ok(all)
}

impl Release {
    fn check(self) -> Result<ReleaseCommand, Mistake> {
        command(&["release", "command"], &self.command)?;
        within(&["release", "timeout"], self.timeout, 1, 24 * 3600)?;
        Ok(ReleaseCommand { command: self.command, timeout: self.timeout })
    }
}

impl Process {
    fn check(self, kind: &ProcessType) -> Result<ProcessWishes, Mistake> {
        let at = |key: &'static str| ["processes", kind.as_str(), key];
        if !kind.is_web() {
            let only_web = [("readiness", self.readiness.is_some()), ("liveness", self.liveness.is_some())];
            if let Some((key, _)) = only_web.into_iter().find(|(_, said)| *said) {
                return mistake(&at(key), "only the process `web` is asked whether it is well");
            }
        }
        if self.memory.is_some_and(|memory| memory < Size::mib(4)) {
            return mistake(&at("memory"), "no process runs in less than 4 MiB");
        }
        if let Some(grace) = self.grace {
            within(&at("grace"), grace, 0, 3600)?;
        }
        let path = |key: &'static str, path: Option<&String>| match path {
            Some(path) if !is_path(path) => {
                let what = format!("`{path}` is not a path: it starts with / and has no spaces");
                mistake(&["processes", kind.as_str(), key, "path"], what)
            }
            _ => Ok(()),
        };
        path("readiness", self.readiness.as_ref().and_then(|asked| asked.path.as_ref()))?;
        path("liveness", self.liveness.as_ref().and_then(|asked| asked.path.as_ref()))?;
        if let Some(timeout) = self.readiness.as_ref().and_then(|asked| asked.timeout) {
            within(&["processes", kind.as_str(), "readiness", "timeout"], timeout, 1, 3600)?;
        }
        Ok(ProcessWishes {
            memory: self.memory,
            cpu: self.cpu,
            grace: self.grace,
            readiness: self.readiness.map(|asked| ReadinessWish { path: asked.path, timeout: asked.timeout }),
            liveness: self.liveness.map(|asked| asked.check(kind)).transpose()?,
            scale: self.scale.map(|range| range.check(kind)).transpose()?,
        })
    }
}

impl Live {
    fn check(self, kind: &ProcessType) -> Result<Liveness, Mistake> {
        within(&["processes", kind.as_str(), "liveness", "every"], self.every, 1, 3600)?;
        if !(1..=100).contains(&self.failures) {
            return mistake(
                &["processes", kind.as_str(), "liveness", "failures"],
                "write a number from 1 to 100",
            );
        }
        Ok(Liveness { path: self.path, every: self.every, failures: self.failures })
    }
}

impl Scale {
    fn check(self, kind: &ProcessType) -> Result<ScaleRange, Mistake> {
        let at = |key: &'static str| ["processes", kind.as_str(), "scale", key];
        if self.min == 0 {
            return mistake(&at("min"), "at least 1 instance runs");
        }
        if self.max < self.min {
            return mistake(&at("max"), format!("it is below min ({})", self.min));
        }
        if self.max > Formation::MOST {
            return mistake(&at("max"), format!("a process type has {} instances at most", Formation::MOST));
        }
        if !(1..=1000).contains(&self.cpu) {
            return mistake(&at("cpu"), "write a percentage from 1 to 1000");
        }
        Ok(ScaleRange { min: self.min, max: self.max, cpu: self.cpu })
    }
}

impl Cron {
    fn check(self, name: &JobName) -> Result<CronJob, Mistake> {
        if *name == JobName::release() {
            return mistake(&["cron", name.as_str()], "the release command has this name: choose another");
        }
        command(&["cron", name.as_str(), "command"], &self.command)?;
        within(&["cron", name.as_str(), "timeout"], self.timeout, 1, 7 * 24 * 3600)?;
        let Self { schedule, command, timeout, overlap } = self;
        Ok(CronJob { schedule, command, timeout, overlap })
    }
}

impl Rollout {
    fn check(self) -> Result<Option<Canary>, Mistake> {
        let Some(share) = self.canary else {
            let of_canary = [("pause", self.pause.is_some()), ("errors", self.errors.is_some())];
            return match of_canary.into_iter().find(|(_, said)| *said) {
                Some((key, _)) => {
                    mistake(&["rollout", key], "it says how a canary is looked at, and there is no `canary`")
                }
                None => Ok(None),
            };
        };
        let pause = self.pause.unwrap_or(Span::seconds(30));
        within(&["rollout", "pause"], pause, 1, 24 * 3600)?;
        let part = match &share {
            Share::Count(count) => (*count > 0).then_some(Part::Count(*count)),
            Share::Text(text) => percent(text).filter(|percent| *percent > 0).map(Part::Percent),
        };
        let Some(part) = part else {
            return mistake(
                &["rollout", "canary"],
                "write a number of instances, as in 1, or a part of them, as in \"10 %\"",
            );
        };
        let Some(errors) = self.errors.as_deref().map_or(Some(FEW_ERRORS), percent) else {
            return mistake(&["rollout", "errors"], "write a part of all answers, as in \"5 %\"");
        };
        Ok(Some(Canary { part, pause, errors }))
    }
}

/// A number from 0 to 100 with its sign, as in `10 %`.
fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (0..=100).contains(&number).then_some(number)
}

fn within(path: &[&str], span: Span, least: u64, most: u64) -> Result<(), Mistake> {
    let (least, most) = (Span::seconds(least), Span::seconds(most));
    if span < least || span > most {
        return mistake(path, format!("`{span}` is not between {least} and {most}"));
    }
    Ok(())
}

fn command(path: &[&str], command: &CommandLine) -> Result<(), Mistake> {
    let (empty, bytes, clean) = match command {
        CommandLine::Text(text) => (text.trim().is_empty(), text.len(), !text.contains('\0')),
        CommandLine::Words(words) => (
            words.first().is_none_or(String::is_empty),
            words.iter().map(String::len).sum(),
            words.iter().all(|word| !word.contains('\0')),
        ),
    };
    if empty {
        return mistake(path, "there is nothing to run");
    }
    if bytes > COMMAND || !clean {
        return mistake(path, format!("a command has at most {COMMAND} bytes and no NUL"));
    }
    Ok(())
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= PATH && path.bytes().all(|byte| byte.is_ascii_graphic())
}
