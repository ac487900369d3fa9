//! The folder of one build: workspace, layers, root. Everything in it belongs to subordinate ids, so the helper touches it.

use super::keep::folder_of;
use super::{Sandboxes, cache};
use crate::analyze::{Before, say_of_cache};
use crate::cache::UNREADABLE;
use crate::executor::{Stays, Task};
use crate::{fault, until_cancelled};
use hythe_model::{BuildId, Fault};
use hythe_oci::{ApplyOptions, ArchiveFormat, Ownership};
use hythe_sandbox::{Helper, OverlayMount, RelPath};
use std::time::Duration;

/// Folder of all builds.
const BUILDS: &str = "builds";

/// How often its removal is tried again, and after which time.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// One build's folder.
pub(crate) struct Folder {
    helper: Helper,
    path: RelPath,
}

impl Folder {
    /// Makes it anew; one of an interrupted build of the same number is removed first.
    pub(crate) async fn make(helper: &Helper, id: BuildId) -> Result<Self, Fault> {
        let path =
            RelPath::new(format!("{BUILDS}/{id}")).map_err(fault::platform("name a build's folder"))?;
        let folder = Self { helper: helper.clone(), path };
        folder.clear().await.map_err(fault::sandbox("clear a build's folder"))?;
        helper
            .make_dir(&folder.path, (0, 0), 0o755)
            .await
            .map_err(fault::sandbox("make a build's folder"))?;
        Ok(folder)
    }

    /// A path below it. The name is ours, so it is always well-formed.
    pub(crate) fn at(&self, name: &str) -> Result<RelPath, Fault> {
        self.path.join(name).map_err(fault::platform("name a file of a build"))
    }

    pub(crate) fn workspace(&self) -> Result<RelPath, Fault> {
        self.at("workspace")
    }

    /// What buildpacks see as `/layers`.
    pub(crate) fn layers(&self) -> Result<RelPath, Fault> {
        self.at("layers")
    }

    /// What they changed of it, where there is a cache below.
    pub(crate) fn changed(&self) -> Result<RelPath, Fault> {
        self.at("changed")
    }

    /// Takes the layers' overlay apart; what was changed stays.
    pub(crate) async fn unmount(&self) -> Result<(), Fault> {
        self.helper.unmount(&self.layers()?).await.map_err(fault::sandbox("unmount a build's layers"))
    }

    /// Removes it. Where a build was cancelled, the helper may write the last of an archive into it meanwhile. A failure
    /// is noted: the next start sweeps.
    pub(crate) async fn remove(&self) {
        for _ in 0..ATTEMPTS {
            if self.clear().await.is_ok() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Err(error) = self.clear().await {
            tracing::warn!(folder = %self.path, %error, "a build's folder could not be removed");
        }
    }

    async fn clear(&self) -> Result<(), hythe_sandbox::SandboxError> {
        if !self.helper.exists(&self.path).await? {
            return Ok(());
        }
        if let Ok(layers) = self.path.join("layers") {
            self.helper.unmount(&layers).await?;
        }
        self.helper.remove(&self.path).await
    }
}

/// Ends the sandboxes of all builds but those that stay, and removes their folders.
pub(crate) async fn sweep(helper: &Helper, stays: &Stays) -> Result<(), Fault> {
    // A tool's instances may be called alike, but for the number.
    let goes = |id: &str| id.parse().map(BuildId).ok().filter(|build| !stays(*build));
    let sweeping = fault::sandbox("sweep interrupted builds");
    let builds = RelPath::new(BUILDS).map_err(fault::platform("name the builds' folder"))?;
    for status in helper.list().await.map_err(fault::sandbox("list sandboxes"))? {
        if status.id.strip_prefix(super::run::SANDBOX_PREFIX).and_then(goes).is_some()
            && let Some(sandbox) =
                helper.attach(&status.id).await.map_err(fault::sandbox("find a sandbox"))?
        {
            let _ = sandbox.kill().await;
            let _ = sandbox.wait().await;
            let _ = sandbox.release().await;
        }
    }
    if !helper.exists(&builds).await.map_err(&sweeping)? {
        return Ok(());
    }
    for name in helper.list_dir(&builds).await.map_err(&sweeping)? {
        if let Some(build) = goes(&name) {
            Folder {
                helper: helper.clone(),
                path: builds.join(&name).map_err(fault::platform("name a build"))?,
            }
            .clear()
            .await
            .map_err(&sweeping)?;
            tracing::info!(%build, "swept an interrupted build");
        }
    }
    Ok(())
}

impl Sandboxes {
    /// Fills the folder: the source as the build user's, and the cached layers under an overlay.
    pub(crate) async fn lay_out(
        &self,
        folder: &Folder,
        task: Task<'_>,
        before: &mut Before,
    ) -> Result<(), Fault> {
        let Task { common, request, cancel, .. } = task;
        let (helper, user) = (&self.helper, common.base.build_user);
        let workspace = folder.workspace()?;
        helper.make_dir(&workspace, user, 0o755).await.map_err(fault::sandbox("make the workspace"))?;
        let archive = std::fs::File::open(&request.archive).map_err(fault::platform("open the source"))?;
        let owner = Ownership::Fixed { uid: user.0, gid: user.1 };
        let options = ApplyOptions {
            expect: Some(request.source.digest.clone()),
            ..ApplyOptions::files(ArchiveFormat::Tar, owner)
        };
        until_cancelled(cancel, async {
            let unpacked = helper.unpack(archive, &workspace, options).await;
            unpacked.map_err(fault::sandbox("unpack the source"))
        })
        .await?;
        self.lay_cache(folder, task, before).await
    }

    /// Shows the cached layers where buildpacks look for them.
    async fn lay_cache(&self, folder: &Folder, task: Task<'_>, before: &mut Before) -> Result<(), Fault> {
        let (helper, user, tool) = (&self.helper, task.common.base.build_user, &task.request.tool);
        let layers = folder.layers()?;
        helper.make_dir(&layers, user, 0o755).await.map_err(fault::sandbox("make the layers' folder"))?;
        let names = before.index.slices.iter().filter_map(folder_of);
        let lowers: Vec<_> = names.map(|name| cache::slice_folder(tool, name)).collect::<Result<_, _>>()?;
        if lowers.is_empty() {
            return Ok(());
        }
        let upper = folder.changed()?;
        helper.make_dir(&upper, user, 0o755).await.map_err(fault::sandbox("make the layers' folder"))?;
        match helper.mount(OverlayMount { lowers, upper, target: layers }).await {
            Err(error) if cache::is_broken(&error) => {
                tracing::warn!(%tool, %error, "the cached layers cannot be mounted");
                say_of_cache(task.events, &format!("not used: {UNREADABLE}"));
                let index = std::mem::take(&mut before.index);
                before.forget_layers(Some(index));
                cache::clear(helper, tool).await;
                Ok(())
            }
            mounted => mounted.map_err(fault::sandbox("mount the cached layers")),
        }
    }
}
