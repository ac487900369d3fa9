//! The rooms, opened in order: from the helper up to the platform.

use crate::control;
use crate::folders::{Data, Installation};
use crate::glue::{Counted, Logging};
use crate::keys;
use crate::listeners::listener;
use crate::roles::Role;
use crate::settings::{Settings, plain};
use crate::stack;
use anyhow::{Context, Result};
use hythe_auth::{Auth, KeyRing, Machine};
use hythe_build::{BuildLimits, Builder, BuilderParts, NetworkSettings, Place, PodParts};
use hythe_cluster::Cluster;
use hythe_cluster::fence::PullAccess;
use hythe_config::{ExecutorKind, RuntimeKind};
use hythe_events::{LogLimits, LogStore, SharedPlace};
use hythe_layers::Layers;
use hythe_objects::{Objects, SharedFolder};
use hythe_pipeline::{Parts, Platform};
use hythe_registry::{ContentStore, Credentials, External, Prefix};
use hythe_rollout::{KubernetesParts, KubernetesRuntime, LocalParts, LocalRuntime, Pull, Runtime};
use hythe_router::InFlight;
use hythe_sandbox::{Egress, Helper};
use hythe_source::{HookCommand, Repositories, RepositoryOptions, SourceLimits, SourceStore};
use hythe_stacks::StackImages;
use hythe_store::Store;
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Everything that the fronts stand on.
pub(crate) struct Rooms {
    /// The sandboxes of this machine, where anything runs in them.
    sandboxes: Option<Sandboxes>,
    pub(crate) auth: Auth,
    pub(crate) content: ContentStore,
    external: Option<External>,
    pub(crate) repositories: Repositories,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) in_flight: InFlight,
    pub(crate) logs: LogStore,
    pub(crate) store: Store,
    objects: Option<Arc<dyn Objects>>,
    pub(crate) keys: KeyRing,
    cluster: Option<Cluster>,
    /// The registry's own listener, until a front takes it.
    pub(crate) registry: Option<TcpListener>,
    /// Its address.
    registry_address: Option<SocketAddr>,
}

/// The sandboxes of this machine.
#[derive(Clone)]
struct Sandboxes {
    helper: Helper,
    layers: Layers,
}

impl Sandboxes {
    /// Opens them, where anything is to run in them.
    async fn open(settings: &Settings, data: &Data, content: &ContentStore) -> Result<Option<Self>> {
        if !settings.config.needs_sandboxes() {
            return Ok(None);
        }
        let helper = control::helper(settings, data).await.context("the sandbox helper does not start")?;
        let layers = Layers::open(helper.clone(), content.clone(), &data.namespace()).await?;
        Ok(Some(Self { helper, layers }))
    }
}

impl Rooms {
    /// The helper, where there is one.
    pub(crate) fn helper(&self) -> Option<&Helper> {
        self.sandboxes.as_ref().map(|sandboxes| &sandboxes.helper)
    }

    /// Where images are pulled from.
    pub(crate) fn images(&self, settings: &Settings) -> Prefix {
        settings.images(self.external.as_ref(), self.registry_address)
    }
}

/// Opens everything below the story.
pub(crate) async fn open(settings: &Settings, data: &Data) -> Result<Rooms> {
    let store = settings.store(data).await?;
    let objects = objects(data)?;
    let logs = logs(settings, data, &store, objects.as_ref())?;
    let content = ContentStore::open(data.registry())?;
    let external =
        settings.external()?.map(|options| External::open(&options, content.clone())).transpose()?;
    let repositories = Repositories::open(data.repositories(), repository_options(settings)?)?;
    let sandboxes = Sandboxes::open(settings, data, &content).await?;
    let in_flight = InFlight::new();
    let keys = keys::open(settings, data, &store).await?;
    let registry = match settings.config.registry.listen {
        Some(address) if settings.roles.has(Role::Api) => {
            Some(listener(sandboxes.as_ref().map(|s| &s.helper), "registry", address).await?)
        }
        _ => None,
    };
    let registry_address = registry.as_ref().map(TcpListener::local_addr).transpose()?;
    let cluster = cluster(settings, &store).await?;
    let witness = Arc::new(Logging(logs.clone()));
    let runtime: Arc<dyn Runtime> = match settings.config.rollout.runtime {
        RuntimeKind::Local => {
            let sandboxes = sandboxes.clone().context("there are no sandboxes")?;
            let parts = local_parts(settings, data, sandboxes, content.clone(), in_flight.clone());
            Arc::new(LocalRuntime::with_witness(parts, witness))
        }
        RuntimeKind::Kubernetes => {
            let cluster = cluster.clone().context("there is no cluster")?;
            let (images, pull) = images(settings, external.as_ref(), registry_address, &keys)?;
            let parts = KubernetesParts {
                cluster,
                settings: settings.cluster(images)?,
                port: settings.config.rollout.port,
                pull,
                witness,
                traffic: Arc::new(Counted::new(in_flight.clone(), objects.as_ref().map(|_| store.clone()))),
            };
            Arc::new(KubernetesRuntime::start(parts))
        }
    };
    Ok(Rooms {
        sandboxes,
        auth: Auth::new(store.clone()),
        content,
        external,
        repositories,
        runtime,
        keys,
        cluster,
        registry,
        registry_address,
        in_flight,
        logs,
        store,
        objects,
    })
}

fn local_parts(
    settings: &Settings,
    data: &Data,
    sandboxes: Sandboxes,
    content: ContentStore,
    in_flight: InFlight,
) -> LocalParts {
    LocalParts {
        helper: sandboxes.helper,
        content,
        layers: sandboxes.layers,
        logs: data.instance_logs(),
        log_bytes: settings.config.logs.instance.bytes(),
        traffic: Arc::new(Counted::new(in_flight, None)),
    }
}

/// The logs, where every server sees them if there are several.
fn logs(
    settings: &Settings,
    data: &Data,
    store: &Store,
    objects: Option<&Arc<dyn Objects>>,
) -> Result<LogStore> {
    Ok(match objects.cloned() {
        Some(objects) => {
            let place = SharedPlace { store: store.clone(), objects };
            LogStore::open_shared(data.logs(), log_limits(settings), place)?
        }
        None => LogStore::open(data.logs(), log_limits(settings))?,
    })
}

/// Where objects are that every server sees; none where this is the only one.
fn objects(data: &Data) -> Result<Option<Arc<dyn Objects>>> {
    let Some(folder) = data.objects() else { return Ok(None) };
    Ok(Some(Arc::new(SharedFolder::open(folder)?)))
}

/// The cluster, where anything is to run in one.
async fn cluster(settings: &Settings, store: &Store) -> Result<Option<Cluster>> {
    if !settings.config.needs_cluster() {
        return Ok(None);
    }
    let chosen = &settings.config.kubernetes;
    let cluster = Cluster::connect(chosen.kubeconfig.as_deref(), &chosen.platform).await?;
    Ok(Some(cluster.of(&keys::installation(store).await?)))
}

/// Where nodes pull from, and what they show there: an external registry, with what the operator gave for all tools; else this
/// server, each tool's images with a password of its own.
fn images(
    settings: &Settings,
    external: Option<&External>,
    listener: Option<SocketAddr>,
    keys: &KeyRing,
) -> Result<(Prefix, Pull)> {
    let prefix = settings.images(external, listener);
    if external.is_none() {
        let keys = keys.clone();
        let pull: Pull = Arc::new(move |tool| Some(pull_access(&keys, &Machine::Tool(tool.clone()))));
        return Ok((prefix, pull));
    }
    let access = |credentials: &Credentials| {
        let login = credentials.login();
        PullAccess { user: login.user, password: login.password.expose_secret().to_owned() }
    };
    let credentials = settings.external_pull(&prefix)?;
    Ok((prefix, Arc::new(move |_| credentials.as_ref().map(access))))
}

fn pull_access(keys: &KeyRing, machine: &Machine) -> PullAccess {
    let (user, password) = keys.machine_access(machine);
    PullAccess { user, password: password.expose_secret().to_owned() }
}

/// The story over these rooms. Builds the stack where it is not there yet, which takes a while at a first run.
pub(crate) async fn platform(settings: &Settings, data: &Data, rooms: &Rooms, port: u16) -> Result<Platform> {
    let stack = stack::ensure(settings, data, &rooms.content).await?;
    let place = build_place(settings, data, rooms)?;
    let builder = Builder::new(builder_parts(settings, rooms, stack)?, place).await?;
    let parts = Parts {
        store: rooms.store.clone(),
        objects: rooms.objects.clone(),
        logs: rooms.logs.clone(),
        keys: rooms.keys.clone(),
        repositories: rooms.repositories.clone(),
        sources: SourceStore::open(data.sources())?,
        builder,
        runtime: rooms.runtime.clone(),
        content: rooms.content.clone(),
        external: rooms.external.clone(),
        settings: settings.platform(data, port),
    };
    Ok(Platform::open(parts).await?)
}

/// Where builds run.
fn build_place(settings: &Settings, data: &Data, rooms: &Rooms) -> Result<Place> {
    match settings.config.builder.executor(settings.config.rollout.runtime) {
        ExecutorKind::Sandbox => {
            let Sandboxes { helper, layers } = rooms.sandboxes.clone().context("there are no sandboxes")?;
            Ok(Place::Sandboxes { helper, layers })
        }
        ExecutorKind::Pods => {
            let keys = rooms.keys.clone();
            let access = move |build| {
                let PullAccess { user, password } = pull_access(&keys, &Machine::Build(build));
                (user, password)
            };
            Ok(Place::Pods(Box::new(PodParts {
                cluster: rooms.cluster.clone().context("there is no cluster")?,
                settings: settings.build_pods(data, rooms.registry_address)?,
                access: Arc::new(access),
                pull: pull_access(&rooms.keys, &Machine::Builder),
                carrier: Installation::find()?.carrier(),
            })))
        }
    }
}

fn builder_parts(settings: &Settings, rooms: &Rooms, stack: StackImages) -> Result<BuilderParts> {
    let installation = Installation::find()?;
    let (limits, egress) = (&settings.config.builder, &settings.config.egress);
    Ok(BuilderParts {
        content: rooms.content.clone(),
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
            images_bytes: settings.config.registry.tool.bytes(),
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
