//! Rows and the platform's nouns as the API's objects.

use crate::types::{
    Account, Build, BuildRecord, BuildState, ConfigScope, EndedInstance, Instance, InstanceState, JobRun,
    JobRunState, Key, LogLine, LogSource, Maintainer, Release, Role, Token, ToolSettings,
};
use hythe_events::{LineSource, LoggedEvent};
use hythe_model::BuildCause;
use hythe_model::render::branch;
use hythe_registry::Prefix;
use hythe_rollout::InstanceStatus;

impl From<hythe_store::Maintainer> for Account {
    fn from(row: hythe_store::Maintainer) -> Self {
        Self { name: row.name, admin: row.admin, created_at: row.created_at }
    }
}

impl From<hythe_store::Key> for Key {
    fn from(row: hythe_store::Key) -> Self {
        let hythe_store::Key { fingerprint, algorithm, title, created_at, last_used_at, .. } = row;
        Self { fingerprint, algorithm, name: title, created_at, last_used_at }
    }
}

impl From<hythe_store::Token> for Token {
    fn from(row: hythe_store::Token) -> Self {
        let hythe_store::Token { id, name, created_at, expires_at, last_used_at, .. } = row;
        Self { id, name, created_at, expires_at, last_used_at }
    }
}

impl From<hythe_store::Role> for Role {
    fn from(role: hythe_store::Role) -> Self {
        match role {
            hythe_store::Role::Member => Self::Member,
            hythe_store::Role::Owner => Self::Owner,
        }
    }
}

impl From<Role> for hythe_store::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<hythe_store::Member> for Maintainer {
    fn from(row: hythe_store::Member) -> Self {
        Self { name: row.maintainer, role: row.role.into() }
    }
}

impl From<hythe_store::ToolSettings> for ToolSettings {
    fn from(row: hythe_store::ToolSettings) -> Self {
        Self {
            deploy_branches: row.deploy_branches,
            health_path: row.health_path,
            readiness_seconds: row.readiness_seconds,
            grace_seconds: row.grace_seconds,
            memory_bytes: row.memory_bytes,
            read_only_root: row.read_only_root,
        }
    }
}

impl From<ToolSettings> for hythe_store::ToolSettings {
    fn from(settings: ToolSettings) -> Self {
        Self {
            deploy_branches: settings.deploy_branches,
            health_path: settings.health_path,
            readiness_seconds: settings.readiness_seconds,
            grace_seconds: settings.grace_seconds,
            memory_bytes: settings.memory_bytes,
            read_only_root: settings.read_only_root,
        }
    }
}

impl From<hythe_store::BuildState> for BuildState {
    fn from(state: hythe_store::BuildState) -> Self {
        match state {
            hythe_store::BuildState::Queued => Self::Queued,
            hythe_store::BuildState::Running => Self::Running,
            hythe_store::BuildState::Succeeded => Self::Succeeded,
            hythe_store::BuildState::Failed => Self::Failed,
            hythe_store::BuildState::Cancelled => Self::Cancelled,
            hythe_store::BuildState::Superseded => Self::Superseded,
        }
    }
}

impl From<hythe_store::Build> for Build {
    fn from(row: hythe_store::Build) -> Self {
        let cause = match row.cause {
            BuildCause::Push => "push",
            BuildCause::Detached => "detached",
            BuildCause::Redeploy => "redeploy",
        };
        Self {
            id: row.id,
            tool: row.tool,
            state: row.state.into(),
            cause: cause.to_owned(),
            actor: row.actor,
            branch: branch(&row.reference).to_owned(),
            commit: row.source.commit,
            subject: row.source.subject,
            release: row.release,
            superseded_by: row.superseded_by,
            fault: row.fault,
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }
}

impl From<LoggedEvent> for BuildRecord {
    fn from(logged: LoggedEvent) -> Self {
        Self { position: logged.position, at: logged.at, event: logged.event }
    }
}

impl Release {
    /// A release whose image is pulled from there.
    pub(crate) fn of(release: hythe_model::Release, images: &Prefix) -> Self {
        let commands = release.processes.into_iter().map(|process| (process.kind.into(), process.command));
        Self {
            reference: Some(images.image(&release.tool, &release.image)),
            tool: release.tool,
            number: release.number,
            image: release.image,
            commit: release.commit,
            processes: commands.collect(),
            config: release.config,
            formation: release.formation,
            cause: release.cause,
            message: release.message,
            actor: release.actor,
            state: release.state,
            fault: release.fault,
            created_at: release.created_at,
        }
    }
}

impl From<InstanceStatus> for Instance {
    fn from(status: InstanceStatus) -> Self {
        let retry_at = match status.state {
            hythe_rollout::InstanceState::Crashed { retry_at } => Some(retry_at),
            _ => None,
        };
        Self {
            id: status.id.to_string(),
            process: status.id.process,
            place: status.id.place.to_string(),
            release: status.id.release,
            state: (&status.state).into(),
            since: status.since,
            restarts: status.restarts,
            retry_at,
            last_exit: status.last_exit.map(|exit| exit.text()),
            canary: status.canary,
        }
    }
}

impl From<hythe_rollout::JobRun> for JobRun {
    fn from(run: hythe_rollout::JobRun) -> Self {
        use hythe_rollout::JobState::{Ended, Running, Starting};
        let state = match &run.state {
            Starting => JobRunState::Starting,
            Running => JobRunState::Running,
            Ended(exit) if exit.code == Some(0) => JobRunState::Succeeded,
            Ended(_) => JobRunState::Failed,
        };
        let exit = if let Ended(exit) = &run.state { Some(exit.text()) } else { None };
        Self {
            job: run.id.job().unwrap_or_default().to_owned(),
            run: run.id.place.to_string(),
            release: run.id.release,
            state,
            since: run.since,
            exit,
        }
    }
}

impl From<&hythe_rollout::InstanceState> for InstanceState {
    fn from(state: &hythe_rollout::InstanceState) -> Self {
        match state {
            hythe_rollout::InstanceState::Starting => Self::Starting,
            hythe_rollout::InstanceState::Ready => Self::Ready,
            hythe_rollout::InstanceState::Crashed { .. } => Self::Crashed,
            hythe_rollout::InstanceState::Stopping => Self::Stopping,
        }
    }
}

impl From<hythe_store::ConfigScope> for ConfigScope {
    fn from(scope: hythe_store::ConfigScope) -> Self {
        match scope {
            hythe_store::ConfigScope::Build => Self::Build,
            hythe_store::ConfigScope::Run => Self::Run,
            hythe_store::ConfigScope::Both => Self::Both,
        }
    }
}

impl From<ConfigScope> for hythe_store::ConfigScope {
    fn from(scope: ConfigScope) -> Self {
        match scope {
            ConfigScope::Build => Self::Build,
            ConfigScope::Run => Self::Run,
            ConfigScope::Both => Self::Both,
        }
    }
}

impl From<hythe_events::LogLine> for LogLine {
    fn from(line: hythe_events::LogLine) -> Self {
        let source = match line.source {
            LineSource::Out => LogSource::Out,
            LineSource::Err => LogSource::Err,
            LineSource::Access => LogSource::Access,
            LineSource::Platform => LogSource::Platform,
        };
        Self { position: line.position, at: line.at, instance: line.instance, source, text: line.text }
    }
}

impl From<hythe_events::EndedInstance> for EndedInstance {
    fn from(ended: hythe_events::EndedInstance) -> Self {
        let hythe_events::EndedInstance { instance, at, reason, lines } = ended;
        Self { instance, at, reason, lines: lines.into_iter().map(LogLine::from).collect() }
    }
}
