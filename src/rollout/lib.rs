//! Makes a release run: the runtime trait and the local runtime.
//!
//! Enter at [`Runtime`]: [`Runtime::start`] brings new instances up beside the old ones, [`Runtime::switch`] moves the
//! route to them, [`Runtime::abandon`] takes them away. [`LocalRuntime`] does it with sandboxes of this machine and
//! keeps them running until they are told to stop, over a restart of the server too. What it publishes is a
//! [`hythe_model::RouteTable`] on a watch channel. This room never writes a row and never speaks HTTP to a client.

mod backoff;
mod fault;
mod kubernetes;
mod local;
mod runtime;
mod status;

pub use kubernetes::{ClusterSettings, KubernetesParts, KubernetesRuntime, Pull, Quota, Router};
pub use local::{LocalParts, LocalRuntime};
pub use runtime::{
    Adopted, Candidate, EgressSettings, ImageName, Notes, OneOff, OneOffOutput, OneOffSession, Readiness,
    RunLimits, RunSettings, RunnableRelease, Runtime, Switched, Traffic, Unwatched, Witness,
};
pub use status::{ExitReason, InstanceState, InstanceStatus};
