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
    connect: Box<dyn Fn() -> Client + Send + Sync>,
    /// For one connection each, and as often as it has streams.
    shared: Mutex<Vec<(Client, Arc<()>)>>,
}

/// Room for one stream on a connection.
pub struct Place {
    /// Opens it.
    pub client: Client,
    _counted: Arc<()>,
}

impl Streams {
    /// With clients that are made so, each for one connection.
    pub(crate) fn new(connect: impl Fn() -> Client + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { connect: Box::new(connect), shared: Mutex::default() }))
    }

    /// Over HTTP/2 where the API server speaks it. What a connection needs is read here, and not once more for each: a program
    /// that a kubeconfig names may run for it, and whoever calls this waits for that.
    pub(crate) fn of(config: &Config) -> Result<Self, kube::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config.rustls_client_config()?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let (auth, headers) = (config.auth_layer()?, config.extra_headers_layer()?);
        let (base, namespace) = (config.base_uri_layer(), config.default_namespace.clone());
        Ok(Self::new(move || {
            let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .http2_initial_stream_window_size(WINDOW)
                .http2_initial_connection_window_size(WINDOWS)
                .http2_keep_alive_interval(ASK)
                .http2_keep_alive_timeout(ANSWER)
                .build(https.clone());
            let service = ServiceBuilder::new()
                .layer(base.clone())
                .option_layer(auth.as_ref())
                .layer(headers.clone())
                .map_err(BoxError::from)
                .service(client);
            Client::new(service, namespace.clone())
        }))
    }

    /// Room for a stream, for as long as it is kept.
    pub fn place(&self) -> Place {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // One is counted by the list itself.
        let free = shared.iter().find(|(_, counted)| Arc::strong_count(counted) <= EACH).cloned();
        let (client, counted) = free.unwrap_or_else(|| {
            let new = ((self.0.connect)(), Arc::default());
            shared.push(new.clone());
            new
        });
        Place { client, _counted: counted }
    }
}

#[cfg(test)]
mod tests;
