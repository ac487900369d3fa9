//! OCI bundles run by `runc` in our own user namespace, for builds and for instances alike.
//!
//! Enter at [`Helper::open`], which finds or starts the program `hythe-sandbox`. That program (one for a data folder)
//! lives in a user, mount and PID namespace of its own and outlives the server: it alone touches the files of
//! subordinate ids, mounts overlays, makes network namespaces and runs `runc`; its death ends everything in it.
//! The two talk over a Unix socket (see [`wire`]) and pass open files.
//! This room never holds a credential, never uses the network itself and keeps no state that outlives the helper.

pub mod capability;
pub mod client;
pub mod error;
pub mod helper;
mod kernel;
pub mod path;
pub mod spec;
pub mod wire;

pub use client::{Helper, HelperOptions, Sandbox, Terminal};
pub use error::{ErrorCode, SandboxError};
pub use hythe_oci::{
    Applied, ApplyOptions, ArchiveFormat, Compression, Fingerprint, LayerBounds, LayerInfo, LayerSpec,
};
pub use path::{RelPath, RelPathError};
pub use spec::{
    Egress, Exit, ExitCause, HelperInfo, Limits, Mount, Network, OverlayMount, Process, ResourceUsage, Root,
    SandboxSpec, SandboxState, SandboxStatus, Stdio, Usage,
};
