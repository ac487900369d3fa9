//! Every refusal of a tree, each with a tree that provokes it.

use crate::SourceLimits;
use crate::fixture::{FILE, FOLDER, Fixture, LINK, PROGRAM, SUBMODULE};
use hythe_model::CommitId;

/// Asserts id and a part of the details.
fn refused(fixture: &Fixture, commit: &CommitId, id: &str, part: &str) {
    let (found, why) = fixture.refusal(commit).unwrap_or_else(|| panic!("{id} was not found"));
    assert_eq!(found, id, "{why}");
    assert!(why.contains(part), "{why:?} lacks {part:?}");
}

#[test]
fn an_ordinary_tree_is_taken() {
    let fixture = Fixture::new();
    let (blob, link) = (fixture.blob(b"x"), fixture.blob(b"../lib/x"));
    let lib = fixture.tree(&[(FILE, &blob, b"x")]);
    let bin = fixture.tree(&[(PROGRAM, &blob, b"run"), (LINK, &link, b"x")]);
    let names: [(&str, &str, &[u8]); 5] = [
        (FOLDER, &lib, b"lib"),
        (FOLDER, &bin, b"bin"),
        (FILE, &blob, b".gitignore"),
        (FILE, &blob, "na\u{ef}ve \u{1f980}.md".as_bytes()),
        (FILE, &blob, b"back\\slash"),
    ];
    assert_eq!(fixture.refusal(&fixture.commit(&fixture.tree(&names), &[])), None);
    let empty = fixture.tree(&[]);
    assert_eq!(fixture.refusal(&fixture.commit(&empty, &[])), None);
}

#[test]
fn links_that_leave_the_tree() {
    let fixture = Fixture::new();
    let commit = |path: &[&[u8]], target: &[u8]| fixture.at(path, LINK, target);
    refused(&fixture, &commit(&[b"etc"], b"/etc/passwd"), "source/link-leaves-tree", "etc -> /etc/passwd");
    refused(&fixture, &commit(&[b"a", b"up"], b"../../x"), "source/link-leaves-tree", "a/up -> ../../x");
    assert_eq!(fixture.refusal(&commit(&[b"a", b"up"], b"../x")), None);
    // Out through a second link.
    let (f, x) = (fixture.blob(b"../.."), fixture.blob(b"d/e/f/../.."));
    let e = fixture.tree(&[(LINK, &f, b"f")]);
    let d = fixture.tree(&[(FOLDER, &e, b"e")]);
    let root = fixture.tree(&[(FOLDER, &d, b"d"), (LINK, &x, b"x")]);
    refused(&fixture, &fixture.commit(&root, &[]), "source/link-leaves-tree", "x -> d/e/f/../..");
    refused(&fixture, &commit(&[b"long"], &b"x/".repeat(3000)), "source/link-too-long", "long");
    refused(&fixture, &commit(&[b"nul"[..2].as_ref()], b"a\0b"), "source/hostile-name", "nu -> ");
}

#[test]
fn imitations_of_git() {
    let fixture = Fixture::new();
    for name in
        [&b".git"[..], b".GIT", b"git~1", b".git ", ".g\u{200c}it".as_bytes(), b".git::$INDEX_ALLOCATION"]
    {
        refused(
            &fixture,
            &fixture.at(&[b"sub", name, b"config"], FILE, b"x"),
            "source/git-lookalike",
            "sub/",
        );
    }
}

#[test]
fn names_that_clash() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"x");
    let pair = |one: &[u8], two: &[u8]| {
        fixture.commit(&fixture.tree(&[(FILE, &blob, one), (FILE, &blob, two)]), &[])
    };
    refused(&fixture, &pair(b"README", b"readme"), "source/case-clash", "readme and README");
    refused(&fixture, &pair("caf\u{e9}".as_bytes(), "cafe\u{301}".as_bytes()), "source/unicode-clash", "caf");
    refused(&fixture, &pair("a\u{200b}b".as_bytes(), b"ab"), "source/unicode-clash", "ab");
    assert_eq!(fixture.refusal(&pair(b"a", b"b")), None);
    // A folder and a file clash like two files.
    let folder = fixture.tree(&[(FILE, &blob, b"x")]);
    let mixed = fixture.tree(&[(FOLDER, &folder, b"Lib"), (FILE, &blob, b"lib")]);
    refused(&fixture, &fixture.commit(&mixed, &[]), "source/case-clash", "Lib");
}

#[test]
fn devices_and_hidden_characters() {
    let fixture = Fixture::new();
    let one = |name: &[u8]| fixture.at(&[name], FILE, b"x");
    refused(&fixture, &one(b"aux.py"), "source/device-name", "aux.py");
    refused(&fixture, &one(b"COM1"), "source/device-name", "COM1");
    refused(&fixture, &one("a\u{202e}b".as_bytes()), "source/invisible-character", "a\\u{202e}b");
    refused(&fixture, &one(b"a\x1b[2Jb"), "source/invisible-character", "a\\u{1b}[2Jb");
    refused(&fixture, &one(b"\xff"), "source/name-not-utf8", "\u{fffd}");
    refused(&fixture, &one(b".."), "source/hostile-name", "..");
}

#[test]
fn sizes_depths_and_counts() {
    let limits = SourceLimits {
        files: 5,
        file_bytes: 10,
        total_bytes: 25,
        path_bytes: 20,
        depth: 2,
        ..SourceLimits::default()
    };
    let fixture = Fixture::with(limits);
    refused(
        &fixture,
        &fixture.at(&[b"big"], FILE, &[0; 11]),
        "source/file-too-big",
        "big (11 bytes, limit 10 bytes)",
    );
    refused(
        &fixture,
        &fixture.at(&[b"a-rather-long-name.txt"], FILE, b"x"),
        "source/path-too-long",
        "22 bytes; limit 20",
    );
    refused(
        &fixture,
        &fixture.at(&[b"a", b"b", b"c", b"d"], FILE, b"x"),
        "source/too-deep",
        "a/b/c (limit 2 folders)",
    );
    assert_eq!(fixture.refusal(&fixture.at(&[b"a", b"b", b"c"], FILE, b"x")), None);
    let blob = fixture.blob(&[7; 10]);
    let names = [b"1", b"2", b"3", b"4", b"5", b"6"].map(|name| (FILE, blob.as_str(), &name[..]));
    refused(&fixture, &fixture.commit(&fixture.tree(&names), &[]), "source/too-many-files", "more than 5");
    refused(
        &fixture,
        &fixture.commit(&fixture.tree(&names[..3]), &[]),
        "source/tree-too-big",
        "more than 25 bytes",
    );
}

#[test]
fn a_tree_that_unfolds_without_end_is_given_up() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"x");
    let mut tree = fixture.tree(&[(FILE, &blob, b"x")]);
    // Ten names in each of forty levels: ten to the fortieth files in forty objects.
    for _ in 0..40 {
        let names = *b"0123456789";
        let entries: Vec<(&str, &str, &[u8])> =
            names.chunks(1).map(|name| (FOLDER, tree.as_str(), name)).collect();
        tree = fixture.tree(&entries);
    }
    let began = std::time::Instant::now();
    refused(&fixture, &fixture.commit(&tree, &[]), "source/too-many-files", "more than 100000");
    assert!(began.elapsed().as_secs() < 20);
}

#[test]
fn submodules_and_lfs_are_named() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"x");
    let tree = fixture.tree(&[(SUBMODULE, &"1".repeat(40), b"vendor"), (FILE, &blob, b"x")]);
    refused(&fixture, &fixture.commit(&tree, &[]), "source/submodule", "vendor");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    refused(
        &fixture,
        &fixture.at(&[b"assets", b"logo.psd"], FILE, pointer),
        "source/lfs-pointer",
        "assets/logo.psd",
    );
    let prose = b"version https://git-lfs.github.com/spec/v1 is how a pointer begins\n";
    assert_eq!(fixture.refusal(&fixture.at(&[b"doc.md"], FILE, prose)), None);
}

#[test]
fn a_long_list_is_shortened() {
    let fixture = Fixture::new();
    let blob = fixture.blob(b"x");
    let names: Vec<String> = (0..15).map(|n| format!("aux.{n:02}")).collect();
    let entries: Vec<(&str, &str, &[u8])> =
        names.iter().map(|name| (FILE, blob.as_str(), name.as_bytes())).collect();
    let (_, why) = fixture.refusal(&fixture.commit(&fixture.tree(&entries), &[])).unwrap();
    assert!(why.contains("aux.09\nand 5 more") && !why.contains("aux.10"), "{why}");
}

#[test]
fn a_missing_object_is_not_an_empty_file() {
    let fixture = Fixture::new();
    let tree = fixture.tree(&[(FILE, &"2".repeat(40), b"gone")]);
    refused(&fixture, &fixture.commit(&tree, &[]), "source/incomplete", "");
    // A file that is said to be a file and is a tree.
    let inner = fixture.tree(&[]);
    let raw = [
        b"100644 x\0".to_vec(),
        (0..20).map(|n| u8::from_str_radix(&inner[n * 2..n * 2 + 2], 16).unwrap()).collect(),
    ]
    .concat();
    let tree = fixture.git(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &raw);
    refused(&fixture, &fixture.commit(&tree, &[]), "source/incomplete", "not a blob");
}
