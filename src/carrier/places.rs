//! Where things lie in the pod.

/// The file that only this program sees: an [`crate::Access`].
pub const ACCESS: &str = "/hythe/access/access.json";
/// Its folder.
pub const ACCESS_DIR: &str = "/hythe/access";
/// The tool's build-time config, a JSON object, in the same folder.
pub const ENV: &str = "/hythe/access/env.json";
/// What this program keeps from its first container for its last one.
pub const PRIVATE: &str = "/hythe/private";
/// The volume that builds write to: [`LAYERS`] and [`WORKSPACE`] lie in it.
pub const WORK: &str = "/hythe/work";
/// What buildpacks see as `/layers`, below [`WORK`].
pub const LAYERS: &str = "layers";
/// What they see as `/workspace`, below [`WORK`].
pub const WORKSPACE: &str = "workspace";
/// What the lifecycle is asked and what it answers, in memory.
pub const EXCHANGE: &str = "/hythe/exchange";
/// The lifecycle's request, below [`EXCHANGE`].
pub const REQUEST: &str = "request.json";
/// Its outcome, below [`EXCHANGE`].
pub const OUTCOME: &str = "outcome.json";
