//! Pushes under way, by the secret that their hooks present.

use crate::Identity;
use crate::wire::HookKind;
use hythe_model::{Fault, ToolName};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// One git receive-pack and what is known of it.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) tool: ToolName,
    pub(crate) identity: Identity,
    /// Fires when the client is gone.
    pub(crate) cancel: CancellationToken,
    /// Fires when the pack has arrived whole: the client has nothing more to say.
    pub(crate) arrived: CancellationToken,
    judgement: Mutex<Option<Judgement>>,
    working: AtomicUsize,
}

/// What `pre-receive` found, for `proc-receive` to tell.
#[derive(Debug, Default, Clone)]
pub(crate) struct Judgement {
    /// The refs that were looked at.
    pub(crate) judged: HashSet<String>,
    /// Refs that do not move, and why.
    pub(crate) refused: HashMap<String, Fault>,
    /// Lines to show before anything else.
    pub(crate) notes: Vec<String>,
}

impl Ticket {
    /// A ticket for one push.
    pub(crate) fn new(tool: ToolName, identity: Identity, cancel: CancellationToken) -> Self {
        let (judgement, working) = (Mutex::new(None), AtomicUsize::new(0));
        Self { tool, identity, cancel, arrived: CancellationToken::new(), judgement, working }
    }

    /// Keeps what `pre-receive` found.
    pub(crate) fn judge(&self, judgement: Judgement) {
        *self.judgement.lock().unwrap_or_else(PoisonError::into_inner) = Some(judgement);
    }

    /// Takes what `pre-receive` found; none where it did not run or was asked before.
    pub(crate) fn judgement(&self) -> Option<Judgement> {
        self.judgement.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the platform, not the client, is what takes time.
    pub(crate) fn is_working(&self) -> bool {
        self.working.load(Ordering::Relaxed) > 0
    }

    /// Notes that a hook is being answered, until what is returned is dropped.
    pub(crate) fn work(self: &Arc<Self>, hook: HookKind) -> Working {
        if hook == HookKind::PreReceive {
            self.arrived.cancel();
        }
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }
}

/// A hook being answered.
pub(crate) struct Working(Arc<Ticket>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All tickets.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    open: Mutex<HashMap<String, Arc<Ticket>>>,
}

impl Tickets {
    /// Opens a ticket; it is closed when what is returned is dropped.
    pub(crate) fn open(self: &Arc<Self>, ticket: Arc<Ticket>) -> OpenTicket {
        let token = token();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), ticket);
        OpenTicket { tickets: Arc::clone(self), token }
    }

    /// The push that this secret belongs to.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Ticket>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// Keeps a ticket open.
pub(crate) struct OpenTicket {
    tickets: Arc<Tickets>,
    token: String,
}

impl OpenTicket {
    /// The secret for the environment of git.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for OpenTicket {
    fn drop(&mut self) {
        self.tickets.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

/// 256 random bits in hexadecimal.
fn token() -> String {
    use std::fmt::Write;
    let bytes: [u8; 32] = rand::random();
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
