//! Bodies go through as they come, both ways, and are never kept.

use crate::support::{BoxBody, settings, text, tool, world};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

type Pieces = futures::channel::mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

fn pieces() -> (Pieces, BoxBody) {
    let (sender, receiver) = futures::channel::mpsc::channel(0);
    (sender, StreamBody::new(receiver).map_err(|never| match never {}).boxed())
}

#[expect(clippy::unnecessary_wraps, reason = "what a stream of frames holds")]
fn piece(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(text)))
}

#[tokio::test]
async fn an_echo_goes_back_and_forth_in_one_request() {
    let world = world(settings()).await;
    let address =
        tool(|request| async move { Response::new(request.into_body().map_err(Into::into).boxed()) });
    world.live("weather", 1, &[address.await]);
    let (mut sender, body) = pieces();
    let request = Request::post("/").header("host", "weather.localhost").body(body).unwrap();
    let (answer, _) = tokio::join!(world.begin(request), sender.send(piece("one")));
    let mut answer = answer.unwrap().into_body();
    for expected in ["one", "two", "three"] {
        let frame =
            timeout(Duration::from_secs(5), answer.frame()).await.expect("it streams").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected);
        let next = match expected {
            "one" => "two",
            "two" => "three",
            _ => break,
        };
        sender.send(piece(next)).await.unwrap();
    }
    drop(sender);
    assert!(answer.frame().await.is_none());
    assert_eq!(world.log.lines(1).await, ["weather POST / 200 11 [weather.v1.web.1] -"]);
}

#[tokio::test]
async fn trailers_go_through() {
    let world = world(settings()).await;
    let address = tool(|_| async move {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let frames = [piece("data"), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures::stream::iter(frames)).map_err(|never| match never {}).boxed();
        Response::builder().header("trailer", "x-sum").body(body).unwrap()
    });
    world.live("weather", 1, &[address.await]);
    let request = Request::get("/").header("host", "weather.localhost").header("te", "trailers");
    let answer = world.begin(request.body(pieces().1).unwrap()).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert!(body.to_bytes() == "data");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_tool_back() {
    let world = world(settings()).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = sent.clone();
    let address = tool(move |_| {
        let sent = counting.clone();
        async move {
            let endless = futures::stream::repeat_with(move || {
                sent.fetch_add(64 << 10, Ordering::SeqCst);
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 64 << 10])))
            });
            Response::new(BodyExt::boxed(StreamBody::new(endless.take(4096)).map_err(|never| match never {})))
        }
    });
    world.live("weather", 1, &[address.await]);
    let request = Request::get("/").header("host", "weather.localhost").body(text("").into_body()).unwrap();
    let answer = world.begin(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = sent.load(Ordering::SeqCst);
    assert!(held < 64 << 20, "{held} bytes of 256 MiB were taken although nobody read them");
    let read = answer.into_body().collect().await.unwrap().to_bytes().len();
    assert_eq!(read, 4096 * (64 << 10));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let world = world(settings()).await;
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let body = Arc::new(body);
    let address = tool(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    });
    world.live("weather", 1, &[address.await]);
    let mut sender = sender;
    let request = Request::get("/").header("host", "weather.localhost").body(text("").into_body()).unwrap();
    let (answer, _) = tokio::join!(world.begin(request), sender.send(piece("first")));
    let instance = crate::support::instance("weather", 1, 1);
    assert_eq!(world.in_flight.count(&instance), 1);
    drop(answer);
    let ended = async { while sender.send(piece("more")).await.is_ok() {} };
    timeout(Duration::from_secs(5), ended).await.expect("the tool learns of it");
    assert!(world.log.lines(1).await[0].ends_with("the client went away"));
    assert_eq!(world.in_flight.count(&instance), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_as_whole() {
    let world = world(settings()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await
            .unwrap();
    });
    world.live("weather", 1, &[address]);
    let request = Request::get("/").header("host", "weather.localhost").body(text("").into_body()).unwrap();
    // Where the break comes with the head, the client sees no head at all.
    if let Ok(answer) = world.begin(request).await {
        assert!(answer.into_body().collect().await.is_err());
    }
    assert!(world.log.lines(1).await[0].ends_with("the instance ended its answer early"));
}

/// A tool that reads a head, says this, and leaves the connection open or closes it.
async fn saying(answer: &'static str, stays: bool) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                if stays {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let world = world(settings()).await;
    world.live("weather", 1, &[saying("HTTP/1.0 200 OK\r\n\r\nuntil the end", false).await]);
    for _ in 0..3 {
        assert_eq!(world.get("weather.localhost", "/").await.body, "until the end");
    }
}

#[tokio::test]
async fn hints_before_an_answer_are_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let world = world(settings()).await;
    world.live("weather", 1, &[saying(hints, true).await]);
    assert_eq!(world.get("weather.localhost", "/").await.body, "ok");
}

#[tokio::test]
async fn what_a_tool_says_unasked_reaches_nobody() {
    let twice =
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo";
    let world = world(settings()).await;
    world.live("weather", 1, &[saying(twice, true).await]);
    for _ in 0..3 {
        assert_eq!(world.get("weather.localhost", "/").await.body, "one");
    }
    assert_eq!(world.dialled.dials.load(Ordering::SeqCst), 3, "such a connection is not used again");
}

#[tokio::test]
async fn a_tool_may_answer_before_it_has_read_all() {
    let refusal = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
    let world = world(settings()).await;
    world.live("weather", 1, &[saying(refusal, true).await]);
    let (mut sender, body) = pieces();
    let request = Request::post("/").header("host", "weather.localhost").body(body).unwrap();
    let feeding = tokio::spawn(async move { while sender.send(piece("more")).await.is_ok() {} });
    let answer = world.begin(request).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "no");
    feeding.abort();
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    let world = world(settings()).await;
    let address =
        tool(|request| async move { Response::new(request.into_body().map_err(Into::into).boxed()) });
    world.live("weather", 1, &[address.await]);
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    for chunked in [false, true] {
        let body: BoxBody = if chunked {
            let pieces: Vec<_> =
                bytes.chunks(70_001).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            StreamBody::new(futures::stream::iter(pieces)).map_err(|never: Infallible| match never {}).boxed()
        } else {
            http_body_util::Full::new(Bytes::from(bytes.clone())).map_err(|never| match never {}).boxed()
        };
        let request = Request::post("/").header("host", "weather.localhost").body(body).unwrap();
        let answer = world.begin(request).await.unwrap();
        assert!(answer.into_body().collect().await.unwrap().to_bytes() == bytes, "chunked: {chunked}");
    }
}
