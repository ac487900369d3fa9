use super::*;
use crate::LABEL_TOOL;
use hythe_model::ToolName;
use hythe_testing::api_server;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_is_waited_for_without_rights_in_it() {
    let tool: ToolName = "weather".parse().unwrap();
    let owner = Owner::new("hythe", LABEL_TOOL, &tool);
    let going = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "hythe-weather", "labels": owner.labels(), "deletionTimestamp": "2026-11-29T04:30:00Z",
    } });
    let gone = json!({ "apiVersion": "v1", "kind": "NamespaceList", "metadata": { "resourceVersion": "7" }, "items": [] });
    let no = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "the account hythe may not do that" });
    let (client, asked) = api_server(move |asked, _| {
        Some(match asked {
            "GET /api/v1/namespaces/hythe-weather" => (200, going.to_string()),
            list if list.starts_with("GET /api/v1/namespaces?") => (200, gone.to_string()),
            _ => (403, no.to_string()),
        })
    });
    let cluster = Cluster::over(client, "hythe");
    cluster.remove_namespace(&owner, "hythe-weather", Duration::from_secs(5)).await.unwrap();
    let asked = asked.take();
    assert_eq!(asked, ["GET /api/v1/namespaces/hythe-weather", "GET /api/v1/namespaces"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_throttles_or_begins_is_asked_again_later() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let busy = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests",
        "message": "the server has received too many requests and has asked us to try again later", "details": { "retryAfterSeconds": 1 } });
    let begins = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "namespaces \"hythe-weather\" is forbidden: not yet ready to handle request" });
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "hythe-weather" } });
    let times = AtomicU32::new(0);
    let (client, asked) = api_server(move |_, _| {
        Some(match times.fetch_add(1, Ordering::SeqCst) {
            0..4 => (429, busy.to_string()),
            4 => (403, begins.to_string()),
            _ => (200, namespace.to_string()),
        })
    });
    let api: Api<Namespace> = Api::all(client);
    let begun = tokio::time::Instant::now();
    let found = patient("read a namespace", || api.get("hythe-weather")).await.unwrap();
    assert_eq!((found.name_any().as_str(), asked.take().len()), ("hythe-weather", 6));
    assert!(begun.elapsed() > Duration::from_secs(1), "with growing waits");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_of_another_installation_of_the_same_name_is_left_alone() {
    use crate::fence;
    use kube::api::ObjectMeta;
    let tool: ToolName = "weather".parse().unwrap();
    let owner = Owner::new("hythe", LABEL_TOOL, &tool);
    let labels = owner.labels();
    let metadata = ObjectMeta {
        name: Some("hythe-weather".to_owned()),
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    };
    let wanted = Object::of(&fence::namespace(metadata));
    let none =
        json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "7" }, "items": [] });
    let world = |note: Option<&str>| {
        let annotations = note.map(|note| json!({ "hythe.dev/installation": note }));
        let there = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "hythe-weather", "labels": labels, "annotations": annotations } });
        let none = none.clone();
        api_server(move |asked, body| {
            Some(match asked {
                "GET /api/v1/namespaces/hythe-weather" => (200, there.to_string()),
                patch if patch.starts_with("PATCH") => {
                    assert!(body.contains(r#""hythe.dev/installation":"1""#), "{body}");
                    (200, body.to_owned())
                }
                _ => (200, none.to_string()),
            })
        })
    };
    let (client, asked) = world(Some("2"));
    let cluster = Cluster::over(client, "hythe").of("1");
    let refused = cluster.apply(&owner, std::slice::from_ref(&wanted)).await;
    assert!(matches!(refused, Err(ClusterError::Another { .. })));
    assert_eq!(asked.take(), ["GET /api/v1/namespaces/hythe-weather"]);
    assert!(cluster.has_another("hythe-weather").await.unwrap());
    // One of before it was noted becomes ours.
    let (client, asked) = world(None);
    let cluster = Cluster::over(client, "hythe").of("1");
    let written = cluster.apply(&owner, std::slice::from_ref(&wanted)).await.unwrap().written;
    assert_eq!(written, ["Namespace hythe-weather"]);
    assert!(asked.take().iter().any(|asked| asked.starts_with("PATCH")));
    assert!(!cluster.has_another("hythe-weather").await.unwrap());
}
