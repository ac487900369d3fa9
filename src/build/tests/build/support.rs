//! A builder of its own for each test: helper, content store, a stack of busybox, and buildpacks written in shell.

use hythe_build::{BuildLimits, BuildRequest, Builder, BuilderParts, NetworkSettings, Place};
use hythe_layers::Layers;
use hythe_model::render::Renderer;
use hythe_model::{BuildEvent, BuildId, Digest, Fault, PublishedImage, SourceTree, ToolName};
use hythe_oci::{
    Compression, Hasher, ImageBuilder, ImageConfig, LayerDescriptor, LayerSpec, Manifest, Part, Platform,
};
use hythe_registry::{ContentStore, Reference, Repository};
use hythe_sandbox::{
    ApplyOptions, ArchiveFormat, Helper, Limits, Network, Process, RelPath, Root, SandboxSpec, Stdio,
};
use hythe_stacks::{StackImage, StackImages, StackLayer, User, Users};
pub(crate) use hythe_testing::{Bench, as_hythe};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

fn program(name: &str) -> PathBuf {
    let prefix =
        std::env::var_os("HYTHE_PREFIX").expect("HYTHE_PREFIX is not set: run the tests by `make test`");
    PathBuf::from(prefix).join("libexec/hythe").join(name)
}

/// A buildpack: its name, its detect and its build.
pub(crate) type Shell<'a> = (&'a str, &'a str, &'a str);

pub(crate) struct World {
    pub(crate) helper: Helper,
    pub(crate) content: ContentStore,
    layers: Layers,
    bench: Bench,
    pub(crate) folder: PathBuf,
    pub(crate) limits: BuildLimits,
    pub(crate) network: NetworkSettings,
}

/// What a build ended with, and its log as people read it.
pub(crate) struct Ended {
    pub(crate) result: Result<PublishedImage, Fault>,
    pub(crate) log: Vec<String>,
}

impl Ended {
    pub(crate) fn image(&self) -> &PublishedImage {
        self.result.as_ref().unwrap_or_else(|fault| panic!("{fault}\n{:#?}", self.log))
    }

    pub(crate) fn fault(&self) -> &Fault {
        self.result.as_ref().expect_err("the build failed")
    }

    pub(crate) fn has(&self, part: &str) -> bool {
        self.log.iter().any(|line| line.contains(part))
    }
}

impl World {
    pub(crate) async fn new(name: &str) -> Self {
        let bench = Bench::new("build", name).await;
        let (helper, folder) = (bench.helper.clone(), bench.folder.clone());
        fs::create_dir_all(folder.join("sources")).unwrap();
        let content = ContentStore::open(folder.join("registry")).unwrap();
        let layers = Layers::open(helper.clone(), content.clone(), &folder.join("ns")).await.unwrap();
        let limits = BuildLimits { memory_bytes: 256 << 20, pids: 128, ..BuildLimits::default() };
        Self { helper, content, layers, bench, folder, limits, network: NetworkSettings::default() }
    }

    /// A builder whose groups are the lines of `order`, as in `a b?`.
    pub(crate) async fn builder(&self, order: &[&str], buildpacks: &[Shell<'_>]) -> Builder {
        self.builder_on("1", order, buildpacks).await.unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// A builder on a stack of this version.
    pub(crate) async fn builder_on(
        &self,
        version: &str,
        order: &[&str],
        buildpacks: &[Shell<'_>],
    ) -> Result<Builder, Fault> {
        let share = self.folder.join("share");
        let _ = fs::remove_dir_all(&share);
        let mut definition = String::new();
        for (name, detect, build) in buildpacks {
            let dir = share.join(name);
            fs::create_dir_all(dir.join("bin")).unwrap();
            let toml = format!("api = \"0.12\"\n[buildpack]\nid = \"test/{name}\"\nversion = \"1.0\"\n");
            fs::write(dir.join("buildpack.toml"), toml).unwrap();
            for (program, script) in [("detect", detect), ("build", build)] {
                let path = dir.join("bin").join(program);
                fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            definition.extend(["[[buildpacks]]\nuri = \"", name, "\"\n"]);
        }
        for group in order {
            definition += "[[order]]\n";
            for word in group.split(' ') {
                let (name, optional) = (word.trim_end_matches('?'), word.ends_with('?'));
                let optional = if optional { "true" } else { "false" };
                definition.extend(["[[order.group]]\nid = \"test/", name, "\"\noptional = ", optional, "\n"]);
            }
        }
        let builder = share.join("builder.toml");
        fs::create_dir_all(&share).unwrap();
        fs::write(&builder, definition).unwrap();
        self.open(version).await
    }

    /// A builder of the share as it stands.
    pub(crate) async fn open(&self, version: &str) -> Result<Builder, Fault> {
        let share = self.folder.join("share");
        let builder = share.join("builder.toml");
        let place = Place::Sandboxes { helper: self.helper.clone(), layers: self.layers.clone() };
        let parts = BuilderParts {
            content: self.content.clone(),
            stack: self.stack(version),
            lifecycle: program("lifecycle"),
            launcher: program("launcher"),
            buildpacks: share,
            builder,
            limits: self.limits.clone(),
            network: self.network.clone(),
        };
        Builder::new(parts, place).await
    }

    /// A request for these files, as build `id` of the tool `weather`.
    pub(crate) fn request(&self, id: i64, files: &[(&str, &str)]) -> BuildRequest {
        let tree = self.folder.join(format!("tree-{id}"));
        for (name, content) in files {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir_all(&tree).unwrap();
        let archive = self.folder.join(format!("sources/{id}.tar"));
        let tar =
            std::process::Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status();
        assert!(tar.unwrap().success());
        let source = SourceTree {
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
            subject: "Test".into(),
            digest: Hasher::digest(&fs::read(&archive).unwrap()),
            files: files.len() as u64,
            bytes: 0,
            project: hythe_model::Project::default(),
        };
        BuildRequest {
            tool: tool(),
            id: BuildId(id),
            source,
            archive,
            previous: None,
            no_cache: false,
            env: BTreeMap::new(),
        }
    }

    pub(crate) async fn build(&self, builder: &Builder, request: BuildRequest) -> Ended {
        self.build_until(builder, request, CancellationToken::new()).await
    }

    pub(crate) async fn build_until(
        &self,
        builder: &Builder,
        request: BuildRequest,
        cancel: CancellationToken,
    ) -> Ended {
        let seen = Mutex::new((Renderer::new(), Vec::new()));
        let id = request.id;
        let sink = |event: BuildEvent| {
            let mut seen = seen.lock().unwrap();
            let lines = seen.0.render(&event);
            seen.1.extend(lines);
        };
        let result = builder.build(request, &sink, cancel).await;
        let log = std::mem::take(&mut seen.lock().unwrap().1);
        assert!(
            !self.helper.exists(&path(&format!("builds/{id}"))).await.unwrap(),
            "the build's folder stays behind"
        );
        assert!(self.helper.list().await.unwrap().is_empty(), "the build's sandbox stays behind");
        Ended { result, log }
    }

    /// Manifest and config of an image of the tool.
    pub(crate) fn documents(&self, digest: &Digest) -> (Manifest, ImageConfig) {
        let repository = Repository::of_tool(&tool());
        let stored = self.content.manifest(&repository, &Reference::Digest(digest.clone())).unwrap().unwrap();
        let manifest = Manifest::parse(&stored.bytes).unwrap();
        assert!(manifest.layers.iter().all(|layer| self.content.linked(&repository, &layer.digest).unwrap()));
        let mut config = Vec::new();
        self.content.open_blob(&manifest.config.digest).unwrap().read_to_end(&mut config).unwrap();
        (manifest, ImageConfig::parse(&config).unwrap())
    }

    /// Runs an image as an instance would run: its layers, its entrypoint, its environment, the run user.
    pub(crate) async fn run(&self, digest: &Digest, args: &[&str]) -> (Option<i32>, String) {
        let (manifest, config) = self.documents(digest);
        let mut lowers = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let dest = path(&format!("run/{}", &diff_id.hex()[..20]));
            if !self.helper.exists(&dest).await.unwrap() {
                let blob = self.content.open_blob(&layer.digest).unwrap();
                let options = ApplyOptions {
                    expect: Some(diff_id.clone()),
                    ..ApplyOptions::layer(ArchiveFormat::TarGzip)
                };
                self.helper.unpack(blob, &dest, options).await.unwrap();
            }
            lowers.insert(0, dest);
        }
        let words = config.config.entrypoint.iter().cloned();
        let spec = SandboxSpec {
            id: "image".into(),
            labels: BTreeMap::new(),
            root: Root { lowers, upper: path("run/upper"), read_only: false },
            mounts: Vec::new(),
            process: Process {
                args: words.chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
                env: config
                    .config
                    .env
                    .iter()
                    .map(|pair| pair.split_once('=').unwrap())
                    .map(|(n, v)| (n.into(), v.into()))
                    .collect(),
                cwd: config.config.working_dir.clone(),
                uid: 1001,
                gid: 1000,
            },
            hostname: "tool".into(),
            limits: Limits::default(),
            network: Network::None,
        };
        let (mut reader, writer) = std::io::pipe().unwrap();
        let stdio =
            Stdio::Fds { stdin: None, stdout: writer.try_clone().unwrap().into(), stderr: writer.into() };
        let sandbox = self.helper.run(spec, stdio).await.unwrap();
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let exit = sandbox.wait().await.unwrap();
        let text = text.await.unwrap();
        sandbox.release().await.unwrap();
        (exit.code, text)
    }

    /// Ends everything and removes the folder, once nothing is written into it any more in the background.
    pub(crate) async fn end(self) {
        while !(self.layers_are_marked().await && self.cache_is_marked().await) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.bench.end().await;
    }

    async fn layers_are_marked(&self) -> bool {
        let names = self.helper.list_dir(&path("layers")).await.unwrap();
        let is_layer = |name: &&String| name.len() == 32;
        names.iter().filter(is_layer).all(|name| names.contains(&format!("{name}.ok")))
    }

    async fn cache_is_marked(&self) -> bool {
        let read = async |name: &str| self.helper.read(&path(name), 1 << 20).await.unwrap_or_default();
        let index = read("caches/weather/index.json").await;
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap_or_default();
        let stamp = index["stamp"].as_str().unwrap_or_default();
        read("caches/weather.synced").await == stamp.as_bytes()
    }

    fn stack(&self, version: &str) -> StackImages {
        let image = |kind: &str| {
            let repository: Repository = format!("stacks/test/{kind}").parse().unwrap();
            let layers = [busybox(), system(&format!("{kind} {version}"))];
            let platform = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
            let mut builder = ImageBuilder::new(platform).env("PATH", "/usr/bin:/bin").user("1001:1000");
            let mut found = Vec::new();
            for spec in layers {
                let layer = self.publish_layer(&repository, &spec);
                let (digest, size) = (layer.blob.digest.clone(), layer.blob.size);
                found.push(StackLayer { diff_id: layer.diff_id.clone(), digest, size });
                builder = builder.layer(layer, hythe_oci::History::default());
            }
            let built = builder.build().unwrap();
            self.content.put_blob(&repository, &built.config).unwrap();
            let reference = Reference::Digest(built.digest.clone());
            self.content
                .put_manifest(&repository, &reference, hythe_oci::BuiltImage::MEDIA_TYPE, &built.manifest)
                .unwrap();
            let repository = repository.as_str().to_owned();
            StackImage {
                repository,
                tag: "latest".into(),
                digest: built.digest,
                config: built.config,
                layers: found,
            }
        };
        let user = |name: &str, uid| User { name: name.into(), uid };
        StackImages {
            build: image("build"),
            run: image("run"),
            users: Users {
                group: "cnb".into(),
                gid: 1000,
                build: user("cnb", 1000),
                run: user("tool", 1001),
            },
            distro_name: "debian".into(),
            distro_version: "12".into(),
        }
    }

    fn publish_layer(&self, repository: &Repository, spec: &LayerSpec) -> LayerDescriptor {
        let compression = Compression::Gzip { level: 1 };
        let upload = self.content.begin().unwrap();
        let mut out = upload.file();
        let info = hythe_oci::write_layer(spec, compression, &mut out, 1).unwrap();
        upload.commit(repository, &info.digest, info.size).unwrap();
        LayerDescriptor::of(&info, compression)
    }
}

/// Busybox with a link for each of its programs.
fn busybox() -> LayerSpec {
    let list = std::process::Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .expect("busybox-static is installed");
    let dir = |target: &str, mode| Part::Dir { target: target.into(), mode, uid: 0, gid: 0 };
    let program = Part::HostFile {
        source: Path::new("/bin/busybox").into(),
        target: "/bin/busybox".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let mut parts = vec![dir("/bin", 0o755), program];
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        parts.push(Part::Symlink { target: format!("/bin/{name}"), link: "busybox".into(), uid: 0, gid: 0 });
    }
    parts.extend([dir("/etc", 0o755), dir("/tmp", 0o1777), dir("/home", 0o755)]);
    parts.push(Part::Dir { target: "/home/cnb".into(), mode: 0o755, uid: 1000, gid: 1000 });
    LayerSpec::new(parts)
}

fn system(text: &str) -> LayerSpec {
    let content = text.as_bytes().to_vec();
    let dir = Part::Dir { target: "/etc".into(), mode: 0o755, uid: 0, gid: 0 };
    LayerSpec::new(vec![
        dir,
        Part::File { target: "/etc/stack".into(), content, mode: 0o644, uid: 0, gid: 0 },
    ])
}

pub(crate) fn tool() -> ToolName {
    "weather".parse().unwrap()
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// A build script that writes `<layer>.toml` with these types and a launch.toml with a `web` process of this command.
pub(crate) fn layer_toml(name: &str, types: &str) -> String {
    let lines = types.split(' ').collect::<Vec<_>>().join(" = true\\n") + " = true\\n";
    format!("printf '[types]\\n{lines}' > \"$CNB_LAYERS_DIR/{name}.toml\"\n")
}

pub(crate) fn web(command: &str) -> String {
    format!(
        "printf '[[processes]]\\ntype = \"web\"\\ncommand = {command}\\n' > \"$CNB_LAYERS_DIR/launch.toml\"\n"
    )
}
