//! Commands that run once, each in a pod of its own.

use super::desired::{CONTAINER, namespace, one_off};
use super::fault;
use super::rollout::Rollouts;
use super::view::{Stage, stage_of};
use crate::runtime::{OneOff, OneOffOutput, OneOffSession};
use crate::status::ExitReason;
use futures::AsyncReadExt;
use hythe_cluster::{create, patient, remove};
use hythe_model::{Fault, Release, ToolName};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, LogParams};
use kube::runtime::wait::await_condition;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Pieces of output that wait for their reader.
const WAITING: usize = 64;
const PIECE: usize = 16 << 10;
/// How long a pod may take to start.
const START: Duration = Duration::from_mins(2);

/// Starts a one-off process. Cancelling the session's token, or dropping it, ends it.
pub(crate) async fn start(rollouts: &Rollouts, run: OneOff) -> Result<OneOffSession, Fault> {
    let release = &run.release;
    let tool = release.release.tool.clone();
    let pull = rollouts.pull(&tool);
    let wish = rollouts.wish(release, pull.as_ref());
    let (objects, pod) = one_off(&wish, run.command())?;
    let applied = rollouts.cluster.apply(&rollouts.owner(&tool), &objects).await;
    applied.map_err(|error| fault::not_applied(&release.release, &error))?;
    let api: Api<Pod> =
        Api::namespaced(rollouts.cluster.client.clone(), &namespace(&rollouts.settings, &tool));
    let process = Process { api, name: pod.name_any(), tool };
    let cancel = CancellationToken::new();
    let (sender, output) = mpsc::channel(WAITING);
    let session = OneOffSession::new(output, cancel.clone());
    let (mut told, answer) = oneshot::channel();
    let release = release.release.clone();
    // Not a part of this future: who drops it, or the session, must not leave a pod behind.
    tokio::spawn(async move {
        let began = tokio::select! {
            began = process.begin(&pod, &release) => began,
            () = told.closed() => Err(not_started("nobody waits for it any more")),
        };
        let runs = began.is_ok();
        let waited_for = told.send(began).is_ok();
        let exit = if runs && waited_for {
            cancel.run_until_cancelled(Box::pin(process.carry(&sender))).await.flatten()
        } else {
            None
        };
        process.remove().await;
        if let Some(exit) = exit {
            let _ = sender.send(OneOffOutput::Exit(exit)).await;
        }
    });
    answer.await.unwrap_or_else(|_| Err(not_started("the server ends")))?;
    Ok(session)
}

fn not_started(why: impl Into<String>) -> Fault {
    Fault::new("rollout/not-started", "The command could not be started.").why(why)
}

/// A pod that runs one command.
struct Process {
    api: Api<Pod>,
    name: String,
    tool: ToolName,
}

impl Process {
    /// Makes the pod and waits until its container runs or has run.
    async fn begin(&self, pod: &Pod, release: &Release) -> Result<(), Fault> {
        let made = create("start a pod", &self.api, pod).await;
        made.map_err(|error| fault::not_applied(release, &error))?;
        match tokio::time::timeout(START, self.began()).await {
            Ok(began) => began.map_err(not_started),
            Err(_) => Err(not_started(format!("it did not start within {} s", START.as_secs()))),
        }
    }

    /// Waits until the container runs or has run.
    async fn began(&self) -> Result<(), String> {
        let comes = |reason: &str| matches!(reason, "" | "ContainerCreating" | "PodInitializing");
        let moved = |pod: Option<&Pod>| !matches!(pod.map(stage_of), Some(Stage::Waiting { reason, .. }) if comes(&reason));
        let pod =
            await_condition(self.api.clone(), &self.name, moved).await.map_err(|error| error.to_string())?;
        match pod.as_ref().map(stage_of) {
            None => Err("its pod was removed".to_owned()),
            Some(Stage::Waiting { reason, message }) => Err(format!("{reason}: {message}")),
            Some(_) => Ok(()),
        }
    }

    /// Carries the output; how the process ended, where that could be told.
    async fn carry(&self, sender: &mpsc::Sender<OneOffOutput>) -> Option<ExitReason> {
        let params =
            LogParams { container: Some(CONTAINER.to_owned()), follow: true, ..LogParams::default() };
        let stream = patient("read a pod's output", || self.api.log_stream(&self.name, &params)).await;
        if let Ok(stream) = stream {
            let mut stream = Box::pin(stream);
            let mut piece = vec![0; PIECE];
            while let Ok(count @ 1..) = stream.read(&mut piece).await {
                let bytes = piece[..count].to_vec();
                if sender.send(OneOffOutput::Bytes { bytes, error: false }).await.is_err() {
                    return None;
                }
            }
        }
        let ended = |pod: Option<&Pod>| pod.is_none_or(|pod| matches!(stage_of(pod), Stage::Ended(_)));
        let pod = await_condition(self.api.clone(), &self.name, ended).await.ok()??;
        match stage_of(&pod) {
            Stage::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    async fn remove(&self) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        if let Err(error) = remove(&self.api, &self.name, &params).await {
            tracing::warn!(tool = %self.tool, pod = self.name, %error, "a one-off pod was left behind");
        }
    }
}
