//! What machines of a cluster show to the registry: for each a password that opens one door.
//!
//! A password follows from the key ring, so that no row holds it and every replica knows it; with the key that made it, it goes.

use crate::KeyRing;
use crate::seal::derived;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hythe_model::{BuildId, ToolName};
use secrecy::SecretString;
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// A machine, by what it may do. No maintainer's name has a plus, as all of theirs have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machine {
    /// A node: it pulls the images of this tool.
    Tool(ToolName),
    /// A node: it pulls the builder's image.
    Builder,
    /// The pod of a build: while that runs, it gets tokens to pull from and push to the build's own repository.
    Build(BuildId),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(tool) => write!(f, "tool+{tool}"),
            Self::Builder => f.write_str("platform+builder"),
            Self::Build(build) => write!(f, "build+{build}"),
        }
    }
}

/// It is no machine's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMachine;

impl FromStr for Machine {
    type Err = NoMachine;
    fn from_str(text: &str) -> Result<Self, NoMachine> {
        match text.split_once('+') {
            Some(("tool", tool)) => tool.parse().map(Self::Tool).map_err(|_| NoMachine),
            Some(("platform", "builder")) => Ok(Self::Builder),
            Some(("build", build)) => build.parse().map(|id| Self::Build(BuildId(id))).map_err(|_| NoMachine),
            _ => Err(NoMachine),
        }
    }
}

impl KeyRing {
    /// The user name and the password of a machine.
    pub fn machine_access(&self, machine: &Machine) -> (String, SecretString) {
        let password = self.with_newest(|key| password(key, machine));
        (machine.to_string(), SecretString::from(password))
    }

    /// The key that signs tokens of the registry: the same in every replica.
    pub fn registry_tokens(&self) -> [u8; 32] {
        self.with_newest(|key| derived(key, "hythe registry tokens", ""))
    }

    /// The machine that this user name and password prove.
    pub fn machine(&self, user: &str, secret: &str) -> Option<Machine> {
        let machine: Machine = user.parse().ok()?;
        let right = |key: &[u8; 32]| bool::from(password(key, &machine).as_bytes().ct_eq(secret.as_bytes()));
        self.with_any(right).then_some(machine)
    }
}

fn password(key: &[u8; 32], machine: &Machine) -> String {
    let (purpose, of) = match machine {
        Machine::Tool(tool) => ("hythe pull", tool.to_string()),
        other => ("hythe machine", other.to_string()),
    };
    BASE64_URL_SAFE_NO_PAD.encode(derived(key, purpose, &of))
}
