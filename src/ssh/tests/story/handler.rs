//! The test's own end of a push: keys from files, and a handler that moves the ref as a pipeline does.

use async_trait::async_trait;
use hythe_model::{Actor, BuildId, CommitId, Fault, PushRequest, ReleaseNumber, ToolName};
use hythe_source::{Repositories, SourceStore};
use hythe_ssh::{Access, Identity, KeyDirectory, OfferedKey, PushHandler, PushOutcome, PushRules, Screen};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Keys of the test's folder, by their line.
pub(crate) struct Directory {
    known: HashMap<String, Actor>,
}

impl Directory {
    pub(crate) fn read(folder: &Path) -> Self {
        let line = |name: &str| {
            let text = std::fs::read_to_string(folder.join(format!("{name}.pub"))).unwrap();
            text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        let maintainer = Actor::Maintainer("alice".parse().unwrap());
        let deploy = Actor::DeployKey("weather".parse().unwrap());
        Self {
            known: HashMap::from([
                (line(super::world::MAINTAINER), maintainer),
                (line(super::world::DEPLOY), deploy),
            ]),
        }
    }
}

#[async_trait]
impl KeyDirectory for Directory {
    async fn authenticate(&self, key: &OfferedKey) -> Result<Option<Identity>, Fault> {
        assert!(key.fingerprint.starts_with("SHA256:") && key.blob.len() > 32);
        let actor = self.known.get(&key.openssh).cloned();
        Ok(actor.map(|actor| Identity { actor, fingerprint: key.fingerprint.clone() }))
    }

    async fn may(&self, identity: &Identity, access: Access, tool: &ToolName) -> Result<bool, Fault> {
        Ok(match &identity.actor {
            Actor::Maintainer(_) => tool.as_str() != "secret",
            Actor::DeployKey(own) => own == tool && access == Access::Push,
            Actor::Platform => false,
        })
    }
}

/// What the handler does next.
#[derive(Debug, Clone, Default)]
pub(crate) enum Plan {
    /// Moves the ref.
    #[default]
    Live,
    /// Says lines with pauses, then moves the ref.
    Slow(Vec<&'static str>, Duration),
    /// Fails.
    Fail(Fault),
    /// Waits until it is cancelled.
    Hang,
    /// Waits at a gate, then moves the ref.
    Gate,
    /// Panics.
    Panic,
}

/// A handler that deploys by moving the ref, as its plan says.
pub(crate) struct Deploys {
    repositories: Repositories,
    allow_force: bool,
    pub(crate) plan: Mutex<Plan>,
    pub(crate) seen: Mutex<Vec<PushRequest>>,
    pub(crate) started: Notify,
    pub(crate) gate: Notify,
    pub(crate) cancelled: Notify,
    pub(crate) cancelled_at: Mutex<Option<Instant>>,
}

impl Deploys {
    pub(crate) fn new(repositories: Repositories, allow_force: bool) -> Self {
        Self {
            repositories,
            allow_force,
            plan: Mutex::default(),
            seen: Mutex::default(),
            started: Notify::new(),
            gate: Notify::new(),
            cancelled: Notify::new(),
            cancelled_at: Mutex::default(),
        }
    }

    pub(crate) fn plan(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
    }

    /// The requests that arrived.
    pub(crate) fn requests(&self) -> Vec<PushRequest> {
        self.seen.lock().unwrap().clone()
    }

    async fn go_live(&self, request: &PushRequest) -> Result<PushOutcome, Fault> {
        let (repositories, request) = (self.repositories.clone(), request.clone());
        let moved = tokio::task::spawn_blocking(move || {
            // The objects are durable by now: the tree is read from the repository itself.
            let folder = tempfile::tempdir().unwrap();
            let sources = SourceStore::open(folder.path()).unwrap();
            sources.read_tree(&repositories, &request.tool, &request.new)?;
            let moved =
                repositories.move_ref(&request.tool, &request.reference, request.old.as_ref(), &request.new);
            moved.map_err(|error| error.fault())
        });
        moved.await.unwrap().map(|()| PushOutcome::Live { release: ReleaseNumber(1) })
    }
}

#[async_trait]
impl PushHandler for Deploys {
    async fn rules(&self, _tool: &ToolName) -> Result<PushRules, Fault> {
        Ok(PushRules { branches: vec!["main".into(), "master".into()], allow_force: self.allow_force })
    }

    async fn push(
        &self,
        request: PushRequest,
        screen: Screen,
        cancel: CancellationToken,
    ) -> Result<PushOutcome, Fault> {
        self.seen.lock().unwrap().push(request.clone());
        let plan = self.plan.lock().unwrap().clone();
        let _ = screen.send(format!("Hythe  {}  {}", request.tool, request.new.short())).await;
        self.started.notify_one();
        if request.options.detach {
            return Ok(PushOutcome::Detached { build: BuildId(7) });
        }
        match plan {
            Plan::Live => {}
            Plan::Slow(lines, pause) => {
                for line in lines {
                    let _ = screen.send(line.to_owned()).await;
                    tokio::time::sleep(pause).await;
                }
            }
            Plan::Fail(fault) => return Err(fault),
            Plan::Hang => {
                cancel.cancelled().await;
                *self.cancelled_at.lock().unwrap() = Some(Instant::now());
                self.cancelled.notify_one();
                return Err(Fault::new("push/cancelled", "The push was cancelled."));
            }
            Plan::Gate => self.gate.notified().await,
            Plan::Panic => panic!("a handler that panics"),
        }
        self.go_live(&request).await
    }
}

/// The object name of a clone's commit.
pub(crate) fn commit(name: &str) -> CommitId {
    name.parse().unwrap()
}
