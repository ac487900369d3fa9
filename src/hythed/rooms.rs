//! The rooms, opened in order: from the helper up to the platform.

use crate::control;
use crate::folders::{Data, Installation};
use crate::glue::{Draining, Logging};
use crate::listeners::listener;
use crate::settings::Settings;
use anyhow::{Context, Result};
use hythe_auth::{Auth, KeyRing};
use hythe_build::{BuildLimits, Builder, BuilderParts, NetworkSettings};
use hythe_config::RuntimeKind;
use hythe_events::{LogLimits, LogStore};
use hythe_layers::Layers;
use hythe_model::ToolName;
use hythe_pipeline::{Parts, Platform};
use hythe_registry::ContentStore;
use hythe_rollout::{
    KubernetesParts, KubernetesRuntime, LocalParts, LocalRuntime, PullAccess, Runtime, Witness,
};
use hythe_router::InFlight;
use hythe_sandbox::{Egress, Helper};
use hythe_source::{HookCommand, Repositories, RepositoryOptions, SourceLimits, SourceStore};
use hythe_stacks::{Mirrors, StackImages, StackOptions};
use hythe_store::Store;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Everything that the fronts stand on.
pub(crate) struct Rooms {
    pub(crate) helper: Helper,
    pub(crate) auth: Auth,
    pub(crate) content: ContentStore,
    layers: Layers,
    pub(crate) repositories: Repositories,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) in_flight: InFlight,
    pub(crate) logs: LogStore,
    pub(crate) store: Store,
    pub(crate) keys: KeyRing,
    /// The registry's own listener, until a front takes it.
    pub(crate) registry: Option<TcpListener>,
}

/// Opens everything below the story.
pub(crate) async fn open(settings: &Settings, data: &Data) -> Result<Rooms> {
    let helper = control::helper(settings, data).await.context("the sandbox helper does not start")?;
    let store = settings.store(data).await?;
    let logs = LogStore::open(data.logs(), log_limits(settings))?;
    let content = ContentStore::open(data.registry())?;
    let repositories = Repositories::open(data.repositories(), repository_options(settings)?)?;
    let layers = Layers::open(helper.clone(), content.clone(), &data.namespace()).await?;
    let in_flight = InFlight::new();
    let keys = KeyRing::load(&data.keys())?;
    let registry = match settings.config.registry.listen {
        Some(address) => Some(listener(&helper, "registry", address).await?),
        None => None,
    };
    let witness = Arc::new(Logging(logs.clone()));
    let runtime: Arc<dyn Runtime> = match settings.config.rollout.runtime {
        RuntimeKind::Local => {
            let parts = LocalParts {
                helper: helper.clone(),
                content: content.clone(),
                layers: layers.clone(),
                logs: data.instance_logs(),
                log_bytes: settings.config.logs.instance.bytes(),
                traffic: Arc::new(Draining(in_flight.clone())),
            };
            Arc::new(LocalRuntime::with_witness(parts, witness))
        }
        RuntimeKind::Kubernetes => {
            let address = registry.as_ref().map(TcpListener::local_addr).transpose()?;
            let parts = kubernetes_parts(settings, data, address, keys.clone(), witness);
            Arc::new(KubernetesRuntime::connect(parts).await?)
        }
    };
    Ok(Rooms {
        helper,
        auth: Auth::new(store.clone()),
        content,
        layers,
        repositories,
        runtime,
        keys,
        registry,
        in_flight,
        logs,
        store,
    })
}

fn kubernetes_parts(
    settings: &Settings,
    data: &Data,
    registry: Option<SocketAddr>,
    keys: KeyRing,
    witness: Arc<dyn Witness>,
) -> KubernetesParts {
    let pull = move |tool: &ToolName| {
        let (user, password) = keys.pull_access(tool);
        Some(PullAccess { user, password: password.expose_secret().to_owned() })
    };
    KubernetesParts {
        kubeconfig: settings.config.kubernetes.kubeconfig.clone(),
        settings: settings.cluster(registry),
        port: settings.config.rollout.port,
        pull: Arc::new(pull),
        logs: data.instance_logs(),
        log_bytes: settings.config.logs.instance.bytes(),
        witness,
    }
}

/// The story over these rooms. Builds the stack where it is not there yet, which takes a while at a first run.
pub(crate) async fn platform(settings: &Settings, data: &Data, rooms: &Rooms, port: u16) -> Result<Platform> {
    let stack = stack(settings, data, &rooms.content).await?;
    let builder = Builder::new(builder_parts(settings, rooms, stack)?).await?;
    let parts = Parts {
        store: rooms.store.clone(),
        logs: rooms.logs.clone(),
        keys: rooms.keys.clone(),
        repositories: rooms.repositories.clone(),
        sources: SourceStore::open(data.sources())?,
        builder,
        runtime: rooms.runtime.clone(),
        content: rooms.content.clone(),
        settings: settings.platform(data, port),
    };
    Ok(Platform::open(parts).await?)
}

async fn stack(settings: &Settings, data: &Data, content: &ContentStore) -> Result<StackImages> {
    let (stacks, egress) = (&settings.config.stacks, &settings.config.egress);
    let (mirrors, usual) = (&egress.mirrors, Mirrors::default());
    let options = StackOptions {
        definition: Installation::find()?.stack(&stacks.default),
        work: data.work(),
        cache: stacks.cache_dir.clone(),
        mirrors: Mirrors {
            debian: mirrors.debian.clone().unwrap_or(usual.debian),
            debian_security: mirrors.debian_security.clone().unwrap_or(usual.debian_security),
            npm: mirrors.npm.clone().unwrap_or(usual.npm),
        },
    };
    let way = hythe_stacks::Egress {
        http_proxy: plain(egress.http_proxy.as_ref()),
        https_proxy: plain(egress.https_proxy.as_ref()),
        no_proxy: egress.no_proxy.clone(),
        ca_bundle: egress.ca_bundle(),
    };
    let tell = |line: &str| println!("stack     {line}");
    let images = hythe_stacks::ensure_through(content, &options, &way, &tell).await;
    images.with_context(|| format!("the stack {} cannot be made", stacks.default))
}

fn plain(secret: Option<&SecretString>) -> Option<String> {
    secret.map(|text| text.expose_secret().to_owned())
}

fn builder_parts(settings: &Settings, rooms: &Rooms, stack: StackImages) -> Result<BuilderParts> {
    let installation = Installation::find()?;
    let (limits, egress) = (&settings.config.builder, &settings.config.egress);
    Ok(BuilderParts {
        helper: rooms.helper.clone(),
        content: rooms.content.clone(),
        layers: rooms.layers.clone(),
        stack,
        lifecycle: installation.lifecycle(),
        launcher: installation.launcher(),
        buildpacks: installation.buildpacks(),
        builder: installation.builder(&limits.image),
        limits: BuildLimits {
            memory_bytes: limits.memory.bytes(),
            cpu_millis: limits.cpu.millis(),
            pids: limits.processes,
            disk_bytes: limits.disk.bytes(),
            cache_bytes: limits.cache.bytes(),
            wall: limits.time.duration(),
            output_bytes: limits.output.bytes(),
        },
        network: NetworkSettings {
            egress: Egress {
                enabled: egress.enabled,
                allow_private: egress.allow_private.clone(),
                dns: egress.dns.clone(),
            },
            ca_bundle: egress.ca_bundle(),
            http_proxy: plain(egress.http_proxy.as_ref()),
            https_proxy: plain(egress.https_proxy.as_ref()),
            no_proxy: egress.no_proxy.clone(),
            pip_index_url: egress.mirrors.pip.clone(),
            npm_registry: egress.mirrors.npm.clone(),
        },
    })
}

fn log_limits(settings: &Settings) -> LogLimits {
    let logs = &settings.config.logs;
    LogLimits {
        build_bytes: logs.build.bytes(),
        tool_bytes: logs.tool.bytes(),
        line_bytes: usize::try_from(logs.line.bytes()).unwrap_or(16 << 10),
    }
}

fn repository_options(settings: &Settings) -> Result<RepositoryOptions> {
    let limits = &settings.config.limits;
    Ok(RepositoryOptions {
        git: PathBuf::from("git"),
        hook: HookCommand { program: Installation::find()?.program(), args: vec!["hook".to_owned()] },
        limits: SourceLimits {
            pack_bytes: limits.pack.bytes(),
            objects: limits.objects,
            files: limits.files,
            file_bytes: limits.file.bytes(),
            total_bytes: limits.tree.bytes(),
            path_bytes: usize::try_from(limits.path)?,
            depth: usize::try_from(limits.depth)?,
        },
    })
}
