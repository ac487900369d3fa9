//! WebSocket and whatever else leaves HTTP.

use crate::support::{World, named, settings, world};
use futures::{SinkExt, StreamExt};
use hythe_router::RouterSettings;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

async fn websocket_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (sink, stream) = tokio_tungstenite::accept_async(stream).await.unwrap().split();
                let _ = stream
                    .filter(|message| {
                        let keep =
                            message.as_ref().is_ok_and(|message| message.is_text() || message.is_binary());
                        futures::future::ready(keep)
                    })
                    .forward(sink)
                    .await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_websocket_goes_through() {
    let world = world(settings()).await;
    world.live("chat", 1, &[websocket_echo().await]);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut socket, answer) =
        tokio_tungstenite::client_async("ws://chat.localhost/room", stream).await.unwrap();
    assert!(answer.headers().contains_key("x-request-id"));
    let instance = crate::support::instance("chat", 1, 1);
    assert_eq!(world.in_flight.count(&instance), 1);
    for size in [1, 1000, 1_000_000] {
        let message = Message::text("x".repeat(size));
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    drop(socket);
    let lines = world.log.lines(1).await;
    assert!(lines[0].starts_with("chat GET /room 101 "), "{lines:?}");
    assert_eq!(world.in_flight.count(&instance), 0);
}

#[tokio::test]
async fn bytes_that_follow_the_handshake_at_once_are_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"hello") {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
            if received.ends_with(b"\r\n\r\n") {
                let head =
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: own\r\n\r\nfirst";
                stream.write_all(head).await.unwrap();
            }
        }
        stream.write_all(b" last").await.unwrap();
    });
    let world = world(settings()).await;
    world.live("chat", 1, &[address]);
    let request =
        b"GET / HTTP/1.1\r\nhost: chat.localhost\r\nconnection: upgrade\r\nupgrade: own\r\n\r\nhello";
    let answer = world.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert!(answer.contains("\r\nupgrade: own\r\n") && answer.ends_with("\r\n\r\nfirst last"), "{answer}");
}

#[tokio::test]
async fn a_tool_that_does_not_upgrade_answers_as_usual() {
    let world = world(settings()).await;
    world.live("chat", 1, &[named("plain").await]);
    let request =
        b"GET / HTTP/1.1\r\nhost: chat.localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n";
    let answer = world.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("plain"), "{answer}");
}

#[tokio::test]
async fn plain_http2_is_no_way_around_the_router() {
    let world = world(settings()).await;
    let (address, received) =
        crate::support::listening(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    world.live("chat", 1, &[address]);
    let request = b"GET / HTTP/1.1\r\nhost: chat.localhost\r\nconnection: upgrade, http2-settings, close\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    world.raw(request).await;
    let received = String::from_utf8(received.lock().unwrap().clone()).unwrap();
    assert!(!received.contains("upgrade") && !received.contains("http2-settings"), "{received}");
}

/// Whether the router takes another connection of this client.
async fn has_place(world: &World) -> bool {
    world
        .raw(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_websocket_keeps_its_connections_place() {
    let world = world(RouterSettings { connections_per_client: 1, ..settings() }).await;
    world.live("chat", 1, &[websocket_echo().await]);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://chat.localhost/", stream).await.unwrap();
    socket.send(Message::text("one")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    assert!(!has_place(&world).await, "the client has a second connection");
    drop(socket);
    world.log.lines(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(has_place(&world).await, "the place was not given back");
}

#[tokio::test]
async fn a_silent_websocket_is_ended_and_one_that_speaks_is_not() {
    let world = world(RouterSettings { tunnel_idle: Duration::from_millis(400), ..settings() }).await;
    world.live("chat", 1, &[websocket_echo().await]);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://chat.localhost/", stream).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        socket.send(Message::text("still here")).await.unwrap();
        socket.next().await.unwrap().unwrap();
    }
    let end = tokio::time::timeout(Duration::from_secs(2), socket.next()).await.expect("it is ended");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    let lines = world.log.lines(1).await;
    // Ten messages of ten bytes, each with the two of its frame.
    assert_eq!(lines, ["chat GET / 101 120 [chat.v1.web.1] neither side said anything for too long"]);
}

#[tokio::test]
async fn an_open_socket_does_not_hold_the_server_for_ever() {
    let world = world(settings()).await;
    world.live("chat", 1, &[websocket_echo().await]);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (_socket, _) = tokio_tungstenite::client_async("ws://chat.localhost/", stream).await.unwrap();
    world.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), world.served).await.expect("it stops").unwrap();
}
