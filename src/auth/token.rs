//! Tokens: `hythe_` and 32 random bytes; the store sees their hash.

use secrecy::SecretString;

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
    use sha2::{Digest, Sha256};
    Sha256::digest(token.as_bytes()).into()
}
