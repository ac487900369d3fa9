//! The attack: one message, two readings. A front that passes on what another reads differently lets a client slip a
//! request of its own before somebody else's. Each of these is refused, or reaches the tool in one reading only.

use crate::support::{World, listening, settings, world};
use std::sync::{Arc, Mutex};

async fn target() -> (World, Arc<Mutex<Vec<u8>>>) {
    let world = world(settings()).await;
    let (address, heard) = listening(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    world.live("weather", 1, &[address]);
    (world, heard)
}

/// Nothing of the attack was taken for a request.
fn harmless(heard: &Mutex<Vec<u8>>, attack: &str) {
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let smuggled = heard.split("\r\n").filter(|line| line.starts_with("GET /admin")).count();
    assert_eq!(smuggled, 0, "{attack}\n--- reached the tool as:\n{heard}");
}

#[tokio::test]
async fn ambiguous_lengths_are_refused() {
    let smuggled = "GET /admin HTTP/1.1\r\nhost: weather.localhost\r\n\r\n";
    let attacks = [
        format!("content-length: 5\r\ncontent-length: 6\r\n\r\nhello{smuggled}"),
        format!("content-length: 5, 6\r\n\r\nhello{smuggled}"),
        format!("content-length: +5\r\n\r\nhello{smuggled}"),
        format!("content-length: -1\r\n\r\n{smuggled}"),
        format!("transfer-encoding: identity\r\ncontent-length: 0\r\n\r\n{smuggled}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("x: y\r\n content-length: 5\r\n\r\nhello{smuggled}"),
    ];
    for attack in attacks {
        let (world, heard) = target().await;
        let answer =
            world.raw(format!("POST / HTTP/1.1\r\nhost: weather.localhost\r\n{attack}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{attack}\n--- was answered:\n{answer}");
        harmless(&heard, &attack);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_reaches_the_tool_as_chunks_or_not_at_all() {
    let (world, heard) = target().await;
    let attack = "POST / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\ncontent-length: 6\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n";
    world.raw(attack.as_bytes()).await;
    harmless(&heard, attack);
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let both = heard.contains("content-length") && heard.contains("transfer-encoding");
    assert!(!both, "{heard}");
}

#[tokio::test]
async fn trailers_smuggle_no_headers_in() {
    let (world, heard) = target().await;
    let attack = "POST / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\nx-forwarded-for: 10.0.0.1\r\nscript_name: /a\r\n\r\n";
    world.raw(attack.as_bytes()).await;
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(heard.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn broken_chunks_end_the_connection() {
    let broken = [
        "xyz\r\nhello\r\n",
        "-1\r\n",
        "5\rhello",
        "fffffffffffffffff\r\n",
        "5\r\nhelloGET /admin HTTP/1.1\r\n",
    ];
    for chunk in broken {
        let (world, heard) = target().await;
        let attack = format!(
            "POST / HTTP/1.1\r\nhost: weather.localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
        );
        world
            .raw(format!("{attack}\r\nGET /admin HTTP/1.1\r\nhost: weather.localhost\r\n\r\n").as_bytes())
            .await;
        harmless(&heard, &attack);
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let (world, heard) = target().await;
    for hosts in ["", "host: weather.localhost\r\nhost: other.localhost\r\n", "host: a@weather.localhost\r\n"]
    {
        let answer =
            world.raw(format!("GET /admin HTTP/1.1\r\n{hosts}connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{hosts:?} was answered:\n{answer}");
    }
    harmless(&heard, "no host, two hosts, a user");
    let absolute =
        "GET http://weather.localhost/x HTTP/1.1\r\nhost: other.localhost\r\nconnection: close\r\n\r\n";
    assert!(world.raw(absolute.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(
        heard.starts_with("GET /x HTTP/1.1\r\n") && heard.contains("host: weather.localhost\r\n"),
        "{heard}"
    );
}

#[tokio::test]
async fn control_characters_do_not_pass() {
    for request in [
        "GET /a\u{0}b HTTP/1.1\r\nhost: weather.localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: weather.localhost\r\nx: a\u{0}b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: weather.localhost\r\nx\u{1}: a\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: weather.localhost\r\n\r\n",
        "G\u{7}ET / HTTP/1.1\r\nhost: weather.localhost\r\n\r\n",
    ] {
        let (world, heard) = target().await;
        let answer = world.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{request:?} was answered:\n{answer}");
        assert!(heard.lock().unwrap().is_empty(), "{request:?} reached the tool");
    }
}

#[tokio::test]
async fn tunnels_and_traces_are_not_passed_on() {
    let (world, heard) = target().await;
    for request in [
        "TRACE / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\n\r\n",
        "CONNECT weather.localhost:22 HTTP/1.1\r\nhost: weather.localhost:22\r\nconnection: close\r\n\r\n",
    ] {
        let answer = world.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{request:?} was answered:\n{answer}");
    }
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_no_answer() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc".as_slice(),
        b"HTTP/1.1 200 OK\r\nx: a\r\n folded: b\r\ncontent-length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let world = world(settings()).await;
        let (address, _) = listening(answer).await;
        world.live("weather", 1, &[address]);
        let answered = world.get("weather.localhost", "/").await;
        assert_eq!(answered.status, 502, "{:?}", String::from_utf8_lossy(answer));
    }
}
