//! Commands that run once, each in a pod of its own that is attached to.

use super::attach::{self, Attached};
use super::desired::one_off;
use super::fault;
use super::hold::Hold;
use super::progress::is_final;
use super::rollout::Rollouts;
use super::view::{Stage, stage_of};
use crate::one_off::{OneOff, OneOffEnds, OneOffOutput, OneOffSession, beside, not_started};
use crate::status::ExitReason;
use hythe_cluster::{create, remove, unschedulable};
use hythe_model::{Fault, Signal, ToolName};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long the end of a pod may take to be told once the connection to it was lost.
const TOLD: Duration = Duration::from_secs(10);

/// Starts a one-off process. Cancelling the session's token, or dropping it, ends it.
pub(crate) async fn start(rollouts: &Rollouts, run: OneOff) -> Result<OneOffSession, Fault> {
    let release = &run.release;
    let tool = release.release.tool.clone();
    let pull = rollouts.pull(&tool);
    let wish = rollouts.wish(release, pull.as_ref());
    let hold = Hold::new();
    let (objects, pod) =
        one_off(&wish, hold.command(run.command()), run.terminal.as_ref(), rollouts.server())?;
    let applied = rollouts.cluster.apply(&rollouts.owner(&tool), &objects).await;
    applied.map_err(|error| fault::not_run(&tool, &error))?;
    let client = rollouts.cluster.client.clone();
    let api = rollouts.api(&tool);
    let (patience, grace) = (rollouts.settings.start, release.settings.grace);
    let process = Process { client, api, name: pod.name_any(), tool, patience, grace };
    let cancel = CancellationToken::new();
    let (session, ends) = OneOffSession::pair(run.terminal.as_ref(), cancel.clone());
    let (mut told, answer) = oneshot::channel();
    let terminal = run.terminal.is_some();
    // Not a part of this future: who drops it, or the session, must not leave a pod behind.
    tokio::spawn(async move {
        let begun = tokio::select! {
            begun = process.begin(&pod, &hold, terminal, &ends) => begun,
            () = told.closed() => Err(not_started("nobody waits for it any more")),
        };
        let output = ends.output.clone();
        let (attached, begun) = match begun {
            Ok(attached) => (Some(attached), Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let is_waited_for = told.send(begun).is_ok();
        let exit = match attached.filter(|_| is_waited_for) {
            Some(attached) => {
                let attended = Box::pin(process.attend(attached, ends));
                cancel.run_until_cancelled(attended).await.flatten()
            }
            None => None,
        };
        process.remove().await;
        if let Some(exit) = exit {
            let _ = output.send(OneOffOutput::Exit(exit)).await;
        }
    });
    answer.await.unwrap_or_else(|_| Err(not_started("the server ends")))?;
    Ok(session)
}

fn too_late(patience: Duration, hindrance: Option<String>) -> Fault {
    let fault = not_started(format!("It did not start within {} s.", patience.as_secs()));
    match hindrance {
        Some(message) => fault.why(message),
        None => fault,
    }
}

/// Whether a container that waits may still start: its node makes it, or tries again to get its image.
fn may_come(reason: &str, message: &str) -> bool {
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => true,
        "ErrImagePull" | "ImagePullBackOff" => !is_final(message),
        _ => false,
    }
}

/// A pod that runs one command.
struct Process {
    client: Client,
    api: Api<Pod>,
    name: String,
    tool: ToolName,
    /// How long it may take to start.
    patience: Duration,
    /// How long it may take to end when it is asked to.
    grace: Duration,
}

impl Process {
    /// Makes the pod, attaches to it and lets the command go.
    async fn begin(
        &self,
        pod: &Pod,
        hold: &Hold,
        terminal: bool,
        ends: &OneOffEnds,
    ) -> Result<Attached<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>, Fault> {
        let made = create(&self.api, pod).await;
        made.map_err(|error| fault::not_run(&self.tool, &error))?;
        let hindrance = Mutex::default();
        match tokio::time::timeout(self.patience, self.began(&hindrance)).await {
            Ok(began) => began.map_err(not_started)?,
            Err(_) => return Err(too_late(self.patience, hindrance.into_inner().unwrap_or_default())),
        }
        let attached = attach::open(&self.client, &self.api, &self.name, terminal).await;
        let mut attached = attached.map_err(|error| not_started(error.to_string()))?;
        let size = *ends.size.borrow();
        attached.let_go(hold, size).await.map_err(not_started)?;
        Ok(attached)
    }

    /// Waits until the container runs, and notes meanwhile what hinders it. One that is held back does not end by itself.
    async fn began(&self, hindrance: &Mutex<Option<String>>) -> Result<(), String> {
        let moved = |pod: Option<&Pod>| {
            let Some(pod) = pod else { return true };
            let no_node =
                unschedulable(pod).map(|why| format!("No node of the cluster has room for it: {why}"));
            let (comes, waits) = match stage_of(pod) {
                Stage::Waiting { reason, message } => {
                    let waits = (!message.is_empty()).then(|| format!("{reason}: {message}"));
                    (may_come(&reason, &message), waits)
                }
                Stage::Running | Stage::Ended(_) => (false, None),
            };
            *hindrance.lock().unwrap_or_else(PoisonError::into_inner) = no_node.or(waits);
            !comes
        };
        let pod =
            await_condition(self.api.clone(), &self.name, moved).await.map_err(|error| error.to_string())?;
        match pod.as_ref().map(stage_of) {
            None => Err("its pod was removed".to_owned()),
            Some(Stage::Waiting { reason, message }) => Err(format!("{reason}: {message}")),
            Some(Stage::Ended(exit)) => Err(format!("{}; the image must have /bin/sh", exit.text())),
            Some(Stage::Running) => Ok(()),
        }
    }

    /// Carries both ways and passes on signals until the process has ended; how, where that could be told.
    async fn attend<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        attached: Attached<S>,
        ends: OneOffEnds,
    ) -> Option<ExitReason> {
        let OneOffEnds { input, size, signals, output } = ends;
        let (say, told) = oneshot::channel();
        // From the beginning: a pod that was asked to end is soon gone, and its exit with it.
        let watched = async { drop(say.send(self.ended().await)) };
        let carried = async {
            let lost = attached.carry(input, size, &output).await.err();
            let Some(why) = lost else { return told.await.ok().flatten() };
            tracing::debug!(tool = %self.tool, pod = self.name, why, "the connection to a one-off pod was lost");
            tokio::time::timeout(TOLD, told).await.ok()?.ok().flatten()
        };
        Box::pin(beside(carried, async { tokio::join!(watched, self.pass_on(signals)) })).await
    }

    /// How the container ended.
    async fn ended(&self) -> Option<ExitReason> {
        let ended = |pod: Option<&Pod>| pod.is_none_or(|pod| matches!(stage_of(pod), Stage::Ended(_)));
        let pod = await_condition(self.api.clone(), &self.name, ended).await.ok()??;
        match stage_of(&pod) {
            Stage::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    /// A cluster knows one way to ask a process to end: its pod is deleted, and has its grace.
    async fn pass_on(&self, mut signals: mpsc::Receiver<Signal>) {
        if signals.recv().await.is_some() {
            self.delete(u32::try_from(self.grace.as_secs()).unwrap_or(u32::MAX).max(1)).await;
        }
    }

    async fn remove(&self) {
        self.delete(0).await;
    }

    async fn delete(&self, grace: u32) {
        let params = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        if let Err(error) = remove(&self.api, &self.name, &params).await {
            tracing::warn!(tool = %self.tool, pod = self.name, %error, "a one-off pod was left behind");
        }
    }
}
