//! Blobs: at once, in chunks, broken off, too large.

use super::*;

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
async fn asking_where_an_upload_stands_does_not_lose_it() {
    let site = site().await;
    let ann = site.ann().await;
    let (place, digest) = (ann.upload().await, Hasher::digest(b"0123456789"));
    let head = format!(
        "PUT {place}?digest={digest} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\nContent-Length: 10\r\n\r\n0123",
        ann.token
    );
    let mut wire = site.wire(&head).await;
    let finished = async {
        // Meanwhile somebody asks, and waits.
        tokio::time::sleep(Duration::from_millis(300)).await;
        wire.write_all(b"456789").await.unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let asked = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ann.get(&place).await
    };
    let (finished, asked) = tokio::join!(finished, asked);
    assert!(finished.starts_with("HTTP/1.1 201"), "{finished}");
    assert_eq!(site.store.size(&digest).unwrap(), Some(10));
    assert_eq!(refusal(asked).await, (404, "BLOB_UPLOAD_UNKNOWN".into()));
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
async fn a_tools_blobs_are_bounded_together() {
    let site = site_with(RegistryOptions { max_tool_bytes: 10, ..RegistryOptions::default() }).await;
    let ann = site.ann().await;
    let put = async |bytes: &'static str| {
        let place = format!("/v2/tools/a/blobs/uploads/?digest={}", Hasher::digest(bytes.as_bytes()));
        ann.send(Verb::POST, &place, &[], bytes).await
    };
    assert_eq!(put("12345678").await.status(), 201);
    assert_eq!(refusal(put("abc").await).await, (403, "DENIED".into()));
    assert!(!site.store.has(&Hasher::digest(b"abc")).unwrap() && site.uploads() == 0, "nothing of it stays");
    assert_eq!(put("ab").await.status(), 201, "all that there is room for");
    let other = site.user("ann", "repository:tools/b:pull,push").await;
    let place = format!("/v2/tools/b/blobs/uploads/?digest={}", Hasher::digest(b"abc"));
    assert_eq!(other.send(Verb::POST, &place, &[], "abc").await.status(), 201, "another tool has its own");
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
