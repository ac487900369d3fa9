//! The fronts, each on its listener.

use crate::folders::Data;
use crate::glue::{Dialer, ImageAuth, Keys, Pushes, RuntimeAccessLog};
use crate::rooms::Rooms;
use crate::settings::Settings;
use crate::tls;
use anyhow::{Context, Result};
use hythe_api::ApiParts;
use hythe_pipeline::Platform;
use hythe_registry::RegistryOptions;
use hythe_router::{Router, RouterParts, RouterSettings};
use hythe_ssh::{HostKey, SshLimits, SshParts};
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The listeners.
pub(crate) struct Fronts {
    pub(crate) ssh: TcpListener,
    pub(crate) api: TcpListener,
    pub(crate) router: TcpListener,
}

impl Fronts {
    /// Where they listen, for people and programs that start the server with port 0.
    pub(crate) fn addresses(&self) -> Result<serde_json::Value> {
        Ok(serde_json::json!({
            "ssh": self.ssh.local_addr()?.to_string(),
            "api": self.api.local_addr()?.to_string(),
            "router": self.router.local_addr()?.to_string(),
        }))
    }

    /// Starts them all. The future ends when `shutdown` was asked for and all have drained; a front that fails stops
    /// the others.
    pub(crate) fn serve(
        self,
        settings: &Settings,
        data: &Data,
        rooms: &Rooms,
        platform: Platform,
        host_key: HostKey,
        shutdown: CancellationToken,
    ) -> Result<impl Future<Output = Result<()>>> {
        let config = &settings.config;
        let router_tls = tls::for_front(settings, data, config.router.listen)?;
        let api_tls = tls::for_front(settings, data, config.api.listen)?;
        let api = self.api_router(settings, rooms, platform.clone(), shutdown.clone())?;
        let ssh = ssh_parts(settings, data, rooms, platform, host_key);

        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        let stop = shutdown.clone();
        tasks.spawn(
            async move { hythe_ssh::serve(self.ssh, ssh, stop).await.context("the ssh front failed") },
        );
        let (router, stop) = (tool_router(settings, rooms), shutdown.clone());
        tasks.spawn(async move {
            hythe_router::serve(self.router, router_tls, router, stop).await.context("the router failed")
        });
        let stop = shutdown.clone();
        tasks.spawn(async move {
            hythe_router::serve_platform(self.api, api_tls, api, stop).await.context("the api failed")
        });
        Ok(until_all_end(tasks, shutdown))
    }

    fn api_router(
        &self,
        settings: &Settings,
        rooms: &Rooms,
        platform: Platform,
        shutdown: CancellationToken,
    ) -> Result<axum::Router> {
        let ssh = self.ssh.local_addr()?.to_string();
        let public = settings.config.ssh.public.as_ref().unwrap_or(&ssh);
        let api = hythe_api::routes(ApiParts {
            platform,
            auth: rooms.auth.clone(),
            shutdown,
            domain: settings.config.router.domain.clone(),
            git: format!("ssh://{public}"),
            body: usize::try_from(settings.config.api.body.bytes()).unwrap_or(1 << 20),
        });
        let options = RegistryOptions {
            token_life: settings.config.registry.token_time.duration(),
            ..RegistryOptions::default()
        };
        let auth = Arc::new(ImageAuth(rooms.auth.clone()));
        Ok(api.merge(hythe_registry::routes(rooms.content.clone(), auth, options)))
    }
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

fn tool_router(settings: &Settings, rooms: &Rooms) -> Router {
    let chosen = &settings.config.router;
    Router::new(RouterParts {
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
            connections: chosen.connections as usize,
            requests_per_instance: chosen.requests_per_instance as usize,
            shutdown_grace: settings.config.server.drain.duration(),
            ..RouterSettings::default()
        },
    })
}

async fn until_all_end(mut tasks: JoinSet<Result<()>>, shutdown: CancellationToken) -> Result<()> {
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a front panicked").and_then(|ended| ended);
        if !shutdown.is_cancelled() {
            tracing::error!(?ended, "a front ended by itself; the others drain");
            shutdown.cancel();
        }
        if first.is_ok() {
            first = ended;
        }
    }
    first
}
