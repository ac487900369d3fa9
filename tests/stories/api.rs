//! The API's doors, walked from outside: every operation of its own document, without a token and as a stranger.

use crate::support::{Client, Server, shared};
use serde_json::{Value, json};

/// An answer: its status and body.
type Said = (u16, String);

/// Asks the API.
async fn ask(method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Said {
    let url = format!("http://{}{path}", shared().address("api"));
    let method = method.to_uppercase().parse().expect("a method");
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

/// A body that an operation accepts, by the name of its schema.
fn body_of(schema: &str) -> Value {
    match schema.rsplit('/').next().expect("a name") {
        "ConfigPatch" => json!({ "set": [{ "key": "A", "value": "1" }] }),
        "NewAccount" => json!({ "name": "mallory" }),
        "NewKey" => json!({ "key": "ssh-ed25519 AAAA" }),
        "NewMaintainer" => json!({ "role": "owner" }),
        "NewToken" => json!({ "name": "mine" }),
        "NewTool" => json!({ "name": "taken" }),
        "Redeploy" => json!({}),
        "Rollback" => json!({ "to": "v1" }),
        "Run" => json!({ "args": ["true"] }),
        "Scale" => json!({ "formation": { "web": 0 } }),
        "ToolSettings" => json!({ "deploy_branches": ["evil"] }),
        other => panic!("the story does not know {other}: teach it"),
    }
}

/// Every operation: method, path and a body.
async fn operations() -> Vec<(String, String, Option<Value>)> {
    let (_, text) = ask("get", "/api/v1/openapi.json", None, None).await;
    let document: Value = serde_json::from_str(&text).expect("a document");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            operations.push((method.clone(), path.clone(), schema.as_str().map(body_of)));
        }
    }
    assert!(operations.len() > 30, "{operations:?}");
    operations
}

fn filled(path: &str, tool: &str, build: &str) -> String {
    path.replace("{tool}", tool)
        .replace("{build}", build)
        .replace("{name}", "robin")
        .replace("{id}", "1")
        .replace("{fingerprint}", "SHA256:x")
}

#[tokio::test]
async fn without_a_token_there_is_nothing_but_health() {
    for (method, path, body) in operations().await {
        let (status, text) = ask(&method, &filled(&path, "doors", "1"), None, body.as_ref()).await;
        let wanted = if matches!(path.as_str(), "/healthz" | "/readyz") { 200 } else { 401 };
        assert_eq!(status, wanted, "{method} {path}: {text}");
    }
}

/// A stranger with a token of their own.
fn stranger(server: &Server) -> String {
    let robin = Client::new(server, "doors");
    robin.tool_from("doors", "static-site");
    // The build fails or not; it has a number and a log, and that is what must not be seen.
    robin.push("doors");
    let name = format!("stranger-{}", std::process::id());
    robin.hythe(&["accounts", "create", &name]).ok().out.trim().to_owned()
}

#[tokio::test]
async fn a_stranger_cannot_tell_absent_from_forbidden() {
    let token = tokio::task::spawn_blocking(|| stranger(shared())).await.expect("a stranger");
    let builds = ask("get", "/api/v1/tools/doors/builds", Some(shared().token()), None).await.1;
    let builds: Value = serde_json::from_str(&builds).expect("builds");
    let build = builds[0]["id"].to_string();
    for (method, path, body) in operations().await {
        if !path.contains("{tool}") && !path.contains("{build}") {
            continue;
        }
        let there = ask(&method, &filled(&path, "doors", &build), Some(&token), body.as_ref()).await;
        let absent = ask(&method, &filled(&path, "nodoors", "999999"), Some(&token), body.as_ref()).await;
        assert_eq!(there.0, 404, "{method} {path}: {}", there.1);
        let there = (
            there.0,
            there.1.replace("doors", "nodoors").replace(&format!("build {build},"), "build 999999,"),
        );
        assert_eq!(there, absent, "{method} {path}");
    }
    let (_, tools) = ask("get", "/api/v1/tools", Some(&token), None).await;
    assert_eq!(tools, "[]");
}

#[tokio::test]
async fn who_tries_tokens_must_wait() {
    // From an address of its own, so that nobody else who uses the server waits too.
    let guesser = reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    let guesser = guesser.build().expect("a client");
    let guess = async |path: &str, token: &str| {
        let request = guesser.get(format!("http://{}{path}", shared().address("api")));
        let request = match path {
            "/v2/token" => request.basic_auth("token", Some(token)),
            _ => request.bearer_auth(token).header("X-Forwarded-For", "192.0.2.1"),
        };
        request.send().await.expect("an answer")
    };
    for _ in 0..20 {
        assert_eq!(guess("/api/v1/whoami", "hythe_wrong").await.status(), 401);
    }
    for path in ["/api/v1/whoami", "/v2/token"] {
        let answer = guess(path, shared().token()).await;
        assert_eq!(answer.status(), 429, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
    }
    assert_eq!(ask("get", "/api/v1/whoami", Some(shared().token()), None).await.0, 200);
}
