//! Archives from the npm registry, checked against the definition's hash.
//!
//! Enter at [`fetch`]. What does not match its hash never reaches the disk under its name.

use crate::{Archive, Egress, StackError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of an archive, compressed.
const MAX_BYTES: u64 = 512 << 20;

/// Downloads a package and writes it uncompressed into `folder`; gives the file.
pub(crate) async fn fetch(
    egress: &Egress,
    registry: &str,
    archive: &Archive,
    folder: &Path,
) -> Result<PathBuf, StackError> {
    let name = archive.package.rsplit('/').next().unwrap_or(&archive.package);
    let base = registry.trim_end_matches('/');
    let url = format!("{base}/{}/-/{name}-{}.tgz", archive.package, archive.version);
    let bytes =
        download(egress, &url).await.map_err(|source| StackError::Download { url: url.clone(), source })?;
    let found = sha512(&bytes);
    if found != archive.digest.as_str() {
        return Err(StackError::Integrity { url, expected: archive.digest.clone(), found });
    }
    let path = folder.join(format!("{name}.tar"));
    let target = path.clone();
    tokio::task::spawn_blocking(move || unzip(&bytes, &target))
        .await
        .map_err(std::io::Error::other)
        .and_then(|result| result)
        .map_err(|source| StackError::Archive { path: path.clone(), source })?;
    Ok(path)
}

async fn download(egress: &Egress, url: &str) -> Result<Vec<u8>, reqwest::Error> {
    let mut response = egress.client()?.get(url).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (bytes.len() + chunk.len()) as u64 > MAX_BYTES {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The SHA-512 of these bytes, in the form of a digest.
fn sha512(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha512:");
    for byte in <sha2::Sha512 as sha2::Digest>::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unzip(bytes: &[u8], path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    // A tool's archive is a few hundred megabytes at most; more is an archive made to fill the disk.
    let mut plain = flate2::read::MultiGzDecoder::new(bytes).take(4 * MAX_BYTES);
    std::io::copy(&mut plain, &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_read_as_digests() {
        let empty = sha512(b"");
        assert!(empty.starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007"), "{empty}");
        assert!(empty.parse::<hythe_model::Digest>().is_ok());
    }
}
