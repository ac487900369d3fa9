//! The configuration as this program sees it: file, environment and command line in one.

use crate::cli::Place;
use crate::folders::Data;
use crate::roles::{Role, Roles};
use crate::tls;
use anyhow::{Result, bail};
use hythe_build::PodSettings;
use hythe_cluster::fence::Account;
use hythe_config::{Config, TlsMode};
use hythe_pipeline::{AllowedMount, Keep, Settings as PlatformSettings};
use hythe_registry::{Credentials, External, ExternalOptions, Prefix};
use hythe_rollout::{
    ClusterSettings, EgressSettings, Quota, ReadMount, Router, RunLimits, RunSettings, Volume,
};
use hythe_store::{Database, Store, StoreOptions};
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the operator chose.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// What this server does of all that there is to do.
    pub(crate) roles: Roles,
    data: PathBuf,
}

/// Reads the configuration. A mistake in it is shown with its line.
pub(crate) fn load(place: &Place) -> Result<Settings> {
    let config = match Config::load(place.config.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => bail!("{:?}", miette::Report::new(error)),
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let data = place.data.clone().unwrap_or_else(|| config.server.data_dir(home.as_deref()));
    Ok(Settings { config, roles: Roles::default(), data: std::path::absolute(data)? })
}

/// The same for a server that does these parts of the work.
pub(crate) fn load_for(place: &Place, roles: Roles) -> Result<Settings> {
    let settings = load(place)?;
    roles.check(settings.config.objects.folder.is_some())?;
    Ok(Settings { roles, ..settings })
}

impl Settings {
    /// Where the rows are: in the data folder, or on the server that the configuration names.
    pub(crate) fn database(&self, data: &Data) -> Result<Database> {
        let url = self.config.store.url()?;
        Ok(url.map_or_else(|| data.database().into(), |url| Database::postgres(url.expose_secret())))
    }

    /// The rows.
    pub(crate) async fn store(&self, data: &Data) -> Result<Store> {
        Ok(Store::open_with(self.database(data)?, self.store_options()).await?)
    }

    /// How they are reached.
    pub(crate) fn store_options(&self) -> StoreOptions {
        let chosen = &self.config.store;
        StoreOptions {
            readers: chosen.readers as usize,
            busy: chosen.busy.duration(),
            connections: chosen.connections as usize,
            patience: chosen.patience.duration(),
        }
    }

    /// The data folder, made where it is missing. Never as root: what root made, the platform's user could not use.
    pub(crate) fn data(&self) -> Result<Data> {
        refuse_root()?;
        let config = &self.config;
        Data::open(&self.data, config.server.keys.as_deref(), config.objects.folder.as_deref())
    }

    /// Whether this front speaks TLS.
    pub(crate) fn speaks_tls(&self, listen: std::net::SocketAddr) -> bool {
        match self.config.tls.mode {
            TlsMode::Off => false,
            TlsMode::Auto => !listen.ip().is_loopback(),
            TlsMode::Own | TlsMode::Files => true,
        }
    }

    /// What the story needs; `port` is the router's real one.
    pub(crate) fn platform(&self, data: &Data, port: u16) -> PlatformSettings {
        let router = &self.config.router;
        let tls = self.speaks_tls(router.listen);
        let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
        let shown = if router.public_port == 0 { port } else { router.public_port };
        PlatformSettings {
            domain: router.domain.clone(),
            scheme,
            port: (shown != usual).then_some(shown),
            concurrent_builds: usize::try_from(self.config.builder.concurrent).unwrap_or(1),
            builds: self.roles.has(Role::Builder),
            run: self.run(),
            mounts: self.mounts(),
            keep: self.keep(data),
        }
    }

    fn keep(&self, data: &Data) -> Keep {
        let config = &self.config;
        Keep {
            every: config.server.upkeep.duration(),
            releases: config.registry.keep_releases,
            image_bytes: config.registry.tool.bytes() / 2,
            builds: config.logs.builds,
            blob_grace: config.registry.blob_grace.duration(),
            lock: data.upkeep_lock(),
        }
    }

    /// The registry that nodes pull from, where it is not this server's own.
    pub(crate) fn external(&self) -> Result<Option<ExternalOptions>> {
        let chosen = &self.config.registry.external;
        let Some(prefix) = &chosen.prefix else { return Ok(None) };
        let wrong = |why| anyhow::anyhow!("`prefix` in [registry.external] is wrong: {why}");
        Ok(Some(ExternalOptions {
            prefix: prefix.parse().map_err(wrong)?,
            platform: self.config.kubernetes.platform.clone(),
            push: chosen.push_credentials.clone(),
            authorities: chosen.ca_bundle.clone(),
            plain: chosen.plain,
            patience: chosen.patience.duration(),
        }))
    }

    /// What nodes pull with from there; none where they need nothing, or have something of their own.
    pub(crate) fn external_pull(&self, prefix: &Prefix) -> Result<Option<Credentials>> {
        let path = self.config.registry.external.pull_credentials.as_ref();
        Ok(path.map(|path| Credentials::open(path, prefix.host())).transpose()?)
    }

    /// Where images are pulled from: the external registry, else the embedded one.
    pub(crate) fn images(&self, external: Option<&External>, listener: Option<SocketAddr>) -> Prefix {
        let embedded = || Prefix::embedded(self.registry_host(listener));
        external.map_or_else(embedded, |external| external.prefix().clone())
    }

    /// Where nodes and pods find the embedded registry; `listener` is the address of its own listener. It is at the API's address too.
    fn registry_host(&self, listener: Option<SocketAddr>) -> String {
        let Config { kubernetes, registry, api, .. } = &self.config;
        let own = listener.or(registry.listen).map(|address| address.to_string());
        let chosen = kubernetes.registry.clone().or(own).or_else(|| api.public.clone());
        chosen.unwrap_or_else(|| api.listen.to_string())
    }

    /// The server's own account, where its rights are to be given namespace by namespace.
    pub(crate) fn account(&self) -> Result<Option<Account>> {
        let parse = |text: &String| {
            text.parse().map_err(|why| anyhow::anyhow!("`account` in [kubernetes] is wrong: {why}"))
        };
        self.config.kubernetes.account.as_ref().map(parse).transpose()
    }

    /// How builds lie in a cluster; `registry` is the address of the registry's own listener, where this server has it: each says the
    /// same of it.
    pub(crate) fn build_pods(&self, data: &Data, registry: Option<SocketAddr>) -> Result<PodSettings> {
        let chosen = &self.config.kubernetes;
        let own = registry.or(self.config.registry.listen);
        let front = own.unwrap_or(self.config.api.listen);
        let plain = !self.speaks_tls(front) || own.is_some() && self.config.registry.plain;
        Ok(PodSettings {
            platform: chosen.platform.clone(),
            namespace: chosen.build_namespace(),
            account: self.account()?,
            registry: self.registry_host(registry),
            plain,
            authorities: if plain { None } else { tls::authorities(self, data)? },
            registry_namespace: chosen.router_namespace.clone(),
            registry_port: front.port(),
            start: chosen.start.duration(),
        })
    }

    /// How tools lie in a cluster; `images` is where nodes pull from.
    pub(crate) fn cluster(&self, images: Prefix) -> Result<ClusterSettings> {
        let chosen = &self.config.kubernetes;
        let seconds = |span: hythe_config::Span| u32::try_from(span.duration().as_secs()).unwrap_or(u32::MAX);
        Ok(ClusterSettings {
            platform: chosen.platform.clone(),
            namespace_prefix: chosen.namespace_prefix.clone(),
            account: self.account()?,
            images,
            router: Router {
                namespace: chosen.router_namespace.clone(),
                cidrs: chosen.router_networks.clone(),
            },
            quota: quota(&chosen.quota),
            quotas: chosen
                .quotas
                .iter()
                .map(|other| (other.tools.clone(), quota(&other.over(&chosen.quota))))
                .collect(),
            start: chosen.start.duration(),
            leave_seconds: seconds(chosen.leave),
            min_ready_seconds: seconds(chosen.settle),
        })
    }

    fn mounts(&self) -> Vec<AllowedMount> {
        let each = self.config.mounts.iter().map(|chosen| {
            let volume = |class: &String| Volume { class: class.clone(), bytes: chosen.size.bytes() };
            let mount = ReadMount {
                name: chosen.name.clone(),
                folder: chosen.folder.clone(),
                volume: chosen.storage_class.as_ref().map(volume),
            };
            AllowedMount { tools: chosen.tools.clone(), mount }
        });
        each.collect()
    }

    fn run(&self) -> RunSettings {
        let (sandbox, rollout, egress) = (&self.config.sandbox, &self.config.rollout, &self.config.egress);
        RunSettings {
            port: rollout.port,
            timeout: rollout.readiness.duration(),
            drain: rollout.drain.duration(),
            grace: rollout.grace.duration(),
            backoff: rollout.backoff.duration(),
            limits: RunLimits {
                memory_bytes: sandbox.memory.bytes(),
                cpu_millis: sandbox.cpu.millis(),
                pids: sandbox.processes,
                disk_bytes: sandbox.disk.bytes(),
                nofile: sandbox.open_files.into(),
            },
            egress: EgressSettings {
                enabled: egress.enabled,
                allow_private: egress.allow_private.clone(),
                dns: egress.dns.clone(),
            },
            ..RunSettings::default()
        }
    }
}

fn quota(chosen: &hythe_config::Quota) -> Quota {
    Quota {
        pods: chosen.pods,
        limits: RunLimits {
            memory_bytes: chosen.memory.bytes(),
            cpu_millis: chosen.cpu.millis(),
            disk_bytes: chosen.disk.bytes(),
            ..RunLimits::default()
        },
    }
}

/// A secret for those who take it as it is.
pub(crate) fn plain(secret: Option<&SecretString>) -> Option<String> {
    secret.map(|text| text.expose_secret().to_owned())
}

/// Stops where this is root, and says how to start properly.
pub(crate) fn refuse_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        bail!(
            "this is root, and the server, its builds and its tools never run as root.\n  \
             Prepare the machine once, as root:   scripts/prepare\n  \
             Then start as its user:              setpriv --reuid hythe --regid hythe --init-groups hythed serve\n  \
             or by systemd, with User=hythe (docs/how-to/operate.md)."
        );
    }
    Ok(())
}
