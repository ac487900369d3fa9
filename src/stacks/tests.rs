//! The whole way, for real.

use super::*;
use crate::publish::tests::finished;

/// A cache with layers of a few bytes, under the definition's own key.
fn cache(root: &Path) -> (StackOptions, Definition, PathBuf) {
    let options = StackOptions {
        definition: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm"),
        work: root.join("work"),
        cache: Some(root.join("cache")),
        mirrors: Mirrors::default(),
    };
    let definition = Definition::read(&options.definition).unwrap();
    let folder = root.join("cache").join(definition.key());
    std::fs::create_dir_all(&folder).unwrap();
    let index = serde_json::to_vec(&finished(&folder, &definition.key(), "run")).unwrap();
    std::fs::write(folder.join("index.json"), index).unwrap();
    (options, definition, folder)
}

#[tokio::test]
async fn a_damaged_cache_gives_way() {
    for damage in ["missing", "other bytes"] {
        let root = tempfile::tempdir().unwrap();
        let (_, definition, folder) = cache(root.path());
        let content = ContentStore::open(root.path().join("whole")).unwrap();
        assert!(from_cache(&content, &definition, &folder, &|_| {}).await.unwrap().is_some());
        let layer = Finished::file(&folder, &Finished::read(&folder).unwrap().build);
        match damage {
            "missing" => std::fs::remove_file(layer).unwrap(),
            _ => std::fs::write(layer, "x").unwrap(),
        }
        let content = ContentStore::open(root.path().join("damaged")).unwrap();
        assert_eq!(from_cache(&content, &definition, &folder, &|_| {}).await.unwrap(), None, "{damage}");
        assert!(!folder.exists(), "{damage}: it would fail again at the next start");
    }
}

#[tokio::test]
async fn what_a_cache_has_is_finished() {
    let root = tempfile::tempdir().unwrap();
    let (options, _, folder) = cache(root.path());
    let (mirrors, egress) = (Mirrors::default(), Egress::default());
    let cache = root.path().join("cache");
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    let finished = finish(&options.definition, &cache, &mirrors, &egress, &tell).await;
    assert_eq!((finished.unwrap(), told.lock().unwrap().len()), (folder, 0));
}

#[test]
fn a_stack_is_kept_where_something_half_made_lies() {
    let root = tempfile::tempdir().unwrap();
    let (options, _, folder) = cache(root.path());
    std::fs::remove_file(folder.join("index.json")).unwrap();
    let work = Workfolder::make(options.cache.as_ref().unwrap()).unwrap();
    std::fs::write(work.path().join("new"), "").unwrap();
    work.keep(&folder).unwrap();
    assert!(folder.join("new").is_file());
}

/// Run it as the server's user; it takes about a minute and downloads from Debian and npm.
#[tokio::test]
#[ignore = "builds the stack: needs mmdebstrap, subordinate ids and the network"]
async fn a_second_data_folder_takes_the_stack_from_the_cache() {
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let options = StackOptions {
        definition: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm"),
        work: root.path().join("work"),
        cache: Some(root.path().join("cache")),
        mirrors: Mirrors::default(),
    };
    let mut images = Vec::new();
    for data in ["one", "two", "two"] {
        let content = ContentStore::open(root.path().join(data)).unwrap();
        let started = std::time::Instant::now();
        images.push(ensure(&content, &options, &|line| eprintln!("{line}")).await.unwrap());
        eprintln!("{data}: {:?}", started.elapsed());
        if images.len() > 1 {
            assert!(started.elapsed().as_secs() < 10, "it was built again");
        }
    }
    assert_eq!(images[0], images[1]);
    assert_eq!(images[1], images[2]);
}
