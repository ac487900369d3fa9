//! The API as clients see it: over a socket, with `reqwest`, and with the stock tools.

use super::*;
use hythe_oci::{Hasher, media_type};
use reqwest::{Client, Method as Verb, Response as Answer};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

mod blob;
mod manifest;
mod token;
pub(crate) mod tools;

/// Two users: `ann` may do anything below `tools/`, `bob` may pull `tools/open`; nobody may pull `public`. Everything in
/// `tools/live` is in use. From 192.0.2.1 came too many wrong secrets.
struct Rules;

#[async_trait]
impl RegistryAuth for Rules {
    async fn verify(&self, user: &str, secret: &str, from: Option<IpAddr>) -> Result<Subject, Unproven> {
        match (user, secret) {
            _ if from == Some(IpAddr::from([192, 0, 2, 1])) => {
                Err(Unproven::TooMany { wait: Duration::from_millis(41_500) })
            }
            ("ann" | "bob", "secret") => Ok(Subject::User(user.to_owned())),
            _ => Err(Unproven::Wrong),
        }
    }

    async fn allowed(&self, subject: &Subject, repository: &Repository, action: RegistryAction) -> bool {
        match subject {
            Subject::User(name) if name == "ann" => repository.as_str().starts_with("tools/"),
            Subject::User(_) => repository.as_str() == "tools/open" && action == RegistryAction::Pull,
            Subject::Anonymous => repository.as_str() == "public" && action == RegistryAction::Pull,
        }
    }

    async fn in_use(&self, repository: &Repository, _digest: &Digest) -> bool {
        repository.as_str() == "tools/live"
    }
}

pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) store: ContentStore,
    pub(crate) address: SocketAddr,
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

pub(crate) async fn site_with(options: RegistryOptions) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path().join("registry")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = routes(store.clone(), Arc::new(Rules), options);
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

    /// A connection over which this head was sent.
    async fn wire(&self, head: &str) -> tokio::net::TcpStream {
        let mut wire = tokio::net::TcpStream::connect(self.address).await.unwrap();
        wire.write_all(head.as_bytes()).await.unwrap();
        wire
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
