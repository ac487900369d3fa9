//! Connections come in whatever happens to others, and go when the router does.

use crate::support::{named, settings, world, world_with};
use crate::tls::server_config;
use hythe_router::RouterSettings;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Set in the process of its own that runs out of descriptors.
const SCARCE: &str = "HYTHE_TEST_SCARCE";

#[test]
fn running_out_of_descriptors_ends_nothing() {
    if std::env::var_os(SCARCE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(a_shortage());
    }
    let own = std::env::current_exe().unwrap();
    let child = std::process::Command::new(own)
        .args(["--exact", "accepting::running_out_of_descriptors_ends_nothing", "--nocapture"])
        .env(SCARCE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

async fn a_shortage() {
    let world = world(settings()).await;
    world.live("weather", 1, &[named("weather").await]);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    // The kernel takes the connection; the router cannot, for longer than anybody would count.
    let mut waiting = std::net::TcpStream::connect(world.address).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: weather.localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    tokio::time::pause();
    tokio::time::sleep(Duration::from_mins(1)).await;
    tokio::time::resume();
    assert!(!world.served.is_finished(), "the router stopped");
    drop(taken);
    waiting.set_nonblocking(true).unwrap();
    let mut answer = String::new();
    TcpStream::from_std(waiting).unwrap().read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("weather"), "{answer}");
}

/// The kernel's timer of the router's end of a connection, as `/proc/net/tcp` shows it.
fn timer(stream: &TcpStream) -> String {
    let hex = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let ends = [stream.peer_addr().unwrap(), stream.local_addr().unwrap()].map(hex);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1..3] == ends).expect("a connection of the router");
    row[5].to_owned()
}

#[tokio::test]
async fn a_peer_that_vanishes_is_asked_after() {
    let world = world(settings()).await;
    world.get("localhost", "/").await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let timer = timer(&stream);
    let (kind, due) = timer.split_once(':').unwrap();
    let due = Duration::from_millis(u64::from_str_radix(due, 16).unwrap() * 10);
    assert_eq!(kind, "02", "no timer for keep-alive");
    assert!(due <= Duration::from_mins(1) && due > Duration::from_secs(50), "{due:?}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_says_nothing() {
    for (tls, sent) in
        [(None, ""), (None, "PRI"), (Some(server_config().0), ""), (Some(server_config().0), "\x16\x03")]
    {
        let patient = RouterSettings { shutdown_grace: Duration::from_secs(20), ..settings() };
        let secure = tls.is_some();
        let world = world_with(patient, tls).await;
        let mut idle = TcpStream::connect(world.address).await.unwrap();
        idle.write_all(sent.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        world.stop.cancel();
        world.served.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "TLS: {secure}, after {sent:?}");
    }
}
