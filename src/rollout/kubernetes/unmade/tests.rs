//! Runs without pods, on an API server in memory and a clock that jumps.

use super::*;
use crate::kubernetes::{ClusterSettings, KubernetesParts};
use crate::runtime::{Lines, RunnableRelease, Unwatched, Witness};
use crate::status::ExitReason;
use async_trait::async_trait;
use hythe_cluster::Cluster;
use hythe_model::Fault;
use hythe_model::project::CommandLine;
use hythe_model::units::Span;
use hythe_testing::api_server;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// The ends that are told; the first one cannot be kept.
#[derive(Default)]
struct Ends(Mutex<Vec<String>>);

#[async_trait]
impl Witness for Ends {
    fn started(&self, _: &InstanceId, _: &Path) {}

    async fn reader(&self, _: &InstanceId, _: Option<Timestamp>) -> Result<Option<Box<dyn Lines>>, Fault> {
        Ok(None)
    }

    async fn ended(&self, instance: &InstanceId, exit: &ExitReason, _: Option<Timestamp>) -> bool {
        let mut all = self.0.lock().unwrap();
        all.push(format!("{instance}: {}", exit.text()));
        all.len() > 1
    }
}

/// A job as the cluster shows it while something runs.
fn cron(name: &str, seconds_ago: i64, active: &str) -> DynamicObject {
    let shown = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": format!("cron-{name}"), "namespace": "hythe-weather", "labels": { "hythe.dev/tool": "weather" } },
        "status": {
            "active": [{ "name": active }],
            "lastScheduleTime": (Timestamp::now() - SignedDuration::from_secs(seconds_ago)).to_string(),
        },
    });
    serde_json::from_value(shown).unwrap()
}

/// A release with these jobs.
fn release_of(jobs: &[&str]) -> RunnableRelease {
    let mut release = crate::local::testing::release("weather", 2, "web=1");
    let every_minute = hythe_model::project::CronJob {
        schedule: "* * * * *".parse().unwrap(),
        command: CommandLine::Words(vec!["true".to_owned()]),
        timeout: Span::seconds(60),
        overlap: false,
    };
    let named = |name: &&str| (name.parse().unwrap(), every_minute.clone());
    release.release.project.cron = jobs.iter().map(named).collect();
    release
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_pod_is_refused_is_told_once_and_one_that_comes_is_not() {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    let (client, asked) = api_server(move |asked, _| {
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "7" }, "items": [] });
        let refused = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": "exceeded quota: tool" });
        match asked {
            _ if asked.contains("watch=true") => None,
            _ if asked.starts_with("POST")
                && asked.contains("dryRun=All")
                && is_full.load(Ordering::SeqCst) =>
            {
                Some((403, refused.to_string()))
            }
            _ if asked.starts_with("POST") => Some((201, json!({ "metadata": {} }).to_string())),
            _ => Some((200, list.to_string())),
        }
    });
    let (end, ends) = (CancellationToken::new(), Arc::new(Ends::default()));
    let _end = end.clone().drop_guard();
    let parts = KubernetesParts {
        cluster: Cluster::over(client, "hythe"),
        settings: ClusterSettings::default(),
        port: 8080,
        pull: Arc::new(|_| None),
        witness: ends.clone(),
        traffic: Arc::new(Unwatched),
    };
    let rollouts = Rollouts::start(parts, end);
    rollouts.looked.clone().wait_for(|lists| lists.iter().all(|done| *done)).await.unwrap();
    let runs = Arc::new(view::PodView {
        name: "cron-runs-1-abc".to_owned(),
        ..crate::kubernetes::tests::pod(2, "abc")
    });
    rollouts.seen.update(&"weather".parse().unwrap(), |view| drop(view.pods.insert(runs.name.clone(), runs)));
    let live = release_of(&["refused", "new", "runs", "over"]);
    rollouts.live().insert("weather".parse().unwrap(), live);
    for seen in [
        cron("refused", 60, "cron-refused-1"),
        cron("new", 1, "cron-new-1"),
        cron("runs", 60, "cron-runs-1"),
        cron("gone", 60, "cron-gone-1"),
        cron("over", 60, "cron-over-1"),
    ] {
        rollouts.runs.see(&seen);
    }
    let mut over = cron("over", 60, "");
    over.data["status"]["active"] = json!([]);
    rollouts.runs.see(&over);
    let own = rollouts.clone();
    let looking = tokio::spawn(async move { own.tell_unmade_runs().await });
    sleep(LOOK * 4).await;
    let told = "weather.v2.job.refused.1: the cluster refuses its pod: exceeded quota: tool";
    assert_eq!(*ends.0.lock().unwrap(), [told, told], "once more, because it was not kept");
    full.store(false, Ordering::SeqCst);
    sleep(LOOK * 2).await;
    looking.abort();
    assert_eq!(ends.0.lock().unwrap().len(), 2);
    let tried = asked.take().into_iter().filter(|asked| asked.starts_with("POST")).collect::<HashSet<_>>();
    assert_eq!(tried, HashSet::from(["POST /api/v1/namespaces/hythe-weather/pods".to_owned()]));
}
