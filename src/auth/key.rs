//! Public SSH keys, parsed and judged.

use crate::KeyError;
use russh::keys::ssh_key::public::{KeyData, RsaPublicKey};
use russh::keys::{HashAlg, PublicKey as SshKey};

/// The fewest and the most bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=16_384;
/// The longest comment that is kept, in characters.
const COMMENT: usize = 100;

/// A public key that is good enough to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: String,
    fingerprint: String,
    openssh: String,
    comment: String,
}

impl PublicKey {
    /// Reads a key in OpenSSH's one-line form, as in `ssh-ed25519 AAAA... name@host`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        if let Some(refused) = text.split_whitespace().next().filter(|word| is_refused(word)) {
            return Err(KeyError::Algorithm(refused.to_owned()));
        }
        if text.contains(['\n', '\r']) {
            return Err(KeyError::Malformed);
        }
        let key = SshKey::from_openssh(text).map_err(|_| KeyError::Malformed)?;
        Self::check(&key)
    }

    /// Judges a key that arrived over the wire.
    pub fn check(key: &SshKey) -> Result<Self, KeyError> {
        match key.key_data() {
            KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
            KeyData::Rsa(rsa) => judge(bits(rsa))?,
            _ => return Err(KeyError::Algorithm(key.algorithm().to_string())),
        }
        let bare = SshKey::new(key.key_data().clone(), "");
        let comment = key.comment().to_string();
        Ok(Self {
            algorithm: key.algorithm().to_string(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            openssh: bare.to_openssh().map_err(|_| KeyError::Malformed)?.trim_end().to_owned(),
            comment: comment.chars().filter(|c| !c.is_control()).take(COMMENT).collect(),
        })
    }

    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// As in `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// OpenSSH's one-line form, without the comment.
    pub fn openssh(&self) -> &str {
        &self.openssh
    }

    /// The comment that came with it; a good title.
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

/// Types that are known and not accepted, by the word that a key's line begins with.
fn is_refused(word: &str) -> bool {
    word == "ssh-dss" || word.starts_with("sk-") || word.contains("-cert-v01@")
}

fn bits(rsa: &RsaPublicKey) -> u32 {
    let modulus = rsa.n().as_positive_bytes().unwrap_or_default();
    let modulus = &modulus[modulus.iter().take_while(|byte| **byte == 0).count()..];
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(modulus.len() * 8).unwrap_or(u32::MAX) - leading
}

fn judge(bits: u32) -> Result<(), KeyError> {
    match bits {
        few if few < *RSA_BITS.start() => Err(KeyError::Short(few)),
        many if many > *RSA_BITS.end() => Err(KeyError::Long(many)),
        _ => Ok(()),
    }
}
