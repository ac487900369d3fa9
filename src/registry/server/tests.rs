//! The API as clients see it: over a socket, with `reqwest`, and with the stock tools.

use super::*;
use hythe_model::Digest;
use hythe_oci::{
    Compression, Hasher, History, ImageBuilder, LayerDescriptor, LayerSpec, Part, Platform, media_type,
    write_layer,
};
use reqwest::{Client, Method as Verb, Response as Answer};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Two users: `ann` may do anything below `tools/`, `bob` may pull `tools/open`; nobody may pull `public`.
struct Rules;

#[async_trait]
impl RegistryAuth for Rules {
    async fn verify(&self, user: &str, secret: &str) -> Option<Subject> {
        (matches!(user, "ann" | "bob") && secret == "secret").then(|| Subject::User(user.to_owned()))
    }

    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool {
        match subject {
            Subject::User(name) if name == "ann" => repository.as_str().starts_with("tools/"),
            Subject::User(_) => repository.as_str() == "tools/open" && action == RegistryAction::Pull,
            Subject::Anonymous => repository.as_str() == "public" && action == RegistryAction::Pull,
        }
    }
}

struct Site {
    dir: tempfile::TempDir,
    store: ContentStore,
    address: SocketAddr,
    client: Client,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn site() -> Site {
    site_with(RegistryOptions::default()).await
}

async fn site_with(options: RegistryOptions) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path().join("registry")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = routes_with(store.clone(), Arc::new(Rules), options);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Site { dir, store, address, client: Client::builder().no_proxy().build().unwrap(), server }
}

impl Site {
    async fn token(&self, user: &str, scopes: &[&str]) -> String {
        let scopes: Vec<_> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        let request = self.client.get(format!("http://{}/v2/token", self.address)).query(&scopes);
        let request = if user.is_empty() { request } else { request.basic_auth(user, Some("secret")) };
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A client of one user with one scope.
    async fn user(&self, user: &str, scope: &str) -> User<'_> {
        User { site: self, token: self.token(user, &[scope]).await }
    }

    async fn ann(&self) -> User<'_> {
        self.user("ann", "repository:tools/a:pull,push,delete").await
    }

    fn uploads(&self) -> usize {
        std::fs::read_dir(self.store.root().join("uploads")).unwrap().count()
    }
}

struct User<'a> {
    site: &'a Site,
    token: String,
}

impl User<'_> {
    async fn send(
        &self,
        verb: Verb,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.site.address);
        let request = self.site.client.request(verb, url).bearer_auth(&self.token).body(body);
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .send()
            .await
            .unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Verb::GET, path, &[], "").await
    }

    async fn blob(&self, repository: &str, content: &'static [u8]) -> Digest {
        let digest = Hasher::digest(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.send(Verb::POST, &path, &[], content).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "docker-content-digest")),
            (201, digest.to_string())
        );
        digest
    }

    /// The location of a new upload.
    async fn upload(&self) -> String {
        let answer = self.send(Verb::POST, "/v2/tools/a/blobs/uploads/", &[], "").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "range").as_str()), (202, "0-0"));
        header(&answer, "location")
    }
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn refusal(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["errors"][0]["code"].as_str().unwrap().to_owned())
}

fn manifest(config: &Digest, layers: &[&Digest], subject: Option<&Digest>) -> String {
    let describe = |digest: &Digest| serde_json::json!({"mediaType": "x/y", "digest": digest, "size": 1});
    let layers: Vec<_> = layers.iter().map(|digest| describe(digest)).collect();
    let mut document = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::MANIFEST,
        "config": describe(config), "layers": layers});
    if let Some(subject) = subject {
        document["subject"] = describe(subject);
    }
    document.to_string()
}

const MANIFEST: (&str, &str) = ("content-type", media_type::MANIFEST);

#[tokio::test]
async fn without_a_token_every_door_says_where_to_get_one() {
    let site = site().await;
    let nobody = User { site: &site, token: "forged".into() };
    let url = format!("http://{}/v2/", site.address);
    let answer = site.client.get(&url).send().await.unwrap();
    let realm = format!("Bearer realm=\"http://{}/v2/token\",service=\"hythe\"", site.address);
    assert_eq!((answer.status().as_u16(), header(&answer, "www-authenticate")), (401, realm.clone()));
    assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
    let answer = nobody.send(Verb::POST, "/v2/tools/a/blobs/uploads/", &[], "").await;
    let scope = format!("{realm},scope=\"repository:tools/a:pull,push\",error=\"invalid_token\"");
    assert_eq!(header(&answer, "www-authenticate"), scope);
    assert_eq!(refusal(answer).await, (401, "UNAUTHORIZED".into()));
    // A stranger is told the same of what is there and of what is not.
    site.store.put_manifest(&"tools/a".parse().unwrap(), &"v1".parse().unwrap(), "t/t", b"{}").unwrap();
    let stranger = site.user("bob", "repository:tools/a:pull").await;
    for path in ["/v2/tools/a/manifests/v1", "/v2/tools/a/manifests/v2", "/v2/tools/none/manifests/v1"] {
        assert_eq!(refusal(stranger.get(path).await).await, (401, "UNAUTHORIZED".into()), "{path}");
    }
}

#[tokio::test]
async fn tokens_give_what_was_asked_for_and_is_allowed() {
    let site = site().await;
    let pull = site.user("ann", "repository:tools/a:pull").await;
    assert_eq!(pull.get("/v2/").await.status(), 200);
    assert_eq!(pull.get("/v2/tools/a/tags/list").await.status(), 404);
    assert_eq!(pull.send(Verb::POST, "/v2/tools/a/blobs/uploads/", &[], "").await.status(), 401);
    let greedy = site.user("bob", "repository:tools/open:pull,push").await;
    assert_eq!(greedy.get("/v2/tools/open/tags/list").await.status(), 404);
    assert_eq!(greedy.send(Verb::POST, "/v2/tools/open/blobs/uploads/", &[], "").await.status(), 401);
    let nobody = site.user("", "repository:public:pull,push").await;
    assert_eq!(nobody.get("/v2/public/tags/list").await.status(), 404);
    assert_eq!(User { site: &site, token: site.token("", &[]).await }.get("/v2/").await.status(), 401);
    let wrong = site.client.get(format!("http://{}/v2/token", site.address)).basic_auth("ann", Some("wrong"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    // A token of another key, and one of no signature at all.
    let other = site_with(RegistryOptions { token_key: Some([7; 32]), ..RegistryOptions::default() }).await;
    assert_eq!(User { site: &other, token: pull.token.clone() }.get("/v2/").await.status(), 401);
    let body = pull.token.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    assert_eq!(User { site: &site, token: none }.get("/v2/").await.status(), 401);
}

#[tokio::test]
async fn tokens_expire() {
    let brief = RegistryOptions { token_life: Duration::ZERO, ..RegistryOptions::default() };
    let site = site_with(brief).await;
    let user = site.ann().await;
    assert_eq!(user.get("/v2/").await.status(), 200, "clocks may differ by a few seconds");
    tokio::time::sleep(Duration::from_millis(6500)).await;
    assert_eq!(user.get("/v2/").await.status(), 401);
}

#[tokio::test]
async fn a_blob_goes_in_at_once_and_out_in_parts() {
    let site = site().await;
    let ann = site.ann().await;
    let digest = ann.blob("tools/a", b"0123456789").await;
    let path = format!("/v2/tools/a/blobs/{digest}");
    let head = ann.send(Verb::HEAD, &path, &[], "").await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length").as_str()), (200, "10"));
    assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
    assert_eq!(ann.get(&path).await.text().await.unwrap(), "0123456789");
    for (range, status, content, expected) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-1", 206, "9", "bytes 9-9/10"),
        ("bytes=x", 200, "0123456789", ""),
    ] {
        let answer = ann.send(Verb::GET, &path, &[("range", range)], "").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "content-range").as_str()), (status, expected));
        assert_eq!(answer.text().await.unwrap(), content);
    }
    let outside = ann.send(Verb::GET, &path, &[("range", "bytes=10-")], "").await;
    assert_eq!((outside.status().as_u16(), header(&outside, "content-range").as_str()), (416, "bytes */10"));
    assert_eq!(ann.send(Verb::DELETE, &path, &[], "").await.status(), 202);
    assert_eq!(refusal(ann.get(&path).await).await, (404, "BLOB_UNKNOWN".into()));
    assert_eq!(ann.send(Verb::DELETE, &path, &[], "").await.status(), 404);
    assert_eq!(refusal(ann.get("/v2/tools/a/blobs/sha256:abc").await).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn a_blob_goes_in_by_chunks_in_order() {
    let site = site().await;
    let ann = site.ann().await;
    let place = ann.upload().await;
    let chunk = |range: &'static str, body: &'static str| {
        let headers = [("content-range", range), ("content-type", "application/octet-stream")];
        let headers = if range.is_empty() { headers[1..].to_vec() } else { headers.to_vec() };
        let (ann, place) = (&ann, &place);
        async move { ann.send(Verb::PATCH, place, &headers, body).await }
    };
    let first = chunk("0-3", "0123").await;
    assert_eq!((first.status().as_u16(), header(&first, "range").as_str()), (202, "0-3"));
    for wrong in ["0-3", "5-8", "9-4", "nonsense"] {
        let answer = chunk(wrong, "4567").await;
        assert_eq!((answer.status().as_u16(), header(&answer, "range").as_str()), (416, "0-3"), "{wrong}");
        assert_eq!(header(&answer, "location"), place);
    }
    let status = ann.get(&place).await;
    assert_eq!((status.status().as_u16(), header(&status, "range").as_str()), (204, "0-3"));
    assert_eq!(header(&chunk("4-5", "45").await, "range"), "0-5");
    assert_eq!(header(&chunk("", "67").await, "range"), "0-7", "a chunk need not say where it begins");
    let digest = Hasher::digest(b"0123456789");
    let last =
        ann.send(Verb::PUT, &format!("{place}?digest={digest}"), &[("content-range", "8-9")], "89").await;
    assert_eq!(
        (last.status().as_u16(), header(&last, "location")),
        (201, format!("/v2/tools/a/blobs/{digest}"))
    );
    assert_eq!(ann.get(&header(&last, "location")).await.text().await.unwrap(), "0123456789");
    assert_eq!(refusal(ann.get(&place).await).await, (404, "BLOB_UPLOAD_UNKNOWN".into()));
    assert_eq!(site.uploads(), 0);
}

#[tokio::test]
async fn what_is_not_its_digest_is_not_published() {
    let site = site().await;
    let ann = site.ann().await;
    let digest = Hasher::digest(b"expected");
    let path = format!("/v2/tools/a/blobs/uploads/?digest={digest}");
    assert_eq!(
        refusal(ann.send(Verb::POST, &path, &[], "other").await).await,
        (400, "DIGEST_INVALID".into())
    );
    let place = ann.upload().await;
    let put = ann.send(Verb::PUT, &format!("{place}?digest={digest}"), &[], "other").await;
    assert_eq!(refusal(put).await, (400, "DIGEST_INVALID".into()));
    let place = ann.upload().await;
    let short = ann.send(Verb::PATCH, &place, &[("content-range", "0-9")], "short").await;
    assert_eq!(refusal(short).await, (400, "SIZE_INVALID".into()));
    assert_eq!(ann.send(Verb::DELETE, &place, &[], "").await.status(), 204);
    assert_eq!(ann.send(Verb::DELETE, &place, &[], "").await.status(), 404);
    assert!(!site.store.has(&digest).unwrap());
    assert_eq!(site.uploads(), 0);
    // The same content under its SHA-512.
    let long: Digest = format!("sha512:{}", "b2d1d285b5199c85f988d03649c37e44fd3dde01e5d69c50fef90651962f48110e9340b60d49a479c4c0b53f5f07d690686dd87d2481937a512e8b85ee7c617f").parse().unwrap();
    let place = ann.upload().await;
    assert_eq!(ann.send(Verb::PUT, &format!("{place}?digest={long}"), &[], "content").await.status(), 201);
    assert_eq!(ann.get(&format!("/v2/tools/a/blobs/{long}")).await.text().await.unwrap(), "content");
}

#[tokio::test]
async fn an_upload_goes_on_after_a_lost_connection() {
    let site = site().await;
    let ann = site.ann().await;
    let place = ann.upload().await;
    let mut wire = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\n",
        ann.token
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    wire.write_all(b"0123").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(wire);
    let status = ann.get(&place).await;
    assert_eq!((status.status().as_u16(), header(&status, "range").as_str()), (204, "0-3"));
    let digest = Hasher::digest(b"0123456789");
    assert!(!site.store.has(&digest).unwrap());
    assert_eq!(ann.send(Verb::PUT, &format!("{place}?digest={digest}"), &[], "456789").await.status(), 201);
    assert_eq!(site.store.size(&digest).unwrap(), Some(10));
}

#[tokio::test]
async fn an_upload_at_once_that_breaks_off_leaves_nothing() {
    let site = site().await;
    let ann = site.ann().await;
    let digest = Hasher::digest(b"0123456789");
    let mut wire = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /v2/tools/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\n0123",
        ann.token
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(site.uploads(), 1);
    drop(wire);
    for _ in 0..100 {
        if site.uploads() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(site.uploads(), 0);
    assert!(!site.store.has(&digest).unwrap());
}

#[tokio::test]
async fn uploads_are_bounded_in_size_and_number() {
    let options = RegistryOptions { max_blob_bytes: 8, max_uploads: 2, ..RegistryOptions::default() };
    let site = site_with(options).await;
    let ann = site.ann().await;
    let place = ann.upload().await;
    assert_eq!(ann.send(Verb::PATCH, &place, &[], "12345").await.status(), 202);
    assert_eq!(refusal(ann.send(Verb::PATCH, &place, &[], "6789").await).await, (413, "SIZE_INVALID".into()));
    assert_eq!(ann.get(&place).await.status(), 404, "what is too large is dropped at once");
    ann.upload().await;
    ann.upload().await;
    let third = ann.send(Verb::POST, "/v2/tools/a/blobs/uploads/", &[], "").await;
    assert_eq!(refusal(third).await, (429, "TOOMANYREQUESTS".into()));
    let idle = RegistryOptions { max_uploads: 1, upload_idle: Duration::ZERO, ..RegistryOptions::default() };
    let site = site_with(idle).await;
    let ann = site.ann().await;
    ann.upload().await;
    ann.upload().await;
    assert_eq!(site.uploads(), 1, "an idle upload makes room");
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let site = site().await;
    let ann = site.ann().await;
    let place = ann.upload().await;
    let other = site.user("ann", "repository:tools/b:pull,push").await;
    let moved = place.replace("tools/a", "tools/b");
    assert_eq!(refusal(other.get(&moved).await).await, (404, "BLOB_UPLOAD_UNKNOWN".into()));
    assert_eq!(other.send(Verb::DELETE, &moved, &[], "").await.status(), 404);
    assert_eq!(ann.get(&place).await.status(), 204);
}

#[tokio::test]
async fn a_mount_needs_the_right_to_pull_from_the_source() {
    let site = site().await;
    let digest = site.ann().await.blob("tools/a", b"shared").await;
    let path = format!("/v2/tools/b/blobs/uploads/?mount={digest}&from=tools/a");
    let one = site.user("ann", "repository:tools/b:pull,push").await;
    let answer = one.send(Verb::POST, &path, &[], "").await;
    assert_eq!(answer.status(), 202, "without it, an upload like any other");
    assert_eq!(one.get(&format!("/v2/tools/b/blobs/{digest}")).await.status(), 404);
    let token = site.token("ann", &["repository:tools/b:pull,push", "repository:tools/a:pull"]).await;
    let both = User { site: &site, token };
    let answer = both.send(Verb::POST, &path, &[], "").await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "docker-content-digest")),
        (201, digest.to_string())
    );
    assert_eq!(both.get(&format!("/v2/tools/b/blobs/{digest}")).await.text().await.unwrap(), "shared");
    let absent = format!("/v2/tools/b/blobs/uploads/?mount={}&from=tools/a", Hasher::digest(b"absent"));
    assert_eq!(both.send(Verb::POST, &absent, &[], "").await.status(), 202);
}

#[tokio::test]
async fn manifests_go_in_and_out_byte_for_byte() {
    let site = site().await;
    let ann = site.ann().await;
    let (config, layer) = (ann.blob("tools/a", b"config").await, ann.blob("tools/a", b"layer").await);
    let text = format!(" {}\n", manifest(&config, &[&layer], None));
    let answer = ann.send(Verb::PUT, "/v2/tools/a/manifests/v1", &[MANIFEST], text.clone()).await;
    let digest = Hasher::digest(text.as_bytes());
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "docker-content-digest")),
        (201, digest.to_string())
    );
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/tools/a/manifests/{reference}");
        let answer = ann.get(&path).await;
        assert_eq!(header(&answer, "content-type"), media_type::MANIFEST);
        assert_eq!(header(&answer, "docker-content-digest"), digest.to_string());
        assert_eq!(answer.text().await.unwrap(), text);
        let head = ann.send(Verb::HEAD, &path, &[], "").await;
        assert_eq!(header(&head, "content-length"), text.len().to_string());
    }
    let put = |path: String, kind: &'static str, body: String| {
        let ann = &ann;
        async move { refusal(ann.send(Verb::PUT, &path, &[("content-type", kind)], body).await).await }
    };
    let v2 = || "/v2/tools/a/manifests/v2".to_owned();
    let absent = manifest(&config, &[&Hasher::digest(b"absent")], None);
    assert_eq!(put(v2(), media_type::MANIFEST, absent).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert_eq!(put(v2(), media_type::MANIFEST, "{".into()).await, (400, "MANIFEST_INVALID".into()));
    assert_eq!(put(v2(), media_type::INDEX, text.clone()).await, (400, "MANIFEST_INVALID".into()));
    let wrong = format!("/v2/tools/a/manifests/{}", Hasher::digest(b"wrong"));
    assert_eq!(put(wrong, media_type::MANIFEST, text.clone()).await, (400, "DIGEST_INVALID".into()));
    let huge = format!("{text}{}", " ".repeat(9 << 20));
    assert_eq!(put(v2(), media_type::MANIFEST, huge).await, (413, "SIZE_INVALID".into()));
    let large = format!("{text}{}", " ".repeat(4 << 20));
    assert_eq!(ann.send(Verb::PUT, "/v2/tools/a/manifests/large", &[MANIFEST], large).await.status(), 201);
    assert_eq!(ann.send(Verb::DELETE, "/v2/tools/a/manifests/large", &[], "").await.status(), 202);
    let path = format!("/v2/tools/a/manifests/{digest}");
    assert_eq!(ann.send(Verb::DELETE, &path, &[], "").await.status(), 202);
    for gone in [path.as_str(), "/v2/tools/a/manifests/v1"] {
        assert_eq!(refusal(ann.get(gone).await).await, (404, "MANIFEST_UNKNOWN".into()));
    }
    assert_eq!(ann.send(Verb::DELETE, &path, &[], "").await.status(), 404);
}

#[tokio::test]
async fn tags_come_sorted_and_in_pages() {
    let site = site().await;
    let ann = site.ann().await;
    let config = ann.blob("tools/a", b"config").await;
    for tag in ["c", "a", "b"] {
        let path = format!("/v2/tools/a/manifests/{tag}");
        assert_eq!(ann.send(Verb::PUT, &path, &[MANIFEST], manifest(&config, &[], None)).await.status(), 201);
    }
    let list = |query: &'static str| {
        let ann = &ann;
        async move {
            let answer = ann.get(&format!("/v2/tools/a/tags/list{query}")).await;
            let link = header(&answer, "link");
            let body: Value = answer.json().await.unwrap();
            (
                body["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t.as_str().unwrap().to_owned())
                    .collect::<String>(),
                link,
            )
        }
    };
    assert_eq!(list("").await, ("abc".into(), String::new()));
    let next = "</v2/tools/a/tags/list?n=2&last=b>; rel=\"next\"";
    assert_eq!(list("?n=2").await, ("ab".into(), next.into()));
    assert_eq!(list("?n=2&last=b").await, ("c".into(), String::new()));
    assert_eq!(list("?n=0").await, (String::new(), String::new()));
    assert_eq!(list("?last=aa").await, ("bc".into(), String::new()));
    assert_eq!(ann.get("/v2/tools/a/tags/list?n=x").await.status(), 400);
    let other = site.user("ann", "repository:tools/none:pull").await;
    assert_eq!(refusal(other.get("/v2/tools/none/tags/list").await).await, (404, "NAME_UNKNOWN".into()));
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let site = site().await;
    let ann = site.ann().await;
    let config = ann.blob("tools/a", b"config").await;
    let image = manifest(&config, &[], None);
    ann.send(Verb::PUT, "/v2/tools/a/manifests/v1", &[MANIFEST], image.clone()).await;
    let image = Hasher::digest(image.as_bytes());
    let signature = manifest(&config, &[&config], Some(&image));
    let path = format!("/v2/tools/a/manifests/{}", Hasher::digest(signature.as_bytes()));
    let answer = ann.send(Verb::PUT, &path, &[MANIFEST], signature).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "oci-subject")), (201, image.to_string()));
    let list = |path: String| {
        let ann = &ann;
        async move {
            let answer = ann.get(&path).await;
            assert_eq!(
                (answer.status().as_u16(), header(&answer, "content-type").as_str()),
                (200, media_type::INDEX)
            );
            let applied = header(&answer, "oci-filters-applied");
            let body: Value = answer.json().await.unwrap();
            (body["manifests"].as_array().unwrap().len(), applied)
        }
    };
    let base = format!("/v2/tools/a/referrers/{image}");
    assert_eq!(list(base.clone()).await, (1, String::new()));
    assert_eq!(list(format!("{base}?artifactType=x%2Fy")).await, (1, "artifactType".into()));
    assert_eq!(list(format!("{base}?artifactType=other")).await, (0, "artifactType".into()));
    assert_eq!(list(format!("/v2/tools/a/referrers/{}", Hasher::digest(b"none"))).await.0, 0);
}

#[tokio::test]
async fn hostile_requests_are_refused() {
    let site = site().await;
    let ann = site.ann().await;
    for path in
        ["/v2/..%2f..%2fetc/blobs/uploads/", "/v2/tools/a/blobs/..%2f..%2f..%2fkey", "/v2/_x/tags/list"]
    {
        assert_eq!(ann.get(path).await.status(), 400, "{path}");
    }
    for (verb, path) in
        [(Verb::PUT, "/v2/"), (Verb::PATCH, "/v2/tools/a/manifests/x"), (Verb::POST, "/v2/token")]
    {
        assert_eq!(ann.send(verb, path, &[], "").await.status(), 405, "{path}");
    }
    let mut wire = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let head = "GET /v2/ HTTP/1.1\r\nHost: evil\"host\r\nConnection: close\r\n\r\n";
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains("evil"), "{answer}");
}

/// Puts an image of two layers into the store as the platform's own export does, and returns its digest.
fn export(store: &ContentStore, repository: &Repository) -> Digest {
    let platform = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
    let mut image = ImageBuilder::new(platform).entrypoint(["/bin/app"]).label("made.by", "a test");
    let noise = Hasher::digest(b"noise").to_string().repeat(60_000);
    for (name, content) in [("app", "#!/bin/sh\n".to_owned()), ("data", noise)] {
        let file = Part::File {
            target: format!("/bin/{name}"),
            content: content.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let upload = store.begin().unwrap();
        let compression = Compression::Gzip { level: 1 };
        let info = write_layer(&LayerSpec::new(vec![file]), compression, &mut upload.file(), 2).unwrap();
        upload.commit(repository, &info.digest, info.size).unwrap();
        image = image.layer(LayerDescriptor::of(&info, compression), History::default());
    }
    let built = image.build().unwrap();
    assert_eq!(store.put_blob(repository, &built.config).unwrap(), built.config_digest);
    let tag = "v1".parse().unwrap();
    let digest = store.put_manifest(repository, &tag, media_type::MANIFEST, &built.manifest).unwrap();
    assert_eq!(digest, built.digest);
    digest
}

async fn run(program: &PathBuf, arguments: &[String]) -> String {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {error}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Finds a stock tool; a machine without it fails the test that needs it, unless it is told that this is meant.
fn tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).chain(home).map(|dir| dir.join(name)).find(|path| path.is_file())
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pulls_and_pushes() {
    let skopeo = tool("skopeo").expect("skopeo is installed by `make prepare`");
    let site = site().await;
    let digest = export(&site.store, &"tools/a".parse().unwrap());
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let layout = format!("dir:{}", site.dir.path().join("pulled").display());
    let source = format!("docker://{}/tools/a", site.address);
    let inspect = words(&format!("inspect --tls-verify=false --creds ann:secret {source}:v1"));
    let seen: Value = serde_json::from_str(&run(&skopeo, &inspect).await).unwrap();
    assert_eq!(
        (seen["Digest"].as_str(), seen["Labels"]["made.by"].as_str()),
        (Some(digest.as_str()), Some("a test"))
    );
    let insecure = "--insecure-policy copy --preserve-digests";
    let pull = format!("{insecure} --src-tls-verify=false --src-creds ann:secret {source}:v1 {layout}");
    run(&skopeo, &words(&pull)).await;
    let to = format!("docker://{}/tools/b", site.address);
    let push = format!("{insecure} --dest-tls-verify=false --dest-creds ann:secret {layout} {to}:copied");
    run(&skopeo, &words(&push)).await;
    let repository: Repository = "tools/b".parse().unwrap();
    let tag = "copied".parse().unwrap();
    assert_eq!(site.store.resolve(&repository, &tag).unwrap(), Some(digest));
    let list = words(&format!("list-tags --tls-verify=false --creds ann:secret {to}"));
    assert!(run(&skopeo, &list).await.contains("copied"));
    // Straight from repository to repository: blobs are mounted, not carried.
    let all = "--src-tls-verify=false --src-creds ann:secret --dest-tls-verify=false --dest-creds ann:secret";
    run(&skopeo, &words(&format!("{insecure} {all} {source}:v1 docker://{}/tools/c:v1", site.address))).await;
    run(&skopeo, &words(&format!("delete --tls-verify=false --creds ann:secret {to}:copied"))).await;
    assert_eq!(site.store.resolve(&repository, &"copied".parse().unwrap()).unwrap(), None);
    let denied = format!("{insecure} --dest-tls-verify=false --dest-creds bob:secret {layout} {to}:no");
    let output = Command::new(&skopeo).args(words(&denied)).output().await.unwrap();
    assert!(!output.status.success());
    assert_eq!(site.uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_pulls_and_pushes() {
    let Some(crane) = tool("crane") else {
        eprintln!("skipped: crane is not installed");
        return;
    };
    let site = site().await;
    let digest = export(&site.store, &"tools/a".parse().unwrap());
    let config = site.dir.path().join("docker");
    std::fs::create_dir(&config).unwrap();
    let auths =
        serde_json::json!({"auths": {site.address.to_string(): {"username": "ann", "password": "secret"}}});
    std::fs::write(config.join("config.json"), auths.to_string()).unwrap();
    let crane = |words: String| {
        let (program, config) = (crane.clone(), config.clone());
        async move {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            let output =
                Command::new(program).env("DOCKER_CONFIG", config).args(&words).output().await.unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{words:?}: {error}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    };
    let (from, to) = (format!("{}/tools/a", site.address), format!("{}/tools/b", site.address));
    assert_eq!(crane(format!("digest {from}:v1")).await, digest.as_str());
    crane(format!("validate --remote {from}:v1")).await;
    let layout = site.dir.path().join("layout");
    crane(format!("pull --format=oci {from}:v1 {}", layout.display())).await;
    crane(format!("push {} {to}:v1", layout.display())).await;
    assert_eq!(crane(format!("digest {to}:v1")).await, digest.as_str());
    crane(format!("cp {from}:v1 {}/tools/c:v1", site.address)).await;
    assert_eq!(crane(format!("ls {to}")).await, "v1");
    assert_eq!(site.uploads(), 0);
}
