//! Who answers whom, and what the router says where nobody does.

use crate::support::{instance, listening, named, settings, text, tool, world};
use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hythe_model::{ReleaseNumber, Route, Upstream};
use hythe_router::RouterSettings;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_host_names_its_tool_and_nothing_else() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("weather").await]);
    world.live("quotes", 1, &[named("quotes").await]);
    for host in ["weather.localhost", "WEATHER.localhost:8080", "weather.localhost."] {
        assert_eq!(world.get(host, "/").await.body, "weather", "{host}");
    }
    assert_eq!(world.get("quotes.localhost", "/").await.body, "quotes");
    assert_eq!(world.get("localhost", "/v2/").await.body, "platform /v2/ http");
    for host in ["nobody.localhost", "a.weather.localhost", "weather.example.org", "weather"] {
        let answer = world.get(host, "/").await;
        assert_eq!(
            (answer.status, answer.header("hythe-fault")),
            (StatusCode::NOT_FOUND, "router/unknown-host")
        );
    }
}

#[tokio::test]
async fn every_state_of_a_tool_has_its_own_answer() {
    let world = world(RouterSettings { starting_wait: Duration::from_millis(50), ..settings() }).await;
    let upstreams = vec![Upstream { instance: instance("weather", 9, 1), port: 8080 }];
    let states = [
        (Route::Empty, 503, "router/nothing-deployed"),
        (Route::Starting, 503, "router/starting"),
        (Route::Crashed { reason: "exit code 1".into() }, 502, "router/crashed"),
        (Route::Live { release: ReleaseNumber(9), upstreams }, 502, "router/bad-gateway"),
    ];
    for (route, status, fault) in states {
        world.route("weather", Some(route));
        let answer = world.get("weather.localhost", "/secret?token=1").await;
        assert_eq!((answer.status.as_u16(), answer.header("hythe-fault")), (status, fault));
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let lines = world.log.lines(4).await;
    assert_eq!(lines[2], "weather GET /secret 502 0 [] router/crashed");
}

#[tokio::test]
async fn a_request_waits_for_a_tool_that_is_starting() {
    let world = world(settings()).await;
    world.route("weather", Some(Route::Starting));
    let address = named("here").await;
    let (answer, ()) = tokio::join!(world.get("weather.localhost", "/"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.live("weather", 1, &[address]);
    });
    assert_eq!(answer.body, "here");
}

#[tokio::test]
async fn instances_take_turns() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("one").await, named("two").await]);
    let mut heard = Vec::new();
    for _ in 0..10 {
        heard.push(world.get("weather.localhost", "/").await.body);
    }
    assert_eq!(heard.iter().filter(|name| *name == "one").count(), 5, "{heard:?}");
}

#[tokio::test]
async fn an_instance_that_does_not_answer_is_passed_over() {
    let world = world(settings()).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.live("weather", 1, &[closed, named("two").await]);
    for _ in 0..6 {
        assert_eq!(world.get("weather.localhost", "/").await.body, "two");
    }
}

#[tokio::test]
async fn connections_into_an_instance_are_kept() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("weather").await]);
    for _ in 0..20 {
        world.get("weather.localhost", "/").await;
    }
    assert_eq!(world.dialled.dials.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_post_leaves_older_connections_to_others() {
    let world = world(settings()).await;
    let slow = tool(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        text("done")
    });
    world.live("weather", 1, &[slow.await]);
    let get = || world.get("weather.localhost", "/");
    let post = || {
        let request = Request::post("/").header("host", "weather.localhost");
        world.ask(request.body(Empty::<Bytes>::new()).unwrap())
    };
    tokio::join!(get(), get(), get());
    assert_eq!(world.dialled.dials.load(Ordering::SeqCst), 3);
    // Older than what a request that cannot be repeated is trusted to.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(post().await.body, "done");
    assert_eq!(world.dialled.dials.load(Ordering::SeqCst), 4);
    tokio::join!(get(), get(), get(), get());
    assert_eq!(world.dialled.dials.load(Ordering::SeqCst), 4, "all four were kept");
}

#[tokio::test]
async fn a_full_pool_keeps_the_newest() {
    let world = world(RouterSettings { idle_per_instance: 1, ..settings() }).await;
    world.live("weather", 1, &[named("weather").await]);
    let post = || {
        let request = Request::post("/").header("host", "weather.localhost");
        world.ask(request.body(Empty::<Bytes>::new()).unwrap())
    };
    post().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    post().await;
    post().await;
    assert_eq!(
        world.dialled.dials.load(Ordering::SeqCst),
        2,
        "the old connection was in the way of a new one"
    );
}

#[tokio::test]
async fn a_kept_connection_that_has_died_costs_no_request() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Each connection answers once, promises to stay, and goes when it is asked again.
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                let _ = stream.read(&mut piece).await;
                stream.write_all(answer).await.unwrap();
                let _ = stream.read(&mut piece).await;
            });
        }
    });
    let world = world(settings()).await;
    world.live("weather", 1, &[address]);
    for _ in 0..10 {
        assert_eq!(world.get("weather.localhost", "/").await.body, "ok");
    }
}

#[tokio::test]
async fn a_tool_learns_who_asks_and_cannot_be_told_otherwise() {
    let world = world(settings()).await;
    let answer =
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-inner\r\nx-inner: 1\r\ncontent-length: 0\r\n\r\n";
    let (address, heard) = listening(answer).await;
    world.live("weather", 1, &[address]);
    let request = Request::get("/a?b=c")
        .header("host", "Weather.localhost:8080")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x_forwarded_for", "10.0.0.1")
        .header("script_name", "/admin")
        .header("x-request-id", "mine-1")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = world.ask(request).await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    assert!(!answer.headers.contains_key("x-inner") && !answer.headers.contains_key("connection"));
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    let mut lines: Vec<_> = heard.split("\r\n").filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /a?b=c HTTP/1.1",
            "forwarded: for=127.0.0.1;proto=http;host=\"Weather.localhost:8080\"",
            "host: Weather.localhost:8080",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: Weather.localhost:8080",
            "x-forwarded-proto: http",
            "x-request-id: mine-1",
        ]
    );
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken() {
    let world = world(settings()).await;
    let address = tool(|request| async move {
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
        text(format!(
            "{} {:?} {:?} {cookies:?}",
            request.method(),
            request.version(),
            request.headers()["host"]
        ))
    });
    world.live("weather", 1, &[address.await]);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("http://weather.localhost/")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "GET HTTP/1.1 \"weather.localhost\" [\"a=1; b=2\"]");
    }
}

#[tokio::test]
async fn a_line_is_logged_for_each_request() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("twelve bytes").await]);
    world.get("weather.localhost", "/wind?key=secret").await;
    let head =
        Request::head("/wind").header("host", "weather.localhost").body(Empty::<Bytes>::new()).unwrap();
    let answer = world.ask(head).await;
    assert_eq!((answer.header("content-length"), answer.body.len()), ("12", 0));
    assert_eq!(
        world.log.lines(2).await,
        ["weather GET /wind 200 12 [weather.v1.web.1] -", "weather HEAD /wind 200 0 [weather.v1.web.1] -"]
    );
}

#[tokio::test]
async fn a_tool_that_is_deleted_is_unknown_at_once() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("weather").await]);
    assert_eq!(world.get("weather.localhost", "/").await.status, StatusCode::OK);
    world.route("weather", None);
    assert_eq!(world.get("weather.localhost", "/").await.status, StatusCode::NOT_FOUND);
}
