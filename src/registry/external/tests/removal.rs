//! What is removed where a registry removes no names, or does not say all that it has.

use super::answers::{error, stranger, with};
use super::*;
use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A page of tags.
fn list(tags: &[&str], next: Option<&str>) -> Response {
    let body = serde_json::json!({ "name": "hythe/weather", "tags": tags }).to_string();
    let answer = Response::builder().status(200);
    let answer = next
        .into_iter()
        .fold(answer, |answer, next| answer.header("link", format!("<{next}>; rel=\"next\"")));
    answer.body(Body::from(body)).unwrap()
}

/// What was asked to go: tags and digests, in order.
type Deleted = Arc<Mutex<Vec<String>>>;

/// A registry of a tool's images that lists these tags and takes deletions as `delete` says.
async fn registry(
    tags: impl Fn(&str) -> Response + Send + Sync + 'static,
    delete: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> (External, Deleted) {
    let deleted = Deleted::default();
    let seen = deleted.clone();
    let address = stranger(move |method, path, _| {
        let name = path.rsplit('/').next().unwrap();
        match *method {
            Method::GET if path.contains("/tags/") => Some(tags(path)),
            Method::DELETE => {
                seen.lock().unwrap().push(name.to_owned());
                Some(delete(name))
            }
            _ => None,
        }
    });
    let built = built();
    let external = built.to(&Built::options(&format!("{}/hythe", address.await)));
    (external, deleted)
}

fn accepted(_: &str) -> Response {
    with(202, "docker-distribution-api-version", "registry/2.0")
}

/// As registries answer that remove images alone.
fn by_digest_alone(name: &str) -> Response {
    if name.starts_with("sha256:") { accepted(name) } else { error(405, "UNSUPPORTED", "not by tag") }
}

fn image(number: u8) -> Digest {
    Digest::sha256([number; 32])
}

fn tag(platform: &str, number: u8) -> String {
    format!("hythe-{platform}-{}", image(number).hex())
}

async fn remove(external: &External, numbers: &[u8]) -> usize {
    let images: BTreeSet<_> = numbers.iter().map(|number| image(*number)).collect();
    external.remove(&named("weather"), &images).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_not_counted_and_names_are_asked_for_once() {
    let tags = [tag("production", 1), tag("production", 2), tag("staging", 1)];
    let all = move |_: &str| list(&tags.each_ref().map(String::as_str), None);
    let (external, deleted) = registry(all, by_digest_alone).await;
    assert_eq!(remove(&external, &[1, 2]).await, 1, "the first is the other platform's too");
    let asked = [tag("production", 1), image(2).to_string()];
    assert_eq!(*deleted.lock().unwrap(), asked);
    assert_eq!(remove(&external, &[1]).await, 0);
    assert_eq!(deleted.lock().unwrap().len(), asked.len(), "that names do not go there is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_list_that_is_not_whole_only_the_own_name_goes() {
    let endless = |_: &str| list(&[&tag("production", 1)], Some("/v2/hythe/weather/tags/list?last=x"));
    let elsewhere = |_: &str| list(&[&tag("production", 1)], Some("http://elsewhere.example.org/more"));
    for (number, tags) in [endless as fn(&str) -> Response, elsewhere].into_iter().enumerate() {
        let (external, deleted) = registry(tags, accepted).await;
        assert_eq!(remove(&external, &[1]).await, 1);
        assert_eq!(*deleted.lock().unwrap(), [tag("production", 1)], "{number}");
        let (external, deleted) = registry(tags, by_digest_alone).await;
        assert_eq!(remove(&external, &[1]).await, 0);
        assert_eq!(*deleted.lock().unwrap(), [tag("production", 1)], "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_names_of_others_an_image_stays() {
    let names: Vec<_> = (0..30).map(|number| format!("v{number}")).collect();
    let all = move |_: &str| list(&names.iter().map(String::as_str).collect::<Vec<_>>(), None);
    let (external, deleted) = registry(all, accepted).await;
    assert_eq!(remove(&external, &[1]).await, 1);
    assert_eq!(*deleted.lock().unwrap(), [tag("production", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_name_may_stay_where_a_registry_collects_them_itself() {
    let by_name_alone = |name: &str| {
        if name.contains(':') { error(405, "UNSUPPORTED", "not by digest") } else { accepted(name) }
    };
    let (external, deleted) = registry(|_| list(&["latest"], None), by_name_alone).await;
    assert_eq!(remove(&external, &[1]).await, 1);
    assert_eq!(*deleted.lock().unwrap(), [tag("production", 1), image(1).to_string()]);
}
