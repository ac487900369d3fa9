//! A sandbox helper in a folder of its own.

use crate::processes;
use hythe_sandbox::{Helper, HelperOptions, RelPath};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

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

/// The helper's program, in the folder that the tests' programs are built into.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let program = own.parent().map(|folder| folder.with_file_name("hythe-sandbox")).unwrap_or_default();
    assert!(Path::is_file(&program), "{} is missing: cargo build -p hythe-sandbox", program.display());
    program
}
