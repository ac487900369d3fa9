//! Connections on which nothing happens, and answers that nobody takes.

use crate::support::{World, instance, named, settings, text, tool, world};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hythe_router::RouterSettings;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: weather.localhost\r\n\r\n";
const SHORT: Duration = Duration::from_millis(400);
/// Less than any limit that a test leaves as it is.
const SOON: Duration = Duration::from_secs(3);

type Sender = http2::SendRequest<Empty<Bytes>>;

/// A client of HTTP/2 that lets each stream have so many bytes unread, and its connection.
async fn h2(world: &World, window: u32) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

async fn ask(sender: &mut Sender, host: &str) -> Response<Incoming> {
    let request = Request::get(format!("http://{host}/")).body(Empty::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

/// The head and the short body of an answer, where the connection stays.
async fn answer(stream: &mut TcpStream) -> String {
    let mut piece = [0; 4096];
    let count = stream.read(&mut piece).await.unwrap();
    String::from_utf8_lossy(&piece[..count]).into_owned()
}

async fn closes(stream: &mut TcpStream) -> bool {
    timeout(SOON, stream.read(&mut [0; 1])).await.is_ok_and(|read| read.is_ok_and(|count| count == 0))
}

/// A tool that says a lot.
async fn large() -> std::net::SocketAddr {
    tool(|_| async {
        Response::new(Full::new(Bytes::from(vec![0; 50_000_000])).map_err(|e| match e {}).boxed())
    })
    .await
}

/// No request is under way in the tool.
async fn is_free(world: &World, name: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        if world.in_flight.count(&instance(name, 1, 1)) == 0 {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_kept_connection_is_closed_after_a_while() {
    let world = world(RouterSettings { idle_timeout: SHORT, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(answer(&mut stream).await.ends_with("weather"));
        sleep(SHORT / 2).await;
    }
    assert!(closes(&mut stream).await, "it is still open");
}

#[tokio::test]
async fn every_head_has_to_come_in_time() {
    let world = world(RouterSettings { header_timeout: SHORT, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    answer(&mut stream).await;
    sleep(SHORT * 2).await;
    stream.write_all(GET).await.unwrap();
    assert!(answer(&mut stream).await.ends_with("weather"), "a connection without a head may wait");
    stream.write_all(&GET[..20]).await.unwrap();
    assert!(closes(&mut stream).await, "half a head is waited for");
}

#[tokio::test]
async fn who_waits_for_an_answer_is_not_idle() {
    let world = world(RouterSettings { idle_timeout: SHORT, ..settings() }).await;
    let slow = tool(|_| async {
        sleep(SHORT * 3).await;
        text("at last")
    });
    world.live("weather", 1, &[slow.await]);
    assert_eq!(world.get("weather.localhost", "/").await.body, "at last");
    let (mut sender, _connection) = h2(&world, 1 << 20).await;
    let body = ask(&mut sender, "weather.localhost").await.into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "at last");
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_closed() {
    let world = world(RouterSettings { idle_timeout: SHORT, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let (mut sender, connection) = h2(&world, 1 << 20).await;
    for _ in 0..3 {
        ask(&mut sender, "weather.localhost").await.into_body().collect().await.unwrap();
        sleep(SHORT / 2).await;
    }
    timeout(SOON, connection).await.expect("it is closed").unwrap().unwrap();
    // One that answers nothing, not even what ends it.
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    timeout(SOON, silent.read_to_end(&mut said)).await.expect("it is closed").unwrap();
}

#[tokio::test]
async fn a_stopping_router_answers_streams_and_waits_for_no_other() {
    let world = world(RouterSettings { shutdown_grace: Duration::from_secs(20), ..settings() }).await;
    let slow = tool(|_| async {
        sleep(SHORT * 3).await;
        text("at last")
    });
    world.live("weather", 1, &[slow.await]);
    let (mut sender, _connection) = h2(&world, 1 << 20).await;
    let mut half = TcpStream::connect(world.address).await.unwrap();
    half.write_all(&GET[..20]).await.unwrap();
    let stopping = async {
        sleep(SHORT).await;
        world.stop.cancel();
    };
    let (answer, ()) = tokio::join!(ask(&mut sender, "weather.localhost"), stopping);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "at last");
    timeout(SOON, world.served).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_takes_frees_its_place() {
    let world = world(RouterSettings { stall_timeout: SHORT, ..settings() }).await;
    world.live("large", 1, &[large().await]);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: large.localhost\r\n\r\n").await.unwrap();
    is_asked(&world).await;
    assert!(is_free(&world, "large").await, "HTTP/1.1");
}

#[tokio::test]
async fn a_stream_that_nobody_takes_frees_its_place_and_no_other_suffers() {
    let world = world(RouterSettings { stall_timeout: SHORT, ..settings() }).await;
    world.live("large", 1, &[large().await]);
    world.live("weather", 1, &[named("weather").await]);
    let (mut sender, _connection) = h2(&world, 16 << 10).await;
    let left = ask(&mut sender, "large.localhost").await;
    is_asked(&world).await;
    assert!(is_free(&world, "large").await);
    assert!(world.log.lines(1).await[0].ends_with("the client took nothing for too long"));
    let other = ask(&mut sender, "weather.localhost").await.into_body();
    assert_eq!(other.collect().await.unwrap().to_bytes(), "weather");
    assert!(left.into_body().collect().await.is_err(), "an answer that was cut passes for whole");
}

#[tokio::test]
async fn a_stream_that_is_taken_slowly_is_left_alone() {
    let world = world(RouterSettings { stall_timeout: SHORT, ..settings() }).await;
    let pieces = tool(|_| async { text("x".repeat(200_000)) });
    world.live("weather", 1, &[pieces.await]);
    let (mut sender, _connection) = h2(&world, 16 << 10).await;
    let mut body = ask(&mut sender, "weather.localhost").await.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
        sleep(SHORT / 4).await;
    }
    assert_eq!(length, 200_000);
}

/// Waits until the large tool has a request.
async fn is_asked(world: &World) {
    for _ in 0..100 {
        if world.in_flight.count(&instance("large", 1, 1)) == 1 {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("no request reached the tool");
}
