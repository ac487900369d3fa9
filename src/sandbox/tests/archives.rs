//! Layers in and out, by owners that exist only in the namespace.

use crate::support::{World, as_hythe, path};
use hythe_oci::{Filter, Owner, Ownership, Part};
use hythe_sandbox::{
    ApplyOptions, ArchiveFormat, Compression, ErrorCode, Helper, LayerBounds, LayerInfo, LayerSpec, Mount,
    SandboxError,
};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::Duration;

fn tree(source: &str, target: &str) -> LayerSpec {
    LayerSpec::new(vec![Part::Tree {
        source: source.into(),
        target: target.into(),
        owner: Owner::Keep,
        filter: Filter::default(),
        whiteouts: false,
    }])
}

async fn pack(
    helper: &Helper,
    source: &str,
    bounds: LayerBounds,
    out: &File,
) -> Result<LayerInfo, SandboxError> {
    helper.pack(tree(source, "/x"), Compression::None, bounds, out.try_clone().unwrap()).await
}

fn memory() -> File {
    rustix::fs::memfd_create("layer", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into()
}

#[test]
fn a_layer_that_a_guest_wrote_goes_out_and_comes_back() {
    as_hythe("archives::a_layer_that_a_guest_wrote_goes_out_and_comes_back", || async {
        let world = World::new("layers").await;
        let helper = &world.helper;
        helper.make_dir(&path("builds/1/data"), (1000, 1000), 0o755).await.unwrap();
        let mut spec = world.script(
            "write",
            "cd /data; mkdir a; echo one > a/file; chmod 751 a; ln -s file a/link; ln a/file a/hard; chmod 4755 a/hard",
        );
        spec.mounts =
            vec![Mount::Bind { source: "builds/1/data".into(), target: "/data".into(), read_only: false }];
        let (exit, text) = world.run(spec).await;
        assert!(exit.success(), "{text}");
        let layer = tree("builds/1/data", "/app");
        let before = helper.fingerprint(&layer).await.unwrap();
        let mut out = memory();
        let info = helper
            .pack(
                layer.clone(),
                Compression::Gzip { level: 1 },
                LayerBounds::default(),
                out.try_clone().unwrap(),
            )
            .await
            .unwrap();
        assert_eq!((info.size, &info.fingerprint), (out.metadata().unwrap().len(), &before));
        out.rewind().unwrap();
        let mut options = ApplyOptions::layer(ArchiveFormat::TarGzip);
        options.expect = Some(info.diff_id.clone());
        let applied =
            helper.unpack(out.try_clone().unwrap(), &path("layers/back"), options.clone()).await.unwrap();
        assert_eq!(applied.diff_id, info.diff_id);
        let mut spec = world.script(
            "look",
            "stat -c '%u %a %F' /app/a /app/a/link; stat -c '%u %a' /app/a/file; cat /app/a/link",
        );
        spec.root.lowers.insert(0, path("layers/back"));
        let (_, text) = world.run(spec).await;
        assert_eq!(text, "1000 751 directory\n1000 777 symbolic link\n1000 4755\none\n");
        // The same bytes under another name are refused.
        out.rewind().unwrap();
        options.expect = Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
        let error = helper.unpack(out, &path("layers/wrong"), options).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Archive), "{error}");
        // What changes, changes the fingerprint.
        let mut spec = world.script("change", "echo two > /data/a/new");
        spec.mounts =
            vec![Mount::Bind { source: "builds/1/data".into(), target: "/data".into(), read_only: false }];
        world.run(spec).await;
        assert_ne!(helper.fingerprint(&layer).await.unwrap(), before);
        world.end().await;
    });
}

#[test]
fn nothing_outside_of_the_folder_is_packed() {
    as_hythe("archives::nothing_outside_of_the_folder_is_packed", || async {
        let world = World::new("outside").await;
        let helper = &world.helper;
        std::fs::create_dir(world.folder().join("secrets")).unwrap();
        std::fs::write(world.folder().join("secrets/key"), "secret").unwrap();
        helper.make_dir(&path("builds/1/data"), (1000, 1000), 0o755).await.unwrap();
        let link = format!("ln -s {} /data/link", world.folder().join("secrets").display());
        let mut spec = world.script("link", &link);
        spec.mounts =
            vec![Mount::Bind { source: "builds/1/data".into(), target: "/data".into(), read_only: false }];
        let (exit, _) = world.run(spec).await;
        assert!(exit.success());
        let absolute = world.folder().join("secrets").display().to_string();
        for source in
            ["../secrets", absolute.as_str(), "builds/1/data/link/key", "builds/../../secrets", ".sandbox"]
        {
            let out = memory();
            let packed = pack(helper, source, LayerBounds::default(), &out).await;
            assert!(packed.is_err(), "{source} was packed");
        }
        // The link itself is packed as a link.
        let out = memory();
        pack(helper, "builds/1/data", LayerBounds::default(), &out).await.unwrap();
        let mut bytes = Vec::new();
        let mut out = out;
        out.rewind().unwrap();
        out.read_to_end(&mut bytes).unwrap();
        // Its name ends in "secrets"; the content of the file behind it is nowhere.
        let name = b"secrets/key";
        assert!(!bytes.windows(name.len()).any(|window| window == name));
        world.end().await;
    });
}

#[test]
fn hostile_archives_stay_inside() {
    as_hythe("archives::hostile_archives_stay_inside", || async {
        let world = World::new("hostile").await;
        let mut archive = memory();
        // A tar header by hand: a file `../../escaped`.
        let mut header = [0_u8; 512];
        header[..13].copy_from_slice(b"../../escaped");
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(b"00000000002");
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        header[263..265].copy_from_slice(b"00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.write_all(&header).unwrap();
        archive.write_all(&[b'x'; 512]).unwrap();
        archive.write_all(&[0; 1024]).unwrap();
        archive.rewind().unwrap();
        let options = ApplyOptions::files(ArchiveFormat::Tar, Ownership::Fixed { uid: 1000, gid: 1000 });
        let result = world.helper.unpack(archive, &path("builds/1/in"), options).await;
        assert!(result.is_err(), "{result:?}");
        assert!(!world.helper.exists(&path("builds/escaped")).await.unwrap());
        assert!(!world.folder().join("escaped").exists());
        world.end().await;
    });
}

/// A folder with a file of 8 GiB that takes no room.
async fn with_a_large_file(world: &World) {
    world.helper.make_dir(&path("builds/1/data"), (1000, 1000), 0o755).await.unwrap();
    let mut spec = world.script("sparse", "dd if=/dev/zero of=/data/large bs=1 count=0 seek=8G");
    spec.mounts =
        vec![Mount::Bind { source: "builds/1/data".into(), target: "/data".into(), read_only: false }];
    let (exit, text) = world.run(spec).await;
    assert!(exit.success(), "{text}");
}

#[test]
fn a_layer_goes_no_further_than_its_bounds() {
    as_hythe("archives::a_layer_goes_no_further_than_its_bounds", || async {
        let world = World::new("bounds").await;
        with_a_large_file(&world).await;
        let out = memory();
        let bounds = LayerBounds { max_bytes: 1 << 30, ..LayerBounds::default() };
        let error = pack(&world.helper, "builds/1/data", bounds, &out).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::TooLarge), "{error}");
        assert!(out.metadata().unwrap().len() < 1 << 20, "it was written first");
        let mut options = ApplyOptions::files(ArchiveFormat::Tar, Ownership::Archive);
        options.max_entries = 1;
        let out = memory();
        pack(&world.helper, "layers/base", LayerBounds::default(), &out).await.unwrap();
        (&out).rewind().unwrap();
        let error = world.helper.unpack(out, &path("layers/copy"), options).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::TooLarge), "{error}");
        world.end().await;
    });
}

#[test]
fn packing_and_unpacking_end_with_whoever_asked() {
    as_hythe("archives::packing_and_unpacking_end_with_whoever_asked", || async {
        let world = World::new("abandoned").await;
        with_a_large_file(&world).await;
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) =
            (std::os::fd::OwnedFd::from(reader).into(), File::from(std::os::fd::OwnedFd::from(writer)));
        let options = ApplyOptions::files(ArchiveFormat::Tar, Ownership::Archive);
        let copy = path("builds/1/copy");
        let both = async {
            tokio::join!(
                pack(&world.helper, "builds/1/data", LayerBounds::default(), &writer),
                world.helper.unpack(reader, &copy, options)
            )
        };
        tokio::time::timeout(Duration::from_millis(300), both).await.unwrap_err();
        drop(writer);
        let mut seen = Vec::new();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            seen.push(world.helper.usage(&copy).await.unwrap().bytes);
        }
        assert_eq!(seen[1], seen[2], "it is still being written: {seen:?}");
        assert!(seen[2] < 8 << 30);
        world.end().await;
    });
}
