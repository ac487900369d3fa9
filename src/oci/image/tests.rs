//! Image documents: stable bytes, and what is refused.

use super::*;

fn image(labels: &[&str]) -> BuiltImage {
    let platform = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
    let blob = Descriptor::new(media_type::LAYER_GZIP, Digest::sha256([2; 32]), 7);
    let layer = LayerDescriptor { diff_id: Digest::sha256([1; 32]), blob };
    let history = History { created_by: Some("Layer: 'x'".into()), ..History::default() };
    let builder = ImageBuilder::new(platform).layer(layer, history).entrypoint(["/cnb/process/web"]);
    let builder =
        builder.env("PATH", "/bin").env("A", "1").env("PATH", "/cnb:/bin").working_dir("/workspace");
    let builder = labels.iter().fold(builder, |builder, name| builder.label(*name, "v"));
    builder.user("1002:1000").build().unwrap()
}

#[test]
fn bytes_are_stable() {
    let built = image(&["b", "a", "c"]);
    let config = concat!(
        r#"{"created":"1980-01-01T00:00:01Z","architecture":"amd64","os":"linux","#,
        r#""config":{"User":"1002:1000","Env":["PATH=/cnb:/bin","A=1"],"Entrypoint":["/cnb/process/web"],"#,
        r#""WorkingDir":"/workspace","Labels":{"a":"v","b":"v","c":"v"}},"rootfs":{"type":"layers","diff_ids":["#,
        r#""sha256:0101010101010101010101010101010101010101010101010101010101010101"]},"#,
        r#""history":[{"created_by":"Layer: 'x'"}]}"#
    );
    assert_eq!(String::from_utf8(built.config.clone()).unwrap(), config);
    assert_eq!(built, image(&["c", "b", "a"]));
    let manifest = Manifest::parse(&built.manifest).unwrap();
    assert_eq!((&manifest.config.digest, manifest.config.size), (&built.config_digest, config.len() as u64));
    assert_eq!(built.digest, crate::Hasher::digest(&built.manifest));
}

#[test]
fn a_base_is_kept_whole() {
    let base = image(&["base"]);
    let (manifest, mut config) =
        (Manifest::parse(&base.manifest).unwrap(), ImageConfig::parse(&base.config).unwrap());
    config.history.clear();
    let layer = LayerDescriptor {
        diff_id: Digest::sha256([3; 32]),
        blob: Descriptor::new(media_type::LAYER_ZSTD, Digest::sha256([4; 32]), 8),
    };
    let built = ImageBuilder::from_base(&manifest, &config).unwrap();
    let built = built.layer(layer, History::default()).build().unwrap();
    let config = ImageConfig::parse(&built.config).unwrap();
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    assert_eq!(config.history.len(), 2, "a layer without history is counted all the same");
    assert_eq!(
        (config.env("PATH"), config.env("A"), config.env("PAT")),
        (Some("/cnb:/bin"), Some("1"), None)
    );
    assert_eq!(config.config.labels["base"], "v");
    config.rootfs.diff_ids.iter().zip(Manifest::parse(&built.manifest).unwrap().layers).for_each(drop);
    let mut torn = manifest;
    torn.layers.clear();
    assert!(matches!(ImageBuilder::from_base(&torn, &config), Err(ImageError::Invalid { .. })));
}

#[test]
fn what_docker_writes_is_read() {
    let config = br#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Hostname":"","Env":null,
        "Cmd":["sh"],"Labels":null,"OnBuild":null,"ExposedPorts":{"80/tcp":{}}},"container_config":{"Env":["x"]},
        "rootfs":{"type":"layers","diff_ids":[]},"history":[{"created":"2020-01-01T00:00:00Z","empty_layer":true}]}"#;
    let config = ImageConfig::parse(config).unwrap();
    assert_eq!((config.config.cmd, config.platform.variant.as_deref()), (vec!["sh".to_owned()], Some("v8")));
}

#[test]
fn hostile_documents_are_refused() {
    assert!(matches!(Manifest::parse(&vec![b' '; MAX_MANIFEST + 1]), Err(ImageError::TooLong { .. })));
    assert!(matches!(ImageConfig::parse(&vec![b' '; MAX_CONFIG + 1]), Err(ImageError::TooLong { .. })));
    let built = image(&[]);
    let text = String::from_utf8(built.manifest).unwrap();
    assert!(matches!(
        Manifest::parse(text.replace(":2,", ":1,").as_bytes()),
        Err(ImageError::Invalid { .. })
    ));
    for (from, to) in [("sha256:02", "sha256:../"), ("\"size\":7", "\"size\":-7")] {
        let hostile = text.replace(from, to);
        assert_ne!(hostile, text);
        assert!(matches!(Manifest::parse(hostile.as_bytes()), Err(ImageError::Json { .. })), "{hostile}");
    }
    let layer = r#"{"mediaType":"x","digest":"sha256:0202020202020202020202020202020202020202020202020202020202020202","size":1},"#;
    let many = text.replace("\"layers\":[", &format!("\"layers\":[{}", layer.repeat(MAX_LAYERS)));
    assert!(matches!(Manifest::parse(many.as_bytes()), Err(ImageError::Invalid { .. })));
    assert!(Manifest::parse("[".repeat(100_000).as_bytes()).is_err());
}
