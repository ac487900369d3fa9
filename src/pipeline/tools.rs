//! Tools: made and removed; their refs.

use crate::copies::in_repository;
use crate::turns::Turn;
use crate::upkeep::BUILD_REFS;
use crate::{Platform, faults};
use hythe_model::push::clash;
use hythe_model::{Actor, CommitId, Fault, ToolName};
use hythe_registry::Repository;
use hythe_source::{Lineage, Repositories, SourceError};
use hythe_store::{Build, DeployRef, Tool};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Time that builds of a tool which is removed are given to end.
const LETTING_GO: Duration = Duration::from_secs(20);
/// Time until the second look at whether they have, which doubles from then on.
const LOOK: Duration = Duration::from_millis(50);
/// The longest time between two looks.
const LOOK_RARELY: Duration = Duration::from_secs(1);

impl Platform {
    /// Makes a tool with its repository; the actor becomes its first maintainer.
    pub async fn create_tool(&self, actor: &Actor, name: ToolName) -> Result<Tool, Fault> {
        let owner = if let Actor::Maintainer(owner) = actor { Some(owner) } else { None };
        self.parts().runtime.expect_name(&name)?;
        let tool = self.store().create_tool(&name, owner).await?;
        if let Err(fault) = self.make_repository(&name).await {
            self.store().delete_tool(&tool.name).await?;
            return Err(fault);
        }
        self.parts().runtime.declare_tool(&tool.name);
        Ok(tool)
    }

    /// Makes a tool's repository where there is none.
    pub(crate) async fn make_repository(&self, name: &ToolName) -> Result<(), Fault> {
        if self.parts().objects.is_some() {
            self.store().create_repository(name).await?;
            return self.prepare_repository(name).await;
        }
        self.in_repository(
            name,
            |repositories, name| {
                if repositories.exists(name) { Ok(()) } else { repositories.create(name) }
            },
        )
        .await
    }

    /// Whether a tool has a repository.
    pub(crate) async fn has_repository(&self, name: &ToolName) -> Result<bool, Fault> {
        if self.parts().objects.is_some() {
            return Ok(self.store().repository_version(name).await?.is_some());
        }
        Ok(self.parts().repositories.exists(name))
    }

    /// Stops a tool and removes everything of it: instances, route, releases, repository, caches, logs.
    pub async fn delete_tool(&self, name: &ToolName) -> Result<(), Fault> {
        self.tool(name).await?;
        let _turn = match self.end_work_of(name).await? {
            Some(turn) => turn,
            None => self.inner.turns.take(name).await?,
        };
        self.remove_tool(name).await
    }

    /// Ends a tool's builds and rollouts and waits until they have let go, at most for a while; the tool's turn, where it was free then.
    async fn end_work_of(&self, name: &ToolName) -> Result<Option<Turn>, Fault> {
        let deadline = Instant::now() + LETTING_GO;
        let (mut builds_asked, mut releases_asked) = (HashSet::new(), HashSet::new());
        let mut pause = LOOK;
        loop {
            let builds = self.store().unfinished_builds_of(name).await?;
            for build in &builds {
                if !builds_asked.contains(&build.id)
                    && self.end_build(build, faults::tool_deleted(name)).await.is_ok()
                {
                    builds_asked.insert(build.id);
                }
            }
            let releases = self.store().rolling_out_of(name).await?;
            for release in releases.iter().filter(|release| releases_asked.insert(release.number)) {
                self.store().ask_release_to_end(name, release.number, &faults::tool_deleted(name)).await?;
            }
            // What rolls out while nobody has the turn was left by somebody.
            let turn = if builds.is_empty() { self.inner.turns.try_take(name).await? } else { None };
            if turn.is_some() || Instant::now() > deadline {
                return Ok(turn);
            }
            tokio::time::sleep(pause).await;
            pause = LOOK_RARELY.min(pause * 2);
        }
    }

    /// Removes everything of a tool: what runs first, without which it stays, and its row last. Where it is cut off in between, the
    /// next start finds that it was begun and goes on.
    pub(crate) async fn remove_tool(&self, name: &ToolName) -> Result<(), Fault> {
        let parts = self.parts();
        parts.runtime.stop_tool(name).await?;
        self.store().leave_repository(name).await?;
        self.in_repository(name, Repositories::delete).await?;
        parts.builder.forget(name).await?;
        for build in self.store().builds(name, u32::MAX).await? {
            let removed = parts.logs.remove_build(build.id).await;
            removed.map_err(|error| faults::internal("remove the logs", &error))?;
        }
        parts.logs.remove_tool(name).await.map_err(|error| faults::internal("remove the logs", &error))?;
        self.forget_images(name).await;
        let (content, repository) = (parts.content.clone(), Repository::of_tool(name));
        let removed = tokio::task::spawn_blocking(move || content.delete_repository(&repository)).await;
        let removed = removed.map_err(|error| faults::internal("remove the images", &error))?;
        removed.map_err(|error| faults::internal("remove the images", &error))?;
        Ok(self.store().delete_tool(name).await?)
    }

    /// Where a tool answers.
    pub fn url(&self, tool: &ToolName) -> String {
        let settings = &self.parts().settings;
        let port = settings.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{}://{tool}.{}{port}", settings.scheme, settings.domain)
    }

    pub(crate) async fn tool(&self, name: &ToolName) -> Result<Tool, Fault> {
        self.store().tool(name).await?.ok_or_else(|| faults::no_tool(name))
    }

    /// Where a ref of a tool's repository stands.
    pub(crate) async fn reference(
        &self,
        tool: &ToolName,
        reference: &str,
    ) -> Result<Option<CommitId>, Fault> {
        if self.parts().objects.is_some() {
            return Ok(self.store().repository_ref(tool, reference).await?);
        }
        let reference = reference.to_owned();
        self.in_repository(tool, move |repositories, tool| repositories.reference(tool, &reference)).await
    }

    /// A fault where git cannot hold a ref of this name, which does not stand yet, beside those that do.
    pub(crate) async fn expect_no_clash(&self, tool: &ToolName, reference: &str) -> Result<(), Fault> {
        let other = if self.parts().objects.is_some() {
            self.store().ref_in_the_way(tool, reference).await?
        } else {
            let refs = self.in_repository(tool, Repositories::refs).await?;
            refs.into_keys().find(|other| clash(other, reference))
        };
        other.map_or(Ok(()), |other| Err(faults::branch_clashes(reference, &other)))
    }

    /// How one commit stands to another.
    pub(crate) async fn lineage(
        &self,
        tool: &ToolName,
        old: &CommitId,
        new: &CommitId,
    ) -> Result<Lineage, Fault> {
        self.prepare_repository(tool).await?;
        let (old, new) = (old.clone(), new.clone());
        self.in_repository(tool, move |repositories, tool| repositories.lineage(tool, &old, &new, None)).await
    }

    /// Moves the deploy ref to the live commit.
    pub(crate) async fn point_ref(
        &self,
        tool: &ToolName,
        stands: Option<&CommitId>,
        deployed: &DeployRef,
    ) -> Result<(), Fault> {
        // Where refs are rows it has moved with the release.
        if stands == Some(&deployed.commit) || self.parts().objects.is_some() {
            return Ok(());
        }
        let (stands, deployed) = (stands.cloned(), deployed.clone());
        self.in_repository(tool, move |repositories, tool| {
            repositories.move_ref(tool, &deployed.reference, stands.as_ref(), &deployed.commit)
        })
        .await
    }

    /// Gives the build's commit a name of its own, so that git keeps it whatever becomes of the branch. A name that is
    /// there is left of a platform that was restored to a time before it.
    pub(crate) async fn keep_commit(&self, build: &Build) -> Result<(), Fault> {
        let (name, commit) = (format!("{BUILD_REFS}{}", build.id), build.source.commit.clone());
        if self.parts().objects.is_some() {
            return Ok(self.store().set_ref(&build.tool, &name, &commit).await?);
        }
        self.in_repository(&build.tool, move |repositories, tool| {
            let stale = repositories.reference(tool, &name)?;
            repositories.move_ref(tool, &name, stale.as_ref(), &commit)
        })
        .await
    }

    /// Does what blocks with a tool's repository here.
    pub(crate) async fn in_repository<T: Send + 'static>(
        &self,
        tool: &ToolName,
        work: impl FnOnce(&Repositories, &ToolName) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, Fault> {
        in_repository(&self.parts().repositories, tool, work).await
    }
}
