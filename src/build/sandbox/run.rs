//! The one sandbox of a build: what it sees, what it may use, and what the lifecycle in it says.

use super::Sandboxes;
use super::folder::Folder;
use crate::analyze::Before;
use crate::environment::{APP, AUTHORITIES, BUILDPACKS, LAYERS, LIFECYCLE, PLATFORM, PLATFORM_SIZE};
use crate::executor::Task;
use crate::hear::{Hearing, listen};
use crate::{Common, fault};
use hythe_cnb::protocol::{MESSAGE_MAX, Outcome};
use hythe_model::Fault;
use hythe_sandbox::{ExitCause, Limits, Mount, Network, Process, Root, Sandbox, SandboxSpec, Stdio};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

/// What a build's sandbox is called, before its number.
pub(crate) const SANDBOX_PREFIX: &str = "build-";
/// How much longer a line of output can be as a message: an empty one still has its frame.
const FRAMING: u64 = 256;
/// Bytes of the lifecycle's last message and of what it tells on the way.
const ENDING: u64 = 2 * MESSAGE_MAX as u64;
/// Bytes of the lifecycle's own complaints that are kept.
const COMPLAINTS: u64 = 64 << 10;

impl Sandboxes {
    /// Runs detect and build; answers what was made.
    pub(crate) async fn run_in(
        &self,
        folder: &Folder,
        task: Task<'_>,
        before: &Before,
    ) -> Result<Outcome, Fault> {
        let limits = &task.common.parts.limits;
        let (messages, out) = pipe()?;
        let (complaints, err) = pipe()?;
        let stdio = Stdio::Fds { stdin: Some(request(task, before)?), stdout: out, stderr: err };
        let spec = self.sandbox(folder, task)?;
        let sandbox = self.helper.run(spec, stdio).await.map_err(fault::sandbox("start its sandbox"))?;
        let said = tokio::spawn(read_complaints(complaints));
        let told = tokio::select! {
            told = listen(messages, Hearing::new(task.events, limits)) => told,
            () = task.cancel.cancelled() => Err(fault::cancelled()),
        };
        let ended = self.end(&sandbox, told.is_err()).await;
        let said = said.await.unwrap_or_default();
        if !said.trim().is_empty() {
            tracing::warn!(build = %task.request.id, %said, "the lifecycle complained");
        }
        let (told, exit) = (told?, ended?);
        match told {
            // What it says counts only where it ended as it should: a limit is the truer reason.
            _ if exit.cause != ExitCause::Exited => Err(fault::of_exit(&exit, limits)),
            Some(Ok(outcome)) if exit.success() => Ok(outcome),
            Some(Err(failure)) => Err(fault::of_failure(failure)),
            _ => Err(fault::of_exit(&exit, limits)),
        }
    }

    async fn end(&self, sandbox: &Sandbox, kill: bool) -> Result<hythe_sandbox::Exit, Fault> {
        if kill {
            let _ = sandbox.kill().await;
        }
        let exit = sandbox.wait().await.map_err(fault::sandbox("wait for its sandbox"));
        let _ = sandbox.release().await;
        exit
    }

    fn sandbox(&self, folder: &Folder, task: Task<'_>) -> Result<SandboxSpec, Fault> {
        let Task { common, request, .. } = task;
        let limits = &common.parts.limits;
        let (uid, gid) = common.base.build_user;
        Ok(SandboxSpec {
            id: format!("{SANDBOX_PREFIX}{}", request.id),
            labels: BTreeMap::from([("tool".to_owned(), request.tool.to_string())]),
            root: Root { lowers: self.lowers.clone(), upper: folder.at("root")?, read_only: false },
            mounts: mounts(common, folder)?,
            process: Process {
                args: vec![LIFECYCLE.to_owned()],
                env: common.process_env(),
                cwd: APP.to_owned(),
                uid,
                gid,
            },
            hostname: "build".to_owned(),
            limits: Limits {
                memory_bytes: limits.memory_bytes,
                cpu_millis: limits.cpu_millis,
                pids: limits.pids,
                disk_bytes: limits.disk_bytes,
                wall: Some(limits.wall),
                output_bytes: Some(limits.output_bytes.saturating_mul(FRAMING).saturating_add(ENDING)),
                nofile: 65_536,
            },
            network: Network::Private { egress: common.parts.network.egress.clone() },
        })
    }
}

fn mounts(common: &Common, folder: &Folder) -> Result<Vec<Mount>, Fault> {
    let bind = |source: PathBuf, target: &str, read_only| Mount::Bind {
        source,
        target: target.to_owned(),
        read_only,
    };
    let host = |path: &Path| std::path::absolute(path).map_err(fault::platform("find its programs"));
    let mut mounts = vec![
        bind(folder.workspace()?.as_str().into(), APP, false),
        bind(folder.layers()?.as_str().into(), LAYERS, false),
        bind(host(&common.parts.lifecycle)?, LIFECYCLE, true),
        Mount::Tmpfs { target: PLATFORM.to_owned(), size: PLATFORM_SIZE },
    ];
    for buildpack in &common.base.buildpacks {
        if let Some(name) = buildpack.file_name().and_then(|name| name.to_str()) {
            mounts.push(bind(host(buildpack)?, &format!("{BUILDPACKS}/{name}"), true));
        }
    }
    if let Some(bundle) = &common.parts.network.ca_bundle {
        mounts.push(bind(host(bundle)?, AUTHORITIES, true));
    }
    Ok(mounts)
}

/// The request on its way to the lifecycle's standard input, through a pipe: config values touch no disk.
fn request(task: Task<'_>, before: &Before) -> Result<OwnedFd, Fault> {
    let request = task.common.lifecycle_request(task.request, before);
    let json = serde_json::to_vec(&request).map_err(fault::platform("write the lifecycle's request"))?;
    let (reader, mut writer) = std::io::pipe().map_err(fault::platform("open a pipe"))?;
    // Ends with an error, which is of no interest, where the sandbox does not start or ends first.
    tokio::task::spawn_blocking(move || writer.write_all(&json));
    Ok(reader.into())
}

fn pipe() -> Result<(Receiver, OwnedFd), Fault> {
    let (reader, writer) = std::io::pipe().map_err(fault::platform("open a pipe"))?;
    let reader = OwnedFd::from(reader);
    let receiver = std::fs::File::from(reader);
    let receiver = Receiver::from_file(receiver).map_err(fault::platform("open a pipe"))?;
    Ok((receiver, writer.into()))
}

async fn read_complaints(complaints: Receiver) -> String {
    let mut kept = Vec::new();
    let mut reader = BufReader::new(complaints);
    let _ = (&mut reader).take(COMPLAINTS).read_to_end(&mut kept).await;
    // The rest is read and dropped, so that nobody waits for room in the pipe.
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}
