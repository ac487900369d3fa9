//! Who gets in: tokens, scopes, hostile requests.

use super::*;

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
    let limited =
        site.client.get(format!("http://{}/v2/token", site.address)).basic_auth("ann", Some("secret"));
    let limited = limited.header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    assert_eq!(header(&limited, "retry-after"), "42");
    assert_eq!(refusal(limited).await, (429, "TOOMANYREQUESTS".into()));
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
async fn hostile_requests_are_refused() {
    let site = site().await;
    let ann = site.ann().await;
    for path in
        ["/v2/..%2f..%2fetc/blobs/uploads/", "/v2/tools/a/blobs/..%2f..%2f..%2fkey", "/v2/_x/tags/list"]
    {
        assert!(matches!(ann.get(path).await.status().as_u16(), 400 | 404), "{path}");
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
