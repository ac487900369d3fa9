//! What this front needs from the rest of the platform.

use async_trait::async_trait;
use hythe_model::{Actor, BuildId, Fault, PushRequest, ReleaseNumber, ToolName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A public key that a client offers. It may not hold the private one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Algorithm and base64 blob, as in a line of `authorized_keys` without its comment.
    pub openssh: String,
    /// The key in wire encoding (RFC 4253, section 6.6).
    pub blob: Vec<u8>,
}

/// Who holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The actor.
    pub actor: Actor,
    /// The key's fingerprint.
    pub fingerprint: String,
}

/// What a connection wants with a tool's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// To deploy.
    Push,
    /// To read.
    Fetch,
}

/// Keys and what they may do.
#[async_trait]
pub trait KeyDirectory: Send + Sync + 'static {
    /// Whose key this is; `None` where nobody's. Asked when it is offered and again when it is proven.
    async fn authenticate(&self, key: &OfferedKey) -> Result<Option<Identity>, Fault>;

    /// Whether the tool exists and its holder may do this with it. A stranger is not told which is not so.
    async fn may(&self, identity: &Identity, access: Access, tool: &ToolName) -> Result<bool, Fault>;
}

/// A tool's rules for pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRules {
    /// Names of the branches that deploy, without `refs/heads/`; the first is the one that messages recommend.
    pub branches: Vec<String>,
    /// Whether a push may replace the live commit by one that does not follow it.
    pub allow_force: bool,
}

/// Lines for the pusher's screen, without line ends. Bounded; a send fails once nobody looks any more, which the
/// sender ignores: whether the push goes on is the cancellation token's to say.
pub type Screen = mpsc::Sender<String>;

/// How a push ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// The release is live and the handler has moved the ref.
    Live {
        /// The release.
        release: ReleaseNumber,
    },
    /// The build is durably queued; the ref has not moved.
    Detached {
        /// The build.
        build: BuildId,
    },
}

/// What happens with a push.
#[async_trait]
pub trait PushHandler: Send + Sync + 'static {
    /// Brings the tool's repository here up to date, where it is a copy of what several servers share: called before git is
    /// served.
    async fn prepare(&self, _tool: &ToolName) -> Result<(), Fault> {
        Ok(())
    }

    /// The tool's rules.
    async fn rules(&self, tool: &ToolName) -> Result<PushRules, Fault>;

    /// Takes a push all the way. Its objects are durable in the repository, its ref has not moved: on
    /// [`PushOutcome::Live`] the handler has moved it, by compare-and-swap from `request.old`.
    ///
    /// `cancel` fires as soon as the client is gone; the call goes on until it returns all the same, so that a push
    /// past its point of no return is finished. A fault is shown by this front: the handler does not send it to the screen.
    async fn push(
        &self,
        request: PushRequest,
        screen: Screen,
        cancel: CancellationToken,
    ) -> Result<PushOutcome, Fault>;
}
