//! Tokens: `hythe_` and 32 random bytes; the store sees their hash.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every token begins with, so that scanners of leaked secrets know one when they see it.
pub(crate) const PREFIX: &str = "hythe_";
/// Characters of a whole token: the prefix and 32 bytes in base64url.
pub(crate) const LENGTH: usize = PREFIX.len() + 43;

/// A new token. Its text is shown once and kept nowhere.
#[derive(Debug)]
pub struct IssuedToken {
    /// The text, as in `hythe_...`.
    pub token: SecretString,
    /// Its row.
    pub row: hythe_store::Token,
}

/// SHA-256 of a token's text. The text has 256 random bits, so that a slow hash would add nothing.
pub fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token's text.
pub(crate) fn generate() -> SecretString {
    let mut bytes = Zeroizing::new([0u8; 32]);
    rand::fill(bytes.as_mut_slice());
    let digits = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    SecretString::from(format!("{PREFIX}{}", digits.as_str()))
}

/// Whether a text looks like a token at all; what does not costs no look-up.
pub(crate) fn is_shaped(token: &str) -> bool {
    token.len() == LENGTH && token.starts_with(PREFIX)
}
