//! One-off commands whose server died in the middle: nobody hears them, and nothing else would end them before their day is over.

use super::desired::{self, LABEL_PROCESS, LABEL_RELEASE, NOTE_SERVER};
use super::rollout::Rollouts;
use super::view;
use hythe_cluster::{ClusterError, patient, remove, selector};
use hythe_model::ToolName;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);

/// Pods by their tools and names.
type Left = BTreeSet<(ToolName, String)>;

impl Rollouts {
    /// What this server is called on the pods of its commands.
    pub(super) fn server(&self) -> &str {
        self.wishes.get().map_or(self.name.as_str(), |wishes| wishes.server())
    }

    /// Ends what is left of servers that are gone, for as long as this one leads. A server that is not heard of for a moment need not
    /// be gone: the second look counts.
    pub(super) async fn end_left_commands(&self) {
        let mut before = Left::new();
        loop {
            match self.left_commands().await {
                Ok(left) => {
                    for (tool, pod) in left.intersection(&before) {
                        let namespace = desired::namespace(&self.settings, tool);
                        if !matches!(self.cluster.has_another(&namespace).await, Ok(false)) {
                            continue;
                        }
                        match remove(&self.api::<Pod>(tool), pod, &DeleteParams::default()).await {
                            Ok(()) => tracing::info!(%tool, pod, "a command whose server is gone was ended"),
                            Err(error) => tracing::warn!(%tool, pod, %error, "a command was left behind"),
                        }
                    }
                    before = left;
                }
                Err(error) => tracing::warn!(%error, "commands that are left behind could not be looked for"),
            }
            sleep(LOOK).await;
        }
    }

    /// The pods of commands whose servers do not live.
    async fn left_commands(&self) -> Result<Left, ClusterError> {
        let ours = selector(&self.settings.platform);
        let commands = ListParams::default().labels(&format!("{ours},!{LABEL_PROCESS},{LABEL_RELEASE}"));
        // As the API server remembers it.
        let commands = commands.match_any();
        let pods: Api<Pod> = Api::all(self.cluster.client.clone());
        let found = patient("list commands", || pods.list_metadata(&commands)).await?;
        let (mut left, mut lives) = (Left::new(), HashMap::new());
        for pod in found {
            let Some((tool, server)) = view::tool(&pod.metadata).zip(pod.annotations().get(NOTE_SERVER))
            else {
                continue;
            };
            let lives = match lives.get(server) {
                Some(lives) => *lives,
                None => *lives.entry(server.clone()).or_insert(self.lives(server).await),
            };
            if !lives {
                left.insert((tool, pod.name_any()));
            }
        }
        Ok(left)
    }

    /// Whether a server is this one, or another one that lives; one that cannot be asked about does.
    async fn lives(&self, server: &str) -> bool {
        let is_own = server == self.server();
        match self.wishes.get() {
            Some(wishes) if !is_own => wishes.lives(server).await.unwrap_or(true),
            _ => is_own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{ClusterSettings, KubernetesParts};
    use crate::runtime::{RunnableRelease, Unwatched, Wished, Wishes};
    use async_trait::async_trait;
    use hythe_cluster::Cluster;
    use hythe_model::Fault;
    use hythe_testing::{Asked, api_server};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;

    /// Servers that share the work: this one is `own`, and `other` lives too.
    struct Two;

    #[async_trait]
    impl Wishes for Two {
        fn server(&self) -> &'static str {
            "own"
        }

        async fn lives(&self, server: &str) -> Result<bool, Fault> {
            match server {
                "unknown" => Err(Fault::new("store/away", "Nobody knows.")),
                server => Ok(server == "other"),
            }
        }

        async fn live(&self, _: &ToolName) -> Result<Option<RunnableRelease>, Fault> {
            Ok(None)
        }

        async fn live_in_turn(&self, _: &ToolName) -> Result<Option<Wished>, Fault> {
            Ok(None)
        }

        fn has_turn(&self, _: &ToolName) -> bool {
            false
        }
    }

    /// A cluster with a command of each of these servers, and of one that did not say its name.
    fn rollouts(end: &CancellationToken) -> (Arc<Rollouts>, Asked) {
        let (client, asked) = api_server(|asked, _| {
            if asked == "GET /api/v1/namespaces/hythe-weather" {
                let ours = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "hythe-weather" } });
                return Some((200, ours.to_string()));
            }
            let command = |server: &str| {
                let notes = if server.is_empty() { json!({}) } else { json!({ NOTE_SERVER: server }) };
                let labels = json!({ "hythe.dev/tool": "weather" });
                json!({ "metadata": { "name": format!("run-{server}"), "labels": labels, "annotations": notes } })
            };
            let commands: Vec<Value> = ["own", "other", "gone", "unknown", ""].map(command).into();
            let items = if asked.contains("%21hythe.dev") { commands } else { Vec::new() };
            let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "7" }, "items": items });
            (!asked.contains("watch=true")).then(|| (200, list.to_string()))
        });
        let parts = KubernetesParts {
            cluster: Cluster::over(client, "hythe"),
            settings: ClusterSettings::default(),
            port: 8080,
            pull: Arc::new(|_| None),
            witness: Arc::new(Unwatched),
            traffic: Arc::new(Unwatched),
        };
        (Rollouts::start(parts, end.clone()), asked)
    }

    /// What is deleted after so many looks.
    async fn deleted(rollouts: Arc<Rollouts>, asked: &Asked, looks: u32) -> Vec<String> {
        let looking = tokio::spawn(async move { rollouts.end_left_commands().await });
        sleep(LOOK / 2 + LOOK * (looks - 1)).await;
        looking.abort();
        let deleted =
            asked.take().into_iter().filter_map(|asked| Some(asked.strip_prefix("DELETE ")?.to_owned()));
        deleted.filter_map(|path| Some(path.rsplit_once('/')?.1.to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn commands_of_servers_that_are_gone_end_with_the_second_look() {
        let end = CancellationToken::new();
        let _end = end.clone().drop_guard();
        let (alone, asked) = rollouts(&end);
        assert!(deleted(alone.clone(), &asked, 1).await.is_empty());
        let all = ["run-gone", "run-other", "run-own", "run-unknown"];
        assert_eq!(deleted(alone, &asked, 2).await, all, "this one has another name");
        let (shared, asked) = rollouts(&end);
        shared.share(Arc::new(Two));
        assert!(deleted(shared.clone(), &asked, 1).await.is_empty());
        assert_eq!(deleted(shared, &asked, 2).await, ["run-gone"]);
    }
}
