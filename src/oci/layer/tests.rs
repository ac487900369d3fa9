//! Layers: their bytes, what goes in, what is refused.

use super::*;
use crate::spec::{Filter, Owner, Part};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn file(target: &str, content: &str) -> Part {
    Part::File { target: target.into(), content: content.into(), mode: 0o644, uid: 1000, gid: 1000 }
}

fn tree(source: &Path, target: &str) -> Part {
    let owner = Owner::Fixed { uid: 1000, gid: 1000 };
    Part::Tree {
        source: source.into(),
        target: target.into(),
        owner,
        filter: Filter::default(),
        whiteouts: false,
    }
}

fn plain(spec: &LayerSpec) -> (LayerInfo, Vec<u8>) {
    let mut out = Vec::new();
    let info = write_layer(spec, Compression::None, &mut out, 1).unwrap();
    (info, out)
}

/// Names and type flags, as another reader sees them.
fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let flag = entry.header().entry_type().as_byte() as char;
        format!("{flag} {}", String::from_utf8_lossy(&entry.path_bytes()))
    });
    entries.collect()
}

#[test]
fn bytes_are_those_of_the_reference_writer() {
    // The digest of what Go's archive/tar writes for these entries, time 1980-01-01T00:00:01Z, no names.
    let name = "f".repeat(90);
    let parts = vec![
        Part::Dir { target: "/layers".into(), mode: 0o755, uid: 0, gid: 0 },
        Part::Dir { target: "/layers/b".into(), mode: 0o2775, uid: 1000, gid: 1001 },
        file("/layers/b/empty", ""),
        Part::File {
            target: "/layers/b/su".into(),
            content: b"hello\n".into(),
            mode: 0o4755,
            uid: 0,
            gid: 0,
        },
        file(&format!("/layers/{}/{name}", "d".repeat(60)), "split"),
        file(&format!("/layers/{}", "x".repeat(120)), "pax"),
        file("/layers/grün", "unicode"),
        Part::Symlink { target: "/layers/link".into(), link: "b/su".into(), uid: 1, gid: 2 },
        Part::Symlink { target: "/layers/long".into(), link: "y/".repeat(60), uid: 1, gid: 2 },
        Part::Symlink {
            target: format!("/layers/{}/{name}", "d".repeat(60)),
            link: "z".repeat(101),
            uid: 1,
            gid: 2,
        },
        Part::Dir { target: "/layers/owner".into(), mode: 0o755, uid: 3_000_000, gid: 4_000_000 },
    ];
    let spec = LayerSpec::new(parts);
    let (info, out) = plain(&spec);
    // What is stored: when the compressor changes, every layer of every tool is new once.
    let gzip = write_layer(&spec, Compression::Gzip { level: 1 }, &mut io::sink(), 1).unwrap();
    assert_eq!(
        gzip.digest.as_str(),
        "sha256:9f905c485a10b32ca6efde35884bf20d9b022691dfee7742058ebfbb0a13896c"
    );
    assert_eq!(
        info.diff_id.as_str(),
        "sha256:f50eaf41578da193e9bf947f85c38609a6732084f33d58f4b3f0cc39c4a8072f"
    );
    assert_eq!((info.digest, info.size, info.files), (info.diff_id, out.len() as u64, 11));
}

#[test]
fn a_tree_is_walked_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a-b", "a/z", "a/y/x"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    symlink("/etc", dir.path().join("c")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    let (info, out) = plain(&LayerSpec::new(vec![tree(dir.path(), "/app")]));
    let expected = [
        "5 /app",
        "5 /app/a",
        "5 /app/a/y",
        "0 /app/a/y/x",
        "0 /app/a/z",
        "0 /app/a-b",
        "0 /app/b",
        "2 /app/c",
    ];
    assert_eq!(names(&out), expected);
    assert_eq!(info.uncompressed, out.len() as u64);
    assert_eq!(names(&plain(&LayerSpec::new(vec![tree(dir.path(), "/")])).1)[0], "5 /a");
}

#[test]
fn neither_time_nor_threads_show() {
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..3 * members::MEMBER + 17).map(|i| (i * i / 7 % 251).to_le_bytes()[0]).collect();
    fs::write(dir.path().join("big"), &noise).unwrap();
    fs::write(dir.path().join("small"), "x").unwrap();
    let spec = LayerSpec::new(vec![tree(dir.path(), "/app")]);
    for compression in [Compression::Gzip { level: 1 }, Compression::Zstd { level: 3 }] {
        let write = |threads| {
            let mut out = Vec::new();
            let info = write_layer(&spec, compression, &mut out, threads).unwrap();
            (info.diff_id, info.digest, out)
        };
        let one = write(1);
        assert_eq!(one, write(2));
        fs::File::open(dir.path().join("small")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(one, write(5));
    }
    let mut out = Vec::new();
    let info = write_layer(&spec, Compression::Gzip { level: 6 }, &mut out, 2).unwrap();
    let mut unpacked = Vec::new();
    io::copy(&mut flate2::read::MultiGzDecoder::new(out.as_slice()), &mut unpacked).unwrap();
    assert_eq!(crate::Hasher::digest(&unpacked), info.diff_id);
    assert_eq!(crate::Hasher::digest(&out), info.digest);
}

#[test]
fn a_filter_takes_what_it_names_and_the_folders_above() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["static/css/a.css", "static/js/b.js", "src/main.py", "top.py", "empty/none/x"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let filtered = |filter: Filter| {
        let owner = Owner::Keep;
        let part =
            Part::Tree { source: dir.path().into(), target: "/w".into(), owner, filter, whiteouts: false };
        names(&plain(&LayerSpec::new(vec![part])).1)
    };
    let include = Filter { include: vec!["static/css".into(), "*.py".into()], exclude: vec![] };
    assert_eq!(
        filtered(include),
        ["5 /w", "5 /w/static", "5 /w/static/css", "0 /w/static/css/a.css", "0 /w/top.py"]
    );
    let exclude = Filter { include: vec![], exclude: vec!["static".into(), "*.py".into(), "empty/*".into()] };
    assert_eq!(filtered(exclude), ["5 /w", "5 /w/empty", "5 /w/src", "0 /w/src/main.py"]);
    let none = Filter { include: vec!["absent".into()], exclude: vec![] };
    assert_eq!(filtered(none), Vec::<String>::new());
}

#[test]
fn parents_keep_their_mode_and_are_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let layer = dir.path().join("layers/b/l");
    fs::create_dir_all(&layer).unwrap();
    fs::set_permissions(dir.path().join("layers/b"), fs::Permissions::from_mode(0o750)).unwrap();
    let parents = Part::Parents { source: layer.clone(), target: "/layers/b/l".into() };
    let (_, out) = plain(&LayerSpec::new(vec![parents.clone(), tree(&layer, "/layers/b/l"), parents]));
    assert_eq!(names(&out), ["5 /layers", "5 /layers/b", "5 /layers/b/l"]);
    let mut archive = tar::Archive::new(out.as_slice());
    let second = archive.entries().unwrap().nth(1).unwrap().unwrap();
    assert_eq!(second.header().mode().unwrap(), 0o750);
}

#[test]
fn a_source_below_a_base_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("ns/layers/real")).unwrap();
    fs::create_dir_all(dir.path().join("secret/l")).unwrap();
    fs::write(dir.path().join("secret/l/key"), "s").unwrap();
    symlink("../../secret", dir.path().join("ns/layers/b")).unwrap();
    let spec = |source: &str| LayerSpec {
        base: Some(dir.path().join("ns")),
        parts: vec![tree(Path::new(source), "/layers/b/l")],
    };
    assert!(write_layer(&spec("layers/real"), Compression::None, &mut io::sink(), 1).is_ok());
    for hostile in ["layers/b/l", "../secret/l", "/etc/passwd", "layers/b/../../secret/l"] {
        let refused = write_layer(&spec(hostile), Compression::None, &mut io::sink(), 1);
        assert!(matches!(refused, Err(LayerError::Read { .. })), "{hostile}");
        assert!(crate::fingerprint(&spec(hostile)).is_err());
    }
    // The last name is a link like any other: an entry, never a way.
    let (_, out) = plain(&spec("layers/b"));
    assert_eq!(names(&out), ["2 /layers/b/l"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    struct Meddler<'a>(&'a Path, bool);
    impl Write for Meddler<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !std::mem::replace(&mut self.1, true) {
                let file = fs::File::options().write(true).open(self.0).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len(if self.0.ends_with("grows") { length + 1 } else { length / 2 }).unwrap();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["grows", "shrinks"] {
        let path = dir.path().join(name);
        fs::write(&path, vec![7; 4 * members::MEMBER]).unwrap();
        let spec = LayerSpec::new(vec![tree(&path, "/f")]);
        let result = write_layer(&spec, Compression::None, &mut Meddler(&path, false), 1);
        assert!(matches!(result, Err(LayerError::Changed { .. })), "{name}: {result:?}");
    }
}

#[test]
fn what_cannot_be_in_an_image_is_refused() {
    for bad in ["relative", "/a/../b", "/a//b", "/a/", "/./a", "/nul\0", &format!("/{}", "a".repeat(5000))] {
        let spec = LayerSpec::new(vec![file(bad, "")]);
        let result = write_layer(&spec, Compression::None, &mut io::sink(), 1);
        assert!(matches!(result, Err(LayerError::Path { .. })), "{bad}");
    }
    let deep = tempfile::tempdir().unwrap();
    fs::create_dir_all(deep.path().join("d/".repeat(300))).unwrap();
    let result =
        write_layer(&LayerSpec::new(vec![tree(deep.path(), "/d")]), Compression::None, &mut io::sink(), 1);
    assert!(matches!(result, Err(LayerError::TooDeep { .. })));
    let zero = Compression::Gzip { level: 0 };
    assert!(matches!(
        write_layer(&LayerSpec::default(), zero, &mut io::sink(), 1),
        Err(LayerError::Level(_))
    ));
}

#[test]
fn a_full_output_is_an_error_with_any_number_of_threads() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let parts = vec![Part::File {
        target: "/f".into(),
        content: vec![1; 9 * members::MEMBER],
        mode: 0o644,
        uid: 0,
        gid: 0,
    }];
    let spec = LayerSpec::new(parts);
    for threads in [1, 4] {
        let result = write_layer(&spec, Compression::Gzip { level: 1 }, &mut Full, threads);
        assert!(matches!(result, Err(LayerError::Write(_))));
    }
}

#[test]
fn a_layer_beyond_its_bounds_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let sparse = fs::File::create(dir.path().join("sparse")).unwrap();
    sparse.set_len(8 << 40).unwrap();
    let write = |spec: &LayerSpec, bounds| {
        let mut out = Vec::new();
        write_layer_within(spec, Compression::None, &mut out, 1, bounds).map(|_| ())
    };
    let spec = LayerSpec::new(vec![tree(dir.path(), "/app")]);
    assert!(matches!(write(&spec, LayerBounds::default()), Err(LayerError::TooLarge(_))), "it reads 8 TiB");
    sparse.set_len(1000).unwrap();
    for name in ["one", "two", "three"] {
        fs::hard_link(dir.path().join("sparse"), dir.path().join(name)).unwrap();
    }
    let bounds = |max_bytes, max_entries| LayerBounds { max_bytes, max_entries };
    write(&spec, bounds(4000, 5)).unwrap();
    assert!(matches!(write(&spec, bounds(3999, 5)), Err(LayerError::TooLarge(3999))));
    assert!(matches!(write(&spec, bounds(4000, 4)), Err(LayerError::TooMany(4))));
}
