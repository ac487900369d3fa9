//! Files below the helper's folder, which the server cannot touch itself: they belong to subordinate ids.

use super::Helper;
use crate::wire::Request;
use crate::{RelPath, SandboxError, Usage};
use hythe_oci::{Applied, ApplyOptions, Compression, Fingerprint, LayerBounds, LayerInfo, LayerSpec};
use std::fs::File;

impl Helper {
    /// Makes a folder and, as root's with mode 0755, those above it. One that is there gets this owner and mode.
    pub async fn make_dir(&self, path: &RelPath, owner: (u32, u32), mode: u32) -> Result<(), SandboxError> {
        self.ask(Request::MakeDir { path: path.clone(), uid: owner.0, gid: owner.1, mode }).await
    }

    /// Renames, and replaces a file or an empty folder of the new name. The folder above the new name must exist.
    pub async fn rename(&self, from: &RelPath, to: &RelPath) -> Result<(), SandboxError> {
        self.ask(Request::Rename { from: from.clone(), to: to.clone() }).await
    }

    /// Removes a file or a folder with all that is in it; a missing one is no error.
    pub async fn remove(&self, path: &RelPath) -> Result<(), SandboxError> {
        self.ask(Request::Remove { path: path.clone() }).await
    }

    /// Whether something has this name, a dangling link included.
    pub async fn exists(&self, path: &RelPath) -> Result<bool, SandboxError> {
        self.ask(Request::Exists { path: path.clone() }).await
    }

    /// The names in a folder, sorted; a missing folder has none. Names that are not UTF-8 are left out.
    pub async fn list_dir(&self, path: &RelPath) -> Result<Vec<String>, SandboxError> {
        self.ask(Request::ListDir { path: path.clone() }).await
    }

    /// A regular file's content; more than `max` bytes (16 MiB at most) is an error.
    pub async fn read(&self, path: &RelPath, max: u64) -> Result<Vec<u8>, SandboxError> {
        let request = Request::Read { path: path.clone(), max };
        Ok(self.call(&request, Vec::new(), Vec::new()).await?.bytes)
    }

    /// Writes a regular file of at most 16 MiB in one step: a reader sees the old or the new one.
    pub async fn write(
        &self,
        path: &RelPath,
        content: impl Into<Vec<u8>>,
        owner: (u32, u32),
        mode: u32,
    ) -> Result<(), SandboxError> {
        let request = Request::Write { path: path.clone(), uid: owner.0, gid: owner.1, mode };
        self.call(&request, content.into(), Vec::new()).await?.value(&request)
    }

    /// Bytes and entries below a path.
    pub async fn usage(&self, path: &RelPath) -> Result<Usage, SandboxError> {
        self.ask(Request::DiskUsage { path: path.clone() }).await
    }

    /// Unpacks an archive, read from where the file stands, into the folder `dest`, which is made when missing.
    pub async fn unpack(
        &self,
        archive: File,
        dest: &RelPath,
        options: ApplyOptions,
    ) -> Result<Applied, SandboxError> {
        let request = Request::Unpack { dest: dest.clone(), options };
        self.call(&request, Vec::new(), vec![archive.into()]).await?.value(&request)
    }

    /// Writes a layer to `out`. Every source of the spec is relative to the helper's folder; `base` is set by the helper.
    /// The work ends soon after the future is dropped.
    pub async fn pack(
        &self,
        spec: LayerSpec,
        compression: Compression,
        bounds: LayerBounds,
        out: File,
    ) -> Result<LayerInfo, SandboxError> {
        let request = Request::Pack { spec, compression, bounds };
        self.call(&request, Vec::new(), vec![out.into()]).await?.value(&request)
    }

    /// The fingerprint of a layer as its sources are now; reads no file. Sources as for [`Helper::pack`].
    pub async fn fingerprint(&self, spec: &LayerSpec) -> Result<Fingerprint, SandboxError> {
        self.ask(Request::Fingerprint { spec: spec.clone() }).await
    }
}
