//! A router, tools behind it, and clients before it.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hythe_model::{InstanceId, Place, ProcessType, ReleaseNumber, Route, RouteTable, Upstream};
use hythe_router::{
    AccessEntry, AccessLog, Dial, Fallback, InFlight, Router, RouterParts, RouterSettings, serve,
};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A router with its surroundings.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) routes: watch::Sender<RouteTable>,
    pub(crate) in_flight: InFlight,
    pub(crate) log: Arc<Log>,
    pub(crate) dialled: Arc<Instances>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

/// Where instances really are.
#[derive(Default)]
pub(crate) struct Instances {
    addresses: Mutex<HashMap<InstanceId, SocketAddr>>,
    pub(crate) dials: AtomicUsize,
}

#[async_trait]
impl Dial for Instances {
    async fn dial(&self, instance: &InstanceId, _: u16) -> io::Result<TcpStream> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let address = self.addresses.lock().unwrap().get(instance).copied();
        TcpStream::connect(address.ok_or(io::ErrorKind::ConnectionRefused)?).await
    }
}

/// Lines of the access log.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl AccessLog for Log {
    fn log(&self, entry: &AccessEntry<'_>) {
        let AccessEntry { tool, method, path, status, bytes, error, .. } = entry;
        let instance = entry.instance.map(ToString::to_string).unwrap_or_default();
        let error = error.unwrap_or("-");
        self.0.lock().unwrap().push(format!("{tool} {method} {path} {status} {bytes} [{instance}] {error}"));
    }
}

impl Log {
    /// All lines, once there are so many.
    pub(crate) async fn lines(&self, count: usize) -> Vec<String> {
        for _ in 0..500 {
            if self.0.lock().unwrap().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn settings() -> RouterSettings {
    RouterSettings { shutdown_grace: Duration::from_secs(2), ..RouterSettings::default() }
}

/// A router with these settings, without tools.
pub(crate) async fn world(settings: RouterSettings) -> World {
    world_with(settings, None).await
}

pub(crate) async fn world_with(settings: RouterSettings, tls: Option<Arc<rustls::ServerConfig>>) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (routes, receiver) = watch::channel(RouteTable::default());
    let (in_flight, log, dialled) = (InFlight::new(), Arc::<Log>::default(), Arc::<Instances>::default());
    let platform = tower::service_fn(|request: Request<Incoming>| async move {
        let proto = request.headers()["x-forwarded-proto"].to_str().unwrap().to_owned();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!(
            "platform {} {proto}",
            request.uri().path()
        )))))
    });
    let shared = Router::new(RouterParts {
        routes: receiver,
        dial: dialled.clone(),
        in_flight: in_flight.clone(),
        access: log.clone(),
        fallback: Some(Fallback::new(platform)),
        settings,
    });
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let served = tokio::spawn(async move { serve(listener, tls, shared, stopping).await.unwrap() });
    World { address, routes, in_flight, log, dialled, stop, served }
}

pub(crate) fn instance(tool: &str, release: u32, index: u32) -> InstanceId {
    let (tool, release) = (tool.parse().unwrap(), ReleaseNumber(release));
    InstanceId { tool, release, process: ProcessType::web(), place: Place::Number(index), attempt: 0 }
}

impl World {
    /// Sets a tool's route.
    pub(crate) fn route(&self, tool: &str, route: Option<Route>) {
        self.routes.send_modify(|table| table.set(tool.parse().unwrap(), route));
    }

    /// Makes a tool live with instances at these addresses.
    pub(crate) fn live(&self, tool: &str, release: u32, addresses: &[SocketAddr]) {
        let ids = (1..).map(|index| instance(tool, release, index));
        let mut upstreams = Vec::new();
        for (id, address) in ids.zip(addresses) {
            self.dialled.addresses.lock().unwrap().insert(id.clone(), *address);
            upstreams.push(Upstream { instance: id, port: 8080 });
        }
        self.route(tool, Some(Route::Live { release: ReleaseNumber(release), upstreams }));
    }

    /// GET over a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new()).unwrap();
        self.ask(request).await
    }

    /// Any request over a connection of its own.
    pub(crate) async fn ask<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = self.begin(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// The head of an answer; its body comes as it comes.
    pub(crate) async fn begin<B>(&self, request: Request<B>) -> hyper::Result<Response<Incoming>>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    }

    /// Sends bytes as they are and reads until the router closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading).await.expect("the router closes");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

/// A tool that answers by this function.
pub(crate) async fn tool<F, R>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<BoxBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    address
}

pub(crate) type BoxBody =
    http_body_util::combinators::BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) fn text(text: impl Into<String>) -> Response<BoxBody> {
    Response::new(Full::new(Bytes::from(text.into())).map_err(|never| match never {}).boxed())
}

/// A tool that says its name.
pub(crate) async fn named(name: &'static str) -> SocketAddr {
    tool(move |_| async move { text(name) }).await
}

/// A tool that reads what it gets, byte for byte, and answers the same to every request.
pub(crate) async fn listening(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let hearing = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = hearing.clone();
            tokio::spawn(async move {
                let mut piece = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut piece).await {
                    heard.lock().unwrap().extend_from_slice(&piece[..count]);
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

impl Answer {
    /// A header's text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
