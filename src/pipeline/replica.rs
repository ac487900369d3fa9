//! One server among others: that it lives, what it holds, and what it takes over from those that do not live any more.
//!
//! A server that shares its rows beats: with each beat it renews its life, the claims of the builds that it runs and the turns that
//! it has. What it could not renew in time it lets go by its own clock, whatever the beat waits for (`pulse`), before another one may
//! take it by the database's; what it wrote after that would be refused by the store all the same. With each beat it also looks for what the dead have left.

mod pulse;

use crate::{Platform, faults};
use hythe_model::{BuildCause, BuildId, Fault, ToolName};
use hythe_store::{Build, BuildOutcome, BuildState, Lease, Store};
use pulse::Pulse;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(3);
/// How long what is renewed at each beat is good for.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(15);
/// How long a server goes on without having renewed: less than others wait.
const GRACE: Duration = Duration::from_secs(11);

/// What this server holds of what all share.
pub(crate) struct Replica {
    pub(crate) name: String,
    store: Store,
    held: Mutex<HashMap<String, Held>>,
    /// Cancelled once the server does not count as alive any more, by its own will.
    pub(crate) retired: CancellationToken,
}

/// A lease, and who is told that it is lost.
#[derive(Clone)]
struct Held {
    lease: Lease,
    lost: CancellationToken,
}

/// A lease that is renewed until this is dropped, which lets it go.
pub(crate) struct Hold {
    replica: Arc<Replica>,
    name: String,
    /// Cancelled where somebody else may have it.
    pub(crate) lost: CancellationToken,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(held) = self.replica.held().remove(&self.name) else { return };
        let store = self.replica.store.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Where it cannot be let go it runs out.
                let _ = store.release_lease(&held.lease).await;
            });
        }
    }
}

impl Replica {
    /// This server, by this name among others.
    pub(crate) fn new(name: String, store: Store) -> Arc<Self> {
        Arc::new(Self { name, store, held: Mutex::default(), retired: CancellationToken::new() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease and keeps it; `None` where another server has it. Within this server nobody else may ask for it meanwhile.
    pub(crate) async fn take(self: &Arc<Self>, name: &str) -> Result<Option<Hold>, Fault> {
        let Some(lease) = self.store.acquire_lease(name, &self.name, GOOD_FOR).await? else {
            return Ok(None);
        };
        let lost = CancellationToken::new();
        self.held().insert(name.to_owned(), Held { lease, lost: lost.clone() });
        Ok(Some(Hold { replica: self.clone(), name: name.to_owned(), lost }))
    }

    /// Waits for a lease.
    pub(crate) async fn wait_for(self: &Arc<Self>, name: &str) -> Result<Hold, Fault> {
        let mut changes = self.store.changes();
        loop {
            if let Some(hold) = self.take(name).await? {
                return Ok(hold);
            }
            let _ = tokio::time::timeout(BEAT, changes.changed()).await;
        }
    }

    /// Who is told when a lease that is held is lost; `None` where it is not held.
    pub(crate) fn lost(&self, name: &str) -> Option<CancellationToken> {
        self.held().get(name).map(|held| held.lost.clone()).filter(|lost| !lost.is_cancelled())
    }

    /// Renews every lease; those that are another's now are lost.
    async fn renew(&self) -> Result<(), Fault> {
        let all: Vec<(String, Held)> =
            self.held().iter().map(|(name, held)| (name.clone(), held.clone())).collect();
        for (name, held) in all {
            if self.store.renew_lease(&held.lease, GOOD_FOR).await?.is_none() {
                // It may have been let go meanwhile, or taken anew.
                let mut now = self.held();
                if now.get(&name).is_some_and(|now| now.lease == held.lease) {
                    tracing::warn!(lease = name, "another server has taken over");
                    held.lost.cancel();
                    now.remove(&name);
                }
            }
        }
        Ok(())
    }

    /// Lets everything go that could not be renewed in time.
    fn lose_all(&self) {
        for (name, held) in self.held().drain() {
            tracing::warn!(lease = name, "it could not be renewed in time and is let go");
            held.lost.cancel();
        }
    }
}

impl Platform {
    /// Begins to live among other servers.
    pub(crate) async fn begin_to_live(&self, replica: Arc<Replica>) -> Result<(), Fault> {
        self.parts().runtime.share(Arc::new(self.clone()));
        let life = replica.take(&Lease::of_life(&replica.name)).await?;
        let (beating, own) = (Box::pin(self.clone().beat(replica.clone(), life)), replica.clone());
        tokio::spawn(async move { own.retired.run_until_cancelled(beating).await });
        self.share_repositories().await?;
        let (followed, tidied) = (self.clone().follow_tools(), self.clone().tidy_copies());
        tokio::spawn(async move {
            replica.retired.run_until_cancelled(async { tokio::join!(followed, tidied) }).await
        });
        Ok(())
    }

    /// Beats until it is cut off.
    async fn beat(self, replica: Arc<Replica>, mut life: Option<Hold>) {
        let (mut pulse, mut changes) = (Pulse::new(), self.store().changes());
        let (platform, own) = (self.clone(), replica.clone());
        tokio::spawn(pulse.let_go_in_time(move || platform.let_go(&own)));
        loop {
            let begun = Instant::now();
            match self.renew(&replica, &mut life).await {
                Ok(()) => {
                    pulse.renewed(begun);
                    // Never for so long that a beat is missed.
                    match tokio::time::timeout(BEAT, self.take_over(&replica, pulse.is_steady())).await {
                        Ok(Ok(())) => {}
                        Ok(Err(fault)) => {
                            tracing::warn!(%fault, "what other servers have left could not be looked at");
                        }
                        Err(_) => {
                            tracing::warn!("what other servers have left is looked at with the next beat");
                        }
                    }
                }
                Err(fault) => tracing::warn!(%fault, "what this server holds could not be renewed"),
            }
            let next = begun + BEAT;
            while Instant::now() < next {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = changes.changed() => {
                        let heard = tokio::time::timeout_at(next, self.hear_of_builds(&replica)).await;
                        if let Ok(Err(fault)) = heard {
                            tracing::warn!(%fault, "the builds that run here could not be looked at");
                        }
                    }
                }
            }
        }
    }

    /// Lets go of everything that could not be renewed in time: others may have it.
    fn let_go(&self, replica: &Replica) {
        replica.lose_all();
        self.inner.running.lose_all();
    }

    /// Renews life, leases and claims, and lets builds go that are another's.
    async fn renew(&self, replica: &Arc<Replica>, life: &mut Option<Hold>) -> Result<(), Fault> {
        let renewing = async {
            if life.as_ref().is_none_or(|life| life.lost.is_cancelled()) {
                // First let go of, or what follows would be let go with it.
                *life = None;
                *life = replica.take(&Lease::of_life(&replica.name)).await?;
            }
            replica.renew().await?;
            self.store().renew_claims(&replica.name, self.inner.running.ids(), GOOD_FOR).await?;
            self.hear_of_builds(replica).await
        };
        // A store that is away is waited for longer than a lease is good for.
        match tokio::time::timeout(GRACE, renewing).await {
            Ok(renewed) => renewed,
            Err(_) => Err(faults::internal("renew what this server holds", &"the database does not answer")),
        }
    }

    /// Hears what became of the builds that run here: somebody asks for their end, or they are another server's.
    async fn hear_of_builds(&self, replica: &Replica) -> Result<(), Fault> {
        let running = &self.inner.running;
        let ids = running.ids();
        if ids.is_empty() {
            return Ok(());
        }
        let rows: HashMap<BuildId, Build> =
            self.store().builds_by_id(ids.clone()).await?.into_iter().map(|row| (row.id, row)).collect();
        for id in ids {
            match rows.get(&id) {
                // It waits again for whoever takes it.
                None | Some(Build { state: BuildState::Queued, .. }) => running.lose(id),
                Some(Build { state: BuildState::Running, claimed_by, stop, .. }) => {
                    if claimed_by.as_deref() != Some(&replica.name) {
                        running.lose(id);
                    } else if let Some(reason) = stop {
                        running.cancel(id, reason.clone());
                    }
                }
                Some(Build { superseded_by: Some(newer), .. }) => {
                    running.cancel(id, faults::superseded(*newer));
                }
                // Ended by this server itself, which is about to say so.
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Takes up what the dead have left: builds that nobody runs, and, where it `is_known` who is dead, pushes whose clients are
    /// gone with their server.
    async fn take_over(&self, replica: &Replica, is_known: bool) -> Result<(), Fault> {
        if is_known {
            for build in self.store().orphaned_builds().await? {
                self.end_orphan(&build).await?;
            }
        }
        if !self.parts().settings.builds {
            return Ok(());
        }
        for build in self.store().expired_claims().await? {
            if self.store().take_claim(build.id, &replica.name, GOOD_FOR).await?
                && let Some(build) = self.store().build(build.id).await?
            {
                tracing::warn!(build = %build.id, "taken over from a server that does not run it any more");
                self.take_up(build).await?;
            }
        }
        Ok(())
    }

    /// Ends a push whose client went with its server.
    async fn end_orphan(&self, build: &Build) -> Result<(), Fault> {
        let reason = faults::server_gone();
        match self.end_build(build, reason).await {
            // Somebody else was first.
            Err(fault) if fault.id == "builds/over" => Ok(()),
            ended => ended,
        }
    }

    /// Goes on with a build that is this server's now.
    async fn take_up(&self, build: Build) -> Result<(), Fault> {
        if let Some(reason) = build.stop.clone() {
            self.interrupt_in_time(build, BuildOutcome::Cancelled(reason));
            return Ok(());
        }
        // A client that waits at a server which lives goes on waiting.
        if build.cause == BuildCause::Push && build.attached_to.is_none() {
            self.interrupt_in_time(build, BuildOutcome::Failed(faults::interrupted()));
            return Ok(());
        }
        self.build_log(&build).note(
            hythe_model::Phase::Queue,
            "the server that ran this build is gone; another one goes on with it",
        );
        self.resume_build(build).await
    }

    /// Fails the releases of a tool that nobody rolls out any more: their server died, and no build of them goes on. Hold the
    /// tool's turn.
    pub(crate) async fn fail_left_over(&self, tool: &ToolName) -> Result<(), Fault> {
        for release in self.store().rolling_out_of(tool).await? {
            if self.goes_on(&release).await? {
                continue;
            }
            self.take_back(tool, release.number).await?;
            let outcome = match release.fault {
                Some(reason) => BuildOutcome::Cancelled(reason),
                None => BuildOutcome::Failed(faults::interrupted()),
            };
            if self.store().fail_release(tool, release.number, &outcome).await? {
                tracing::warn!(%tool, release = %release.number, "its rollout was left over and is failed");
            }
        }
        Ok(())
    }

    /// The same where nobody has the turn; whoever has it next does it else.
    pub(crate) async fn end_left_over(&self, tool: &ToolName) -> Result<(), Fault> {
        // Mostly there is nothing, and a turn is written down.
        if self.store().rolling_out_of(tool).await?.is_empty() {
            return Ok(());
        }
        self.try_turn(tool).await.map(drop)
    }

    /// The same of all tools. One's trouble is not another's.
    pub(crate) async fn end_all_left_over(&self) -> Result<(), Fault> {
        let tools: HashSet<ToolName> =
            self.store().releases_rolling_out().await?.into_iter().map(|release| release.tool).collect();
        let mut ended = Ok(());
        for tool in tools {
            if let Err(fault) = self.end_left_over(&tool).await {
                tracing::warn!(%tool, %fault, "a rollout that is left over could not be ended");
                ended = Err(fault);
            }
        }
        ended
    }

    /// Whether a build goes on with this release.
    async fn goes_on(&self, release: &hythe_model::Release) -> Result<bool, Fault> {
        let hythe_model::ReleaseCause::Code { build, .. } = &release.cause else { return Ok(false) };
        let row = self.store().build(*build).await?;
        Ok(row.is_some_and(|row| row.state == BuildState::Running))
    }

    /// Leaves the other servers what is still to do, at once: call it when everything has drained. A database that is away is not
    /// waited for: what could not be let go runs out by itself.
    pub async fn retire(&self) {
        if tokio::time::timeout(GOOD_FOR, self.logs().settled()).await.is_err() {
            tracing::warn!("the last lines of builds' logs could not be kept");
        }
        let Some(replica) = &self.inner.replica else { return };
        replica.retired.cancel();
        if tokio::time::timeout(GOOD_FOR, self.let_all_go(replica)).await.is_err() {
            tracing::warn!("other servers take over once what this one holds runs out");
        }
    }

    async fn let_all_go(&self, replica: &Replica) {
        // What still goes on here writes nothing more.
        self.inner.running.lose_all();
        let lose = |held: Held| {
            held.lost.cancel();
            held.lease
        };
        let held: Vec<Lease> = replica.held().drain().map(|(_, held)| lose(held)).collect();
        if let Err(error) = self.store().let_claims_go(&replica.name).await {
            tracing::warn!(%error, "other servers take builds over once their claims run out");
        }
        for lease in held {
            let _ = self.store().release_lease(&lease).await;
        }
    }
}
