//! The server: opens the rooms, runs the fronts, drains at SIGTERM.

use crate::control::Lock;
use crate::fronts::Fronts;
use crate::listeners::listener;
use crate::roles::Role;
use crate::settings::Settings;
use crate::{first_run, rooms};
use anyhow::{Context, Result};
use hythe_pipeline::Platform;
use hythe_ssh::HostKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is told where nothing else is asked for. An error is told by whoever handles it, and not by the client that met it too.
const USUAL: &str = "info,kube_client=off";
/// How long a stop waits for the database to take the last lines of tools' logs.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn main(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_from_env("HYTHE_LOG").unwrap_or_else(|_| EnvFilter::new(USUAL));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    anyhow::ensure!(installed.is_ok(), "a second TLS provider is installed");
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(settings));
    // Tasks that only wait for clients must not hold the process back.
    runtime.shutdown_background();
    done
}

/// As many open files as this process may have: every connection is one or two.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn serve(settings: &Settings) -> Result<()> {
    let data = settings.data()?;
    let _lock = Lock::take(&data)?;
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;

    let config = &settings.config;
    let mut rooms = rooms::open(settings, &data).await?;
    if let Some(guarded) = rooms.helper().cloned() {
        tokio::spawn(async move { guarded.guard().await });
    }
    let host_key = HostKey::open_or_create(&data.host_key())?;
    let (roles, helper) = (&settings.roles, rooms.helper().cloned());
    let front = async |role, name, address| {
        if roles.has(role) { listener(helper.as_ref(), name, address).await.map(Some) } else { Ok(None) }
    };
    let fronts = Fronts {
        ssh: front(Role::Ssh, "ssh", config.ssh.listen).await?,
        api: listener(helper.as_ref(), "api", config.api.listen).await?,
        registry: rooms.registry.take(),
        router: front(Role::Router, "router", config.router.listen).await?,
    };
    first_run::bootstrap(&rooms.auth, &host_key, settings, fronts.api.local_addr()?).await?;
    let port = match &fronts.router {
        Some(router) => router.local_addr()?.port(),
        None => config.router.listen.port(),
    };
    let platform = rooms::platform(settings, &data, &rooms, port).await?;

    let queue = tokio::spawn({
        let (platform, shutdown, patience) =
            (platform.clone(), shutdown.clone(), config.server.drain.duration());
        async move { platform.run_queue(shutdown, patience).await }
    });
    let upkeep = tokio::spawn(look_after(settings, platform.clone(), shutdown.clone()));
    let addresses = fronts.addresses()?;
    let mut running = fronts.serve(settings, &data, &rooms, platform.clone(), host_key, shutdown)?;
    write_addresses(&data.addresses(), &addresses)?;
    tracing::info!(%addresses, "ready");

    running.drained().await;
    queue.await.context("the build queue ended badly")?;
    // Whatever it does may be cut off.
    upkeep.abort();
    platform.retire().await;
    // Last, so that tools are served while all else drains.
    let ended = running.close().await;
    if tokio::time::timeout(LAST_LINES, rooms.logs.settled()).await.is_err() {
        tracing::warn!("the last lines of tools' logs could not be kept");
    }
    let _ = fs::remove_file(data.addresses());
    tracing::info!("stopped; tools run on");
    ended
}

/// Cleans up, and does what else one server does for all.
fn look_after(
    settings: &Settings,
    platform: Platform,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (is_shared, leads) = (settings.config.objects.folder.is_some(), settings.roles.has(Role::Controller));
    async move {
        match (is_shared, leads) {
            (false, _) => platform.run_upkeep(shutdown).await,
            (true, true) => platform.run_controller(shutdown).await,
            (true, false) => {}
        }
    }
}

fn write_addresses(path: &std::path::Path, addresses: &serde_json::Value) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, addresses.to_string())?;
    fs::rename(&fresh, path).context("cannot say where the server listens")
}

fn stop_on_signals(shutdown: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        tracing::info!("draining: running builds and open requests are finished");
        shutdown.cancel();
    });
    Ok(())
}
