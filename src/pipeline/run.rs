//! What a release needs to run, and one-off processes in its image.

use crate::settings::{canary, mounts, release_command, resolve};
use crate::{ConfigEntry, Platform, faults};
use hythe_model::project::FilePlace;
use hythe_model::{Fault, Project, Release, ReleaseNumber, ToolName};
use hythe_rollout::{ConfigFile, OneOff, OneOffSession, OneOffTerminal, RunSettings, RunnableRelease};

/// What to run once.
#[derive(Debug, Clone)]
pub struct RunOnce {
    /// The release whose image and config are used; the live one where `None`.
    pub release: Option<ReleaseNumber>,
    /// The command: a process type alone, or a program and its arguments.
    pub args: Vec<String>,
    /// The terminal that it gets; pipes where `None`.
    pub terminal: Option<OneOffTerminal>,
}

impl Platform {
    /// Starts a one-off process.
    pub async fn run_once(&self, tool: &ToolName, run: RunOnce) -> Result<OneOffSession, Fault> {
        let release = match run.release {
            Some(number) => {
                self.store().release(tool, number).await?.ok_or_else(|| faults::no_release(tool, number))?
            }
            None => self.store().live_release(tool).await?.ok_or_else(|| faults::nothing_deployed(tool))?,
        };
        self.expect_image(&release).await?;
        let release = self.runnable(&release).await?;
        self.parts().runtime.run_once(OneOff { release, args: run.args, terminal: run.terminal }).await
    }

    /// A release with its config opened and its settings resolved.
    pub(crate) async fn runnable(&self, release: &Release) -> Result<RunnableRelease, Fault> {
        let bare = self.without_config(release).await?;
        let values = self.open_config(&release.tool, release.config).await?;
        self.logs().begin_tool(&release.tool);
        let (env, files) = as_processes_see_it(values, &release.project);
        Ok(RunnableRelease { env, files, ..bare })
    }

    /// The same without its config: enough to end what it has begun, and not to run it.
    pub(crate) async fn without_config(&self, release: &Release) -> Result<RunnableRelease, Fault> {
        Ok(RunnableRelease {
            repository: format!("tools/{}", release.tool),
            release: release.clone(),
            env: Vec::new(),
            files: Vec::new(),
            settings: self.run_settings(release).await?,
            release_command: release_command(release),
            canary: canary(&release.project, &release.cause),
        })
    }

    /// How a release is run, by what was said when it was made.
    async fn run_settings(&self, release: &Release) -> Result<RunSettings, Fault> {
        let tool = self.store().release_settings(&release.tool, release.number).await?;
        let mut settings = resolve(&self.parts().settings.run, &tool, &release.project);
        for mount in mounts(&self.parts().settings.mounts, &release.tool, &release.project) {
            match mount {
                Ok(mount) => settings.mounts.push(mount),
                // The next release is refused for it; this one runs on without.
                Err(name) => {
                    tracing::warn!(tool = %release.tool, mount = %name, "a mount is not the tool's any more");
                }
            }
        }
        Ok(settings)
    }

    /// A fault where a repository asks for a file of a config value that processes would not have.
    pub(crate) async fn expect_files(
        &self,
        tool: &ToolName,
        config: i64,
        project: &Project,
    ) -> Result<(), Fault> {
        if project.files.is_empty() {
            return Ok(());
        }
        let values = self.store().config(tool, config).await?;
        let has = |key: &str| values.iter().any(|value| value.key == key && value.scope.in_run());
        let missing = project.files.iter().find(|(_, key)| !has(key));
        missing.map_or(Ok(()), |(place, key)| Err(faults::no_config_file(place, key)))
    }

    /// A fault where a repository asks for a mount that its tool may not read.
    pub(crate) fn expect_mounts(&self, tool: &ToolName, project: &Project) -> Result<(), Fault> {
        let refused = mounts(&self.parts().settings.mounts, tool, project).find_map(Result::err);
        refused.map_or(Ok(()), |name| Err(faults::no_mount(tool, name)))
    }
}

/// Config as variables and as files.
fn as_processes_see_it(
    values: Vec<ConfigEntry>,
    project: &Project,
) -> (Vec<(String, String)>, Vec<ConfigFile>) {
    let values = values.into_iter().filter(|entry| entry.scope.in_run()).map(ConfigEntry::into_pair);
    let is_file = |(key, _): &(String, String)| project.files.values().any(|named| named == key);
    let (placed, env): (Vec<_>, Vec<_>) = values.partition(is_file);
    let file = |(place, key): (&FilePlace, &String)| {
        let (_, value) = placed.iter().find(|(named, _)| named == key)?;
        // The end of the last line is not part of a value.
        let content = if value.ends_with('\n') { value.clone() } else { format!("{value}\n") };
        Some(ConfigFile { place: place.clone(), key: key.clone(), content })
    };
    let files = project.files.iter().filter_map(file).collect();
    (env, files)
}
