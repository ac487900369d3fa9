//! Manifests, tags and referrers.

use super::*;

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
async fn a_body_that_breaks_off_is_not_called_large() {
    let site = site().await;
    let ann = site.ann().await;
    let head = format!(
        "PUT /v2/tools/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        ann.token
    );
    let mut answer = String::new();
    site.wire(&head).await.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("MANIFEST_INVALID"), "{answer}");
}

#[tokio::test]
async fn a_manifest_in_use_stays_and_its_tags_may_go() {
    let site = site().await;
    let ann = site.user("ann", "repository:tools/live:pull,push,delete").await;
    let text = manifest(&ann.blob("tools/live", b"config").await, &[], None);
    let tag = "/v2/tools/live/manifests/v1";
    let path = format!("/v2/tools/live/manifests/{}", Hasher::digest(text.as_bytes()));
    assert_eq!(ann.send(Verb::PUT, tag, &[MANIFEST], text).await.status(), 201);
    assert_eq!(ann.send(Verb::DELETE, tag, &[], "").await.status(), 202);
    assert_eq!(refusal(ann.send(Verb::DELETE, &path, &[], "").await).await, (405, "UNSUPPORTED".into()));
    assert_eq!(ann.get(&path).await.status(), 200);
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
