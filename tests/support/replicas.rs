//! Two servers on one PostgreSQL database, one shared folder and the cluster.

use super::cluster::{Cluster, free_port, host, kubectl, told, until_a_build_runs};
use super::server::Server;
use hythe_testing::Postgres;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Two servers. Dropping them removes what they made in the cluster.
pub(crate) struct Replicas {
    pub(crate) one: Server,
    pub(crate) two: Server,
    pub(crate) rows: Postgres,
    /// The database in it.
    pub(crate) url: String,
    /// How each is configured.
    config: String,
    platform: String,
    registry: String,
    balancer: Arc<Balancer>,
    /// After the servers, which are stopped first.
    _shared: Shared,
}

/// The folder that both have, removed when this is dropped.
struct Shared(PathBuf);

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the registry's clients come: it carries them to the first server that answers, as a Service would.
struct Balancer(Mutex<Vec<String>>);

impl Balancer {
    fn start(address: &str) -> Arc<Self> {
        let balancer = Arc::new(Self(Mutex::default()));
        let listener = TcpListener::bind(address).expect("this machine has the cluster's address");
        let own = balancer.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let behind = own.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(server) = behind.iter().find_map(|address| TcpStream::connect(address).ok()) else {
                    continue;
                };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                std::thread::spawn(move || carry(client, to));
                std::thread::spawn(move || carry(server, from));
            }
        });
        balancer
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

impl Replicas {
    /// Starts two servers that do these parts of the work each; everything where empty.
    pub(crate) fn start(name: &str, roles: [&str; 2]) -> Self {
        let platform = format!("{name}-{}", std::process::id());
        let rows = Postgres::start();
        let shared = PathBuf::from(format!("/var/tmp/hythe-test-{platform}-shared"));
        let _ = fs::remove_dir_all(&shared);
        fs::create_dir_all(&shared).expect("a folder");
        if nix::unistd::geteuid().is_root() {
            let owned = Command::new("chown").arg("hythe:hythe").arg(&shared).status().expect("chown");
            assert!(owned.success());
        }
        let registry = format!("{}:{}", host(), free_port(&host()));
        let balancer = Balancer::start(&registry);
        let url = rows.database();
        let config = config(&platform, &url, &shared, &registry);
        let mut one = Server::prepared(&format!("{name}-one"), &config);
        one.set_roles(roles[0]);
        one.begin();
        let two = Server::joined(&format!("{name}-two"), &config, roles[1], one.token());
        Cluster::shared().registry_at(&registry, &registry);
        let replicas =
            Self { one, two, rows, url, config, platform, registry, balancer, _shared: Shared(shared) };
        replicas.balance();
        replicas
    }

    /// Starts one more server, which does these parts of the work.
    pub(crate) fn third(&self, roles: &str) -> Server {
        Server::joined(&format!("{}-three", self.platform), &self.config, roles, self.one.token())
    }

    fn balance(&self) {
        let behind = [&self.one, &self.two].map(|server| server.front("registry"));
        let behind = behind.into_iter().flatten().collect();
        *self.balancer.0.lock().unwrap_or_else(PoisonError::into_inner) = behind;
    }

    /// Stops the first or the second server when all that it has begun is done, as a rollout of the servers would, does something
    /// then, and starts its successor where it was.
    pub(crate) fn replace(&mut self, number: usize, then: impl FnOnce()) {
        let server = if number == 0 { &mut self.one } else { &mut self.two };
        server.pin();
        server.stop();
        then();
        server.spawn();
        self.balance();
    }

    /// `kubectl` in the namespace of a tool.
    pub(crate) fn kubectl_of(&self, tool: &str, args: &[&str]) -> super::Ran {
        let namespace = format!("{}-{tool}", self.platform);
        kubectl(&[&["--namespace", &namespace], args].concat())
    }

    /// Waits until a build runs in its pod.
    pub(crate) fn until_a_build_runs(&self) {
        until_a_build_runs(|args| self.kubectl_of_builds(args));
    }

    /// `kubectl` in the namespace of builds.
    pub(crate) fn kubectl_of_builds(&self, args: &[&str]) -> super::Ran {
        let namespace = format!("builds-of-{}", self.platform);
        kubectl(&[&["--namespace", &namespace], args].concat())
    }
}

fn config(platform: &str, rows: &str, shared: &std::path::Path, registry: &str) -> String {
    let host = host();
    format!(
        "[store]\nurl = \"{rows}\"\n[objects]\nfolder = \"{shared}\"\n\
         [registry]\nlisten = \"{host}:0\"\nplain = true\n[rollout]\nruntime = \"kubernetes\"\n\
         [kubernetes]\nkubeconfig = \"{kubeconfig}\"\nplatform = \"{platform}\"\nregistry = \"{registry}\"\n\
         namespace_prefix = \"{platform}-\"\nrouter_networks = [\"{host}/32\"]\n[egress]\ndns = [\"{dns}\"]\n",
        shared = shared.display(),
        kubeconfig = told("KUBECONFIG"),
        dns = Cluster::shared().name_server(),
    )
}

impl Drop for Replicas {
    fn drop(&mut self) {
        let label = format!("hythe.dev/platform={}", self.platform);
        if std::thread::panicking() {
            eprintln!("{}", kubectl(&["get", "pods,events", "-A", "-l", &label]).out);
            eprintln!("--- one\n{}\n--- two\n{}", self.one.log(), self.two.log());
        }
        kubectl(&["delete", "namespace", "--wait=false", "-l", &label]);
        Cluster::shared().forget_registry(&self.registry);
    }
}
