//! Layers in and out, by the rules of `hythe_oci`, inside the namespace where their owners exist.
//!
//! Enter at [`unpack`] and [`pack`]; both end when their client hangs up.

use super::attend::Attended;
use super::refusal::{Doing, Refusal};
use super::root::Root;
use super::{files, root};
use crate::{ErrorCode, RelPath};
use hythe_oci::{
    Applied, ApplyError, ApplyOptions, Compression, Fingerprint, LayerBounds, LayerError, LayerInfo,
    LayerSpec, Part,
};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const BUFFER: usize = 1 << 20;

pub(super) fn unpack(
    root: &Root,
    client: &UnixStream,
    archive: OwnedFd,
    dest: &RelPath,
    options: &ApplyOptions,
) -> Result<Applied, Refusal> {
    let folder = root.make_dirs(dest)?;
    let reader = BufReader::with_capacity(BUFFER, Attended::new(client, File::from(archive)));
    hythe_oci::apply_layer(reader, &files::as_path(&folder), options).map_err(|error| {
        let beyond = matches!(error, ApplyError::TooLarge(_) | ApplyError::TooMany(_));
        Refusal::chain(if beyond { ErrorCode::TooLarge } else { ErrorCode::Archive }, &error)
    })
}

pub(super) fn pack(
    root: &Root,
    client: &UnixStream,
    spec: LayerSpec,
    compression: Compression,
    bounds: LayerBounds,
    out: OwnedFd,
) -> Result<LayerInfo, Refusal> {
    let spec = within(root, spec)?;
    let mut out = Attended::new(client, BufWriter::with_capacity(BUFFER, File::from(out)));
    let info = hythe_oci::write_layer_within(&spec, compression, &mut out, 0, bounds).map_err(|error| {
        use LayerError::{Crowded, TooLarge, TooMany};
        let beyond = matches!(error, TooLarge(_) | TooMany(_) | Crowded { .. });
        Refusal::chain(if beyond { ErrorCode::TooLarge } else { ErrorCode::Io }, &error)
    })?;
    out.flush().doing("the layer")?;
    Ok(info)
}

pub(super) fn fingerprint(root: &Root, spec: LayerSpec) -> Result<Fingerprint, Refusal> {
    hythe_oci::fingerprint(&within(root, spec)?).map_err(|error| Refusal::chain(ErrorCode::Io, &error))
}

/// Holds the spec to the helper's folder: with a base no source leaves it, whatever links a guest has laid.
fn within(root: &root::Root, mut spec: LayerSpec) -> Result<LayerSpec, Refusal> {
    for part in &mut spec.parts {
        if let Part::Tree { source, .. } | Part::Parents { source, .. } | Part::HostFile { source, .. } = part
        {
            *source = checked(source)?;
        }
    }
    spec.base = Some(root.path().to_owned());
    Ok(spec)
}

fn checked(source: &std::path::Path) -> Result<PathBuf, Refusal> {
    let refuse = || Refusal::invalid(format!("{} is not a path below the sandbox folder", source.display()));
    let path = RelPath::new(source.to_str().ok_or_else(refuse)?).map_err(|_| refuse())?;
    Ok(path.as_str().into())
}
