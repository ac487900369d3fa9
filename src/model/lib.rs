//! The nouns of the corridor, from a push to a route.
//!
//! Every stage consumes the type of the stage before it; this room holds those types and their parsers.
//! It never does I/O and knows no protocol: a raw `String` from outside becomes one of these or is refused.

pub mod event;
pub mod fault;
pub mod finding;
pub mod image;
pub mod mistake;
pub mod name;
pub mod project;
pub mod push;
pub mod release;
pub mod render;
pub mod route;
pub mod session;
pub mod source;
pub mod units;

pub use event::{BuildEvent, Phase};
pub use fault::Fault;
pub use finding::{Finding, Verdict};
pub use image::{Digest, PublishedImage};
pub use name::{
    BuildId, InstanceId, JobName, MaintainerName, MountName, NameError, Place, ProcessType, ReleaseNumber,
    ToolName,
};
pub use project::Project;
pub use push::{Actor, BuildCause, PushOptions, PushRequest};
pub use release::{Formation, Process, Release, ReleaseCause, ReleaseState};
pub use route::{Route, RouteTable, Upstream};
pub use session::{Signal, TerminalSize};
pub use source::{CommitId, SourceTree};
