//! What a client may ask for, and how long it may take.

use crate::support::{World, listening, named, settings, text, tool, world};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hythe_model::Route;
use hythe_router::RouterSettings;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[tokio::test]
async fn heads_have_limits() {
    let world = world(RouterSettings { header_bytes: 8 << 10, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let big = format!("GET / HTTP/1.1\r\nhost: weather.localhost\r\nx: {}\r\n\r\n", "x".repeat(20 << 10));
    assert!(world.raw(big.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nhost: weather.localhost\r\n{}\r\n", "x: y\r\n".repeat(150));
    assert!(world.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn bodies_have_limits_whether_they_say_their_length_or_not() {
    let world = world(RouterSettings { body_bytes: Some(1000), ..settings() }).await;
    let address = tool(|request| async move {
        let length = request.into_body().collect().await.map(|body| body.to_bytes().len());
        text(format!("{length:?}"))
    });
    world.live("weather", 1, &[address.await]);
    let post = |length: usize| {
        let body = Full::new(Bytes::from(vec![0; length]));
        Request::post("/").header("host", "weather.localhost").body(body).unwrap()
    };
    assert_eq!(world.ask(post(1000)).await.body, "Ok(1000)");
    assert_eq!(world.ask(post(1001)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = format!("258\r\n{}\r\n", "x".repeat(600)).repeat(2);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let answer = world.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_large_body_does_not_hide_why_it_is_refused() {
    let world = world(RouterSettings { starting_wait: Duration::from_millis(50), ..settings() }).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.live("gone", 1, &[closed]);
    world.route("empty", Some(Route::Empty));
    world.route("starting", Some(Route::Starting));
    world.route("crashed", Some(Route::Crashed { reason: "exit code 1".into() }));
    let cases = [
        ("POST", "host: nobody.localhost", "404"),
        ("POST", "host: nobody.localhost\r\nhost: other", "400"),
        ("POST", "host: empty.localhost", "503"),
        ("POST", "host: starting.localhost", "503"),
        ("POST", "host: crashed.localhost", "502"),
        ("POST", "host: gone.localhost", "502"),
        ("TRACE", "host: empty.localhost", "405"),
    ];
    for (method, host, status) in cases {
        let head =
            format!("{method} / HTTP/1.1\r\n{host}\r\nconnection: close\r\ncontent-length: 8000000\r\n");
        let body = vec![0; 8_000_000];
        let answer = world.raw(&[format!("{head}\r\n").as_bytes(), &body].concat()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {host}: {answer:?}");
        // Who asks first is told before it sends, and not to go on.
        let answer = world.raw(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {host}: {answer:?}");
    }
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let world = world(RouterSettings { header_timeout: Duration::from_millis(300), ..settings() }).await;
    for sent in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nhost: weath"] {
        let begun = Instant::now();
        let answer = world.raw(sent.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{sent:?}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{sent:?}");
    }
}

#[tokio::test]
async fn slow_bodies_are_cut() {
    let world = world(RouterSettings { stall_timeout: Duration::from_millis(300), ..settings() }).await;
    let address = tool(|request| async move {
        let _ = request.into_body().collect().await;
        text("read")
    });
    world.live("weather", 1, &[address.await]);
    let half = b"POST / HTTP/1.1\r\nhost: weather.localhost\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = world.raw(half).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(world.log.lines(1).await[0].ends_with("router/body-stalled"));
}

/// A byte of a body every 50 milliseconds, and what is answered.
async fn trickle(world: &World, seconds: u64) -> String {
    let (mut reading, mut writing) = TcpStream::connect(world.address).await.unwrap().into_split();
    let head =
        b"POST / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n";
    writing.write_all(head).await.unwrap();
    let feeding = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = Vec::new();
    let hearing = async { while matches!(reading.read_buf(&mut answer).await, Ok(1..)) {} };
    tokio::select! {
        () = hearing => {}
        () = feeding => {}
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn trickled_bodies_are_cut() {
    let world = world(RouterSettings { stall_timeout: Duration::from_millis(500), ..settings() }).await;
    let address = tool(|request| async move {
        let _ = request.into_body().collect().await;
        text("read")
    });
    world.live("weather", 1, &[address.await]);
    let answer = trickle(&world, 3).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("router/body-too-slow"), "{answer}");
}

#[tokio::test]
async fn a_tool_that_answers_may_listen_as_long_as_it_likes() {
    let world = world(RouterSettings { stall_timeout: Duration::from_millis(500), ..settings() }).await;
    let address =
        tool(|request| async move { http::Response::new(request.into_body().map_err(Into::into).boxed()) });
    world.live("weather", 1, &[address.await]);
    let answer = trickle(&world, 2).await;
    let echoed = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.matches('x').count());
    assert!(answer.starts_with("HTTP/1.1 200 ") && echoed > 20, "{answer}");
}

#[tokio::test]
async fn slow_tools_are_given_up() {
    let world = world(RouterSettings { answer_timeout: Duration::from_millis(200), ..settings() }).await;
    let address = tool(|_| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        text("late")
    });
    world.live("weather", 1, &[address.await]);
    let answer = world.get("weather.localhost", "/").await;
    assert_eq!(
        (answer.status, answer.header("hythe-fault")),
        (StatusCode::GATEWAY_TIMEOUT, "router/gateway-timeout")
    );
}

#[tokio::test]
async fn a_long_upload_is_no_slow_tool() {
    let limits = RouterSettings { answer_timeout: Duration::from_millis(300), ..settings() };
    let world = world(limits).await;
    let address = tool(|request| async move {
        let length = request.into_body().collect().await.map(|body| body.to_bytes().len());
        text(format!("{length:?}"))
    });
    world.live("weather", 1, &[address.await]);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head =
        b"POST / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("Ok(10)"), "{answer}");
}

#[tokio::test]
async fn an_instance_with_too_many_requests_is_overloaded() {
    let limits = RouterSettings { requests_per_instance: 2, requests_per_client: Some(9), ..settings() };
    let world = world(limits).await;
    let address = tool(|_| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        text("done")
    });
    world.live("weather", 1, &[address.await]);
    let slow = || world.get("weather.localhost", "/");
    let third = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.get("weather.localhost", "/").await
    };
    let (one, two, three) = tokio::join!(slow(), slow(), third);
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!((three.status, three.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(three.headers["hythe-fault"], "router/overloaded");
}

/// GET from another address of this machine.
async fn get_from(world: &World, client: [u8; 4]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    let mut stream = socket.connect(world.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn one_client_cannot_take_all_places_of_a_tool() {
    let world = world(RouterSettings { requests_per_instance: 4, ..settings() }).await;
    let address = tool(|_| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        text("done")
    });
    let address = address.await;
    world.live("weather", 1, &[address]);
    world.live("quotes", 1, &[named("quotes").await]);
    let slow = || world.get("weather.localhost", "/");
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.live("weather", 2, &[address]);
        let other = get_from(&world, [127, 0, 0, 2]);
        tokio::join!(slow(), world.get("quotes.localhost", "/"), other)
    };
    let (one, two, (third, quotes, other)) = tokio::join!(slow(), slow(), meanwhile);
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!((third.status, third.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(third.header("hythe-fault"), "router/too-many-requests");
    assert_eq!(quotes.body, "quotes", "another tool has places of its own");
    assert!(other.starts_with("HTTP/1.1 200 "), "another client: {other}");
    assert_eq!(slow().await.status, StatusCode::OK, "its places were not given back");
}

#[tokio::test]
async fn connections_have_a_limit_a_client() {
    let world = world(RouterSettings { connections_per_client: 2, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let open = || TcpStream::connect(world.address);
    let (one, _two) = (open().await.unwrap(), open().await.unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = open().await.unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    drop(one);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.get("weather.localhost", "/").await.body, "weather");
}

#[tokio::test]
async fn a_client_that_waits_to_send_is_told_to_go_on() {
    let world = world(settings()).await;
    let (address, received) =
        listening(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    world.live("weather", 1, &[address]);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head =
        b"PUT / HTTP/1.1\r\nhost: weather.localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = vec![0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut rest = [0; 12];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"HTTP/1.1 200");
    assert!(!String::from_utf8_lossy(&received.lock().unwrap()).contains("expect"));
}

#[tokio::test]
async fn a_stopping_router_answers_what_it_has_begun() {
    let world = world(settings()).await;
    let address = tool(|_| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        text("done")
    });
    world.live("weather", 1, &[address.await]);
    let _idle = TcpStream::connect(world.address).await.unwrap();
    let request = Request::get("/").header("host", "weather.localhost").body(Empty::<Bytes>::new()).unwrap();
    let (answer, ()) = tokio::join!(world.ask(request), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.stop.cancel();
    });
    assert_eq!(answer.body, "done");
    tokio::time::timeout(Duration::from_secs(4), world.served).await.expect("it stops").unwrap();
}
