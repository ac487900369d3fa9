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
