//! Before the build: source, cached layers and the lifecycle's request come to their places.

use crate::job::Restored;
use crate::places::{ENV, EXCHANGE, LAYERS, PRIVATE, REQUEST, WORK, WORKSPACE};
use crate::trees::{Tree, of_layer};
use crate::{Access, CarryError, Exchange, files};
use hythe_oci::{ApplyOptions, ArchiveFormat, Ownership, fingerprint};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The largest build-time config, bytes: no Secret holds more.
const ENV_MAX: u64 = 2 << 20;
/// What was restored, below [`PRIVATE`].
pub(crate) const RESTORED: &str = "restored.json";

/// Brings everything in.
pub async fn restore(access: &Access) -> Result<(), CarryError> {
    let exchange = Exchange::open(access).await?;
    let job = exchange.job(&access.job).await?;
    let work = Path::new(WORK);
    for name in [LAYERS, WORKSPACE] {
        let path = work.join(name);
        // A container that is started again begins anew.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(|error| CarryError::file("make", &path, error))?;
    }
    let files = |format| ApplyOptions::files(format, Ownership::Current);
    let source = ApplyOptions { expect: Some(job.source.clone()), ..files(ArchiveFormat::Tar) };
    exchange.unpack(&job.source, &work.join(WORKSPACE), &source).await?;
    let mut restored = Vec::new();
    for cached in job.cached {
        let layer = &cached.written;
        let format = ArchiveFormat::of_media_type(&layer.blob.media_type).unwrap_or(ArchiveFormat::TarGzip);
        let options = ApplyOptions { expect: Some(layer.diff_id.clone()), ..files(format) };
        exchange.unpack(&layer.blob.digest, work, &options).await?;
        let tree = Tree::Layer { buildpack: cached.buildpack.clone(), layer: cached.layer.clone() };
        let fingerprint = fingerprint(&of_layer(&tree, work, job.user))?;
        restored.push(Restored { cached, fingerprint });
    }
    files::write(&Path::new(PRIVATE).join(RESTORED), &restored)?;
    let env: BTreeMap<String, String> = files::read_given(Path::new(ENV), ENV_MAX)?;
    let request = hythe_cnb::protocol::Request { platform_env: env, ..job.request };
    files::write(&Path::new(EXCHANGE).join(REQUEST), &request)
}
