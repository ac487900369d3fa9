//! A runtime with a helper of its own, and images made of busybox.

use hythe_layers::Layers;
use hythe_model::{
    Actor, BuildEvent, BuildId, CommitId, Digest, Fault, Formation, InstanceId, Process, Release,
    ReleaseCause, ReleaseNumber, ReleaseState, Route, ToolName,
};
use hythe_oci::{
    Compression, History, ImageBuilder, LayerDescriptor, LayerSpec, Part, Platform, media_type, write_layer,
};
use hythe_registry::{ContentStore, Reference, Repository};
use hythe_rollout::{Candidate, LocalParts, LocalRuntime, RunSettings, RunnableRelease, Runtime, Unwatched};
use hythe_sandbox::Helper;
pub(crate) use hythe_testing::{Bench, as_hythe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// What every process of the images runs; its config says how it behaves.
const SCRIPT: &str = r#"#!/bin/sh
echo "$HYTHE_TOOL $HYTHE_RELEASE $HYTHE_PROCESS on $PORT says $GREETING as $(id -u)"
case "$BEHAVE" in
  crash) echo "cannot go on" >&2; exit 3 ;;
  zero) exit 0 ;;
  deaf) exec sleep 1000 ;;
  memory) exec tail /dev/zero ;;
  stubborn) trap '' TERM; /bin/busybox httpd -f -p "$PORT" -h /www & while true; do sleep 1; done ;;
  short) /bin/busybox httpd -p "$PORT" -h /www; sleep 2; echo "that was it"; exit 7 ;;
esac
echo "$HYTHE_RELEASE" >/www/release
exec /bin/busybox httpd -f -p "$PORT" -h /www
"#;

/// A helper, a store and a runtime in a folder of their own.
pub(crate) struct World {
    pub(crate) runtime: LocalRuntime,
    pub(crate) helper: Helper,
    pub(crate) content: ContentStore,
    pub(crate) bench: Bench,
    image: Digest,
}

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        let bench = Bench::new("rollout", name).await;
        let content = ContentStore::open(bench.folder.join("registry")).unwrap();
        let image = publish(&content);
        let runtime = runtime(&bench.helper, &content, &bench.folder).await;
        Self { runtime, helper: bench.helper.clone(), content, bench, image }
    }

    /// The server again, over the same helper.
    pub(crate) async fn restarted(self) -> Self {
        let helper = self.bench.reopened().await;
        let runtime = runtime(&helper, &self.content, &self.bench.folder).await;
        Self { runtime, helper, ..self }
    }

    /// A release of the tool `weather` with these counts and this config.
    pub(crate) fn release(&self, number: u32, formation: &str, env: &[(&str, &str)]) -> RunnableRelease {
        let counts = formation.split_whitespace().map(|pair| {
            let (kind, count) = pair.split_once('=').unwrap();
            (kind.parse().unwrap(), count.parse().unwrap())
        });
        let process = |kind: &str| Process { kind: kind.parse().unwrap(), command: "serve".to_owned() };
        let commit: CommitId = "4f2a91c".repeat(6)[..40].parse().unwrap();
        let cause =
            ReleaseCause::Code { commit: commit.clone(), subject: "Test".to_owned(), build: BuildId(1) };
        let release = Release {
            tool: tool(),
            number: ReleaseNumber(number),
            image: self.image.clone(),
            commit,
            processes: vec![process("web"), process("worker")],
            project: hythe_model::Project::default(),
            config: 1,
            formation: Formation(counts.collect()),
            cause,
            message: None,
            actor: Actor::Platform,
            state: ReleaseState::RollingOut,
            fault: None,
            created_at: jiff::Timestamp::now(),
        };
        let mut settings = RunSettings { grace: Duration::from_secs(2), ..RunSettings::default() };
        settings.limits.memory_bytes = 64 << 20;
        settings.egress.enabled = false;
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RunnableRelease {
            release,
            repository: "tools/weather".to_owned(),
            env,
            files: Vec::new(),
            settings,
            release_command: None,
            canary: None,
        }
    }

    pub(crate) async fn start(&self, release: RunnableRelease) -> Result<Candidate, Fault> {
        self.runtime.start(release, None, &|_: BuildEvent| (), CancellationToken::new()).await
    }

    pub(crate) async fn deploy(&self, release: RunnableRelease) {
        let candidate = self.start(release).await.unwrap();
        self.runtime.switch(candidate).await;
    }

    /// Those who take traffic.
    pub(crate) fn live(&self) -> Vec<InstanceId> {
        match self.runtime.routes().borrow().get("weather").map(|route| Route::clone(route)) {
            Some(Route::Live { upstreams, .. }) => upstreams.into_iter().map(|up| up.instance).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// What an instance answers.
    pub(crate) async fn get(&self, instance: &InstanceId, path: &str) -> String {
        let mut stream = self.runtime.dial(instance, 8080).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.rsplit("\r\n\r\n").next().unwrap().trim().to_owned()
    }

    /// Sandboxes that the helper knows.
    pub(crate) async fn sandboxes(&self) -> usize {
        self.helper.list().await.unwrap().len()
    }

    /// Waits until the helper knows so many.
    pub(crate) async fn until_sandboxes(&self, count: usize) {
        while self.sandboxes().await != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends everything and removes the folder.
    pub(crate) async fn end(self) {
        self.runtime.stop_tool(&tool()).await.unwrap();
        assert_eq!(self.sandboxes().await, 0, "nothing is left of a deleted tool");
        self.bench.end().await;
    }
}

pub(crate) fn tool() -> ToolName {
    "weather".parse().unwrap()
}

async fn runtime(helper: &Helper, content: &ContentStore, folder: &Path) -> LocalRuntime {
    let layers = Layers::open(helper.clone(), content.clone(), &folder.join("ns")).await.unwrap();
    LocalRuntime::new(LocalParts {
        helper: helper.clone(),
        content: content.clone(),
        layers,
        logs: folder.join("logs"),
        log_bytes: 8 << 20,
        traffic: Arc::new(Unwatched),
    })
}

/// An image of two layers, the second over the first.
fn publish(content: &ContentStore) -> Digest {
    let dir = |target: &str, mode, uid| Part::Dir { target: target.to_owned(), mode, uid, gid: uid };
    let file = |target: &str, text: &str, mode| Part::File {
        target: target.to_owned(),
        content: text.as_bytes().to_vec(),
        mode,
        uid: 0,
        gid: 0,
    };
    let link =
        |target: &str, link: &str| Part::Symlink { target: target.into(), link: link.into(), uid: 0, gid: 0 };
    let busybox = Part::HostFile {
        source: "/bin/busybox".into(),
        target: "/bin/busybox".to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let mut base = vec![dir("/bin", 0o755, 0), busybox];
    base.extend(
        ["sh", "id", "sleep", "tail", "cat", "env", "echo"]
            .map(|name| link(&format!("/bin/{name}"), "busybox")),
    );
    base.extend(["/proc", "/sys", "/dev", "/etc"].map(|path| dir(path, 0o755, 0)));
    base.extend([
        dir("/tmp", 0o1777, 0),
        file("/etc/passwd", "root:x:0:0::/:/bin/sh\ntool:x:1001:1000::/:/bin/sh\n", 0o644),
    ]);
    base.push(file("/etc/below", "of the lower layer", 0o644));
    let app = vec![
        dir("/www", 0o755, 1001),
        dir("/cnb", 0o755, 0),
        dir("/cnb/process", 0o755, 0),
        dir("/cnb/lifecycle", 0o755, 0),
        file("/cnb/process/web", SCRIPT, 0o755),
        file("/cnb/process/worker", SCRIPT, 0o755),
        file("/cnb/lifecycle/launcher", "#!/bin/sh\n[ \"$1\" = -- ] && shift\nexec \"$@\"\n", 0o755),
        file("/etc/.wh.below", "", 0o644),
    ];
    let repository: Repository = "tools/weather".parse().unwrap();
    let platform = Platform { architecture: "amd64".to_owned(), os: "linux".to_owned(), variant: None };
    let mut image = ImageBuilder::new(platform)
        .user("tool")
        .working_dir("/www")
        .env("PATH", "/bin")
        .env("GREETING", "hi");
    for parts in [base, app] {
        let upload = content.begin().unwrap();
        let compression = Compression::Gzip { level: 1 };
        let layer =
            write_layer(&LayerSpec::new(parts), compression, &mut upload.file().try_clone().unwrap(), 1)
                .unwrap();
        upload.commit(&repository, &layer.digest, layer.size).unwrap();
        image = image.layer(LayerDescriptor::of(&layer, compression), History::default());
    }
    let image = image.build().unwrap();
    content.put_blob(&repository, &image.config).unwrap();
    let reference = Reference::Digest(image.digest.clone());
    content.put_manifest(&repository, &reference, media_type::MANIFEST, &image.manifest).unwrap()
}
