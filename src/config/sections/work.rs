//! Sections of stages: stacks, builds, the sandbox, rollouts, the way out.

use crate::{Config, Cores, Size, Span};
use hythe_model::{MountName, ToolName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// `[stacks]`: base images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stacks {
    /// The stack that tools get.
    pub default: String,
    /// A folder that keeps finished base images, so that another data folder starts at once.
    #[serde(deserialize_with = "super::optional")]
    pub cache_dir: Option<PathBuf>,
}

impl Default for Stacks {
    fn default() -> Self {
        Self { default: "bookworm".to_owned(), cache_dir: None }
    }
}

/// `[builder]`: builds, and what each may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Builder {
    /// The builder definition that tools get.
    pub image: String,
    /// Where builds run; see [`Builder::executor`] where unset.
    #[serde(deserialize_with = "super::optional")]
    pub executor: Option<ExecutorKind>,
    /// Builds that run at a time.
    pub concurrent: u32,
    /// Memory.
    pub memory: Size,
    /// Cores.
    pub cpu: Cores,
    /// Processes and threads.
    pub processes: u32,
    /// Disk written.
    pub disk: Size,
    /// The cached layers of one tool; the largest go first.
    pub cache: Size,
    /// Time.
    pub time: Span,
    /// Output of the buildpacks.
    pub output: Size,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            image: "default".to_owned(),
            executor: None,
            concurrent: 1,
            memory: Size::mib(2048),
            cpu: Cores(2000),
            processes: 1024,
            disk: Size::mib(8192),
            cache: Size::mib(4096),
            time: Span::seconds(1200),
            output: Size::mib(16),
        }
    }
}

/// Where builds run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorKind {
    /// In sandboxes of this machine.
    Sandbox,
    /// In pods of a cluster.
    Pods,
}

impl std::str::FromStr for ExecutorKind {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "pods" => Ok(Self::Pods),
            _ => Err("it is neither \"sandbox\" nor \"pods\""),
        }
    }
}

impl Builder {
    /// Where builds run: as set, else where tools run.
    pub fn executor(&self, runtime: RuntimeKind) -> ExecutorKind {
        self.executor.unwrap_or(match runtime {
            RuntimeKind::Local => ExecutorKind::Sandbox,
            RuntimeKind::Kubernetes => ExecutorKind::Pods,
        })
    }
}

/// `[sandbox]`: the programs it is made of, and what one instance of a tool may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// The OCI runtime, looked up in PATH.
    #[serde(deserialize_with = "super::optional")]
    pub runc: Option<PathBuf>,
    /// The network's way out, looked up in PATH.
    #[serde(deserialize_with = "super::optional")]
    pub pasta: Option<PathBuf>,
    /// Whether the server refuses to start where limits of memory, CPU and processes cannot be held.
    pub require_limits: bool,
    /// Memory.
    pub memory: Size,
    /// Cores.
    pub cpu: Cores,
    /// Processes and threads.
    pub processes: u32,
    /// Disk written.
    pub disk: Size,
    /// Open files of a process.
    pub open_files: u32,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            runc: None,
            pasta: None,
            require_limits: false,
            memory: Size::mib(512),
            cpu: Cores(1000),
            processes: 256,
            disk: Size::mib(1024),
            open_files: 65_536,
        }
    }
}

/// Where tools run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// In sandboxes of this machine.
    Local,
    /// In pods of a cluster.
    Kubernetes,
}

/// `[rollout]`: releases getting ready, and instances going.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Where tools run.
    pub runtime: RuntimeKind,
    /// How long a release may take to get ready.
    pub readiness: Span,
    /// How long an instance may take to stop after SIGTERM.
    pub grace: Span,
    /// How long an old instance may finish its requests once traffic has moved.
    pub drain: Span,
    /// The longest pause before a crashed instance is started again.
    pub backoff: Span,
    /// The port in `$PORT`, in every instance's own network.
    pub port: u16,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            runtime: RuntimeKind::Local,
            readiness: Span::seconds(60),
            grace: Span::seconds(10),
            drain: Span::seconds(30),
            backoff: Span::seconds(300),
            port: 8080,
        }
    }
}

/// `[[mounts]]`: a folder of the operator's that tools may read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What projects call it; it lies at `/mnt/<name>`.
    pub name: MountName,
    /// Tools that may read it; all of them where empty.
    #[serde(default)]
    pub tools: Vec<ToolName>,
    /// The folder of this machine.
    #[serde(default, deserialize_with = "super::optional")]
    pub folder: Option<PathBuf>,
    /// In a cluster: the class of the volumes that have it.
    #[serde(default, deserialize_with = "super::optional")]
    pub storage_class: Option<String>,
    /// In a cluster: the size that is asked for.
    #[serde(default = "gibibyte")]
    pub size: Size,
}

fn gibibyte() -> Size {
    Size::mib(1024)
}

impl Config {
    /// The first thing about the mounts that cannot be meant.
    pub(super) fn mounts_contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let local = self.rollout.runtime == RuntimeKind::Local;
        for (number, mount) in self.mounts.iter().enumerate() {
            if self.mounts[..number].iter().any(|other| other.name == mount.name) {
                return Some(("name", "two mounts have the same name", "Give each a name of its own."));
            }
            if local && mount.folder.as_ref().is_none_or(|folder| !folder.is_absolute()) {
                let next = "Set folder to the whole path of a folder of this machine.";
                return Some(("folder", "a mount of this machine is one of its folders", next));
            }
            if !local && mount.storage_class.is_none() {
                let next = "Set storage_class to the class of the volumes that have it.";
                return Some(("storage_class", "a mount of a cluster is a volume of some class", next));
            }
        }
        None
    }
}

/// `[egress]`: the way out for builds and tools.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Whether there is one.
    pub enabled: bool,
    /// PEM bundle of certificate authorities that builds trust; see [`Egress::ca_bundle`] where unset.
    #[serde(deserialize_with = "super::optional")]
    pub ca_bundle: Option<PathBuf>,
    /// Proxy of plain HTTP; may hold a password.
    #[serde(deserialize_with = "super::secret")]
    pub http_proxy: Option<SecretString>,
    /// Proxy of HTTPS; may hold a password.
    #[serde(deserialize_with = "super::secret")]
    pub https_proxy: Option<SecretString>,
    /// Hosts that are reached without the proxy, as `NO_PROXY` has them.
    #[serde(deserialize_with = "super::optional")]
    pub no_proxy: Option<String>,
    /// Private networks that are open, as in `10.1.0.0/16`; the others, link-local and metadata addresses stay closed.
    pub allow_private: Vec<String>,
    /// Name servers; the machine's own where empty.
    pub dns: Vec<IpAddr>,
    /// Mirrors of package registries.
    pub mirrors: Mirrors,
}

/// `[egress.mirrors]`: mirrors of package registries; the public ones where unset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirrors {
    /// Of the Python package index, its simple API.
    #[serde(deserialize_with = "super::optional")]
    pub pip: Option<String>,
    /// Of the npm registry.
    #[serde(deserialize_with = "super::optional")]
    pub npm: Option<String>,
    /// Of the Debian archive.
    #[serde(deserialize_with = "super::optional")]
    pub debian: Option<String>,
    /// Of Debian's security archive.
    #[serde(deserialize_with = "super::optional")]
    pub debian_security: Option<String>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            enabled: true,
            ca_bundle: None,
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            allow_private: Vec::new(),
            dns: Vec::new(),
            mirrors: Mirrors::default(),
        }
    }
}

impl Egress {
    /// The bundle that builds trust: the one set, else the machine's own, which already knows an inspecting proxy.
    pub fn ca_bundle(&self) -> Option<PathBuf> {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let usual =
            ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
        let own = named.into_iter().chain(usual.map(PathBuf::from)).find(|path| Path::is_file(path));
        self.ca_bundle.clone().or(own)
    }

    /// `Some` where `allow_private` holds something that is not a network.
    pub(crate) fn wrong_network(&self) -> Option<()> {
        self.allow_private.iter().any(|text| !super::is_network(text)).then_some(())
    }
}

impl PartialEq for Egress {
    fn eq(&self, other: &Self) -> bool {
        let plain = |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        let rest = |e: &Self| {
            (
                e.enabled,
                e.ca_bundle.clone(),
                e.no_proxy.clone(),
                e.allow_private.clone(),
                e.dns.clone(),
                e.mirrors.clone(),
            )
        };
        plain(&self.http_proxy) == plain(&other.http_proxy)
            && plain(&self.https_proxy) == plain(&other.https_proxy)
            && rest(self) == rest(other)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("enabled", &self.enabled)
            .field("ca_bundle", &self.ca_bundle)
            .field("http_proxy", &self.http_proxy)
            .field("https_proxy", &self.https_proxy)
            .field("no_proxy", &self.no_proxy)
            .field("allow_private", &self.allow_private)
            .field("dns", &self.dns)
            .field("mirrors", &self.mirrors)
            .finish()
    }
}
