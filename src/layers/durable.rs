//! Which layers have reached the disk.
//!
//! A layer's mark, `<key>.ok`, is written after a sync of the file system that followed the layer's rename: who finds the
//! mark after a power cut finds the layer whole.

use super::{KEY, LayersError, place};
use hythe_sandbox::{Helper, RelPath};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What follows the key in the name of a layer that is half there.
pub(super) const HALF: &str = ".new-";
const MARK: &str = ".ok";
/// Holds the boot id of the machine's start that the layers were last looked at.
const BOOT: &str = "boot";
/// Layers that come within this time share a sync.
const GATHER: Duration = Duration::from_secs(1);

/// Syncs and marks in the background.
#[derive(Debug)]
pub(super) struct Durable {
    came: mpsc::UnboundedSender<String>,
    /// The helper's folder, where it can be opened.
    folder: Option<Arc<File>>,
}

/// Names this start of the machine; empty where the kernel does not say.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl Durable {
    /// Looks through the folder of layers, removes what cannot be trusted, and starts the background.
    pub(super) async fn open(helper: &Helper, folder: &Path) -> Result<Self, LayersError> {
        let all = super::folder()?;
        let names: HashSet<String> =
            helper.list_dir(&all).await.map_err(LayersError::all)?.into_iter().collect();
        let boot = boot_id();
        let looked_at = if names.contains(BOOT) {
            helper.read(&place(BOOT)?, 1024).await.map_err(LayersError::all)?
        } else {
            Vec::new()
        };
        let same_boot = !boot.is_empty() && looked_at == boot.as_bytes();
        let mut unmarked = Vec::new();
        for name in &names {
            match judge(name, &names, same_boot) {
                Judgement::Keep => {}
                Judgement::Mark => unmarked.push(name.clone()),
                Judgement::Remove => helper.remove(&place(name)?).await.map_err(LayersError::all)?,
            }
        }
        if !same_boot {
            helper.make_dir(&all, (0, 0), 0o755).await.map_err(LayersError::all)?;
            helper.write(&place(BOOT)?, boot, (0, 0), 0o600).await.map_err(LayersError::all)?;
        }
        // Unbounded, but never longer than the layers of this machine.
        let (came, coming) = mpsc::unbounded_channel();
        let folder = File::open(folder).map(Arc::new);
        match &folder {
            Ok(folder) => drop(tokio::spawn(mark_what_comes(helper.clone(), folder.clone(), coming))),
            Err(error) => tracing::warn!(%error, "layers are unpacked anew after each start of the machine"),
        }
        let durable = Self { came, folder: folder.ok() };
        for key in unmarked {
            durable.came(key);
        }
        Ok(durable)
    }

    /// Waits until all that was written to the helper's folder is on the disk; `false` where it may not be.
    pub(super) async fn sync(&self) -> bool {
        match &self.folder {
            Some(folder) => sync(folder).await,
            None => false,
        }
    }

    /// Notes a layer that is whole but may not be on disk yet.
    pub(super) fn came(&self, key: String) {
        let _ = self.came.send(key);
    }
}

/// The mark of a layer.
pub(super) fn mark_of(key: &str) -> Result<RelPath, LayersError> {
    place(&format!("{key}{MARK}"))
}

/// Whether a name is a layer's own.
pub(super) fn is_layer(name: &str) -> bool {
    name.len() == KEY && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Keep,
    Mark,
    Remove,
}

/// What becomes of a name in the folder of layers.
fn judge(name: &str, names: &HashSet<String>, same_boot: bool) -> Judgement {
    if is_layer(name) {
        let marked = names.contains(&format!("{name}{MARK}"));
        return match (marked, same_boot) {
            (true, _) => Judgement::Keep,
            (false, true) => Judgement::Mark,
            (false, false) => Judgement::Remove,
        };
    }
    let stale = name.contains(HALF) || name.strip_suffix(MARK).is_some_and(|key| !names.contains(key));
    if stale { Judgement::Remove } else { Judgement::Keep }
}

async fn mark_what_comes(helper: Helper, folder: Arc<File>, mut coming: mpsc::UnboundedReceiver<String>) {
    let mut keys = Vec::new();
    while coming.recv_many(&mut keys, usize::MAX).await > 0 {
        tokio::time::sleep(GATHER).await;
        while let Ok(key) = coming.try_recv() {
            keys.push(key);
        }
        if !sync(&folder).await {
            tracing::warn!("new layers are not marked");
            keys.clear();
            continue;
        }
        for key in keys.drain(..) {
            if let Err(error) = mark(&helper, &key).await {
                tracing::warn!(key, %error, "a layer could not be marked");
            }
        }
    }
}

async fn sync(folder: &Arc<File>) -> bool {
    let folder = folder.clone();
    let synced = tokio::task::spawn_blocking(move || rustix::fs::syncfs(&*folder)).await;
    let is_synced = matches!(synced, Ok(Ok(())));
    if !is_synced {
        tracing::warn!(?synced, "the disk could not be synced");
    }
    is_synced
}

async fn mark(helper: &Helper, key: &str) -> Result<(), LayersError> {
    // It may have been pruned meanwhile.
    if helper.exists(&place(key)?).await.map_err(LayersError::all)? {
        helper.write(&mark_of(key)?, Vec::new(), (0, 0), 0o600).await.map_err(LayersError::all)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Judgement::{Keep, Mark, Remove};
    use super::*;

    #[test]
    fn only_what_reached_the_disk_outlives_a_start_of_the_machine() {
        let [marked, fresh] = ["a", "b"].map(|digit| digit.repeat(KEY));
        let (mark, stray) = (format!("{marked}{MARK}"), format!("{}{MARK}", "c".repeat(KEY)));
        let half = format!("{fresh}{HALF}12-0");
        let names: HashSet<String> =
            [&marked, &fresh, &mark, &stray, &half, &BOOT.to_owned()].map(Clone::clone).into();
        let all = |same_boot| {
            [marked.as_str(), &fresh, &mark, &stray, &half, BOOT].map(|name| judge(name, &names, same_boot))
        };
        assert_eq!(all(true), [Keep, Mark, Keep, Remove, Remove, Keep]);
        assert_eq!(all(false), [Keep, Remove, Keep, Remove, Remove, Keep]);
    }
}
