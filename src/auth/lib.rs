//! Who may do what: SSH keys, tokens, one policy; and the sealing of config values.
//!
//! Enter at [`Auth`]: `authenticate_*` and `check_token` turn a credential into an [`Identity`], [`Auth::allow`] is the
//! one place that decides. [`KeyRing`] seals values for the store. This room keeps no session, knows no protocol and never writes a
//! secret's plain text anywhere.

mod action;
mod attempts;
mod error;
mod identity;
mod key;
mod machine;
mod policy;
mod registry;
mod seal;
mod token;

#[cfg(test)]
mod tests;

pub use action::Action;
pub use error::{AuthError, KeyError, SealError};
pub use identity::{Auth, Bootstrap, Checked, Identity};
pub use key::PublicKey;
pub use machine::{Machine, NoMachine};
pub use policy::{Decision, Standing, decide};
pub use registry::RegistryAccess;
pub use seal::{KeyRing, Sealed};
pub use token::{IssuedToken, hash_token};
