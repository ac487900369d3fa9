//! Connections for what stays open: many streams share one, by HTTP/2.
//!
//! A stream of its own connection costs its buffers and its TLS state, a hundred times what it costs as one among others. Where the
//! API server speaks HTTP/1.1 alone, or is reached through a proxy, each stream has its own connection all the same.

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, ServiceBuilder};

/// Streams that one connection carries: less than the hundred that an API server allows, of which some may still be ending.
const EACH: usize = 90;
/// What the API server may send of one stream before it is read, in bytes; and of all streams of a connection.
const WINDOW: u32 = 64 << 10;
const WINDOWS: u32 = WINDOW * 100;
/// How often a connection is asked whether it is still one, and how long its answer may take.
const ASK: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);

/// The connections.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    connect: Box<dyn Fn() -> Result<Client, kube::Error> + Send + Sync>,
    /// For one connection each, and how many more streams it takes.
    shared: Mutex<Vec<(Client, Arc<Semaphore>)>>,
}

/// Room for one stream on a connection.
pub struct Place {
    /// Opens it.
    pub client: Client,
    _room: OwnedSemaphorePermit,
}

impl Streams {
    /// With clients that are made so, each for one connection.
    pub(crate) fn new(connect: impl Fn() -> Result<Client, kube::Error> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { connect: Box::new(connect), shared: Mutex::default() }))
    }

    /// Room for a stream, for as long as it is kept.
    ///
    /// # Errors
    /// Where the cluster's settings do not make a client.
    pub fn place(&self) -> Result<Place, kube::Error> {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let free = shared.iter().find_map(|(client, room)| {
            let room = room.clone().try_acquire_owned().ok()?;
            Some(Place { client: client.clone(), _room: room })
        });
        if let Some(place) = free {
            return Ok(place);
        }
        let (client, room) = ((self.0.connect)()?, Arc::new(Semaphore::new(EACH)));
        shared.push((client.clone(), room.clone()));
        let room = room.try_acquire_owned().map_err(|error| kube::Error::Service(Box::new(error)))?;
        Ok(Place { client, _room: room })
    }
}

/// A client of one connection, where the API server speaks HTTP/2.
pub(crate) fn connection(config: &Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() || config.tls_server_name.is_some() {
        return Client::try_from(config.clone());
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT));
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);
    let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOWS)
        .http2_keep_alive_interval(ASK)
        .http2_keep_alive_timeout(ANSWER)
        .build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}
