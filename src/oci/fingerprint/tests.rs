//! Fingerprints: what changes them and what does not.

use super::*;
use crate::spec::{Filter, Owner, Part};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn spec(source: &Path) -> LayerSpec {
    let owner = Owner::Fixed { uid: 1, gid: 1 };
    let filter = Filter::default();
    LayerSpec::new(vec![Part::Tree {
        source: source.into(),
        target: "/l".into(),
        owner,
        filter,
        whiteouts: false,
    }])
}

#[test]
fn the_writer_sees_the_same_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "1").unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
    let spec = spec(dir.path());
    let written =
        crate::write_layer(&spec, crate::Compression::None, &mut std::io::sink(), 1).unwrap().fingerprint;
    assert_eq!(fingerprint(&spec).unwrap(), written);
}

#[test]
fn every_change_shows_and_a_move_of_the_whole_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir(&old).unwrap();
    fs::write(old.join("a"), "1").unwrap();
    let before = fingerprint(&spec(&old)).unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(fingerprint(&spec(&new)).unwrap(), before, "a tree that moved is the same");

    // Same size, and the modification time set back: only the ctime tells.
    let modified = fs::metadata(new.join("a")).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(new.join("a"), "2").unwrap();
    fs::File::options().write(true).open(new.join("a")).unwrap().set_modified(modified).unwrap();
    let forged = fingerprint(&spec(&new)).unwrap();
    assert_ne!(forged, before, "a forged time is seen through");

    fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).unwrap();
    let mode = fingerprint(&spec(&new)).unwrap();
    assert_ne!(mode, forged, "a folder's mode counts");
    fs::write(new.join("b"), "").unwrap();
    assert_ne!(fingerprint(&spec(&new)).unwrap(), mode, "a new file counts");
}

#[test]
fn content_and_owner_of_parts_count() {
    let of = |content: &str, uid| {
        let part = Part::File { target: "/f".into(), content: content.into(), mode: 0o644, uid, gid: 0 };
        fingerprint(&LayerSpec::new(vec![part])).unwrap()
    };
    assert_eq!(of("a", 0), of("a", 0));
    assert_ne!(of("a", 0), of("b", 0));
    assert_ne!(of("a", 0), of("a", 1));
}
