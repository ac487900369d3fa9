//! A tool's cached layers on this machine: immutable folders that an overlay shows to the next build.
//!
//! `caches/<tool>/<slice>/<buildpack>/<layer>/...` holds one layer each; `caches/<tool>/index.json` lists the slices and
//! is replaced in one step, last. A build that fails changes neither. Enter at [`read`]; `keep` writes.
//!
//! A cache may not have reached the disk when the power goes. Soon after an index is written the file system is synced,
//! and `caches/<tool>.synced` then holds the index's stamp; after a start of the machine an index without it is not used.

use crate::cache::{Found, INDEX_MAX, Index, UNREADABLE};
use crate::fault;
use hythe_layers::{Layers, boot_id};
use hythe_model::{Fault, ToolName};
use hythe_sandbox::{ErrorCode, Helper, RelPath, SandboxError};
use std::time::Duration;

/// Said of a cache that did not reach the disk.
const CUT_OFF: &str = "the machine stopped before it was on the disk";
/// How long the end of a build goes before the sync, which would slow down what comes next.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn folder(tool: &ToolName) -> Result<RelPath, Fault> {
    RelPath::new(format!("caches/{tool}")).map_err(fault::platform("name a cache"))
}

pub(crate) fn index_file(tool: &ToolName) -> Result<RelPath, Fault> {
    folder(tool)?.join("index.json").map_err(fault::platform("name a cache"))
}

/// Holds the stamp of the index that has reached the disk.
fn mark(tool: &ToolName) -> Result<RelPath, Fault> {
    RelPath::new(format!("caches/{tool}.synced")).map_err(fault::platform("name a cache"))
}

/// Where a slice lies.
pub(crate) fn slice_folder(tool: &ToolName, slice: &str) -> Result<RelPath, Fault> {
    folder(tool)?.join(slice).map_err(fault::platform("name a cached layer"))
}

/// Whether it is the cache that is broken, not the helper or the disk.
pub(crate) fn is_broken(error: &SandboxError) -> bool {
    error.code().is_some_and(|code| code != ErrorCode::DiskFull)
}

/// A tool's index.
pub(crate) async fn read(helper: &Helper, tool: &ToolName) -> Result<Found, Fault> {
    let file = index_file(tool)?;
    if !helper.exists(&file).await.map_err(fault::sandbox("look at a cache"))? {
        return Ok(Found::Nothing);
    }
    let bytes = match helper.read(&file, INDEX_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if is_broken(&error) => return Ok(Found::Useless(UNREADABLE, None)),
        Err(error) => return Err(fault::sandbox("read a cache's index")(error)),
    };
    let Ok(index) = serde_json::from_slice::<Index>(&bytes) else {
        return Ok(Found::Useless(UNREADABLE, None));
    };
    let marked = helper.read(&mark(tool)?, 1024).await.unwrap_or_default();
    Ok(if reached_the_disk(&index, &boot_id(), &marked) {
        Found::Index(index)
    } else {
        Found::Useless(CUT_OFF, Some(index))
    })
}

/// Whether an index holds now: what was written since the machine's start does in any case.
fn reached_the_disk(index: &Index, boot: &str, marked: &[u8]) -> bool {
    let this_start = !boot.is_empty() && index.boot == boot;
    this_start || (!index.stamp.is_empty() && marked == index.stamp.as_bytes())
}

/// Marks a tool's index soon, once it is on the disk.
pub(crate) fn settle(helper: Helper, layers: Layers, tool: ToolName, stamp: String) {
    tokio::spawn(async move {
        tokio::time::sleep(PAUSE).await;
        let Ok(mark) = mark(&tool) else { return };
        if !layers.sync().await {
            tracing::warn!(%tool, "the disk could not be synced; a cache is good until the machine stops");
        } else if let Err(error) = helper.write(&mark, stamp, (0, 0), 0o600).await {
            tracing::warn!(%tool, %error, "a cache could not be marked");
        }
    });
}

/// Removes a tool's cache.
pub(crate) async fn forget(helper: &Helper, tool: &ToolName) -> Result<(), Fault> {
    helper.remove(&mark(tool)?).await.map_err(fault::sandbox("remove a cache"))?;
    helper.remove(&folder(tool)?).await.map_err(fault::sandbox("remove a cache"))
}

/// Removes what is of no use. A failure is noted: the next build that keeps something removes it too.
pub(crate) async fn clear(helper: &Helper, tool: &ToolName) {
    if let Err(fault) = forget(helper, tool).await {
        tracing::warn!(%tool, %fault, "a cache that cannot be used could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reached_the_disk_outlives_a_start_of_the_machine() {
        let index = Index { stamp: "7-1".into(), boot: "a".into(), ..Index::default() };
        assert!(reached_the_disk(&index, "a", b""));
        assert!(reached_the_disk(&index, "b", b"7-1"));
        assert!(!reached_the_disk(&index, "b", b""));
        assert!(!reached_the_disk(&index, "b", b"6-9"), "the mark is an older index's");
        assert!(!reached_the_disk(&Index::default(), "", b""), "nothing is known of it");
    }
}
