//! Archives: their bytes, their durability, their names.

use super::*;
use crate::fixture::{FILE, FOLDER, Fixture, LINK, PROGRAM};
use std::collections::BTreeMap;
use std::io::Read;

fn sample(fixture: &Fixture) -> CommitId {
    let (blob, link) = (fixture.blob(b"print('hello')\n"), fixture.blob(b"app.py"));
    let long = "n".repeat(150);
    let inner = fixture.tree(&[(FILE, &blob, long.as_bytes()), (PROGRAM, &blob, b"run")]);
    let lib = fixture.tree(&[(FOLDER, &inner, b"inner")]);
    let root = fixture.tree(&[
        (FILE, &blob, b"app.py"),
        (FOLDER, &lib, b"lib"),
        (LINK, &link, b"main.py"),
        (FILE, &blob, b"lib.py"),
    ]);
    fixture.commit(&root, &[])
}

fn archives(store: &SourceStore) -> usize {
    fs::read_dir(&*store.dir).unwrap().count()
}

#[test]
fn an_archive_holds_the_tree_and_nothing_of_this_machine() {
    let fixture = Fixture::new();
    let store = SourceStore::open(fixture.folder.path().join("sources")).unwrap();
    let commit = sample(&fixture);
    let tree = store.read_tree(&fixture.repositories, &fixture.tool, &commit).unwrap();
    assert_eq!((tree.files, tree.bytes, tree.subject.as_str()), (5, 15 * 4 + 6, "Say something"));
    assert_eq!(tree.commit, commit);
    let mut archive = tar::Archive::new(File::open(store.path(&tree.digest)).unwrap());
    let mut found = Vec::new();
    let mut contents = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (MTIME, 0, 0));
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        contents.insert(path.clone(), content);
        found.push((path, header.entry_type(), header.mode().unwrap()));
    }
    let long = format!("lib/inner/{}", "n".repeat(150));
    let expected = [
        ("app.py", EntryType::Regular, 0o644),
        ("lib.py", EntryType::Regular, 0o644),
        ("lib/", EntryType::Directory, 0o755),
        ("lib/inner/", EntryType::Directory, 0o755),
        (&long, EntryType::Regular, 0o644),
        ("lib/inner/run", EntryType::Regular, 0o755),
        ("main.py", EntryType::Symlink, 0o777),
    ];
    assert_eq!(found, expected.map(|(path, kind, mode)| (path.to_owned(), kind, mode)));
    assert_eq!(contents["lib/inner/run"], "print('hello')\n");
}

#[test]
fn an_archive_depends_on_its_tree_alone() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let store = SourceStore::open(one.folder.path().join("sources")).unwrap();
    let first = store.read_tree(&one.repositories, &one.tool, &sample(&one)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = store.read_tree(&two.repositories, &two.tool, &sample(&two)).unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(archives(&store), 1);
    let bytes = fs::read(store.path(&first.digest)).unwrap();
    assert_eq!(Digest::sha256(Sha256::digest(&bytes).into()), first.digest);
}

#[test]
fn old_archives_go_but_for_those_that_a_build_needs() {
    let fixture = Fixture::new();
    let store = SourceStore::open(fixture.folder.path().join("sources")).unwrap();
    let tree = store.read_tree(&fixture.repositories, &fixture.tool, &sample(&fixture)).unwrap();
    assert_eq!(store.prune(&HashSet::new(), Duration::from_mins(1)).unwrap(), 0, "it is young");
    assert_eq!(
        store.prune(&HashSet::from([tree.digest.clone()]), Duration::ZERO).unwrap(),
        0,
        "it is wanted"
    );
    assert_eq!(store.prune(&HashSet::new(), Duration::ZERO).unwrap(), 1);
    assert!(!store.has(&tree.digest));
    store.read_tree(&fixture.repositories, &fixture.tool, &tree.commit).unwrap();
    assert!(store.has(&tree.digest), "and can be made again");
}

#[test]
fn a_crash_leaves_no_half_archive() {
    let fixture = Fixture::new();
    let dir = fixture.folder.path().join("sources");
    SourceStore::open(&dir).unwrap();
    fs::write(dir.join(".new-half"), "half").unwrap();
    let store = SourceStore::open(&dir).unwrap();
    assert!(!dir.join(".new-half").exists() && archives(&store) == 0);
}

#[test]
fn a_refused_tree_is_not_stored() {
    let fixture = Fixture::new();
    let store = SourceStore::open(fixture.folder.path().join("sources")).unwrap();
    let commit = fixture.at(&[b"aux"], FILE, b"x");
    let fault = store.read_tree(&fixture.repositories, &fixture.tool, &commit).unwrap_err();
    assert_eq!(fault.id, "source/device-name");
    assert_eq!(fs::read_dir(fixture.folder.path().join("sources")).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_the_platforms_fault() {
    let fixture = Fixture::new();
    let dir = fixture.folder.path().join("sources");
    let store = SourceStore::open(&dir).unwrap();
    fs::remove_dir(&dir).unwrap();
    let fault = store.read_tree(&fixture.repositories, &fixture.tool, &sample(&fixture)).unwrap_err();
    assert_eq!(fault.id, "source/storage");
    assert!(!fault.to_string().contains(fixture.folder.path().to_str().unwrap()));
}
