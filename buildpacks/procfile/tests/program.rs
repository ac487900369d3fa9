//! The program itself, run as a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test panics where its bench cannot be laid out")]

use hythe_buildpack::testing::Bench;
use std::path::Path;

fn bench(app: &str) -> (tempfile::TempDir, Bench) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_hythe-buildpack-procfile"));
    let app = here.join("../../tests/fixtures/apps").join(app);
    let bench = Bench::new(root.path(), program, &here.join("buildpack.toml"), &app).unwrap();
    (root, bench)
}

#[test]
fn a_procfile_becomes_processes() {
    let (_root, bench) = bench("python-procfile");
    assert_eq!(bench.detect().unwrap().code, Some(0));
    let build = bench.build().unwrap();
    assert_eq!(build.code, Some(0), "{}", build.output);
    let launch = bench.launch();
    assert!(launch.contains("type = \"web\"") && launch.contains("type = \"worker\""), "{launch}");
    assert!(launch.contains("\"python serve.py\""), "{launch}");
    assert_eq!(launch.matches("default = true").count(), 1);
}

#[test]
fn without_a_procfile_it_passes_by() {
    assert_eq!(bench("static-site").1.detect().unwrap().code, Some(100));
}

#[test]
fn a_broken_procfile_is_a_fault() {
    let (_root, bench) = bench("python-procfile");
    std::fs::write(bench.app().join("Procfile"), "web python serve.py\n").unwrap();
    let build = bench.build().unwrap();
    assert_eq!((build.code, build.fault().as_deref()), (Some(1), Some("procfile/invalid")));
}
