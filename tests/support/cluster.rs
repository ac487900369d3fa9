//! The Kubernetes clusters of the tests, and servers whose tools run in them.

use super::{Ran, Server, checkout, seed, until};
use hythe_model::ToolName;
use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What `make test` says of the cluster.
pub(crate) fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by `make test`"))
}

/// This machine as the nodes and pods of the shared cluster see it.
pub(crate) fn host() -> String {
    std::env::var("HYTHE_CLUSTER_HOST").unwrap_or_else(|_| "10.213.0.1".to_owned())
}

/// A port that nobody listens at. Images are pulled by it, and so it stays the same when a server starts again.
pub(crate) fn free_port(host: &str) -> u16 {
    let listener = std::net::TcpListener::bind((host, 0)).expect("this machine has the cluster's address");
    listener.local_addr().expect("an address").port()
}

/// `kubectl` in the shared cluster, with the administrator's rights.
pub(crate) fn kubectl(args: &[&str]) -> Ran {
    Cluster::shared().kubectl(args)
}

/// Applies a document to the shared cluster with the administrator's rights.
pub(crate) fn kubectl_apply(document: &str) {
    Cluster::shared().apply(document);
}

/// Waits until a build runs in its pod, as this `kubectl` in the namespace of builds sees it.
pub(crate) fn until_a_build_runs(kubectl: impl Fn(&[&str]) -> Ran) {
    let path = "jsonpath={.items[*].status.initContainerStatuses[?(@.name==\"build\")].state.running}";
    until(Duration::from_mins(3), || {
        let running = kubectl(&["get", "pods", "-l", "hythe.dev/build", "-o", path]).out;
        running.contains("startedAt").then_some(())
    });
}

/// Where clouds keep a machine's credentials.
const METADATA: &str = "169.254.169.254";

/// What folders of stories' own clusters begin with, and how many this process has started.
const OWN: &str = "/var/tmp/hythe-test-cluster-";
static OWNS: AtomicU32 = AtomicU32::new(1);

/// A cluster: the one that `make test` starts and all stories share, or a story's own, which it may break.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: String,
    /// Its settings, logs and process ids.
    folder: PathBuf,
    /// This machine as its nodes and pods see it.
    pub(crate) host: String,
    /// The name and the network of a story's own, which goes with this.
    own: Option<(String, String)>,
}

impl Cluster {
    pub(crate) fn shared() -> Self {
        let folder = PathBuf::from(told("HYTHE_CLUSTER"));
        Self { kubeconfig: told("KUBECONFIG"), folder, host: host(), own: None }
    }

    /// Starts one. What is left of others whose test run was killed is ended before.
    pub(crate) fn own() -> Self {
        // One at a time, of all test runs: until its device is there, a network looks free.
        let lock = File::create(format!("{OWN}lock")).expect("a file");
        lock.lock().expect("a lock");
        Self::end_left();
        let cluster =
            Self::called(&format!("{}-{}", std::process::id(), OWNS.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&cluster.folder).expect("a folder");
        cluster.script("up").ok();
        cluster
    }

    /// A story's own of this name: the process id of its test run, a dash and a number.
    fn called(name: &str) -> Self {
        let addresses = Command::new("ip").args(["-o", "-4", "address"]).output().expect("ip runs");
        let addresses = String::from_utf8_lossy(&addresses.stdout).into_owned();
        let free = |net: &String| !addresses.contains(&format!(" {net}."));
        let net = (220..250).map(|number| format!("10.{number}")).find(free).expect("a free network");
        let folder = PathBuf::from(format!("{OWN}{name}"));
        // A network device's name has fifteen letters at most.
        let device = format!("hythe-{name}");
        assert!(device.len() <= 15, "{device}");
        Self {
            kubeconfig: format!("{}/admin.kubeconfig", folder.display()),
            folder,
            host: format!("{net}.0.1"),
            own: Some((device, net)),
        }
    }

    /// Ends the clusters of test runs that are gone: dropping them does it.
    fn end_left() {
        let (folder, begin) = OWN.rsplit_once('/').expect("a path");
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_prefix(begin) else { continue };
            let pid = name.split('-').next().and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
                drop(Self::called(name));
            }
        }
    }

    /// Runs a script of the cluster's, which takes its programs and its folder.
    fn script(&self, script: &str) -> Ran {
        let mut command = Command::new(checkout().join("tests/support/cluster").join(script));
        let (name, net) = self.own.as_ref().expect("a cluster of the story's own");
        command.arg(told("HYTHE_CLUSTER_BIN")).arg(&self.folder);
        // What it starts keeps what it gets: no pipe, whose end would be waited for.
        let said = File::create(self.folder.join("said")).expect("a file");
        command.stdout(said.try_clone().expect("a file")).stderr(said);
        let ended = command.env("CLUSTER_NAME", name).env("CLUSTER_NET", net).status().expect("it runs");
        let err = fs::read_to_string(self.folder.join("said")).unwrap_or_default();
        Ran { code: ended.code().unwrap_or(-1), out: String::new(), err }
    }

    /// `kubectl` with the administrator's rights.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(PathBuf::from(told("HYTHE_CLUSTER_BIN")).join("kube"));
        command.args(["kubectl", "--kubeconfig", &self.kubeconfig]).args(args);
        command.output().expect("kubectl runs").into()
    }

    /// Applies a document with the administrator's rights.
    pub(crate) fn apply(&self, document: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), document).expect("a file");
        self.kubectl(&["apply", "-f", file.path().to_str().expect("a path")]).ok();
    }

    /// Its name server, by the address that policies see: it need not be a pod's.
    pub(crate) fn name_server(&self) -> String {
        let path = "jsonpath={.items[0].endpoints[0].addresses[0]}";
        let of = "kubernetes.io/service-name=kube-dns";
        self.kubectl(&["get", "endpointslices", "-n", "kube-system", "-l", of, "-o", path]).ok().out
    }

    /// Tells nodes that a registry speaks plain HTTP and is reached there, in their own way.
    pub(crate) fn registry_at(&self, registry: &str, reached: &str) {
        let hosts = self.folder.join("certs.d").join(registry);
        fs::create_dir_all(&hosts).expect("a folder");
        fs::write(hosts.join("hosts.toml"), format!("server = \"http://{reached}\"\n")).expect("a file");
    }

    /// Tells nodes that a registry speaks TLS, and by whose word.
    fn registry_with_authority(&self, registry: &str, authority: &str) {
        let hosts = self.folder.join("certs.d").join(registry);
        fs::create_dir_all(&hosts).expect("a folder");
        let ca = hosts.join("ca.crt");
        fs::write(&ca, authority).expect("a file");
        let server = format!("https://{registry}");
        let text = format!("server = \"{server}\"\n[host.\"{server}\"]\nca = \"{}\"\n", ca.display());
        fs::write(hosts.join("hosts.toml"), text).expect("a file");
    }

    /// Tells nodes nothing about a registry any more.
    pub(crate) fn forget_registry(&self, registry: &str) {
        let _ = fs::remove_dir_all(self.folder.join("certs.d").join(registry));
    }

    /// Where nothing that runs in a pod may get, though somebody listens: the API server at its Service and at its node, the kubelet,
    /// and [`Cluster::metadata_server`].
    pub(crate) fn closed_to_pods(&self) -> Vec<(String, u16)> {
        let service = ["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"];
        let node = ["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"];
        let (service, node) = (self.kubectl(&service).ok().out, self.kubectl(&node).ok().out);
        vec![(service, 443), (node.clone(), 6443), (node, 10250), (METADATA.to_owned(), 80)]
    }

    /// Something that listens on the address where clouds keep a machine's credentials, on this cluster's node. Another story that
    /// wants it waits until this one's is dropped.
    pub(crate) fn metadata_server(&self) -> MetadataServer {
        let alone = File::create(self.folder.join("metadata.lock")).expect("a file");
        alone.lock().expect("a lock");
        let node = format!("/proc/{}/ns/net", self.pid("kubelet"));
        let address = |verb: &str| {
            let mut ip = Command::new("nsenter");
            let one = format!("{METADATA}/32");
            ip.arg(format!("--net={node}")).args(["ip", "address", verb, &one, "dev", "lo"]);
            ip
        };
        assert!(address("replace").status().expect("ip").success());
        let network = File::open(&node).expect("a network");
        let listener = std::thread::spawn(move || {
            nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).expect("the tests run as root");
            std::net::TcpListener::bind((METADATA, 80)).expect("a free port")
        });
        let listener = listener.join().expect("a listener");
        MetadataServer { _listener: listener, remove: address("delete"), _alone: alone }
    }

    fn pid_file(&self, program: &str) -> PathBuf {
        self.folder.join("run").join(format!("{program}.pid"))
    }

    /// Sends a program of the cluster a signal.
    fn signal(&self, program: &str, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid(program)]).status().expect("kill");
        assert!(sent.success(), "{program}");
    }

    fn pid(&self, program: &str) -> String {
        fs::read_to_string(self.pid_file(program)).expect("it runs").trim().to_owned()
    }

    /// Lets a program stand still, as on a machine that hangs, until [`Cluster::thaw`].
    pub(crate) fn freeze(&self, program: &str) {
        self.signal(program, "-STOP");
    }

    pub(crate) fn thaw(&self, program: &str) {
        self.signal(program, "-CONT");
    }

    /// Kills a program as a crash would; what starts it again.
    pub(crate) fn kill(&self, program: &'static str) -> Killed<'_> {
        let pid = self.pid(program);
        let words = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
        let words = String::from_utf8(words).expect("text").trim_end_matches('\0').replace('\0', "\n");
        self.signal(program, "-KILL");
        let gone = || (!PathBuf::from(format!("/proc/{pid}")).exists()).then_some(());
        until(Duration::from_secs(10), gone);
        Killed { cluster: self, program, words: words.lines().map(str::to_owned).collect() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.script("down");
            if !std::thread::panicking() {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

/// What [`Cluster::metadata_server`] has begun, until it is dropped.
pub(crate) struct MetadataServer {
    _listener: std::net::TcpListener,
    remove: Command,
    /// Released last.
    _alone: File,
}

impl Drop for MetadataServer {
    fn drop(&mut self) {
        let _ = self.remove.status();
    }
}

/// A program of a cluster that was killed.
pub(crate) struct Killed<'a> {
    cluster: &'a Cluster,
    program: &'static str,
    words: Vec<String>,
}

impl Killed<'_> {
    /// Starts it again, as it was.
    pub(crate) fn start(self) {
        let Self { cluster, program, words } = self;
        let (name, _) = cluster.own.as_ref().expect("a cluster of the story's own");
        // By a shell that ends at once, or nobody would clear up after a program that ends.
        let script = r#"net=$1 log=$2 pid=$3; shift 3
            setsid nsenter --net="$net" "$@" >>"$log" 2>&1 </dev/null & echo $! >"$pid""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &format!("/run/netns/{name}")]);
        command.arg(cluster.folder.join("log").join(format!("{program}.log")));
        command.arg(cluster.pid_file(program)).args(words);
        let path = format!("{}:{}", told("HYTHE_CLUSTER_BIN"), std::env::var("PATH").unwrap_or_default());
        assert!(command.env("PATH", path).status().expect("sh").success());
    }
}

/// A server whose tools run in the cluster. Dropping it removes what it made there.
pub(crate) struct Clustered {
    server: Server,
    platform: String,
    /// Whether it has an account with rights and policies of its own.
    restricted: bool,
    /// After the server, which is stopped first.
    cluster: Cluster,
}

impl Clustered {
    /// Starts a server with these lines added to its configuration.
    pub(crate) fn start(name: &str, extra: &str) -> Self {
        Self::prepared(Cluster::shared(), name, "", extra).begin()
    }

    /// Starts a server whose tools run on this machine, does this, and moves them into the cluster as the guide says it.
    pub(crate) fn start_on_this_machine(name: &str, before: impl FnOnce(&Server)) -> Self {
        let mut clustered = Self::prepared(Cluster::shared(), name, "", "");
        let file = clustered.server.folder().join("hythe.toml");
        let (local, kubernetes) = ("runtime = \"local\"\n", "runtime = \"kubernetes\"\n");
        let change = |from: &str, to: &str| {
            let config = fs::read_to_string(&file).expect("a configuration");
            fs::write(&file, config.replace(from, to)).expect("a configuration");
        };
        change(kubernetes, local);
        clustered.server.begin();
        before(&clustered.server);
        clustered.server.pin();
        clustered.registry_away(false);
        clustered.server.stop_all();
        change(local, kubernetes);
        clustered.server.spawn();
        clustered
    }

    /// Starts a server whose registry speaks TLS with a certificate of the platform's own authority, which nodes are told of.
    pub(crate) fn start_with_tls(name: &str) -> Self {
        let mut clustered = Self::prepared(Cluster::shared(), name, "", "");
        let file = clustered.server.folder().join("hythe.toml");
        let config = fs::read_to_string(&file).expect("a configuration");
        fs::write(&file, config.replace("plain = true\n", "")).expect("a configuration");
        clustered.server.begin();
        let authority = clustered.server.read_data("keys/ca.pem");
        clustered.cluster.registry_with_authority(clustered.address("registry"), &authority);
        clustered
    }

    /// Starts a server with the account, the rights and the policies of `deploy/kubernetes` and no more, for another platform's name as
    /// its README says, and with these lines added to the section of rollouts.
    pub(crate) fn with_the_rights_of_an_installation(name: &str, rollout: &str) -> Self {
        Self::prepared(Cluster::shared(), name, rollout, "").restricted().begin()
    }

    fn restricted(mut self) -> Self {
        self.restricted = true;
        let (platform, file) = (&self.platform, self.server.folder().join("hythe.toml"));
        let base = checkout().join("deploy/kubernetes/base");
        for part in ["namespace.yaml", "account.yaml", "rights.yaml", "admission.yaml"] {
            let text = fs::read_to_string(base.join(part)).expect("a file");
            let parts: Vec<String> =
                text.split("hythe.dev").map(|part| part.replace("hythe", platform)).collect();
            kubectl_apply(&parts.join("hythe.dev"));
        }
        let admin = fs::read_to_string(&self.cluster.kubeconfig).expect("a kubeconfig");
        let token = self.cluster.kubectl(&["-n", platform, "create", "token", platform]).ok().out;
        let (before, user) = admin.split_once("user: {").expect("a user");
        let (_, after) = user.split_once('}').expect("a user");
        let own = self.server.folder().join("server.kubeconfig");
        fs::write(&own, format!("{before}user: {{token: \"{token}\"}}{after}")).expect("a file");
        let config = fs::read_to_string(&file).expect("a configuration");
        let config = config.replace(&self.cluster.kubeconfig, own.to_str().expect("a path"));
        fs::write(&file, format!("{config}account = \"{platform}/{platform}\"\n")).expect("a configuration");
        Server::own(self.server.folder());
        self
    }

    /// Starts a server in a cluster of its own, with these lines added to the section of the cluster.
    pub(crate) fn start_alone(name: &str, extra: &str) -> Self {
        Self::prepared(Cluster::own(), name, "", extra).begin()
    }

    fn begin(mut self) -> Self {
        self.server.begin();
        self.registry_away(false);
        self
    }

    fn prepared(cluster: Cluster, name: &str, rollout: &str, extra: &str) -> Self {
        let platform = format!("{name}-{}", std::process::id());
        let Cluster { host, kubeconfig, .. } = &cluster;
        let config = format!(
            "[registry]\nlisten = \"{host}:{port}\"\nplain = true\n\
             [rollout]\nruntime = \"kubernetes\"\n{rollout}[egress]\ndns = [\"{dns}\"]\n\
             [kubernetes]\nkubeconfig = \"{kubeconfig}\"\nplatform = \"{platform}\"\n\
             namespace_prefix = \"{platform}-\"\nrouter_networks = [\"{host}/32\"]\n{extra}",
            dns = cluster.name_server(),
            port = free_port(host),
        );
        Self { server: Server::prepared(name, &config), platform, restricted: false, cluster }
    }

    /// Starts a server whose log tells what this filter lets through.
    pub(crate) fn start_told(name: &str, filter: &str) -> Self {
        let mut clustered = Self::prepared(Cluster::shared(), name, "", "");
        clustered.server.set_log(filter);
        clustered.begin()
    }

    /// Makes the registry unreachable for nodes, or reachable again.
    pub(crate) fn registry_away(&self, away: bool) {
        let registry = self.address("registry");
        // Nothing listens on port 9.
        self.cluster.registry_at(registry, if away { "127.0.0.1:9" } else { registry });
    }

    /// Where its tools run.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
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

    /// Waits until a build runs in its pod.
    pub(crate) fn until_a_build_runs(&self) {
        until_a_build_runs(|args| self.kubectl_of_builds(args));
    }

    /// `kubectl` in the namespace of builds.
    pub(crate) fn kubectl_of_builds(&self, args: &[&str]) -> Ran {
        let namespace = format!("builds-of-{}", self.platform);
        self.cluster.kubectl(&[&["--namespace", &namespace], args].concat())
    }

    /// `kubectl` in the namespace of a tool.
    pub(crate) fn kubectl(&self, tool: &str, args: &[&str]) -> Ran {
        let namespace = self.namespace(tool);
        self.cluster.kubectl(&[&["--namespace", &namespace], args].concat())
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
        let ours = format!("hythe.dev/platform={}", self.platform);
        if std::thread::panicking() {
            eprintln!("{}", self.cluster.kubectl(&["get", "pods,events", "-A", "-l", &ours]).out);
        }
        self.cluster.kubectl(&["delete", "namespace", "--wait=false", "-l", &ours]);
        if self.restricted {
            let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";
            let named = format!("app.kubernetes.io/name={}", self.platform);
            self.cluster.kubectl(&["delete", kinds, "-l", &named]);
            self.cluster.kubectl(&[
                "delete",
                "namespace",
                &self.platform,
                "--wait=false",
                "--ignore-not-found",
            ]);
        }
        if let Some(registry) = self.server.front("registry") {
            self.cluster.forget_registry(&registry);
        }
    }
}
