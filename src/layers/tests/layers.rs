//! Layers on a real helper: shared, pruned, and doubted after a power cut.

#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use hythe_layers::Layers;
use hythe_oci::{Compression, LayerDescriptor, LayerSpec, Part, write_layer};
use hythe_registry::{ContentStore, Repository};
use hythe_sandbox::RelPath;
use hythe_testing::{Bench, as_hythe};

/// A layer with one file, in the store.
fn layer(content: &ContentStore, text: &str) -> LayerDescriptor {
    let repository: Repository = "tools/weather".parse().unwrap();
    let file = Part::File { target: "/file".into(), content: text.into(), mode: 0o644, uid: 1000, gid: 1000 };
    let upload = content.begin().unwrap();
    let compression = Compression::Gzip { level: 1 };
    let info = write_layer(&LayerSpec::new(vec![file]), compression, &mut upload.file(), 1).unwrap();
    upload.commit(&repository, &info.digest, info.size).unwrap();
    LayerDescriptor::of(&info, compression)
}

async fn until_marked(bench: &Bench, path: &RelPath) {
    let mark = RelPath::new(format!("{path}.ok")).unwrap();
    while !bench.helper.exists(&mark).await.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn a_layer_is_unpacked_once_and_whole() {
    as_hythe("a_layer_is_unpacked_once_and_whole", || async {
        let bench = Bench::new("layers", "once").await;
        let content = ContentStore::open(bench.folder.join("registry")).unwrap();
        let folder = bench.folder.join("ns");
        let layers = Layers::open(bench.helper.clone(), content.clone(), &folder).await.unwrap();
        let one = layer(&content, "one");
        let many = vec![one.clone(), layer(&content, "two"), one.clone(), one.clone()];
        let (first, second) = tokio::join!(layers.unpacked(many.clone()), layers.unpacked(many));
        let paths = first.unwrap();
        assert_eq!(paths, second.unwrap());
        assert!(paths[0] == paths[2] && paths[0] != paths[1]);
        assert_eq!(bench.helper.read(&paths[0].join("file").unwrap(), 100).await.unwrap(), b"one");

        let mut wrong = layer(&content, "three");
        wrong.diff_id = layer(&content, "four").diff_id;
        let error = layers.unpacked(vec![wrong]).await.unwrap_err().to_string();
        assert!(error.contains("the archive is sha256:"), "{error}");
        let names = bench.helper.list_dir(&RelPath::new("layers").unwrap()).await.unwrap();
        assert!(names.iter().all(|name| !name.contains(".new-")), "{names:?}");
        bench.end().await;
    });
}

#[test]
fn layers_that_nobody_wants_go_and_come_back() {
    as_hythe("layers_that_nobody_wants_go_and_come_back", || async {
        let bench = Bench::new("layers", "prune").await;
        let content = ContentStore::open(bench.folder.join("registry")).unwrap();
        let folder = bench.folder.join("ns");
        let (kept, gone) = (layer(&content, "kept"), layer(&content, "gone"));
        let layers = Layers::open(bench.helper.clone(), content.clone(), &folder).await.unwrap();
        let paths = layers.unpacked(vec![kept.clone(), gone.clone()]).await.unwrap();
        assert_eq!(layers.prune([&kept.diff_id]).await.unwrap(), 0, "somebody asked for it just now");

        // A later run of the server knows of nobody who asked.
        let layers = Layers::open(bench.helper.clone(), content.clone(), &folder).await.unwrap();
        assert_eq!(layers.prune([&kept.diff_id]).await.unwrap(), 1);
        assert!(
            bench.helper.exists(&paths[0]).await.unwrap() && !bench.helper.exists(&paths[1]).await.unwrap()
        );
        layers.unpacked(vec![gone]).await.unwrap();
        assert!(bench.helper.exists(&paths[1]).await.unwrap());
        bench.end().await;
    });
}

#[test]
fn after_a_start_of_the_machine_only_what_was_synced_is_trusted() {
    as_hythe("after_a_start_of_the_machine_only_what_was_synced_is_trusted", || async {
        let bench = Bench::new("layers", "boot").await;
        let content = ContentStore::open(bench.folder.join("registry")).unwrap();
        let folder = bench.folder.join("ns");
        let layers = Layers::open(bench.helper.clone(), content.clone(), &folder).await.unwrap();
        let old = layers.unpacked(vec![layer(&content, "old")]).await.unwrap().remove(0);
        until_marked(&bench, &old).await;
        drop(layers);

        // Another start of the machine: this layer has no mark, and half of another lies there.
        let fresh = RelPath::new(format!("layers/{}", "a".repeat(32))).unwrap();
        let half = RelPath::new(format!("layers/{}.new-1-1", "b".repeat(32))).unwrap();
        let boot = RelPath::new("layers/boot").unwrap();
        bench.helper.make_dir(&fresh, (0, 0), 0o755).await.unwrap();
        bench.helper.make_dir(&half, (0, 0), 0o755).await.unwrap();
        bench.helper.write(&boot, "another", (0, 0), 0o600).await.unwrap();
        let _layers = Layers::open(bench.helper.clone(), content, &folder).await.unwrap();
        for (path, stays) in [(&old, true), (&fresh, false), (&half, false)] {
            assert_eq!(bench.helper.exists(path).await.unwrap(), stays, "{path}");
        }
        bench.end().await;
    });
}
