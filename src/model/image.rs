//! Images by content.

use crate::name::string_name;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A content digest: `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits (OCI image spec, Digests).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Not a digest this platform knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sha256 or sha512 digest")]
pub struct DigestError(String);

impl Digest {
    /// The digest of these 32 bytes of SHA-256.
    pub fn sha256(hash: [u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        &self.0[..6]
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// Twelve digits, as people read them.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

string_name!(Digest, DigestError);

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let lower_hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 && lower_hex(hex) => Ok(Self(text.to_owned())),
            Some(("sha512", hex)) if hex.len() == 128 && lower_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(DigestError(text.chars().take(160).collect())),
        }
    }
}

/// An image that a registry holds durably: what a release names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedImage {
    /// The repository in the registry, as in `tools/weather`.
    pub repository: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Compressed bytes of all its layers.
    pub bytes: u64,
    /// Layers of it, and how many of them the registry did not have before.
    pub layers: usize,
    /// Layers written by this build.
    pub new_layers: usize,
    /// Compressed bytes of those.
    pub new_bytes: u64,
    /// The processes it can start, `web` among them where it serves traffic.
    pub processes: Vec<crate::Process>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_strict() {
        let digest = Digest::sha256([0xab; 32]);
        assert_eq!(digest.as_str().parse::<Digest>().as_ref(), Ok(&digest));
        assert_eq!((digest.algorithm(), digest.hex().len()), ("sha256", 64));
        assert!(digest.as_str().to_uppercase().parse::<Digest>().is_err());
        assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
        assert!("md5:d41d8cd98f00b204e9800998ecf8427e".parse::<Digest>().is_err());
    }
}
