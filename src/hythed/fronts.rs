//! The fronts, each on its listener.

use crate::folders::Data;
use crate::glue::{Dialer, ImageAuth, Keys, Pushes, RuntimeAccessLog};
use crate::roles::Role;
use crate::rooms::Rooms;
use crate::settings::Settings;
use crate::tls;
use anyhow::{Context, Result};
use hythe_api::{ApiParts, Runs, Work};
use hythe_pipeline::Platform;
use hythe_registry::RegistryOptions;
use hythe_router::{Router, RouterParts, RouterSettings};
use hythe_ssh::{HostKey, SshLimits, SshParts};
use nix::sys::resource::{Resource, getrlimit};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The listeners.
pub(crate) struct Fronts {
    pub(crate) ssh: Option<TcpListener>,
    /// Its health is asked for here whatever a server does.
    pub(crate) api: TcpListener,
    /// Images alone, where they have an address of their own.
    pub(crate) registry: Option<TcpListener>,
    pub(crate) router: Option<TcpListener>,
}

impl Fronts {
    /// Where they listen, for people and programs that start the server with port 0.
    pub(crate) fn addresses(&self) -> Result<serde_json::Value> {
        let mut all = serde_json::json!({ "api": self.api.local_addr()?.to_string() });
        let others = [("ssh", &self.ssh), ("registry", &self.registry), ("router", &self.router)];
        for (front, listener) in others {
            if let Some(listener) = listener {
                all[front] = listener.local_addr()?.to_string().into();
            }
        }
        Ok(all)
    }

    /// Starts them all. SSH and the API end at `shutdown`, the router when it is told to.
    pub(crate) fn serve(
        self,
        settings: &Settings,
        data: &Data,
        rooms: &Rooms,
        platform: Platform,
        host_key: HostKey,
        shutdown: CancellationToken,
    ) -> Result<Running> {
        let config = &settings.config;
        let router_tls = tls::for_front(settings, data, config.router.listen)?;
        let api_tls = tls::for_front(settings, data, config.api.listen)?;
        let images = image_routes(settings, rooms);
        let api = self.api_parts(settings, rooms, platform.clone(), shutdown.clone())?;
        let begun = (api.runs.clone(), api.work.clone());
        let api = if settings.roles.has(Role::Api) {
            hythe_api::routes(api).merge(images.clone())
        } else {
            hythe_api::health(api)
        };
        let ssh = ssh_parts(settings, data, rooms, platform, host_key);
        let router = tool_router(settings, rooms)?;
        let closing = CancellationToken::new();

        let (mut drains, mut serves) = (JoinSet::new(), JoinSet::new());
        let stop = shutdown.clone();
        if let Some(listener) = self.ssh {
            drains.spawn(async move {
                hythe_ssh::serve(listener, ssh, stop).await.context("the ssh front failed")
            });
        }
        let drain = config.server.drain.duration();
        drains.spawn(serve_api(self.api, api_tls, api, begun, drain, shutdown.clone()));
        if let Some(listener) = self.registry {
            let address = listener.local_addr()?;
            let tls = if config.registry.plain { None } else { tls::for_front(settings, data, address)? };
            // To the end: pods of builds and nodes need it while all else drains.
            let stop = closing.clone();
            let grace = RouterSettings::default().shutdown_grace;
            serves.spawn(async move {
                let ended = hythe_router::serve_platform(listener, tls, images, grace, stop).await;
                ended.context("the registry failed")
            });
        }
        let stop = closing.clone();
        if let Some(listener) = self.router {
            serves.spawn(async move {
                hythe_router::serve(listener, router_tls, router, stop).await.context("the router failed")
            });
        }
        Ok(Running { drains, serves, shutdown, closing, ended: Ok(()) })
    }

    fn api_parts(
        &self,
        settings: &Settings,
        rooms: &Rooms,
        platform: Platform,
        shutdown: CancellationToken,
    ) -> Result<ApiParts> {
        // Where another server takes pushes, `public` says where.
        let ssh = self.ssh.as_ref().map(TcpListener::local_addr).transpose()?;
        let ssh = ssh.unwrap_or(settings.config.ssh.listen).to_string();
        let public = settings.config.ssh.public.as_ref().unwrap_or(&ssh);
        Ok(ApiParts {
            platform,
            auth: rooms.auth.clone(),
            shutdown,
            runs: Runs::new(settings.config.limits.runs_per_tool as usize),
            work: Work::default(),
            domain: settings.config.router.domain.clone(),
            git: format!("ssh://{public}"),
            body: usize::try_from(settings.config.api.body.bytes()).unwrap_or(1 << 20),
            images: rooms.images(settings),
            patience: settings.config.store.patience.duration(),
        })
    }
}

/// Serves the API until `stop`. Then answers under way, and work whose client has gone, have `drain` together; streams that would wait
/// end by themselves.
async fn serve_api(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    api: axum::Router,
    (runs, work): (Runs, Work),
    drain: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let done = async {
        hythe_router::serve_platform(listener, tls, api, drain, stop.clone()).await?;
        // No request can come any more that begins some.
        work.over().await;
        anyhow::Ok(())
    };
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = done => ended.context("the api failed")?,
        () = late => tracing::warn!(work = work.left(), "requests are cut off by the server's end"),
    }
    // No new one can come; each is told why it ends.
    runs.over().await;
    Ok(())
}

/// The registry's routes.
fn image_routes(settings: &Settings, rooms: &Rooms) -> axum::Router {
    let options = RegistryOptions {
        token_key: Some(rooms.keys.registry_tokens()),
        token_life: settings.config.registry.token_time.duration(),
        max_tool_bytes: settings.config.registry.tool.bytes(),
        ..RegistryOptions::default()
    };
    let kept = settings.config.registry.keep_releases;
    let auth = Arc::new(ImageAuth::new(rooms.auth.clone(), rooms.keys.clone(), rooms.store.clone(), kept));
    hythe_registry::routes(rooms.content.clone(), auth, options)
}

fn ssh_parts(
    settings: &Settings,
    data: &Data,
    rooms: &Rooms,
    platform: Platform,
    host_key: HostKey,
) -> SshParts {
    let limits = &settings.config.limits;
    SshParts {
        host_key,
        keys: Arc::new(Keys(rooms.auth.clone())),
        pushes: Arc::new(Pushes(platform)),
        repositories: rooms.repositories.clone(),
        hook_socket: data.hook_socket(),
        limits: SshLimits {
            connections: limits.connections as usize,
            connections_per_key: limits.connections_per_key as usize,
            stall: limits.no_progress.duration(),
            drain: settings.config.server.drain.duration(),
            ..SshLimits::default()
        },
    }
}

fn tool_router(settings: &Settings, rooms: &Rooms) -> Result<Router> {
    let chosen = &settings.config.router;
    Ok(Router::new(RouterParts {
        routes: rooms.runtime.routes(),
        dial: Arc::new(Dialer(rooms.runtime.clone())),
        in_flight: rooms.in_flight.clone(),
        access: Arc::new(RuntimeAccessLog(rooms.logs.clone())),
        fallback: None,
        settings: RouterSettings {
            domain: chosen.domain.clone(),
            header_bytes: usize::try_from(chosen.head.bytes()).unwrap_or(64 << 10),
            body_bytes: Some(chosen.body.bytes()),
            header_timeout: chosen.head_time.duration(),
            stall_timeout: chosen.idle_time.duration(),
            idle_timeout: chosen.idle_time.duration(),
            connections: connections(chosen.connections as usize)?,
            requests_per_instance: chosen.requests_per_instance as usize,
            requests_per_client: (chosen.requests_per_client > 0)
                .then_some(chosen.requests_per_client as usize),
            tunnel_idle: chosen.tunnel_idle.duration(),
            shutdown_grace: settings.config.server.finish.duration(),
            ..RouterSettings::default()
        },
    }))
}

/// As many connections as were chosen, or as the process may have descriptors for: two each, and some for all else.
fn connections(chosen: usize) -> Result<usize> {
    const REST: u64 = 512;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files")?;
    let room = usize::try_from(most.saturating_sub(REST) / 2).unwrap_or(usize::MAX).max(64);
    if room < chosen {
        tracing::warn!(
            chosen,
            room,
            "open files are limited (ulimit -n): the router takes fewer connections"
        );
    }
    Ok(chosen.min(room))
}

/// Fronts that run.
pub(crate) struct Running {
    /// What drains first: pushes and the API.
    drains: JoinSet<Result<()>>,
    /// What serves to the very end: tools and images.
    serves: JoinSet<Result<()>>,
    shutdown: CancellationToken,
    closing: CancellationToken,
    /// The first failure.
    ended: Result<()>,
}

impl Running {
    /// Waits until the shutdown was asked for and pushes and the API have drained; tools are served still. A front that
    /// fails asks for the shutdown itself.
    pub(crate) async fn drained(&mut self) {
        while !self.drains.is_empty() {
            let ended = tokio::select! {
                Some(ended) = self.drains.join_next() => ended,
                Some(ended) = self.serves.join_next() => ended,
            };
            self.note(ended);
        }
    }

    /// Ends the router: new requests wait at the listener for the next start.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.closing.cancel();
        while let Some(ended) = self.serves.join_next().await {
            self.note(ended);
        }
        self.ended
    }

    fn note(&mut self, ended: Result<Result<()>, tokio::task::JoinError>) {
        let ended = ended.context("a front panicked").and_then(|ended| ended);
        if !self.shutdown.is_cancelled() {
            tracing::error!(?ended, "a front ended by itself; the others drain");
            self.shutdown.cancel();
        }
        if self.ended.is_ok() {
            self.ended = ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    /// Longer than a front gives by itself.
    const TAKES: Duration = Duration::from_mins(1);

    /// An API that does the same for each request, and answers when it is done.
    struct Bed {
        address: SocketAddr,
        /// How far it is.
        state: watch::Sender<&'static str>,
        stop: CancellationToken,
        served: JoinHandle<Result<()>>,
    }

    impl Bed {
        async fn new(drain: Duration) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (state, stop) = (watch::Sender::new("asked nothing"), CancellationToken::new());
            let begun = (Runs::new(1), Work::default());
            let (work, told) = (begun.1.clone(), state.clone());
            let answer = move || {
                let told = told.clone();
                let done = work.begin(async move {
                    told.send_replace("begun");
                    tokio::time::sleep(TAKES).await;
                    told.send_replace("done");
                });
                async move { done.await.map_or("lost", |()| "live") }
            };
            let api = axum::Router::new().route("/", axum::routing::get(answer));
            let served = tokio::spawn(serve_api(listener, None, api, begun, drain, stop.clone()));
            Self { address, state, stop, served }
        }

        /// A client whose request has begun something.
        async fn ask(&self) -> TcpStream {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.unwrap();
            self.state.subscribe().wait_for(|state| *state == "begun").await.unwrap();
            client
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_who_waits_for_an_answer() {
        let bed = Bed::new(TAKES * 2).await;
        let mut client = bed.ask().await;
        bed.stop.cancel();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("live"), "{answer}");
        bed.served.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_what_was_begun_and_nobody_waits_for() {
        let bed = Bed::new(TAKES * 2).await;
        drop(bed.ask().await);
        bed.stop.cancel();
        bed.served.await.unwrap().unwrap();
        assert_eq!(*bed.state.borrow(), "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_no_longer_than_its_drain() {
        for leaves in [false, true] {
            let bed = Bed::new(TAKES / 2).await;
            let client = bed.ask().await;
            let _waits = (!leaves).then_some(client);
            bed.stop.cancel();
            bed.served.await.unwrap().unwrap();
            assert_eq!(*bed.state.borrow(), "begun");
        }
    }
}
