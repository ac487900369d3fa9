//! The program itself, run as a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test panics where its bench cannot be laid out")]

use hythe_buildpack::testing::Bench;
use std::path::Path;

fn bench(app: &str) -> (tempfile::TempDir, Bench) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_hythe-buildpack-python"));
    let app = here.join("../../tests/fixtures/apps").join(app);
    let bench = Bench::new(root.path(), program, &here.join("buildpack.toml"), &app).unwrap();
    (root, bench)
}

#[test]
fn python_is_told_from_the_rest() {
    for app in ["python-flask", "python-procfile", "python-misspelt"] {
        let (_root, bench) = bench(app);
        assert_eq!(bench.detect().unwrap().code, Some(0), "{app}");
        assert!(bench.plan().contains("name = \"python\""), "{app}");
    }
    for app in ["node-http", "static-site", "shell-perl"] {
        assert_eq!(bench(app).1.detect().unwrap().code, Some(100), "{app}");
    }
}

#[test]
fn a_broken_pyproject_is_a_fault() {
    let (_root, bench) = bench("python-procfile");
    std::fs::write(bench.app().join("pyproject.toml"), "[project\n").unwrap();
    let build = bench.build().unwrap();
    assert_eq!((build.code, build.fault().as_deref()), (Some(1), Some("python/pyproject-invalid")));
}
