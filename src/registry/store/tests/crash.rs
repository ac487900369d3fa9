//! What is left after the worst: a process that is killed, a disk that is full.
//!
//! Both run a part of this program again, as a process of its own.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const FOLDER: &str = "HYTHE_TEST_FOLDER";

/// This test program, made to run one test that otherwise is ignored.
fn again(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    [&program, "--ignored", "--exact", "--nocapture", test].iter().map(ToString::to_string).collect()
}

/// The folder that the test beside it made; none where a person runs all tests.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Content that is different for each number, and longer than what a write takes at once.
fn content(number: usize) -> Vec<u8> {
    format!("{number} ").repeat(40_000).into_bytes()
}

#[test]
fn what_was_published_survives_kill_and_nothing_half_written_is_served() {
    for round in 1..=5 {
        let dir = tempfile::tempdir().unwrap();
        let words = again("store::tests::crash::publishes_without_end");
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = |line: String| line.strip_prefix("published ").map(str::to_owned);
        let mut lines = lines.filter_map(said);
        let mut published: Vec<String> = (&mut lines).take(round * 4).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        published.extend(lines);

        let repository = "tools/crash".parse().unwrap();
        // A crash must not need a second one's mercy: the first reopen sees everything.
        let store = ContentStore::open(dir.path()).unwrap();
        for line in &published {
            let (number, digest) = line.split_once(' ').unwrap();
            let manifest = digest.parse::<Digest>().unwrap();
            let blob = Hasher::digest(&content(number.parse().unwrap()));
            assert!(store.linked(&repository, &blob).unwrap(), "blob {number} is lost");
            assert!(
                store.manifest(&repository, &manifest.into()).unwrap().is_some(),
                "manifest {number} is lost"
            );
            let tag = format!("v{number}").parse().unwrap();
            assert!(store.resolve(&repository, &tag).unwrap().is_some(), "tag {number} is lost");
        }
        assert_whole(&store);
        let uploads = dir.path().join("uploads");
        let left = fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(
            left.into_iter().all(|size| size == 0),
            "the dead leave nothing but a name, swept a minute later"
        );
    }
}

/// Every blob that has a name is what its name says.
fn assert_whole(store: &ContentStore) {
    let mut seen = 0;
    for part in fs::read_dir(store.root().join("blobs/sha256")).unwrap() {
        for blob in fs::read_dir(part.unwrap().path()).unwrap() {
            let blob = blob.unwrap();
            let digest = Hasher::digest(&fs::read(blob.path()).unwrap());
            assert_eq!(digest.hex(), blob.file_name().to_str().unwrap());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
#[ignore = "run by the test beside it"]
fn publishes_without_end() {
    let Some(folder) = folder() else { return };
    let store = ContentStore::open(folder).unwrap();
    let repository: Repository = "tools/crash".parse().unwrap();
    for number in 0.. {
        let upload = store.begin().unwrap();
        let content = content(number);
        for piece in content.chunks(4096) {
            upload.file().write_all(piece).unwrap();
        }
        upload.commit(&repository, &Hasher::digest(&content), content.len() as u64).unwrap();
        let tag = format!("v{number}").parse().unwrap();
        let manifest = format!("{{\"schemaVersion\":2,\"number\":{number}}}");
        let digest = store.put_manifest(&repository, &tag, "t/t", manifest.as_bytes()).unwrap();
        println!("published {number} {digest}");
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let words = again("store::tests::crash::fills_a_small_disk");
    // A file system of one megabyte, in a mount namespace that ends with its process.
    let script = format!("mount -t tmpfs -o size=1m none \"${FOLDER}\" && exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--user", "--mount", "sh", "-c", &script, "sh"])
        .args(&words)
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

#[test]
#[ignore = "run by the test beside it"]
fn fills_a_small_disk() {
    let Some(folder) = folder() else { return };
    let store = ContentStore::open(folder).unwrap();
    let repository: Repository = "tools/full".parse().unwrap();
    let kept = store.put_blob(&repository, &vec![1; 100_000]).unwrap();
    let upload = store.begin().unwrap();
    let error = (0..64).find_map(|_| upload.write(&vec![2; 65536]).err()).expect("the disk has one megabyte");
    assert!(matches!(error, RegistryError::Full { .. }), "{error}");
    assert!(error.to_string().starts_with("the registry's disk is full"));
    drop(upload);
    assert_eq!(fs::read_dir(store.root().join("uploads")).unwrap().count(), 0);
    let full = store.put_blob(&repository, &vec![3; 4_000_000]).unwrap_err();
    assert!(matches!(full, RegistryError::Full { .. }), "{full}");
    assert_eq!(fs::read_dir(store.root().join("uploads")).unwrap().count(), 0);
    assert!(store.linked(&repository, &kept).unwrap());
    store.put_blob(&repository, &vec![4; 300_000]).expect("what failed has given its space back");
}
