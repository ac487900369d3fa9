//! What a node of a cluster shows to the registry: a password for each tool, good for pulling its images and nothing else.
//!
//! It follows from the key ring, so that no row holds it and every replica knows it; with the key that made it, it goes.

use crate::KeyRing;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use hythe_model::ToolName;
use secrecy::SecretString;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What user names of nodes begin with; no maintainer's name has a plus.
const PREFIX: &str = "tool+";

impl KeyRing {
    /// The user name and the password that pull a tool's images.
    pub fn pull_access(&self, tool: &ToolName) -> (String, SecretString) {
        let password = self.with_newest(|key| password(key, tool));
        (format!("{PREFIX}{tool}"), SecretString::from(password))
    }

    /// The tool whose images this user name and password pull.
    pub fn puller(&self, user: &str, secret: &str) -> Option<ToolName> {
        let tool: ToolName = user.strip_prefix(PREFIX)?.parse().ok()?;
        let right = |key: &[u8; 32]| bool::from(password(key, &tool).as_bytes().ct_eq(secret.as_bytes()));
        self.with_any(right).then_some(tool)
    }
}

fn password(key: &[u8; 32], tool: &ToolName) -> String {
    // An HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(b"hythe pull\0");
    mac.update(tool.as_str().as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}
