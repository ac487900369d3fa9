//! What tests of several rooms stand on: the platform's user, a sandbox helper in a folder of its own, a database
//! server, a registry, a cluster's API server in memory.

#[cfg(feature = "cluster")]
mod api_server;
#[cfg(feature = "sandbox")]
mod bench;
mod distribution;
mod postgres;

#[cfg(feature = "cluster")]
pub use api_server::{Asked, api_server};
#[cfg(feature = "sandbox")]
pub use bench::Bench;
pub use distribution::{Distribution, DistributionOptions};
pub use postgres::Postgres;

use rustix::process::geteuid;
use std::fs;
use std::time::Duration;

/// Longest time for one test on a busy machine, so that what hangs fails instead of waiting for ever.
const LONGEST: Duration = Duration::from_mins(4);

/// Runs a test as the user `hythe`: by itself, or as root by running this program again as that user. `name` is the
/// test's own, as the test program lists it.
///
/// # Panics
/// When the test fails or takes too long.
pub fn as_hythe<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    if geteuid().is_root() {
        let program = std::env::current_exe().expect("this program has a path");
        let status = std::process::Command::new("setpriv")
            .args(["--reuid=hythe", "--regid=hythe", "--init-groups", "--inh-caps=-all"])
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env("HOME", "/var/lib/hythe")
            .status()
            .expect("setpriv starts; prepare the machine by scripts/prepare");
        assert!(status.success(), "{name} failed as the user hythe");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("an async runtime");
    runtime.block_on(async {
        tokio::time::timeout(LONGEST, test()).await.expect("the test takes too long");
    });
}

/// Processes of this machine whose command line contains `needle`, this one excepted.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn processes(needle: &str) -> Vec<i32> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let matches = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid.cast_unsigned() != std::process::id() && String::from_utf8_lossy(&line).contains(needle)
    };
    pids.filter(matches).collect()
}
