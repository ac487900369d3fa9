//! What the platform itself takes of a build: `build_bench PREFIX STACK_CACHE APP`, run as the platform's user.
//!
//! Builds the app three times on the real stack (first, nothing changed, code changed) and prints each phase, and the
//! whole less what package managers told of their own time.

#![expect(clippy::unwrap_used, reason = "a bench ends where its world does not come about")]

use hythe_build::{BuildLimits, BuildRequest, Builder, BuilderParts, NetworkSettings, Place};
use hythe_layers::Layers;
use hythe_model::render::{Renderer, duration};
use hythe_model::{BuildEvent, BuildId, Digest, SourceTree};
use hythe_oci::Hasher;
use hythe_registry::ContentStore;
use hythe_sandbox::{Egress, Helper, HelperOptions};
use hythe_stacks::{Mirrors, StackOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [prefix, cache, app] = args.as_slice() else { panic!("usage: build_bench PREFIX STACK_CACHE APP") };
    let folder = PathBuf::from(format!("/var/tmp/hythe-build-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = prefix.join("libexec/hythe/hythe-sandbox");
    let helper =
        Helper::open(HelperOptions::new(program, folder.join("ns"), folder.join("s.sock"))).await.unwrap();
    let builder = builder(prefix, cache, &folder, &helper).await;
    let source = folder.join("app");
    copy(app, &source);

    let mut previous = None;
    for (id, name) in [(1, "first"), (2, "nothing changed"), (3, "code changed")] {
        if id == 3 {
            std::fs::write(source.join("changed.txt"), "changed").unwrap();
        }
        println!("== {name}");
        previous = Some(build(&builder, &folder, &source, id, previous).await);
    }
    for name in ["layers", "builds", "caches"] {
        helper.remove(&name.parse().unwrap()).await.unwrap();
    }
    helper.shutdown().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn builder(prefix: &Path, cache: &Path, folder: &Path, helper: &Helper) -> Builder {
    let content = ContentStore::open(folder.join("registry")).unwrap();
    let options = StackOptions {
        definition: prefix.join("share/hythe/stacks/bookworm"),
        work: folder.to_owned(),
        cache: Some(cache.to_owned()),
        mirrors: Mirrors::default(),
    };
    let stack = hythe_stacks::ensure(&content, &options, &|line| println!("{line}")).await.unwrap();
    let begun = Instant::now();
    let layers = Layers::open(helper.clone(), content.clone(), &folder.join("ns")).await.unwrap();
    let place = Place::Sandboxes { helper: helper.clone(), layers };
    let parts = BuilderParts {
        content,
        stack,
        lifecycle: prefix.join("libexec/hythe/lifecycle"),
        launcher: prefix.join("libexec/hythe/launcher"),
        buildpacks: prefix.join("share/hythe/buildpacks"),
        builder: prefix.join("share/hythe/builder-images/default/builder.toml"),
        limits: BuildLimits::default(),
        network: NetworkSettings {
            egress: Egress { enabled: true, ..Egress::default() },
            ca_bundle: std::env::var_os("SSL_CERT_FILE").map(PathBuf::from),
            ..NetworkSettings::default()
        },
    };
    let builder = Builder::new(parts, place).await.unwrap();
    println!("stack unpacked in {:?}", begun.elapsed());
    builder
}

async fn build(builder: &Builder, folder: &Path, source: &Path, id: i64, previous: Option<Digest>) -> Digest {
    let archive = folder.join(format!("{id}.tar"));
    let tar = Command::new("tar").arg("-C").arg(source).arg("-cf").arg(&archive).arg(".").status();
    assert!(tar.unwrap().success());
    let request = BuildRequest {
        tool: "bench".parse().unwrap(),
        id: BuildId(id),
        source: SourceTree {
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
            subject: "Bench".into(),
            digest: Hasher::digest(&std::fs::read(&archive).unwrap()),
            files: 0,
            bytes: 0,
            project: hythe_model::Project::default(),
        },
        archive,
        previous,
        no_cache: false,
        env: BTreeMap::new(),
    };
    let begun = Instant::now();
    let renderer = Mutex::new(Renderer::new());
    let sink = |event: BuildEvent| {
        for line in renderer.lock().unwrap().render(&event) {
            println!("{:>7}  {line}", duration(u64::try_from(begun.elapsed().as_millis()).unwrap()));
        }
    };
    let image =
        builder.build(request, &sink, CancellationToken::new()).await.unwrap_or_else(|f| panic!("{f}"));
    println!("{:>7}  in all", duration(u64::try_from(begun.elapsed().as_millis()).unwrap()));
    image.digest
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
