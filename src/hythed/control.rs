//! Verbs about a server that runs, or ran, in a data folder.

use crate::folders::{Data, Installation};
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use hythe_sandbox::{Helper, HelperOptions, RelPath};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

/// Time that a stop takes beside its two drains.
const REST: Duration = Duration::from_secs(30);

/// Shows that this process is the data folder's one server; the lock ends with the process.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(data: &Data) -> Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).read(true).open(data.lock())?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                Ok(Self(file))
            }
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "a server runs in {} already (process {}); stop it with: hythed stop --data {}",
                data.root().display(),
                fs::read_to_string(data.lock()).unwrap_or_default(),
                data.root().display()
            ),
            Err((_, error)) => Err(error).context("cannot lock the data folder"),
        }
    }
}

/// Asks the server to drain and waits for its end; with `all` the helper and everything in it ends too.
pub(crate) fn stop(settings: &Settings, all: bool) -> Result<()> {
    let data = settings.data()?;
    if let Some(pid) = running(&data)? {
        kill(pid, Signal::SIGTERM).context("cannot signal the server")?;
        let server = &settings.config.server;
        let patience = server.drain.duration() + server.finish.duration() + REST;
        let deadline = Instant::now() + patience;
        while running(&data)? == Some(pid) {
            if Instant::now() > deadline {
                bail!("the server (process {pid}) did not stop within {} s", patience.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if all && data.helper_socket().exists() {
        runtime()?.block_on(async {
            helper(settings, &data).await?.shutdown().await.map_err(anyhow::Error::from)
        })?;
    }
    Ok(())
}

/// Removes the data folder. What belongs to subordinate ids is removed by the helper.
pub(crate) fn wipe(settings: &Settings, yes: bool) -> Result<()> {
    let data = settings.data()?;
    if !yes {
        bail!("this removes every tool, image and log in {}; add --yes to do it", data.root().display());
    }
    if let Some(pid) = running(&data)? {
        bail!("the server runs (process {pid}); stop it first: hythed stop --all");
    }
    let _lock = Lock::take(&data)?;
    if data.namespace().exists() {
        runtime()?.block_on(async {
            let helper = helper(settings, &data).await?;
            for entry in fs::read_dir(data.namespace())? {
                let name = entry?.file_name();
                // What has no path for us is the helper's own and ends with it.
                let Some(path) = name.to_str().and_then(|name| RelPath::new(name).ok()) else { continue };
                helper.remove(&path).await?;
            }
            helper.shutdown().await.map_err(anyhow::Error::from)
        })?;
    }
    fs::remove_dir_all(data.root()).with_context(|| format!("cannot remove {}", data.root().display()))
}

/// The helper of a data folder, started where it does not run.
pub(crate) async fn helper(settings: &Settings, data: &Data) -> Result<Helper> {
    Ok(Helper::open(helper_options(settings, data)?).await?)
}

/// How the helper is started.
pub(crate) fn helper_options(settings: &Settings, data: &Data) -> Result<HelperOptions> {
    let program = Installation::find()?.helper();
    let mut options = HelperOptions::new(program, data.namespace(), data.helper_socket());
    let chosen = &settings.config.sandbox;
    options.require_cgroups = chosen.require_limits;
    if let Some(runc) = &chosen.runc {
        options.runc.clone_from(runc);
    }
    if let Some(pasta) = &chosen.pasta {
        options.pasta.clone_from(pasta);
    }
    Ok(options)
}

/// The process that holds the lock.
fn running(data: &Data) -> Result<Option<Pid>> {
    let Ok(file) = File::options().read(true).write(true).open(data.lock()) else { return Ok(None) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => {
            let text = fs::read_to_string(data.lock())?;
            Ok(Some(Pid::from_raw(text.trim().parse().context("the lock names no process")?)))
        }
        Err((_, error)) => Err(error).context("cannot look at the lock"),
    }
}

/// What a verb runs on that does one thing after the other.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
