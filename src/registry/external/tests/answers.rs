//! What registries and the proxies before them answer when they will not, or change what they are sent.

use super::*;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Answerer = dyn Fn(&Method, &str, usize) -> Response + Send + Sync;

/// A registry that has nothing and takes everything, but for what this answers; how often it was asked for it is counted.
pub(super) async fn stranger(
    answer: impl Fn(&Method, &str, usize) -> Option<Response> + Send + Sync + 'static,
) -> String {
    let count = Arc::new(AtomicUsize::new(0));
    let whole: Arc<Answerer> = Arc::new(move |method, path, count| {
        answer(method, path, count).unwrap_or_else(|| match (method.as_str(), path) {
            ("HEAD", _) => status(404),
            ("POST", _) => with(202, "location", "/v2/hythe/weather/blobs/uploads/1"),
            _ => status(201),
        })
    });
    let serve = move |request: Request| {
        let (whole, count) = (whole.clone(), count.clone());
        async move {
            let (head, body) = request.into_parts();
            axum::body::to_bytes(body, 1 << 24).await.unwrap();
            whole(&head.method, head.uri.path(), count.fetch_add(1, Ordering::Relaxed))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
    address
}

fn status(code: u16) -> Response {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

pub(super) fn with(code: u16, header: &str, value: &str) -> Response {
    Response::builder().status(code).header(header, value).body(Body::empty()).unwrap()
}

pub(super) fn error(code: u16, name: &str, message: &str) -> Response {
    let text = serde_json::json!({"errors": [{"code": name, "message": message}]}).to_string();
    Response::builder().status(code).body(Body::from(text)).unwrap()
}

/// What is said where uploads are answered like this.
async fn where_uploads(answer: fn() -> Response) -> String {
    let address = stranger(move |method, _, _| (*method == Method::PUT).then(answer)).await;
    let built = built();
    let external = built.to(&Built::options(&format!("{address}/hythe")));
    said(&provide(&external, "weather", &built.image).await.unwrap_err(), &address)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_words() {
    let answers: [fn() -> Response; 6] = [
        || Response::builder().status(413).body(Body::from("<html>nginx</html>")).unwrap(),
        || {
            error(
                403,
                "DENIED",
                "adding 3.1 MiB of storage resource will exceed the configured upper limit of 10 GiB.",
            )
        },
        || error(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
        || error(400, "NAME_INVALID", "\u{1b}[31minvalid repository name"),
        || status(503),
        || with(307, "location", "nowhere"),
    ];
    let mut all = Vec::new();
    for answer in answers {
        all.push(where_uploads(answer).await);
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_becomes_another_is_noticed() {
    let address = stranger(|method, path, _| {
        let is_manifest = *method == Method::PUT && path.contains("/manifests/");
        is_manifest.then(|| with(201, "docker-content-digest", &format!("sha256:{}", "0".repeat(64))))
    });
    let (address, built) = (address.await, built());
    let external = built.to(&Built::options(&format!("{address}/hythe")));
    let changed = provide(&external, "weather", &built.image).await.unwrap_err();
    let text = said(&changed, &address).replace(built.image.as_str(), "DIGEST");
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_registry_is_asked_again_when_it_likes() {
    let address = stranger(|_, _, count| (count == 0).then(|| with(429, "retry-after", "1"))).await;
    let built = built();
    let external = built.to(&ExternalOptions {
        patience: Duration::from_secs(20),
        ..Built::options(&format!("{address}/hythe"))
    });
    let begun = Instant::now();
    provide(&external, "weather", &built.image).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_to_be_left_alone_for_ever_is() {
    let address = stranger(|_, _, _| Some(with(429, "retry-after", &u64::MAX.to_string()))).await;
    let built = built();
    let external = built.to(&ExternalOptions {
        patience: Duration::from_secs(20),
        ..Built::options(&format!("{address}/hythe"))
    });
    let begun = Instant::now();
    let refused = provide(&external, "weather", &built.image).await.unwrap_err();
    assert_eq!(refused.fault().id, "registry/failing");
    external.provide_now(&named("weather"), &built.image).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "it is not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_collected_away_meanwhile_is_sent_again() {
    let address = stranger(|method, path, count| {
        let is_first = *method == Method::PUT && path.contains("/manifests/") && count < 12;
        is_first.then(|| error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"))
    });
    let (address, built) = (address.await, built());
    let external = built.to(&ExternalOptions {
        patience: Duration::from_secs(20),
        ..Built::options(&format!("{address}/hythe"))
    });
    assert!(matches!(
        provide(&external, "weather", &built.image).await.unwrap(),
        Provided::Sent { sent: 2, .. }
    ));
}

/// Somebody else's place, and whether each of those who asked there showed who they are.
async fn thief() -> (SocketAddr, Arc<Mutex<Vec<bool>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = shown.clone();
    let serve = move |request: Request| {
        seen.lock().unwrap().push(request.headers().contains_key("authorization"));
        // Whoever is sent on to it is asked for more.
        let realm = format!("Bearer realm=\"http://{}/token\"", request.headers()["host"].to_str().unwrap());
        async move {
            match request.method().as_str() {
                "HEAD" => with(401, "www-authenticate", &realm),
                "GET" => Response::new(Body::from(r#"{"token": "x"}"#)),
                _ => status(201),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
    (address, shown)
}

/// The registry at this address, with a name and a password.
fn with_password(built: &Built, address: &str) -> External {
    let path = built.dir.path().join("config.json");
    let auths = serde_json::json!({"auths": {address: {"username": "ann", "password": "secret"}}});
    std::fs::write(&path, auths.to_string()).unwrap();
    built.to(&ExternalOptions { push: Some(path), ..Built::options(&format!("{address}/hythe")) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_shown_to_another_place() {
    let ((thief, shown), asked) = (thief().await, AtomicUsize::new(0));
    let address = stranger(move |method, _, _| match method.as_str() {
        _ if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some(with(401, "www-authenticate", "Basic realm=\"x\""))
        }
        "POST" => Some(with(202, "location", &format!("http://{thief}/upload"))),
        _ => None,
    });
    let (address, built) = (address.await, built());
    provide(&with_password(&built, &address), "weather", &built.image).await.unwrap();
    let shown = shown.lock().unwrap().clone();
    assert!(shown.len() == 3 && !shown.contains(&true), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_another_place_is_not_answered() {
    let (thief, shown) = thief().await;
    let address = stranger(move |method, path, _| {
        (*method == Method::HEAD).then(|| with(307, "location", &format!("http://{thief}{path}")))
    });
    let (address, built) = (address.await, built());
    let refused = provide(&with_password(&built, &address), "weather", &built.image).await.unwrap_err();
    assert_eq!(*shown.lock().unwrap(), [false], "it was asked once, and told nothing");
    insta::assert_snapshot!(said(&refused, &address));
}
