//! Follows one pod from its making to its end.

use super::desired::{self, BUILD, LABEL_BUILD, name};
use super::parcel;
use super::stage::{Failed, Stage, stage};
use super::{Pods, not_taken};
use crate::analyze::Before;
use crate::executor::Task;
use crate::hear::{Hearing, Told};
use crate::{EventSink, fault};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use hythe_carrier::Delivery;
use hythe_cluster::{create, patient, remove, selector};
use hythe_model::{BuildEvent, Fault, Phase};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two attempts to take up a log.
const AGAIN: Duration = Duration::from_millis(300);
/// How long the rest of a log may take once its container has ended.
const REST: Duration = Duration::from_secs(20);
/// How long packing and sending layers may take.
const EXPORT_TIME: Duration = Duration::from_mins(10);
/// Last lines of a container that has failed.
const TAIL: i64 = 20;

/// Why there is no delivery.
pub(crate) enum Ended {
    /// The build has failed.
    Failed(Fault),
    /// Its pod is gone, for this reason; another one may do.
    Lost(String),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Says something that is neither output nor a phase's end.
pub(crate) fn say(events: &dyn EventSink, text: &str) {
    events.event(BuildEvent::Note { phase: Phase::Build, text: text.to_owned(), millis: None });
}

impl Pods {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.settings.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), &self.settings.namespace)
    }

    /// Makes a build's pod and follows it; it is gone afterwards.
    pub(crate) async fn carry_out(&self, task: Task<'_>, before: &Before) -> Result<Delivery, Ended> {
        let made = self.make(task, before).await;
        let ended = match made {
            Ok(()) => {
                let followed = self.follow(task);
                tokio::select! {
                    ended = followed => ended,
                    () = task.cancel.cancelled() => Err(fault::cancelled().into()),
                }
            }
            Err(fault) => Err(fault.into()),
        };
        self.end(&name(task.request.id)).await;
        ended?;
        Ok(parcel::delivery(task.common, task.request.id).await?)
    }

    /// Makes the Secret and the pod.
    async fn make(&self, task: Task<'_>, before: &Before) -> Result<(), Fault> {
        let access = self.put_in(task, before).await?;
        let secret = desired::secret(&self.settings, task.request, &access);
        let secret = secret.map_err(fault::platform("write a build's access"))?;
        let pod = desired::pod(&self.wish(task.common), task.request);
        // One of the same name is left of a crash, or of an attempt that was lost.
        self.end(&name(task.request.id)).await;
        let made = create("make a build's access", &self.secrets(), &secret).await;
        made.map_err(|error| not_taken(&error))?;
        let made = create("make a build's pod", &self.pods(), &pod).await;
        made.map_err(|error| not_taken(&error))
    }

    /// Follows the pod to its end, and tells what is built on the way.
    async fn follow(&self, task: Task<'_>) -> Result<(), Ended> {
        let name = name(task.request.id);
        let (told, stages) = watch::channel(Stage::Coming(None));
        let watching = self.watch(&name, &told);
        let judging = self.judge(task, &name, stages);
        tokio::select! {
            // It never ends.
            () = watching => Err(Ended::Lost("it cannot be watched".to_owned())),
            ended = judging => ended,
        }
    }

    /// Carries what becomes of the pod into `told`.
    async fn watch(&self, name: &str, told: &watch::Sender<Stage>) {
        let mut changes = watch_object(self.pods(), name).default_backoff().boxed();
        let mut seen = false;
        while let Some(change) = changes.next().await {
            match change {
                Ok(Some(pod)) => {
                    seen = true;
                    let _ = told.send(stage(&pod));
                }
                Ok(None) if seen => {
                    // Its end may have been seen before.
                    told.send_if_modified(|stage| {
                        let over = matches!(stage, Stage::Done | Stage::Failed(_));
                        if !over {
                            *stage = Stage::Lost("it was deleted".to_owned());
                        }
                        !over
                    });
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(pod = name, %error, "a build's pod is watched anew"),
            }
        }
    }

    /// Waits for each step as long as it may take.
    async fn judge(
        &self,
        task: Task<'_>,
        name: &str,
        mut stages: watch::Receiver<Stage>,
    ) -> Result<(), Ended> {
        let limits = &task.common.parts.limits;
        let begun = |stage: &Stage| !matches!(stage, Stage::Coming(_));
        let Some(now) = wait(&mut stages, self.settings.start, begun).await else {
            let Stage::Coming(hindrance) = stages.borrow().clone() else { return Ok(()) };
            return Err(fault::pod_not_started(hindrance.as_deref(), self.settings.start).into());
        };
        let hearing = Hearing::new(task.events, limits);
        let told = match now {
            Stage::Lost(why) => return Err(Ended::Lost(why)),
            Stage::Failed(failed) if failed.container != BUILD => {
                return Err(self.broken(name, &failed).await);
            }
            _ => {
                let until = Instant::now() + limits.wall;
                match tokio::time::timeout_at(until, self.hear(name, hearing, stages.clone())).await {
                    Ok(told) => told?,
                    Err(_) => return Err(fault::too_long(limits).into()),
                }
            }
        };
        let over = |stage: &Stage| matches!(stage, Stage::Done | Stage::Failed(_) | Stage::Lost(_));
        match wait(&mut stages, EXPORT_TIME, over).await {
            Some(Stage::Lost(why)) => Err(Ended::Lost(why)),
            Some(Stage::Failed(failed)) if failed.container == BUILD => {
                Err(fault::of_pod(&failed, told, limits).into())
            }
            Some(Stage::Failed(failed)) => Err(self.broken(name, &failed).await),
            Some(_) => Ok(()),
            None => Err(fault::platform("bring its layers out")("it took too long").into()),
        }
    }

    /// Hears the lifecycle out, until its container has ended; how it said that it went.
    async fn hear(
        &self,
        name: &str,
        mut hearing: Hearing<'_>,
        mut stages: watch::Receiver<Stage>,
    ) -> Result<Told, Fault> {
        let mut last: Option<Timestamp> = None;
        let mut until = None;
        loop {
            // Looked at first: a log that was read to its end after it is whole.
            let runs = matches!(*stages.borrow_and_update(), Stage::Building);
            let whole = self.copy(name, &mut hearing, &mut last).await?;
            if !runs {
                let deadline = *until.get_or_insert_with(|| Instant::now() + REST);
                if whole || Instant::now() > deadline {
                    return Ok(hearing.end());
                }
            }
            let _ = tokio::time::timeout(AGAIN, stages.changed()).await;
        }
    }

    /// Hears the log from behind the last line that has come; whether it came to its end.
    async fn copy(
        &self,
        name: &str,
        hearing: &mut Hearing<'_>,
        last: &mut Option<Timestamp>,
    ) -> Result<bool, Fault> {
        let params = LogParams {
            container: Some(BUILD.to_owned()),
            follow: true,
            timestamps: true,
            since_time: *last,
            ..LogParams::default()
        };
        let Ok(stream) = self.pods().log_stream(name, &params).await else { return Ok(false) };
        let mut lines = stream.lines();
        loop {
            match lines.try_next().await {
                Ok(Some(line)) => {
                    let (time, text) = line.split_once(' ').unwrap_or((&line, ""));
                    let Ok(time) = time.parse::<Timestamp>() else { continue };
                    // A stream begins at the second of the last line.
                    if last.is_none_or(|last| time > last) {
                        *last = Some(time);
                        hearing.line(text.as_bytes())?;
                    }
                }
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// One of our own containers has failed: the platform's log has its last lines.
    async fn broken(&self, name: &str, failed: &Failed) -> Ended {
        let params = LogParams {
            container: Some(failed.container.to_owned()),
            tail_lines: Some(TAIL),
            ..LogParams::default()
        };
        let said = self.pods().logs(name, &params).await.unwrap_or_default();
        tracing::error!(
            pod = name,
            container = failed.container,
            code = failed.code,
            said,
            "a build's pod failed"
        );
        let evicted = failed.evicted.clone().unwrap_or_default();
        Ended::Failed(fault::platform("carry its source and layers")(format!("{said} {evicted}")))
    }

    /// Removes a build's pod and its Secret, at once.
    async fn end(&self, name: &str) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let pods = self.pods();
        let removed = async {
            remove(&pods, name, &now).await?;
            remove(&self.secrets(), name, &DeleteParams::default()).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(pod = name, %error, "a build's pod was left behind");
        }
    }

    /// Removes the pods and the Secrets of all builds.
    pub(crate) async fn end_all(&self) -> Result<(), Fault> {
        let ours =
            ListParams::default().labels(&format!("{},{LABEL_BUILD}", selector(&self.settings.platform)));
        let pods = self.pods();
        let listed = patient("list builds' pods", || pods.list(&ours)).await;
        let listed = match listed {
            Ok(listed) => listed,
            // No namespace yet, or nobody to ask: a build will say so.
            Err(error) => {
                tracing::warn!(%error, "pods of earlier builds could not be listed");
                return Ok(());
            }
        };
        for pod in listed.items {
            if let Some(name) = pod.metadata.name {
                tracing::info!(pod = name, "swept an interrupted build");
                self.end(&name).await;
            }
        }
        Ok(())
    }
}

/// Waits for a stage, at most this long.
async fn wait(
    stages: &mut watch::Receiver<Stage>,
    patience: Duration,
    is: impl Fn(&Stage) -> bool,
) -> Option<Stage> {
    let waiting = stages.wait_for(|stage| is(stage));
    tokio::time::timeout(patience, waiting).await.ok()?.ok().map(|stage| stage.clone())
}
