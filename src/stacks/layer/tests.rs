//! Layers from small archives.

use super::*;
use crate::tree::Archive;
use std::io::Read;

fn archive(entries: &[(&str, tar::EntryType, &str, u32)]) -> Archive {
    let mut tar = tar::Builder::new(tempfile::tempfile().unwrap());
    for (path, kind, text, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        match kind {
            tar::EntryType::Regular => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
            tar::EntryType::Directory => tar.append_data(&mut header, path, io::empty()).unwrap(),
            _ => tar.append_link(&mut header, path, text).unwrap(),
        }
    }
    Archive::whole(tar.into_inner().unwrap()).unwrap()
}

fn tree(entries: &[(&str, tar::EntryType, &str, u32)]) -> Tree {
    Tree::read(&archive(entries), 0).unwrap()
}

/// The entries of a layer as `path kind mode text-or-target`.
fn written(tree: &Tree, base: &Tree) -> (Vec<String>, StackLayer) {
    let mut out = Vec::new();
    let layer = write_layer(tree, base, &mut out).unwrap();
    assert_eq!(hythe_oci::Hasher::digest(&out), layer.digest);
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(out.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(hythe_oci::Hasher::digest(&plain), layer.diff_id);
    let mut tar = tar::Archive::new(plain.as_slice());
    let lines = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), EPOCH);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let link = entry.link_name().unwrap().map(|l| l.display().to_string()).unwrap_or_default();
        let (kind, mode) = (entry.header().entry_type(), entry.header().mode().unwrap());
        format!("{} {kind:?} {mode:o} {text}{link}", entry.path().unwrap().display())
    });
    (lines.collect(), layer)
}

use tar::EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn a_layer_is_sorted_and_has_no_set_user_bits() {
    let root = tree(&[
        ("usr", Directory, "", 0o755),
        ("usr/su", Regular, "su", 0o4755),
        ("bin", Symlink, "usr/bin", 0),
    ]);
    let (lines, _) = written(&root, &Tree::default());
    assert_eq!(lines, ["bin Symlink 0 usr/bin", "usr/ Directory 755 ", "usr/su Regular 755 su"]);
}

#[test]
fn the_upper_layer_holds_the_difference() {
    let base = tree(&[
        ("etc", Directory, "", 0o755),
        ("etc/same", Regular, "same", 0o644),
        ("etc/old", Regular, "old", 0o644),
        ("gone", Directory, "", 0o755),
        ("gone/file", Regular, "x", 0o644),
    ]);
    let top = tree(&[
        ("etc", Directory, "", 0o755),
        ("etc/same", Regular, "same", 0o644),
        ("etc/old", Regular, "new", 0o644),
        ("etc/more", Regular, "more", 0o600),
    ]);
    let (lines, _) = written(&top, &base);
    assert_eq!(lines, [".wh.gone Regular 644 ", "etc/more Regular 600 more", "etc/old Regular 644 new"]);
}

#[test]
fn a_hard_link_to_bytes_of_the_lower_layer_becomes_a_file() {
    let base = tree(&[("perl", Regular, "program", 0o755)]);
    let top = tree(&[
        ("perl", Regular, "program", 0o755),
        ("perl5", Link, "perl", 0o755),
        ("perl5.36", Link, "perl", 0o755),
    ]);
    let (lines, _) = written(&top, &base);
    assert_eq!(lines, ["perl5 Regular 755 program", "perl5.36 Link 755 perl5"]);
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let big = "0123456789".repeat(400_000);
    let root = tree(&[("big", Regular, &big, 0o644)]);
    let (_, one) = written(&root, &Tree::default());
    let (_, two) = written(&root, &Tree::default());
    assert_eq!(one, two);
    assert!(one.size < 400_000, "four megabytes that compress well, in several members");
}

#[test]
fn bytes_at_the_same_place_of_two_archives_are_two_files() {
    let mut root = tree(&[("one", Regular, "1", 0o644)]);
    root.graft(
        tree(&[("two", Regular, "2", 0o644), ("docs/x", Regular, "x", 0o644)]),
        "opt/x",
        &["docs/".into()],
    );
    let (lines, _) = written(&root, &Tree::default());
    let expected =
        ["one Regular 644 1", "opt/ Directory 755 ", "opt/x/ Directory 755 ", "opt/x/two Regular 644 2"];
    assert_eq!(lines, expected);
}
