//! The program itself, run as a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test panics where its bench cannot be laid out")]

use hythe_buildpack::testing::Bench;
use std::path::Path;

fn bench(app: &str) -> (tempfile::TempDir, Bench) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_hythe-buildpack-shell"));
    let app = here.join("../../tests/fixtures/apps").join(app);
    let bench = Bench::new(root.path(), program, &here.join("buildpack.toml"), &app).unwrap();
    (root, bench)
}

#[test]
fn a_script_is_the_web_process() {
    let (_root, bench) = bench("shell-perl");
    assert_eq!(bench.detect().unwrap().code, Some(0));
    let build = bench.build().unwrap();
    assert_eq!(build.code, Some(0), "{}", build.output);
    assert!(bench.launch().contains("command = [\"bash\", \"-c\", \"exec bash start.sh\"]"));
}

#[test]
fn without_a_script_it_passes_by() {
    assert_eq!(bench("static-site").1.detect().unwrap().code, Some(100));
}
