//! What can go wrong with credentials and sealed values.

use hythe_model::Fault;
use hythe_store::StoreError;
use std::path::PathBuf;

/// A credential or a right could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The rows could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key was refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a public key was refused. The text is fit for a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a public key in OpenSSH's form.
    #[error("this is not a public SSH key: give the one line of a file such as ~/.ssh/id_ed25519.pub")]
    Malformed,
    /// A private key was given.
    #[error("this is a private key: keep it, and give the one line of the file beside it that ends in .pub")]
    Private,
    /// An algorithm that is not accepted.
    #[error("keys of type {0} are not accepted: use ed25519, ecdsa, or rsa of at least 2048 bits")]
    Algorithm(String),
    /// An RSA key that is too short.
    #[error("this RSA key has {0} bits: at least 2048 are needed, or use ed25519")]
    Short(u32),
    /// An RSA key so long that checking its signatures would keep the server busy.
    #[error("this RSA key has {0} bits: at most 16384 are accepted")]
    Long(u32),
}

/// A value could not be sealed or opened, or the key ring could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read.
    #[error("the sealing keys {path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key file cannot be written.
    #[error("the sealing keys {path} cannot be written: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Others than its owner may read the key file.
    #[error("the sealing keys {path} can be read by others: chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The value was sealed under a key that the ring does not hold.
    #[error("a value was sealed under key {0}, which is not in the key ring")]
    UnknownKey(u32),
    /// The sealed bytes were changed, or belong to another tool or key.
    #[error("a sealed value does not open: it was changed, or belongs to another tool or key")]
    Refused,
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(error) => error.into(),
            AuthError::Key(error) => error.into(),
        }
    }
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Fault::new("auth/key-refused", "The key was refused.").why(error.to_string())
    }
}

impl From<SealError> for Fault {
    fn from(error: SealError) -> Self {
        Fault::new("auth/sealing", "A config value could not be sealed or opened.")
            .why(error.to_string())
            .next("An administrator finds the sealing keys in the data folder, under keys/.")
    }
}
