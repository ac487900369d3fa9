//! Tools: made and removed; their refs.

use crate::upkeep::BUILD_REFS;
use crate::{Platform, faults};
use hythe_model::{Actor, CommitId, Fault, ToolName};
use hythe_registry::Repository;
use hythe_source::SourceError;
use hythe_store::{Build, DeployRef, Tool};

impl Platform {
    /// Makes a tool with its repository; the actor becomes its first maintainer.
    pub async fn create_tool(&self, actor: &Actor, name: ToolName) -> Result<Tool, Fault> {
        let owner = if let Actor::Maintainer(owner) = actor { Some(owner) } else { None };
        let tool = self.store().create_tool(&name, owner).await?;
        let repositories = self.parts().repositories.clone();
        let made =
            self.in_repository(
                move || if repositories.exists(&name) { Ok(()) } else { repositories.create(&name) },
            );
        if let Err(fault) = made.await {
            self.store().delete_tool(&tool.name).await?;
            return Err(fault);
        }
        self.parts().runtime.declare_tool(&tool.name);
        Ok(tool)
    }

    /// Stops a tool and removes everything of it: instances, route, releases, repository, caches, logs.
    pub async fn delete_tool(&self, name: &ToolName) -> Result<(), Fault> {
        self.tool(name).await?;
        for build in self.store().unfinished_builds().await?.into_iter().filter(|build| &build.tool == name) {
            let _ = self.end_build(&build, faults::cancelled_by_request()).await;
        }
        let _turn = self.inner.turns.take(name).await;
        let parts = self.parts();
        parts.runtime.stop_tool(name).await;
        parts.builder.forget(name).await?;
        // The row goes last but for what it names: a crash before it leaves a tool that can be deleted again.
        let (repositories, tool) = (parts.repositories.clone(), name.clone());
        self.in_repository(move || repositories.delete(&tool)).await?;
        for build in self.store().builds(name, u32::MAX).await? {
            let removed = parts.logs.remove_build(build.id).await;
            removed.map_err(|error| faults::internal("remove the logs", &error))?;
        }
        parts.logs.remove_tool(name).await.map_err(|error| faults::internal("remove the logs", &error))?;
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
        let (repositories, tool, reference) =
            (self.parts().repositories.clone(), tool.clone(), reference.to_owned());
        self.in_repository(move || repositories.reference(&tool, &reference)).await
    }

    /// Moves the deploy ref to the live commit.
    pub(crate) async fn point_ref(
        &self,
        tool: &ToolName,
        stands: Option<&CommitId>,
        deployed: &DeployRef,
    ) -> Result<(), Fault> {
        if stands == Some(&deployed.commit) {
            return Ok(());
        }
        let (repositories, tool, deployed) =
            (self.parts().repositories.clone(), tool.clone(), deployed.clone());
        let stands = stands.cloned();
        self.in_repository(move || {
            repositories.move_ref(&tool, &deployed.reference, stands.as_ref(), &deployed.commit)
        })
        .await
    }

    /// Gives the build's commit a name of its own, so that git keeps it whatever becomes of the branch.
    pub(crate) async fn keep_commit(&self, build: &Build) -> Result<(), Fault> {
        let (repositories, tool) = (self.parts().repositories.clone(), build.tool.clone());
        let (name, commit) = (format!("{BUILD_REFS}{}", build.id), build.source.commit.clone());
        self.in_repository(move || repositories.move_ref(&tool, &name, None, &commit)).await
    }

    async fn in_repository<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, Fault> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| faults::internal("work in the repository", &error))?
            .map_err(|error| error.fault())
    }
}
