//! Requests on their way to tools: releases, restarts, tunnels, TLS.

use crate::support::{Client, Clustered, Ran, Server, shared, under_load};
use futures::{SinkExt, StreamExt};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn twenty_releases_in_a_row_fail_no_request_on_one_machine() {
    release_twenty_times(shared());
}

#[test]
fn twenty_releases_in_a_row_fail_no_request_in_a_cluster() {
    release_twenty_times(&Clustered::start("kube-load", ""));
}

/// Of a tool with one instance.
fn release_twenty_times(server: &Server) {
    let robin = Client::new(server, "load");
    robin.tool_from("steady", "static-site");
    robin.push("steady").ok();
    let answered = under_load(server.address("router"), "steady", || {
        for _ in 0..10 {
            robin.hythe(&["restart", "-t", "steady"]).ok();
            robin.commit("steady", "Again");
            robin.push("steady").ok();
        }
    });
    assert!(answered > 20, "{answered}");
    let releases = robin.hythe(&["releases", "-t", "steady"]).ok().out;
    assert!(releases.contains("v21"), "{releases}");
}

#[test]
fn tools_are_served_while_the_server_drains() {
    let mut server = Server::start("drain", "[server]\ndrain = \"60 s\"\n");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("steady", "static-site");
        robin.push("steady").ok();
        robin.tool_from("slow", "node-http");
        robin.write("slow", "build.js", "setTimeout(() => {}, 8000);\n");
        let package = r#"{"name": "slow", "version": "1.0.0", "scripts": {"start": "node server.js", "build": "node build.js"},
            "dependencies": {"ms": "2.1.3"}}"#;
        robin.write("slow", "package.json", package);
        robin.commit("slow", "Take long");
        robin.git("slow", &["push", "-o", "detach", "hythe", "main"]).ok();
        robin.wait_for_build("slow", 1);
    }
    let router = server.address("router").to_owned();
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop());
        while !stop.is_finished() {
            let asked = Instant::now();
            let curl = Command::new("curl")
                .args([
                    "-sS",
                    "--max-time",
                    "2",
                    "-H",
                    "Host: steady.localhost",
                    &format!("http://{router}/"),
                ])
                .output();
            let answer = Ran::from(curl.expect("curl"));
            // The listener stays open when the server has gone: only then nobody answers.
            if !stop.is_finished() && answer.code == 0 {
                slowest = slowest.max(asked.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.join().expect("it stops");
    });
    assert!(begun.elapsed() > Duration::from_secs(3), "the build was waited for");
    assert!(slowest < Duration::from_secs(1), "a request took {slowest:?}");
    server.spawn();
    let robin = Client::again(&server, "robin");
    robin.get_until("slow", |answer| answer.status == 200);
}

/// A server of Node.js that agrees to a WebSocket and says every short text back, in capitals.
const ECHO: &str = r"const http = require('node:http'), crypto = require('node:crypto');
const server = http.createServer((request, response) => response.end(JSON.stringify(request.headers)));
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  socket.on('data', frame => {
    if ((frame[0] & 15) !== 1) return socket.end();
    const length = frame[1] & 127, mask = frame.subarray(2, 6);
    const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4])).toString().toUpperCase();
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
  });
});
server.listen(process.env.PORT);
";

#[test]
fn a_websocket_goes_through_to_the_tool() {
    let robin = Client::new(shared(), "echo");
    robin.tool_from("echo", "node-http");
    robin.write("echo", "server.js", ECHO);
    robin.commit("echo", "Echo");
    robin.push("echo").ok();
    let seen = robin.get("echo", "/").body;
    assert!(seen.contains("x-forwarded-for") && seen.contains("x-request-id"), "{seen}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(shared().address("router")).await.expect("a connection");
        let (mut socket, answer) =
            tokio_tungstenite::client_async("ws://echo.localhost/", stream).await.expect("a WebSocket");
        assert_eq!(answer.status(), 101);
        for text in ["hello", "again"] {
            socket.send(text.into()).await.expect("sent");
            let back = socket.next().await.expect("an answer").expect("a frame");
            assert_eq!(back.into_text().expect("text").as_str(), text.to_uppercase());
        }
    });
}

#[test]
fn every_front_speaks_tls_by_the_platforms_own_authority() {
    let server = Server::start("tls", "[tls]\nmode = \"own\"\n");
    let ca = server.folder().join("ca.pem");
    std::fs::write(&ca, server.read_data("keys/ca.pem")).expect("a copy");
    let ca = ca.to_str().expect("a path").to_owned();

    let robin = Client::stranger(&server, "robin");
    let api = format!("https://{}", server.address("api"));
    robin.hythe(&["login", &api, "--token", server.token()]).failed();
    robin.hythe(&["login", &api, "--token", server.token(), "--ca", &ca]).ok();
    robin.add_own_key();
    robin.tool_from("padlock", "static-site");
    let push = robin.push("padlock").ok();
    assert!(push.err.contains("v1 is live: https://padlock.localhost"), "{}", push.err);

    let (_, port) = server.address("router").rsplit_once(':').expect("a port");
    let url = format!("https://padlock.localhost:{port}/");
    let resolve = format!("padlock.localhost:{port}:127.0.0.1");
    let curl = |more: &[&str]| {
        let format = ["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
        let mut curl = Command::new("curl");
        Ran::from(
            curl.args(format).args(["--resolve", &resolve]).args(more).arg(&url).output().expect("curl"),
        )
    };
    assert_eq!(curl(&["--cacert", &ca]).ok().out, "2 200");
    assert_eq!(curl(&["--cacert", &ca, "--http1.1"]).ok().out, "1.1 200");
    curl(&[]).failed().says("SSL certificate problem");
}
