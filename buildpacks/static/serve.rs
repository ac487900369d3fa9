//! The server: listens on `$PORT` and ends at SIGTERM, when open requests are answered.

use crate::response::Site;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Longest time in which a client sends its headers.
const HEADERS: Duration = Duration::from_secs(20);
/// Longest time that open requests get after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// Serves the folder that the first argument names until it is told to stop.
pub(crate) fn main() {
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(root, port)));
    if let Err(error) = ended {
        eprintln!("static-server: {error}");
        std::process::exit(1);
    }
}

async fn serve(root: PathBuf, port: u16) -> io::Result<()> {
    let site = Arc::new(Site::new(&root)?);
    // Before it can be reached: whoever sees it listen may tell it to stop.
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = listen(port).await?;
    println!("static-server: serving {} on port {}", root.display(), listener.local_addr()?.port());
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let site = Arc::clone(&site);
                    let service = service_fn(move |request| {
                        let site = Arc::clone(&site);
                        async move { Ok::<_, Infallible>(site.answer(&request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADERS)
                        .serve_connection(TokioIo::new(stream), service);
                    let connection = graceful.watch(connection);
                    tokio::spawn(async move { let _ = connection.await; });
                }
                // Out of descriptors, most likely: connections that end free some.
                Err(error) => {
                    eprintln!("static-server: cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}

/// Listens on all addresses, IPv6 with IPv4 where the machine has both.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await,
    }
}
