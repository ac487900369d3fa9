//! Starts the helper's program and waits until it serves or says why not.

use super::HelperOptions;
use crate::SandboxError;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long it may take to serve.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the program; it goes into the background by itself and exits 0 once its socket answers.
pub(super) async fn start(options: &HelperOptions) -> Result<(), SandboxError> {
    let failed = |why: String| SandboxError::Start { program: options.program.clone(), why };
    let mut command = Command::new(&options.program);
    command.arg("serve").args(["--root".as_ref(), options.root.as_os_str()]);
    command.args(["--socket".as_ref(), options.socket.as_os_str()]);
    command.args(["--runc".as_ref(), options.runc.as_os_str()]);
    command.args(["--pasta".as_ref(), options.pasta.as_os_str()]);
    command.args(["--nft".as_ref(), options.nft.as_os_str()]);
    command.args(["--cgroup", &options.cgroup]);
    if !options.require_cgroups {
        command.arg("--without-cgroups");
    }
    // Nothing of the server's surroundings goes along: no variable, no open file, no terminal.
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let output = match tokio::time::timeout(START_TIMEOUT, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("it did not serve within {} s", START_TIMEOUT.as_secs()))),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() }))
}

/// Waits until nobody listens at the socket any more.
pub(super) async fn wait_until_gone(options: &HelperOptions) {
    let gone = async {
        while options.socket.exists() && tokio::net::UnixStream::connect(&options.socket).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(END_TIMEOUT, gone).await;
}
