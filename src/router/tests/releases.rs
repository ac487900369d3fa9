//! A release costs no request: the route flips under load while instances come and go.

use crate::support::{instance, settings, text, tool, world};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// An instance that counts requests after it was told to stop: a real one would have lost them.
async fn release(number: u32, late: Arc<AtomicUsize>) -> (SocketAddr, Arc<AtomicBool>) {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = stopped.clone();
    let address = tool(move |request: Request<hyper::body::Incoming>| {
        let (told, late) = (told.clone(), late.clone());
        async move {
            let body = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
            if told.load(Ordering::SeqCst) {
                late.fetch_add(1, Ordering::SeqCst);
            }
            text(format!("v{number} {body}"))
        }
    });
    (address.await, stopped)
}

async fn client(address: SocketAddr, end: Arc<AtomicBool>, posts: bool) -> Result<usize, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut count = 0;
    while !end.load(Ordering::SeqCst) {
        let body = if posts { Bytes::from(vec![0; 1000]) } else { Bytes::new() };
        let method = if posts { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri("/").header("host", "weather.localhost");
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        sender.ready().await.map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let expected = if posts { " 1000" } else { " 0" };
        if status != 200 || !body.ends_with(expected.as_bytes()) {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        count += 1;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_is_lost_in_twenty_releases() {
    let world = world(settings()).await;
    let late = Arc::new(AtomicUsize::new(0));
    let (address, mut stopped) = release(1, late.clone()).await;
    world.live("weather", 1, &[address]);
    let end = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..16).map(|n| tokio::spawn(client(world.address, end.clone(), n % 2 == 0))).collect();
    for number in 2..=21 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (address, next) = release(number, late.clone()).await;
        world.live("weather", number, &[address]);
        // As the runtime does: the route first, then the last requests, then the signal.
        let old = instance("weather", number - 1, 1);
        tokio::time::timeout(Duration::from_secs(10), world.in_flight.drained(&old))
            .await
            .expect("it drains");
        stopped.store(true, Ordering::SeqCst);
        stopped = next;
    }
    end.store(true, Ordering::SeqCst);
    let mut requests = 0;
    for client in clients {
        requests += client.await.unwrap().expect("no request fails");
    }
    assert!(requests > 500, "{requests} requests are no load");
    assert_eq!(late.load(Ordering::SeqCst), 0, "requests reached an instance after it had drained");
}
