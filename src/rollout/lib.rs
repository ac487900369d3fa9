//! Makes a release run: the runtime trait and the local runtime.
//!
//! Enter at [`Runtime`]: [`Runtime::start`] brings new instances up beside the old ones, [`Runtime::switch`] moves the
//! route to them, [`Runtime::abandon`] takes them away. [`LocalRuntime`] does it with sandboxes of this machine and
//! keeps them running until they are told to stop, over a restart of the server too. What it publishes is a
//! [`hythe_model::RouteTable`] on a watch channel. This room never writes a row and never speaks HTTP to a client.

mod backoff;
mod canary;
mod command;
mod fault;
mod jobs;
mod kubernetes;
mod local;
mod one_off;
mod probe;
mod runtime;
mod settings;
mod status;

pub use fault::CLUSTER_AWAY;
pub use hythe_cluster::{Piece, Position};
pub use jobs::{JobRun, JobState};
pub use kubernetes::{ClusterSettings, KubernetesParts, KubernetesRuntime, Pull, Quota, Router};
pub use local::{LocalParts, LocalRuntime};
pub use one_off::{ONE_OFF_PIECE, OneOff, OneOffEnds, OneOffOutput, OneOffSession, OneOffTerminal};
pub use runtime::{
    Adopted, Answers, Candidate, ConfigFile, ImageName, Lines, Notes, RunnableRelease, Runtime, Served,
    Switched, Traffic, Unwatched, Wished, Wishes, Witness,
};
pub use settings::{EgressSettings, ProcessSettings, ReadMount, Readiness, RunLimits, RunSettings, Volume};
pub use status::{ExitReason, InstanceState, InstanceStatus};
