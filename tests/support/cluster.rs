//! The Kubernetes cluster that `make test` starts, and servers whose tools run in it.

use super::{Ran, Server, seed};
use hythe_model::ToolName;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

/// What `make test` says of the cluster.
pub(crate) fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by `make test`"))
}

/// This machine as the cluster's nodes and pods see it.
pub(crate) fn host() -> String {
    std::env::var("HYTHE_CLUSTER_HOST").unwrap_or_else(|_| "10.213.0.1".to_owned())
}

/// A port that nobody listens at. Images are pulled by it, and so it stays the same when a server starts again.
pub(crate) fn free_port(host: &str) -> u16 {
    let listener = std::net::TcpListener::bind((host, 0)).expect("this machine has the cluster's address");
    listener.local_addr().expect("an address").port()
}

/// Where the nodes of the tests' own cluster look up how a registry is reached.
fn registries() -> PathBuf {
    PathBuf::from(told("HYTHE_CLUSTER")).join("certs.d")
}

/// The cluster's name server, by the address that policies see: it need not be a pod's.
pub(crate) fn name_server() -> String {
    let path = "jsonpath={.items[0].endpoints[0].addresses[0]}";
    let of = "kubernetes.io/service-name=kube-dns";
    kubectl(&["get", "endpointslices", "-n", "kube-system", "-l", of, "-o", path]).ok().out
}

/// `kubectl` with the administrator's rights.
pub(crate) fn kubectl(args: &[&str]) -> Ran {
    let mut command = Command::new(PathBuf::from(told("HYTHE_CLUSTER_BIN")).join("kube"));
    command.args(["kubectl", "--kubeconfig", &told("KUBECONFIG")]).args(args);
    command.output().expect("kubectl runs").into()
}

/// Applies a document with the administrator's rights.
pub(crate) fn kubectl_apply(document: &str) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), document).expect("a file");
    kubectl(&["apply", "-f", file.path().to_str().expect("a path")]).ok();
}

/// A server whose tools run in the cluster. Dropping it removes what it made there.
pub(crate) struct Clustered {
    server: Server,
    platform: String,
}

impl Clustered {
    /// Starts a server with these lines added to its configuration.
    pub(crate) fn start(name: &str, extra: &str) -> Self {
        Self::with(name, "", extra)
    }

    /// Starts a server with these lines added to the section of rollouts.
    pub(crate) fn with_rollout(name: &str, rollout: &str) -> Self {
        Self::with(name, rollout, "")
    }

    fn with(name: &str, rollout: &str, extra: &str) -> Self {
        Self::prepared(name, rollout, extra).begin()
    }

    fn begin(mut self) -> Self {
        self.server.begin();
        self.registry_away(false);
        self
    }

    fn prepared(name: &str, rollout: &str, extra: &str) -> Self {
        let platform = format!("{name}-{}", std::process::id());
        let (host, kubeconfig) = (host(), told("KUBECONFIG"));
        let config = format!(
            "[registry]\nlisten = \"{host}:{port}\"\nplain = true\n\
             [rollout]\nruntime = \"kubernetes\"\n{rollout}\
             [kubernetes]\nkubeconfig = \"{kubeconfig}\"\nplatform = \"{platform}\"\n\
             namespace_prefix = \"{platform}-\"\nrouter_networks = [\"{host}/32\"]\n\
             [egress]\ndns = [\"{dns}\"]\n{extra}",
            dns = name_server(),
            port = free_port(&host),
        );
        Self { server: Server::prepared(name, &config), platform }
    }

    /// Starts a server whose log tells what this filter lets through.
    pub(crate) fn start_told(name: &str, filter: &str) -> Self {
        let mut clustered = Self::prepared(name, "", "");
        clustered.server.set_log(filter);
        clustered.begin()
    }

    /// Makes the registry unreachable for nodes, or reachable again.
    pub(crate) fn registry_away(&self, away: bool) {
        let registry = self.address("registry");
        // Nothing listens on port 9.
        Self::registry_at(registry, if away { "127.0.0.1:9" } else { registry });
    }

    /// Tells nodes that a registry speaks plain HTTP and is reached there, in their own way.
    pub(crate) fn registry_at(registry: &str, reached: &str) {
        let hosts = registries().join(registry);
        fs::create_dir_all(&hosts).expect("a folder");
        fs::write(hosts.join("hosts.toml"), format!("server = \"http://{reached}\"\n")).expect("a file");
    }

    /// Tells nodes nothing about a registry any more.
    pub(crate) fn forget_registry(registry: &str) {
        let _ = fs::remove_dir_all(registries().join(registry));
    }

    /// Stops the server and starts it again; tools run on.
    pub(crate) fn restart(&mut self) {
        self.restart_after(|_| {});
    }

    /// The same, and does something while it does not run.
    pub(crate) fn restart_after(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.server.pin();
        self.server.stop();
        meanwhile(self);
        self.server.spawn();
    }

    /// Adds tools without instances to the server, while it does not run.
    pub(crate) fn seed(&self, tools: &[ToolName]) {
        let data = self.server.folder().join("data");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(seed(&data, tools, 0)).expect("tools are seeded");
        Server::own(&data);
    }

    /// What this installation is called among others.
    pub(crate) fn platform(&self) -> &str {
        &self.platform
    }

    /// Kills the server in the middle of whatever it does, and starts it again.
    pub(crate) fn kill(&mut self) {
        self.server.pin();
        self.server.kill();
        self.server.spawn();
    }

    /// The namespace of a tool.
    pub(crate) fn namespace(&self, tool: &str) -> String {
        format!("{}-{tool}", self.platform)
    }

    /// `kubectl` in the namespace of builds.
    pub(crate) fn kubectl_of_builds(&self, args: &[&str]) -> Ran {
        let namespace = format!("builds-of-{}", self.platform);
        kubectl(&[&["--namespace", &namespace], args].concat())
    }

    /// `kubectl` in the namespace of a tool.
    pub(crate) fn kubectl(&self, tool: &str, args: &[&str]) -> Ran {
        let namespace = self.namespace(tool);
        kubectl(&[&["--namespace", &namespace], args].concat())
    }
}

impl Deref for Clustered {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Clustered {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}",
                kubectl(&[
                    "get",
                    "pods,events",
                    "-A",
                    "-l",
                    &format!("hythe.dev/platform={}", self.platform)
                ])
                .out
            );
        }
        kubectl(&[
            "delete",
            "namespace",
            "--wait=false",
            "-l",
            &format!("hythe.dev/platform={}", self.platform),
        ]);
        Self::forget_registry(self.server.address("registry"));
    }
}
