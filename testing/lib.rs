//! What tests of several rooms stand on: the platform's user, and a sandbox helper in a folder of its own.

use hythe_sandbox::{Helper, HelperOptions, RelPath};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
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

/// A helper in a folder of its own. Dropping it leaves the folder, to be looked at, and nothing that runs.
#[derive(Debug)]
pub struct Bench {
    /// The helper.
    pub helper: Helper,
    /// How it was started.
    pub options: HelperOptions,
    /// The folder; the helper's own is `ns` in it.
    pub folder: PathBuf,
}

impl Bench {
    /// Starts a helper for this test of this room.
    ///
    /// # Panics
    /// When the helper does not start.
    pub async fn new(room: &str, test: &str) -> Self {
        let folder = PathBuf::from(format!("/var/tmp/hythe-{room}-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let options = HelperOptions::new(program(), folder.join("ns"), folder.join("s.sock"));
        let helper = Helper::open(options.clone()).await.expect("the helper starts");
        Self { helper, options, folder }
    }

    /// Another connection to the helper; a new helper where the old one has died.
    ///
    /// # Panics
    /// When the helper does not start.
    pub async fn reopened(&self) -> Helper {
        Helper::open(self.options.clone()).await.expect("the helper starts")
    }

    /// Ends everything and removes the folder.
    ///
    /// # Panics
    /// When something cannot be ended or removed.
    pub async fn end(self) {
        let helper = self.reopened().await;
        for sandbox in helper.list().await.expect("a list") {
            let sandbox = helper.attach(&sandbox.id).await.expect("a sandbox").expect("it is known");
            sandbox.release().await.expect("it can be forgotten");
        }
        for entry in fs::read_dir(self.folder.join("ns")).expect("the helper's folder") {
            let name = entry.expect("an entry").file_name();
            let Some(path) = name.to_str().and_then(|name| RelPath::new(name).ok()) else { continue };
            helper.remove(&path).await.expect("it can be removed");
        }
        helper.shutdown().await.expect("the helper ends");
        fs::remove_dir_all(&self.folder).expect("the folder can be removed");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for pid in processes(self.options.socket.to_str().unwrap_or_default()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
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

/// The helper's program, in the folder that the tests' programs are built into.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let program = own.parent().map(|folder| folder.with_file_name("hythe-sandbox")).unwrap_or_default();
    assert!(Path::is_file(&program), "{} is missing: cargo build -p hythe-sandbox", program.display());
    program
}
