//! Applying layers: what comes out, and what hostile archives are told.

use super::*;
use crate::spec::{Filter, LayerSpec, Owner, Part};
use crate::{Compression, write_layer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

/// An archive in the making, entry by entry, names unchecked.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, kind: u8, name: &str, link: &str, size: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        let block = header.as_mut_bytes();
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[156] = kind;
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name, "", content.len() as u64, content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.raw(b'5', name, "", 0, b"")
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.raw(b'2', name, to, 0, b"")
    }

    fn hard_link(self, name: &str, to: &str) -> Self {
        self.raw(b'1', name, to, 0, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A folder to apply to, with something of value next to it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/value"), "kept").unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn apply(&self, archive: &[u8]) -> Result<Applied, ApplyError> {
        let result = apply_layer(archive, &self.root(), &options());
        let outside = self.dir.path().join("outside");
        assert_eq!(fs::read_to_string(outside.join("value")).unwrap(), "kept");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::metadata(outside.join("value")).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
        result
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let stat = fs::symlink_metadata(self.root().join(path)).unwrap();
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    fn is_opaque(&self, path: &str) -> bool {
        let mut value = [0; 4];
        let path = self.root().join(path);
        rustix::fs::lgetxattr(&path, "user.overlay.opaque", &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
    }
}

fn options() -> ApplyOptions {
    ApplyOptions { owner: Ownership::Current, ..ApplyOptions::layer(ArchiveFormat::Tar) }
}

fn refusal(result: Result<Applied, ApplyError>) -> &'static str {
    match result {
        Err(ApplyError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_links_folders_and_times_arrive() {
    let site = Site::new();
    let archive = Tar::default().dir("./").dir("./bin/").file("./bin/a", "hello").link("b", "/bin/a");
    let archive =
        archive.hard_link("c", "bin/a").file("no/parent/named", "x").raw(b'6', "fifo", "", 0, b"").end();
    let applied = site.apply(&archive).unwrap();
    assert_eq!((applied.files, applied.bytes), (7, archive.len() as u64));
    assert_eq!(applied.diff_id, crate::Hasher::digest(&archive));
    assert_eq!((site.read("bin/a").as_str(), site.read("no/parent/named").as_str()), ("hello", "x"));
    assert_eq!(fs::read_link(site.root().join("b")).unwrap(), Path::new("/bin/a"));
    let (a, c) =
        (fs::metadata(site.root().join("bin/a")).unwrap(), fs::metadata(site.root().join("c")).unwrap());
    assert_eq!((a.ino(), a.mtime(), a.mode() & 0o7777), (c.ino(), 1, 0o644));
    assert_eq!(fs::metadata(site.root().join("bin")).unwrap().mtime(), 1);
    assert!(fs::metadata(site.root().join("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn a_path_that_climbs_is_refused() {
    for hostile in ["../outside/new", "a/../../outside/new", "/../outside/new", "a/.."] {
        let site = Site::new();
        assert_eq!(refusal(site.apply(&Tar::default().file(hostile, "x").end())), "it climbs with `..`");
    }
    let site = Site::new();
    site.apply(&Tar::default().file("/etc/passwd", "x").end()).unwrap();
    assert_eq!(site.read("etc/passwd"), "x", "an absolute path is one below the folder");
}

#[test]
fn writing_through_a_link_stays_inside() {
    for target in ["/outside", "../outside", "../../../../outside", "/proc/self/cwd"] {
        let site = Site::new();
        let result = site.apply(&Tar::default().link("x", target).file("x/value", "overwritten").end());
        assert_eq!(refusal(result), "entries lie below it, but it is no folder", "{target}");
    }
    let outside = Site::new();
    let absolute = outside.dir.path().join("outside");
    let archive =
        Tar::default().link("x", "/").file(&format!("x{}/value", absolute.display()), "inside").end();
    outside.apply(&archive).unwrap();
    // A link within the layer that leads to a folder of the layer is followed, with the folder as its root.
    let site = Site::new();
    site.apply(&Tar::default().dir("usr/bin").link("bin", "/usr/bin").file("bin/sh", "#").end()).unwrap();
    assert_eq!(site.read("usr/bin/sh"), "#");
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let site = Site::new();
    let value = site.dir.path().join("outside/value");
    symlink(&value, site.root().join("f")).unwrap();
    site.apply(&Tar::default().file("f", "new").end()).unwrap();
    assert!(fs::symlink_metadata(site.root().join("f")).unwrap().is_file());
    // The same for what removes: a folder full of links goes, what they lead to stays.
    let site = Site::new();
    let archive = Tar::default().dir("d").link("d/l", &site.dir.path().join("outside").display().to_string());
    site.apply(&archive.file("d", "a file now").end()).unwrap();
    assert_eq!(site.read("d"), "a file now");
}

#[test]
fn hard_links_stay_inside() {
    let site = Site::new();
    for hostile in ["../outside/value", "/../outside/value"] {
        assert_eq!(refusal(site.apply(&Tar::default().hard_link("h", hostile).end())), "it climbs with `..`");
    }
    let archive = Tar::default().link("x", "../outside").hard_link("h", "x/value").end();
    assert!(site.apply(&archive).is_err());
    let result = site.apply(&Tar::default().hard_link("h", "absent").end());
    assert_eq!(refusal(result), "it is a hard link to what the layer does not have");
    let result = site.apply(&Tar::default().dir("d").hard_link("h", "d").end());
    assert_eq!(refusal(result), "it is a hard link to a folder");
    assert!(site.apply(&Tar::default().file("a", "").hard_link("a", "./a").end()).is_err());
}

#[test]
fn device_nodes_are_refused_or_left_out() {
    for kind in [b'3', b'4'] {
        let archive = Tar::default().raw(kind, "dev/sda", "", 0, b"").end();
        assert_eq!(refusal(Site::new().apply(&archive)), "it is a device node");
        let site = Site::new();
        let skip = ApplyOptions { devices: Devices::Skip, ..options() };
        let applied = apply_layer(archive.as_slice(), &site.root(), &skip).unwrap();
        assert_eq!((applied.files, applied.skipped), (0, 1));
    }
}

#[test]
fn claims_are_not_believed() {
    let huge = Tar::default().raw(b'0', "huge", "", 1 << 40, b"little").end();
    assert!(matches!(Site::new().apply(&huge), Err(ApplyError::TooLarge(_))));
    let cut = Tar::default().raw(b'0', "cut", "", 1 << 30, b"little").end();
    assert!(matches!(Site::new().apply(&cut), Err(ApplyError::Truncated)));
    let sparse = Tar::default().raw(b'S', "sparse", "", 0, b"").end();
    assert_eq!(refusal(Site::new().apply(&sparse)), "sparse files are not supported");
    let pax = b"22 GNU.sparse.major=1\n";
    let sparse = Tar::default().raw(b'x', "p", "", pax.len() as u64, pax).file("f", "").end();
    assert!(matches!(Site::new().apply(&sparse), Err(ApplyError::Malformed(_))));
    let long = Tar::default().raw(b'L', "l", "", 2 << 20, &vec![b'a'; 2 << 20]).file("f", "").end();
    assert!(matches!(Site::new().apply(&long), Err(ApplyError::Malformed(_))));
    let mut flood = Tar::default();
    for _ in 0..3000 {
        flood = flood.raw(b'g', "g", "", 0, b"");
    }
    assert!(matches!(Site::new().apply(&flood.end()), Err(ApplyError::Malformed(_))));
    let mut broken = Tar::default().file("f", "x").end();
    broken[0] ^= 1;
    assert!(matches!(Site::new().apply(&broken), Err(ApplyError::Malformed(_))));
}

#[test]
fn bytes_entries_and_paths_are_bounded() {
    let site = Site::new();
    let archive = Tar::default().file("a", "1").file("b", "2").end();
    let limit = |max_bytes, max_entries| {
        let options = ApplyOptions { max_bytes, max_entries, ..options() };
        apply_layer(archive.as_slice(), &site.root(), &options)
    };
    assert!(limit(archive.len() as u64, 2).is_ok());
    assert!(matches!(limit(archive.len() as u64 - 1, 2), Err(ApplyError::TooLarge(_))));
    assert!(matches!(limit(1 << 20, 1), Err(ApplyError::TooMany(1))));
    // A bomb: 64 MiB of zeros after the end, compressed to almost nothing.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    bomb.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let options = ApplyOptions { max_bytes: 1 << 20, format: ArchiveFormat::TarGzip, ..options() };
    assert!(matches!(apply_layer(bomb.as_slice(), &site.root(), &options), Err(ApplyError::TooLarge(_))));
    let deep = "d/".repeat(300);
    let data = format!("{} path={deep}\n", deep.len() + 10);
    let archive = Tar::default().raw(b'x', "p", "", data.len() as u64, data.as_bytes()).dir("d").end();
    assert_eq!(refusal(site.apply(&archive)), "it is too deep or a name in it is too long");
}

#[test]
fn deletions_become_those_of_an_overlay() {
    let site = Site::new();
    let archive =
        Tar::default().dir("a").file("a/.wh.gone", "").file("b/.wh..wh..opq", "").file("b/new", "n").end();
    site.apply(&archive).unwrap();
    assert!(site.is_whiteout("a/gone"));
    assert!(site.is_opaque("b") && !site.is_opaque("a"));
    assert_eq!(site.read("b/new"), "n");
    // A deletion hides the layers below, in whatever order it and this layer's own entry come.
    let site = Site::new();
    let archive = Tar::default().file("f", "own").file(".wh.f", "").file(".wh.g", "").file("g", "own").end();
    site.apply(&archive).unwrap();
    assert_eq!((site.read("f"), site.read("g")), ("own".into(), "own".into()));
    let site = Site::new();
    let archive = Tar::default()
        .dir("d")
        .file(".wh.d", "")
        .file(".wh.e", "")
        .dir("e")
        .file(".wh.h", "")
        .file("h/x", "");
    site.apply(&archive.end()).unwrap();
    assert!(site.is_opaque("d") && site.is_opaque("e") && site.is_opaque("h"));
}

#[test]
fn tricks_with_deletions_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        assert_eq!(
            refusal(Site::new().apply(&Tar::default().file(name, "").end())),
            "it deletes no name",
            "{name}"
        );
    }
    let result = Site::new().apply(&Tar::default().file(".wh.d/x", "").end());
    assert_eq!(refusal(result), "a folder in it is named like a deletion");
    for archive in [
        Tar::default().dir(".wh.d"),
        Tar::default().link(".wh.d", "/"),
        Tar::default().file("a", "").hard_link(".wh.b", "a"),
    ] {
        assert_eq!(refusal(Site::new().apply(&archive.end())), "a deletion that is not a plain file");
    }
    // A deletion through a link that leads out deletes nothing there.
    let site = Site::new();
    let _ = site.apply(&Tar::default().link("x", "../outside").file("x/.wh.value", "").end());
    // Where they mean nothing, they are names like any other.
    let site = Site::new();
    let files = ApplyOptions {
        owner: Ownership::Current,
        ..ApplyOptions::files(ArchiveFormat::Tar, Ownership::Current)
    };
    apply_layer(Tar::default().file(".wh.x", "plain").end().as_slice(), &site.root(), &files).unwrap();
    assert_eq!(site.read(".wh.x"), "plain");
}

#[test]
fn attributes_of_an_archive_are_never_taken() {
    let site = Site::new();
    let record = "41 SCHILY.xattr.user.overlay.opaque=y\n";
    let record = record.replacen("41", &record.len().to_string(), 1);
    let archive = Tar::default().raw(b'x', "p", "", record.len() as u64, record.as_bytes()).dir("d").end();
    site.apply(&archive).unwrap();
    assert!(!site.is_opaque("d"));
}

#[test]
fn the_promised_digest_is_checked() {
    let archive = Tar::default().file("a", "1").end();
    let site = Site::new();
    let with = |expect| {
        let options = ApplyOptions { expect: Some(expect), ..options() };
        apply_layer(archive.as_slice(), &site.root(), &options)
    };
    assert!(with(crate::Hasher::digest(&archive)).is_ok());
    assert!(matches!(with(Digest::sha256([0; 32])), Err(ApplyError::Mismatch { .. })));
}

#[test]
fn owners_and_set_user_id_are_kept() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let parts = vec![
        Part::Dir { target: "/d".into(), mode: 0o1777, uid: 7, gid: 8 },
        Part::File { target: "/d/su".into(), content: b"x".into(), mode: 0o4755, uid: 1000, gid: 1001 },
        Part::Symlink { target: "/d/l".into(), link: "su".into(), uid: 3, gid: 4 },
    ];
    let mut archive = Vec::new();
    write_layer(&LayerSpec::new(parts), Compression::None, &mut archive, 1).unwrap();
    let options = ApplyOptions { owner: Ownership::Archive, ..options() };
    apply_layer(archive.as_slice(), &site.root(), &options).unwrap();
    let see = |path: &str| {
        let stat = fs::symlink_metadata(site.root().join(path)).unwrap();
        (stat.uid(), stat.gid(), stat.mode() & 0o7777)
    };
    assert_eq!(see("d"), (7, 8, 0o1777));
    assert_eq!(see("d/su"), (1000, 1001, 0o4755));
    assert_eq!(see("d/l").0, 3);
    let fixed = ApplyOptions { owner: Ownership::Fixed { uid: 5, gid: 6 }, ..options };
    apply_layer(archive.as_slice(), &site.root(), &fixed).unwrap();
    assert_eq!(see("d/su"), (5, 6, 0o4755));
}

#[test]
fn an_upper_folder_goes_round() {
    let site = Site::new();
    let archive =
        Tar::default().dir("a").file("a/.wh.gone", "").file("b/.wh..wh..opq", "").file("b/n", "n").end();
    site.apply(&archive).unwrap();
    let part = Part::Tree {
        source: site.root(),
        target: "/".into(),
        owner: Owner::Keep,
        filter: Filter::default(),
        whiteouts: true,
    };
    let mut layer = Vec::new();
    write_layer(&LayerSpec::new(vec![part]), Compression::None, &mut layer, 1).unwrap();
    let again = Site::new();
    again.apply(&layer).unwrap();
    assert!(again.is_whiteout("a/gone") && again.is_opaque("b"));
    assert_eq!(again.read("b/n"), "n");
}

/// What a folder holds: by path, kind, mode, content or target, and time.
fn contents(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_dir() {
                left.push(path.clone());
                Vec::new()
            } else if stat.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            let mode = if stat.is_symlink() { 0 } else { stat.mode() };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (mode, content));
        }
    }
    found
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Dir(BTreeMap<String, Node>, u32),
    Link(String),
}

fn node() -> impl Strategy<Value = Node> {
    let name = "[a-z .é-]{1,12}|x{99}|ä{60}".prop_filter("a name", |name| name != "." && name != "..");
    let content = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..2000),
        1 => (1_000_000usize..2_200_000).prop_map(|n| vec![b'z'; n]),
    ];
    let leaf = prop_oneof![
        (content, 0o400..0o1000u32).prop_map(|(content, mode)| Node::File(content, mode)),
        "[a-z/.]{1,150}".prop_map(Node::Link),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        let children = prop::collection::btree_map(name.clone(), inner, 0..6);
        (children, 0o500..0o1000u32).prop_map(|(children, mode)| Node::Dir(children, mode | 0o500))
    })
}

fn make(path: &Path, node: &Node) {
    match node {
        Node::File(content, mode) => {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Node::Link(target) => symlink(target, path).unwrap(),
        Node::Dir(children, mode) => {
            fs::create_dir(path).unwrap();
            for (name, child) in children {
                make(&path.join(name), child);
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_tree_goes_round(node in node(), zstd in any::<bool>(), threads in 1usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        make(&from.join("n"), &node);
        let owner = Owner::Keep;
        let part = Part::Tree { source: from.clone(), target: "/".into(), owner, filter: Filter::default(), whiteouts: false };
        let (compression, format) = if zstd {
            (Compression::Zstd { level: 1 }, ArchiveFormat::TarZstd)
        } else {
            (Compression::Gzip { level: 1 }, ArchiveFormat::TarGzip)
        };
        let mut layer = Vec::new();
        let info = write_layer(&LayerSpec::new(vec![part]), compression, &mut layer, threads).unwrap();
        let options = ApplyOptions { format, expect: Some(info.diff_id.clone()), ..options() };
        let applied = apply_layer(layer.as_slice(), &to, &options).unwrap();
        prop_assert_eq!((applied.diff_id, applied.bytes, applied.files), (info.diff_id, info.uncompressed, info.files));
        prop_assert_eq!(contents(&from), contents(&to));
    }

    #[test]
    fn noise_is_never_a_panic(mut archive in prop::collection::vec(any::<u8>(), 0..4096), at in 0usize..2000, byte in any::<u8>()) {
        let site = Site::new();
        let _ = site.apply(&archive);
        archive = Tar::default().file("a/b", "content").link("l", "a").hard_link("h", "a/b").end();
        let at = at % archive.len();
        archive[at] = byte;
        let _ = site.apply(&archive);
    }
}

#[test]
fn a_folder_with_more_entries_than_a_batch_is_replaced_whole() {
    let site = Site::new();
    fs::create_dir(site.root().join("many")).unwrap();
    for number in 0..9000 {
        fs::write(site.root().join(format!("many/{number}")), "").unwrap();
    }
    site.apply(&Tar::default().file("many", "one file").end()).unwrap();
    assert_eq!(fs::read_to_string(site.root().join("many")).unwrap(), "one file");
}
