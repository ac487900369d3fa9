//! The program itself, run as a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test panics where its bench cannot be laid out")]

use hythe_buildpack::testing::Bench;
use std::path::Path;

fn bench(app: &str) -> (tempfile::TempDir, Bench) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_hythe-buildpack-node"));
    let app = here.join("../../tests/fixtures/apps").join(app);
    let bench = Bench::new(root.path(), program, &here.join("buildpack.toml"), &app).unwrap();
    (root, bench)
}

#[test]
fn node_is_told_from_the_rest() {
    for app in ["node-http", "node-unlocked"] {
        let (_root, bench) = bench(app);
        assert_eq!(bench.detect().unwrap().code, Some(0), "{app}");
        assert!(bench.plan().contains("name = \"node\""), "{app}");
    }
    for app in ["python-flask", "static-site", "shell-perl"] {
        assert_eq!(bench(app).1.detect().unwrap().code, Some(100), "{app}");
    }
}

#[test]
fn a_broken_package_json_is_a_fault() {
    let (_root, bench) = bench("node-http");
    std::fs::write(bench.app().join("package.json"), "{\"name\": }").unwrap();
    let build = bench.build().unwrap();
    assert_eq!((build.code, build.fault().as_deref()), (Some(1), Some("node/package-json-invalid")));
}

#[test]
fn a_site_that_is_built_is_offered() {
    let (_root, bench) = bench("node-http");
    assert_eq!(bench.detect().unwrap().code, Some(0));
    assert!(!bench.plan().contains("built-site"), "{}", bench.plan());
    std::fs::remove_file(bench.app().join("server.js")).unwrap();
    std::fs::write(bench.app().join("package.json"), r#"{"scripts": {"build": "vite build"}}"#).unwrap();
    assert_eq!(bench.detect().unwrap().code, Some(0));
    let plan = bench.plan();
    assert!(plan.contains("[[provides]]\nname = \"built-site\"") && plan.contains("[[or]]"), "{plan}");
}
