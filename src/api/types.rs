//! The objects that travel over the API, for both of its sides.
//!
//! A file a noun. Names and numbers are `hythe_model`'s parsed types, so that a text that is none is refused where it
//! arrives. Nothing here does I/O.

mod attach;
mod build;
mod config;
mod job;
mod log;
mod release;
mod run;
mod schema;
mod tool;
mod who;

pub use attach::{Attach, FRAME_MAX, FrameError, FromClient, FromServer, RUN_PROTOCOL, Terminal, WINDOW};
pub use build::{Build, BuildRecord, BuildState, Redeploy};
pub use config::{ConfigEntry, ConfigPatch, ConfigScope, ConfigSet};
pub use job::{Job, JobRun, JobRunState, Jobs};
pub use log::{EndedInstance, LogLine, LogSource};
pub use release::{Instance, InstanceState, Progress, Release, Rollback, Scale};
pub use run::{Run, RunLine};
pub use schema::{ActorSchema, BuildEventSchema, ErrorBody, PhaseSchema, ReleaseCauseSchema};
pub use tool::{Maintainer, NewMaintainer, NewTool, Role, Tool, ToolSettings, ToolState};
pub use who::{
    Account, IssuedAccount, IssuedToken, Key, NewAccount, NewKey, NewToken, ServerInfo, Token, WhoAmI,
};
