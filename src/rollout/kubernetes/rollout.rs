//! A rollout from the first object to the last pod, and back where it fails.

use super::desired::{self, Wish, process_name, scale_range};
use super::drift::{Dirty, Keeper};
use super::logs::Logs;
use super::progress::{Hindrance, Progress, Trouble, Wanted, hindrance, progress};
use super::seen::Seen;
use super::settings::ClusterSettings;
use super::unmade::{CRON, Runs};
use super::view::{self, PodView};
use super::waiting::Waiting;
use super::{KubernetesParts, Pull, fault};
use crate::fault::{self as common, Failure};
use crate::jobs::JobRun;
use crate::probe::probe;
use crate::runtime::{
    Candidate, ImageName, Notes, RunnableRelease, Served, Switched, Traffic, Wished, Wishes,
};
use crate::status::ExitReason;
use hythe_cluster::fence::PullAccess;
use hythe_cluster::{Cluster, ClusterError, Object, Owner, Present, SECRET, remove};
use hythe_model::{BuildEvent, Fault, Phase, ToolName};
use hythe_registry::Repository;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Resource;
use kube::api::{Api, DeleteParams, DynamicObject};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a first look at the cluster may take.
const FIRST_LOOK: Duration = Duration::from_mins(2);
/// How long a namespace may take to go before its deletion is said to hang.
const DELETION: Duration = Duration::from_mins(2);

/// How many pods in others' places have the whole of their time: nodes may give one up again and again.
const REPLACED: usize = 3;
/// What is waited for where a process answers by itself.
const ANSWERS: &str = "web: it answers; the cluster does not say so yet";
/// After which time a tool is looked after again that could not be.
const AGAIN: Duration = Duration::from_secs(15);

/// The rollouts of this process, over what is seen of the cluster.
pub(crate) struct Rollouts {
    pub(crate) cluster: Cluster,
    pub(crate) settings: ClusterSettings,
    pub(crate) seen: Arc<Seen>,
    pub(crate) logs: Arc<Logs>,
    pub(super) traffic: Arc<dyn Traffic>,
    pull: Pull,
    /// What this server is called where it is the only one.
    pub(super) name: String,
    /// Which kinds were looked at.
    pub(super) looked: watch::Receiver<[bool; 3]>,
    pending: Mutex<HashMap<ToolName, Pending>>,
    /// What is live, as far as this process knows.
    live: Mutex<HashMap<ToolName, RunnableRelease>>,
    /// One at a time writes a tool's objects.
    writing: Mutex<HashMap<ToolName, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) dirty: Arc<Dirty>,
    pub(super) runs: Runs,
    /// Until when this server looks after all; none before it has begun to.
    pub(super) leading: Mutex<Option<CancellationToken>>,
    /// Who knows what is live, where other servers roll out too.
    pub(super) wishes: OnceLock<Arc<dyn Wishes>>,
    pub(crate) end: CancellationToken,
}

/// A release that was applied and neither switched to nor taken back yet.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) release: RunnableRelease,
    pub(super) before: Option<RunnableRelease>,
    pub(super) stage: Stage,
    /// Cancelled once it was switched to or taken back.
    settled: CancellationToken,
}

/// How much of a release is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// What served before and nothing else: its release command has not ended.
    Command,
    /// So many web processes, beside what served before.
    Canary(u32),
    /// All of it.
    Whole,
}

impl Rollouts {
    /// Begins to watch the cluster.
    pub(crate) fn start(parts: KubernetesParts, end: CancellationToken) -> Arc<Self> {
        let (cluster, settings) = (parts.cluster, parts.settings);
        let seen = Arc::new(Seen::new(parts.port));
        let logs = Logs::new(cluster.clone(), settings.clone(), parts.witness);
        let dirty = Arc::<Dirty>::default();
        let looked = super::watch::start(&cluster, &seen, &logs, &dirty, &end);
        tokio::spawn(super::canary::tell(seen.clone(), parts.traffic.clone(), end.clone()));
        let (pending, live, writing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let own = Self {
            cluster,
            settings,
            seen,
            logs,
            traffic: parts.traffic,
            pull: parts.pull,
            name: format!("{:016x}", rand::random::<u64>()),
            looked,
            pending,
            live,
            writing,
            dirty,
            runs: Runs::default(),
            leading: Mutex::default(),
            wishes: OnceLock::new(),
            end,
        };
        Arc::new(own)
    }

    /// Says that other servers roll out too.
    pub(crate) fn share(&self, wishes: Arc<dyn Wishes>) {
        let _ = self.wishes.set(wishes);
    }

    /// Forgets a tool that another server has removed.
    pub(crate) fn forget(&self, tool: &ToolName) {
        self.live().remove(tool);
        self.seen.update(tool, |view| view.declared = false);
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<ToolName, RunnableRelease>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is live of a tool, whichever server made it so.
    pub(super) async fn live_now(&self, tool: &ToolName) -> Result<Option<RunnableRelease>, Fault> {
        match self.wishes.get() {
            Some(wishes) => wishes.live(tool).await,
            None => Ok(self.live().get(tool).cloned()),
        }
    }

    /// The same, in a turn that keeps others from changing it.
    pub(super) async fn live_in_turn(&self, tool: &ToolName) -> Result<Option<Wished>, Fault> {
        if let Some(wishes) = self.wishes.get() {
            let wished = wishes.live_in_turn(tool).await?;
            match &wished {
                Some(Wished { release, .. }) => drop(self.live().insert(tool.clone(), release.clone())),
                None => drop(self.live().remove(tool)),
            }
            return Ok(wished);
        }
        // The caller of this runtime has one rollout of a tool at a time.
        let live = self.live().get(tool).cloned();
        Ok(live.map(|release| Wished { release, turn: Box::new(()) }))
    }

    /// Waits until nobody else writes this tool's objects.
    pub(super) async fn alone(&self, tool: &ToolName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            writing.entry(tool.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, HashMap<ToolName, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects of one kind in a tool's namespace.
    pub(super) fn api<K>(&self, tool: &ToolName) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &desired::namespace(&self.settings, tool))
    }

    /// Whom everything of a tool belongs to.
    pub(crate) fn owner(&self, tool: &ToolName) -> Owner {
        desired::owner(&self.settings, tool)
    }

    /// Says how much of the tool's rollout is to be there from now on.
    pub(super) fn enter(&self, tool: &ToolName, stage: Stage) {
        if let Some(pending) = self.pending().get_mut(tool) {
            pending.stage = stage;
        }
    }

    pub(crate) fn pull(&self, tool: &ToolName) -> Option<PullAccess> {
        (self.pull)(tool)
    }

    /// A release as `desired` asks for it.
    pub(crate) fn wish<'a>(&'a self, release: &'a RunnableRelease, pull: Option<&'a PullAccess>) -> Wish<'a> {
        Wish { release, settings: &self.settings, pull, running: None }
    }

    /// Applies a release and waits until it is everywhere, or takes it back.
    pub(crate) async fn start_release(
        self: Arc<Self>,
        release: RunnableRelease,
        before: Option<RunnableRelease>,
        notes: &Notes<'_>,
        cancel: CancellationToken,
    ) -> Result<Candidate, Fault> {
        let begun = Instant::now();
        common::check_formation(&release)?;
        self.first_look(&release).await?;
        // What cannot be is refused before anything is begun.
        self.coming(&release)?;
        let wanted = Wanted::of(&release);
        let tool = release.release.tool.clone();
        let settled = CancellationToken::new();
        let pending = Pending {
            release: release.clone(),
            before: before.clone(),
            stage: Stage::Command,
            settled: settled.clone(),
        };
        self.pending().insert(tool.clone(), pending);
        let dropped = CancellationToken::new();
        let guard = dropped.clone().drop_guard();
        self.clone().watch_over(tool.clone(), settled, dropped.clone(), cancel.clone());
        let coming = async {
            self.release_command(&release, notes).await?;
            self.canary(&release, before.as_ref(), notes).await?;
            self.enter(&tool, Stage::Whole);
            self.end_scaling(&release, before.as_ref()).await?;
            self.bring_up(&release, &self.coming(&release)?, &wanted, notes).await?;
            self.try_jobs(&release).await
        };
        let failed = match cancel.run_until_cancelled(Box::pin(coming)).await {
            Some(Ok(())) => {
                let _ = guard.disarm();
                let instances = self.counts(&release).into_values().map(|count| count as usize).sum();
                return Ok(Candidate::new(tool, release.release.number, instances, begun.elapsed(), dropped));
            }
            Some(Err(fault)) => fault,
            None => common::cancelled(&release.release),
        };
        // Whoever mends the tool at this moment lets go of it.
        drop(guard);
        self.take_back(&tool).await;
        Err(failed)
    }

    /// Removes what changes the number of pods by load, where the release gives that number itself.
    async fn end_scaling(
        &self,
        release: &RunnableRelease,
        before: Option<&RunnableRelease>,
    ) -> Result<(), Fault> {
        let api: Api<HorizontalPodAutoscaler> = self.api(&release.release.tool);
        // Who mends the tool at this moment would make it anew.
        let _alone = self.alone(&release.release.tool).await;
        let kinds = before.into_iter().flat_map(|before| before.release.formation.0.keys());
        for kind in kinds.filter(|kind| scale_range(release, kind).is_none()) {
            if before.is_some_and(|before| scale_range(before, kind).is_some()) {
                let ended = remove(&api, &process_name(kind), &DeleteParams::background()).await;
                ended.map_err(|error| fault::not_applied(&release.release, &error))?;
            }
        }
        Ok(())
    }

    /// What runs by the clock begins when the release is live, and that is too late to find out that the cluster refuses it.
    async fn try_jobs(&self, release: &RunnableRelease) -> Result<(), Fault> {
        let wish = self.wish(release, None);
        let tried = self.cluster.try_out(&wish.namespace(), &desired::cron(&wish)?).await;
        tried.map_err(|error| fault::not_applied(&release.release, &error))
    }

    /// Nothing can be judged before the cluster was looked at once.
    async fn first_look(&self, release: &RunnableRelease) -> Result<(), Fault> {
        let mut looked = self.looked.clone();
        let complete =
            tokio::time::timeout(FIRST_LOOK, looked.wait_for(|lists| lists.iter().all(|done| *done))).await;
        if matches!(complete, Ok(Ok(_))) {
            return Ok(());
        }
        let (operation, reason) =
            ("list what runs".to_owned(), "it has not answered for two minutes".to_owned());
        Err(fault::not_applied(&release.release, &ClusterError::Api { operation, reason }))
    }

    /// Writes the objects and waits until all that is wanted of the release is there.
    pub(super) async fn bring_up(
        &self,
        release: &RunnableRelease,
        objects: &[Object],
        wanted: &[Wanted],
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let tool = &release.release.tool;
        let alone = self.alone(tool).await;
        let written = self.cluster.apply(&self.owner(tool), objects).await;
        drop(alone);
        written.map_err(|error| fault::not_applied(&release.release, &error))?;
        self.until_there(release, wanted, notes).await
    }

    /// Waits until all that is wanted of the release is there.
    pub(super) async fn until_there(
        &self,
        release: &RunnableRelease,
        wanted: &[Wanted],
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let tool = &release.release.tool;
        let mut changes = self.seen.changes(tool);
        let mut waiting = Waiting::new(Phase::Rollout, notes);
        // Each step has the whole of its time for itself.
        let mut until = Instant::now() + self.settings.start;
        let mut pods = HashSet::new();
        let most = wanted.iter().map(|wanted| wanted.most as usize).sum::<usize>() + REPLACED;
        loop {
            changes.mark_unchanged();
            let (view, number) = (self.seen.tool(tool), release.release.number);
            let own = view.instances().filter(|pod| pod.id.release == number);
            pods.extend(own.map(|pod| pod.name.clone()));
            match progress(&view, number, wanted) {
                Progress::Done => return Ok(()),
                Progress::Fails(trouble) => return Err(self.explain(release, *trouble, notes).await),
                Progress::Waits { what, cluster } => {
                    if waiting.is_new(&what, pods.len().min(most)) {
                        let patience = if cluster { self.settings.start } else { release.settings.timeout };
                        until = Instant::now() + patience;
                    }
                }
            }
            if Instant::now() >= until {
                match self.silent(release).await {
                    // Where the API server was away, what it says of pods comes late.
                    Some((_, Ok(()))) if waiting.is_new(ANSWERS, pods.len().min(most)) => {
                        until = Instant::now() + self.settings.start;
                    }
                    silent => return Err(self.too_late(release, waiting.what(), silent, notes).await),
                }
            }
            let look = waiting.tell(hindrance(&view, number).as_ref(), until);
            // The tool itself is gone.
            if let Ok(Err(_)) = tokio::time::timeout_at(look, changes.changed()).await {
                return Err(common::cancelled(&release.release));
            }
        }
    }

    /// A trouble in words, with the last lines of the instance.
    pub(super) async fn explain(
        &self,
        release: &RunnableRelease,
        trouble: Trouble,
        notes: &Notes<'_>,
    ) -> Fault {
        let trouble = match trouble {
            Trouble::Exited { pod, exit } => {
                let last_lines = self.logs.last_lines(&pod).await;
                Trouble::Exited { pod, exit: ExitReason { last_lines, ..exit } }
            }
            other => other,
        };
        let (note, fault) = fault::of_trouble(release, trouble);
        if let Some(text) = note {
            notes(BuildEvent::Note { phase: Phase::Rollout, text, millis: None });
        }
        fault
    }

    /// A web process of the release that runs and is not ready, and what it answers itself: its node, which asks all the time, does
    /// not tell.
    async fn silent(&self, release: &RunnableRelease) -> Option<(PodView, Result<(), String>)> {
        let view = self.seen.tool(&release.release.tool);
        let number = release.release.number;
        if !matches!(hindrance(&view, number), None | Some(Hindrance::NoPod(_))) {
            return None;
        }
        let is_silent = |pod: &&PodView| {
            pod.id.release == number
                && pod.id.process.is_web()
                && !pod.ready
                && matches!(pod.stage, view::Stage::Running)
        };
        let pod = view.instances().find(is_silent)?.clone();
        let answer = match pod.address.map(|address| SocketAddr::new(address, release.settings.port)) {
            // By the name that its node asks for: some answer to no other.
            Some(address) => {
                let check = &release.settings.readiness;
                probe(TcpStream::connect(address), check, &address.to_string()).await
            }
            None => Err("it has no address".to_owned()),
        };
        Some((pod, answer))
    }

    /// Nothing has moved for as long as it may.
    async fn too_late(
        &self,
        release: &RunnableRelease,
        waits: &str,
        silent: Option<(PodView, Result<(), String>)>,
        notes: &Notes<'_>,
    ) -> Fault {
        let Some((pod, answer)) = silent else {
            let hindrance = hindrance(&self.seen.tool(&release.release.tool), release.release.number);
            return fault::not_ready(&release.release, waits, hindrance, self.settings.start.as_secs());
        };
        let answers = || "it answers well, but its node does not find it ready".to_owned();
        let seen = answer.err().unwrap_or_else(answers);
        let failure = Failure::NotReady(seen, self.logs.last_lines(&pod).await);
        if let Some(text) = common::note(&pod.id, &failure) {
            notes(BuildEvent::Note { phase: Phase::Rollout, text, millis: None });
        }
        common::of_failure(release, &pod.id, failure)
    }

    /// Takes a candidate back when its holder drops it.
    fn watch_over(
        self: Arc<Self>,
        tool: ToolName,
        settled: CancellationToken,
        dropped: CancellationToken,
        cancel: CancellationToken,
    ) {
        tokio::spawn(async move {
            let kept = async {
                // Who is to end, as where another server has the turn now, writes nothing more.
                cancel.run_until_cancelled(self.keep_while_it_comes(&tool)).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = settled.cancelled() => {}
                () = dropped.cancelled() => self.take_back(&tool).await,
                () = kept => {}
            }
        });
    }

    /// Changes back what others change of a tool while this server rolls it out: whoever looks after all leaves it alone meanwhile.
    async fn keep_while_it_comes(&self, tool: &ToolName) {
        while self.wishes.get().is_some() {
            tokio::time::sleep(AGAIN).await;
            self.mend(tool).await;
        }
    }

    /// Makes what was before so again.
    async fn take_back(&self, tool: &ToolName) {
        let _alone = self.alone(tool).await;
        let Some(pending) = self.pending().remove(tool) else { return };
        pending.settled.cancel();
        if self.wishes.get().is_some_and(|wishes| !wishes.has_turn(tool)) {
            return tracing::warn!(%tool, "a rollout is left to the server that has the turn now");
        }
        let left = &pending.release;
        // What served before is to serve alone at once, however long the command takes to end, and also where it cannot be ended.
        let putting_back = self.put_back(left, pending.before.as_ref());
        let (restored, ended) = tokio::join!(putting_back, self.end_release_command(left));
        if let Err(error) = restored {
            tracing::error!(%tool, %error, "the release before could not be restored");
            self.look_again(tool);
        }
        if let Err(error) = ended {
            tracing::error!(%tool, release = %left.release.number, %error, "a release command could not be ended yet");
            self.end_command_later(tool, left.release.number);
        }
    }

    /// The same of a release that another process had begun. Objects that the cluster refuses need not hold up who asked, for what is
    /// live is looked after again; of the command nobody else would know.
    pub(crate) async fn take_back_left(&self, left: &RunnableRelease, served: &Served) -> Result<(), Fault> {
        // What is not seen cannot be waited for.
        self.first_look(left).await?;
        let tool = &left.release.tool;
        let _alone = self.alone(tool).await;
        let putting_back = async {
            match served {
                Served::Nothing => self.put_back(left, None).await,
                Served::Release(live) => self.put_back(left, Some(live)).await,
                Served::Unknown => Ok(()),
            }
        };
        let (restored, ended) = tokio::join!(putting_back, self.end_release_command(left));
        if restored.is_err() {
            self.look_again(tool);
        }
        let told = |error: &ClusterError| fault::not_applied(&left.release, error);
        ended.map_err(|error| told(&error))?;
        match restored {
            Err(error @ ClusterError::Api { .. }) => Err(told(&error)),
            Err(error) => {
                tracing::error!(%tool, %error, "a release that is left over could not be taken back");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Makes the objects that stood before a release so again, and removes its own.
    async fn put_back(
        &self,
        left: &RunnableRelease,
        before: Option<&RunnableRelease>,
    ) -> Result<(), ClusterError> {
        let tool = &left.release.tool;
        match self.objects_before(left, before) {
            Ok(objects) => {
                let applied = self.cluster.apply(&self.owner(tool), &objects).await?;
                self.prune(tool, &objects, applied.present).await?;
            }
            Err(fault) => tracing::error!(%tool, %fault, "what served before cannot be restored"),
        }
        Ok(())
    }

    /// Removes what is not wanted any more. While a job runs, the config of earlier releases stays: a run that the cluster makes no pod
    /// of yet needs that of its own.
    pub(super) async fn prune(
        &self,
        tool: &ToolName,
        objects: &[Object],
        mut present: Present,
    ) -> Result<usize, ClusterError> {
        let is_under_way = |((kind, _), cron): (&(String, String), &DynamicObject)| {
            kind == CRON && cron.data["status"]["active"].as_array().is_some_and(|runs| !runs.is_empty())
        };
        if present.iter().any(is_under_way) || self.job_runs(tool).iter().any(JobRun::is_running) {
            present.retain(|(kind, _), _| kind != SECRET);
        }
        self.cluster.prune(&self.owner(tool), objects, present).await
    }

    /// Has a tool looked after once more in a while.
    pub(super) fn look_again(&self, tool: &ToolName) {
        let (dirty, tool, end) = (self.dirty.clone(), tool.clone(), self.end.clone());
        tokio::spawn(async move {
            if end.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_some() {
                dirty.add([tool]);
            }
        });
    }

    /// The rollout is what is live now.
    pub(crate) fn switch(self: Arc<Self>, mut candidate: Candidate) -> Switched {
        candidate.disarm();
        // Under one lock with the live release: in between nothing would be known to be wished.
        let mut all = self.pending();
        let pending = all.remove(&candidate.tool);
        let previous = pending.as_ref().and_then(|pending| Some(pending.before.as_ref()?.release.number));
        let switched = Switched { release: candidate.release, instances: candidate.instances, previous };
        if let Some(pending) = pending {
            pending.settled.cancel();
            self.live().insert(candidate.tool.clone(), pending.release.clone());
            drop(all);
            tokio::spawn(async move {
                let tool = &pending.release.release.tool;
                let _alone = self.alone(tool).await;
                // A release that has come meanwhile wants other things, and tidies up after itself.
                let number = self.live().get(tool).map(|live| live.release.number);
                if number == Some(pending.release.release.number) && !self.pending().contains_key(tool) {
                    self.tidy(&pending.release).await;
                }
            });
        }
        switched
    }

    /// Lets begin what only a live release has, and removes what it does not want.
    async fn tidy(&self, release: &RunnableRelease) {
        let tool = &release.release.tool;
        let Ok(objects) = self.objects(release) else { return };
        let owner = self.owner(tool);
        let tidied = match self.cluster.apply(&owner, &objects).await {
            Ok(applied) => self.prune(tool, &objects, applied.present).await,
            Err(error) => Err(error),
        };
        if let Err(error) = tidied {
            left_over(tool, &error);
            self.look_again(tool);
        }
    }

    pub(crate) async fn abandon(&self, mut candidate: Candidate) {
        candidate.disarm();
        self.take_back(&candidate.tool).await;
    }

    /// Removes a tool with its namespace.
    pub(crate) async fn stop_tool(&self, tool: &ToolName) -> Result<(), Fault> {
        let _alone = self.alone(tool).await;
        let name = desired::namespace(&self.settings, tool);
        match self.cluster.remove_namespace(&self.owner(tool), &name, DELETION).await {
            Ok(()) => {}
            // Nothing of it runs, and the cluster goes on with the rest by itself.
            Err(
                error @ (ClusterError::Terminating { .. }
                | ClusterError::Foreign { .. }
                | ClusterError::Another { .. }),
            ) => {
                tracing::warn!(%tool, %error, "the tool's namespace is still there");
            }
            // Whoever forgot the tool now would leave it running.
            Err(error) => return Err(fault::not_removed(tool, &error)),
        }
        if let Some(pending) = self.pending().remove(tool) {
            pending.settled.cancel();
        }
        self.live().remove(tool);
        self.seen.update(tool, |view| view.declared = false);
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).remove(tool);
        Ok(())
    }

    /// The images of all pods.
    pub(crate) fn images(&self) -> Vec<ImageName> {
        let name = |image: &String| {
            let (tool, digest) = self.settings.images.parse_image(image)?;
            Some(ImageName { repository: Repository::of_tool(&tool).to_string(), digest })
        };
        self.seen.images().iter().filter_map(name).collect()
    }
}

pub(super) fn left_over(tool: &ToolName, error: &ClusterError) {
    tracing::warn!(%tool, %error, "leftovers of earlier releases stay until the next one");
}
