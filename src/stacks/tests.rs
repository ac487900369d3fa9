//! The whole way, for real.

use super::*;

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
