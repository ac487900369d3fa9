//! Follows one pod from its making to its end.

use super::desired::{self, BUILD, LABEL_BUILD, RESTORE, name};
use super::parcel;
use super::stage::{Failed, Stage, stage};
use super::{Pods, not_taken};
use crate::analyze::Before;
use crate::executor::{Stays, Task};
use crate::hear::{Hearing, Told};
use crate::{EventSink, fault};
use futures::StreamExt;
use hythe_carrier::Delivery;
use hythe_cluster::{ClusterError, Output, Position, create, patient, remove_own, selector};
use hythe_model::{BuildEvent, BuildId, Fault, Phase};
use hythe_registry::Tag;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two attempts to take up a log.
const AGAIN: Duration = Duration::from_millis(300);
/// How long the rest of a log may take once its container has ended.
const REST: Duration = Duration::from_secs(20);
/// How long packing and sending layers may take.
const EXPORT_TIME: Duration = Duration::from_mins(10);
/// How long source and cached layers may take to come.
const RESTORE_TIME: Duration = Duration::from_mins(10);
/// Bytes of a line: its time, and a message that is no outcome.
const LINE_MAX: usize = 256 << 10;
/// Last lines of a container that has failed.
const TAIL: i64 = 20;

/// Why there is no delivery.
pub(crate) enum Ended {
    /// The build has failed.
    Failed(Fault),
    /// Its pod is gone, for this reason; another one may do.
    Lost(String),
    /// Source or cached layers did not come; without the cache they may.
    Unrestored(Fault),
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
        let (delivery, tagged) = (parcel::new_tag()?, task.common.parts.content.tagged());
        let work = async {
            self.make(task, before, &delivery).await?;
            self.follow(task, parcel::delivered(tagged, task.request.id, &delivery)).await
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = task.cancel.cancelled() => Err(fault::cancelled().into()),
        };
        self.end(&name(task.request.id)).await;
        ended?;
        Ok(parcel::delivery(task.common, task.request.id, delivery).await?)
    }

    /// Makes the Secret and the pod.
    async fn make(&self, task: Task<'_>, before: &Before, delivery: &Tag) -> Result<(), Fault> {
        let access = self.put_in(task, before).await?;
        let secret = desired::secret(&self.settings, task.request, &access);
        let secret = secret.map_err(fault::platform("write a build's access"))?;
        if desired::is_too_large(&secret) {
            return Err(fault::config_too_large());
        }
        let pod = desired::pod(&self.wish(task.common), task.request, delivery);
        // One of the same name is left of a crash, or of an attempt that was lost.
        self.try_end(&name(task.request.id)).await.map_err(|error| not_taken(&error))?;
        let made = create(&self.secrets(), &secret).await;
        made.map_err(|error| not_taken(&error))?;
        let made = create(&self.pods(), &pod).await;
        made.map_err(|error| not_taken(&error))
    }

    /// Follows the pod until it has delivered or ended, and tells what is built on the way.
    async fn follow(&self, task: Task<'_>, delivered: impl Future<Output = ()>) -> Result<(), Ended> {
        let name = name(task.request.id);
        let (told, stages) = watch::channel(Stage::Coming(None));
        let watching = self.watch(&name, &told);
        let judging = self.judge(task, &name, stages, delivered);
        tokio::select! {
            // It never ends.
            () = watching => Err(Ended::Lost("it cannot be watched".to_owned())),
            ended = judging => ended,
        }
    }

    /// Carries what becomes of the pod into `told`.
    async fn watch(&self, name: &str, told: &watch::Sender<Stage>) {
        let mut changes = watch_object(self.pods(), name).default_backoff().boxed();
        while let Some(change) = changes.next().await {
            let now = match change {
                Ok(Some(pod)) => stage(&pod),
                Ok(None) => Stage::Lost("it was deleted".to_owned()),
                Err(error) => {
                    tracing::warn!(pod = name, %error, "a build's pod is watched anew");
                    continue;
                }
            };
            // What was said last of a pod that ends is true of it: its containers are killed, and then it goes.
            told.send_if_modified(|stage| {
                let over = matches!(stage, Stage::Done | Stage::Failed(_) | Stage::Lost(_));
                let changes = !over && *stage != now;
                if changes {
                    *stage = now;
                }
                changes
            });
        }
    }

    /// Waits for each step as long as it may take.
    async fn judge(
        &self,
        task: Task<'_>,
        name: &str,
        mut stages: watch::Receiver<Stage>,
        delivered: impl Future<Output = ()>,
    ) -> Result<(), Ended> {
        let limits = &task.common.parts.limits;
        let begun = |stage: &Stage| !matches!(stage, Stage::Coming(_));
        if wait(&mut stages, self.settings.start, begun).await.is_none() {
            let hindrance = match &*stages.borrow() {
                Stage::Coming(hindrance) => hindrance.clone(),
                _ => None,
            };
            return Err(fault::pod_not_started(hindrance.as_deref(), self.settings.start).into());
        }
        let restored = |stage: &Stage| begun(stage) && !matches!(stage, Stage::Restoring);
        let told = match wait(&mut stages, RESTORE_TIME, restored).await {
            None => {
                return Err(Ended::Unrestored(fault::platform("bring its source in")("it took too long")));
            }
            Some(Stage::Lost(why)) => return Err(Ended::Lost(why)),
            Some(Stage::Failed(failed)) if failed.container == RESTORE => {
                return Err(Ended::Unrestored(self.broken(name, &failed).await));
            }
            Some(_) => {
                let until = Instant::now() + limits.wall;
                let hearing = Hearing::new(task.events, limits);
                match tokio::time::timeout_at(until, self.hear(name, hearing, stages.clone())).await {
                    Ok(told) => told?,
                    Err(_) if matches!(*stages.borrow(), Stage::Building) => {
                        return Err(fault::too_long(limits).into());
                    }
                    Err(_) => None,
                }
            }
        };
        let over = |stage: &Stage| matches!(stage, Stage::Done | Stage::Failed(_) | Stage::Lost(_));
        let ended = tokio::select! {
            biased;
            // A node tells the end of a container up to a second late.
            () = delivered => Some(Stage::Done),
            ended = wait(&mut stages, EXPORT_TIME, over) => ended,
        };
        match ended {
            Some(Stage::Lost(why)) => Err(Ended::Lost(why)),
            Some(Stage::Failed(failed)) if failed.container == BUILD => {
                Err(fault::of_pod(&failed, told, limits).into())
            }
            Some(Stage::Failed(failed)) => Err(self.broken(name, &failed).await.into()),
            Some(_) => Ok(()),
            None => Err(fault::platform("bring its layers out")("it took too long").into()),
        }
    }

    /// Hears the lifecycle out, until its container has ended; how it said that it went.
    async fn hear(
        &self,
        name: &str,
        mut hearing: Hearing<'_>,
        stages: watch::Receiver<Stage>,
    ) -> Result<Told, Fault> {
        let mut last: Option<Position> = None;
        loop {
            // Looked at first: a log that was read to its end after it is whole.
            let ran = !matches!(*stages.borrow(), Stage::Building);
            tokio::select! {
                heard = self.copy(name, &mut hearing, &mut last) => match heard? {
                    Heard::All | Heard::Nothing if ran => return Ok(hearing.end()),
                    _ => {}
                },
                () = rest(stages.clone()) => return Ok(hearing.end()),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Hears the log from behind the last line that has come.
    async fn copy(
        &self,
        name: &str,
        hearing: &mut Hearing<'_>,
        last: &mut Option<Position>,
    ) -> Result<Heard, Fault> {
        let params = LogParams { container: Some(BUILD.to_owned()), follow: true, ..LogParams::default() };
        let mut output = match Output::open(&self.pods(), name, params, *last, LINE_MAX).await {
            Ok(output) => output,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => return Ok(Heard::Nothing),
            Err(_) => return Ok(Heard::Some),
        };
        loop {
            match output.next(last).await {
                Ok(Some(piece)) => hearing.line_without_outcome(piece.text)?,
                Ok(None) => return Ok(Heard::All),
                Err(_) => return Ok(Heard::Some),
            }
        }
    }

    /// One of our own containers has failed: the platform's log has its last lines.
    async fn broken(&self, name: &str, failed: &Failed) -> Fault {
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
        fault::platform("carry its source and layers")(format!("{said} {evicted}"))
    }

    /// Removes a build's pod and its Secret, at once.
    async fn end(&self, name: &str) {
        if let Err(error) = self.try_end(name).await {
            tracing::warn!(pod = name, %error, "a build's pod was left behind");
        }
    }

    async fn try_end(&self, name: &str) -> Result<(), ClusterError> {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let owner = desired::owner(&self.settings);
        remove_own(&self.pods(), &owner, name, &now).await?;
        remove_own(&self.secrets(), &owner, name, &DeleteParams::default()).await
    }

    /// Removes the pods and the Secrets of all builds but those that stay.
    pub(crate) async fn end_all(&self, stays: &Stays) -> Result<(), Fault> {
        let ours =
            ListParams::default().labels(&format!("{},{LABEL_BUILD}", selector(&self.settings.platform)));
        let (pods, secrets) = (self.pods(), self.secrets());
        // Not those of another installation of this name, nor where nobody says whose they are: it is looked again later.
        if !matches!(self.cluster.has_another(&self.settings.namespace).await, Ok(false)) {
            return Ok(());
        }
        let listed = patient("list builds' pods", || async {
            let goes = |meta: &ObjectMeta| {
                let build = meta.labels.as_ref().and_then(|labels| labels.get(LABEL_BUILD)?.parse().ok());
                !build.is_some_and(|build| stays(BuildId(build)))
            };
            let pods = pods.list(&ours).await?.items.into_iter().map(|pod| pod.metadata);
            let secrets = secrets.list(&ours).await?.items.into_iter().map(|secret| secret.metadata);
            Ok(pods.chain(secrets).filter(goes).filter_map(|meta| meta.name).collect::<BTreeSet<_>>())
        });
        let names = match listed.await {
            Ok(names) => names,
            // No namespace yet, or nobody to ask: a build will say so.
            Err(error) => {
                tracing::info!(%error, "pods of earlier builds could not be listed");
                return Ok(());
            }
        };
        for name in names {
            tracing::info!(pod = name, "swept an interrupted build");
            self.end(&name).await;
        }
        Ok(())
    }
}

/// How much of a log was heard.
enum Heard {
    /// All that there is.
    All,
    /// A part, before the stream broke.
    Some,
    /// There is none: the container has not begun, or it is gone.
    Nothing,
}

/// Ends when a build that does not run any more has had the time to be heard out.
async fn rest(mut stages: watch::Receiver<Stage>) {
    let ended =
        stages.wait_for(|stage| !matches!(stage, Stage::Building | Stage::Restoring | Stage::Coming(_)));
    let lost = ended.await.is_ok_and(|stage| matches!(*stage, Stage::Lost(_)));
    if !lost {
        tokio::time::sleep(REST).await;
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
