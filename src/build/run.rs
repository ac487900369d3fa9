//! The one sandbox of a build: what it sees, what it may use, and what the lifecycle in it says.

use crate::analyze::Before;
use crate::folder::Folder;
use crate::told::Teller;
use crate::{BuildLimits, BuildRequest, EventSink, Inner, NetworkSettings, fault};
use hythe_cnb::protocol::{MESSAGE_MAX, Message, Outcome, Request};
use hythe_model::Fault;
use hythe_sandbox::{ExitCause, Limits, Mount, Network, Process, Root, Sandbox, SandboxSpec, Stdio};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio_util::sync::CancellationToken;

/// What a build's sandbox is called, before its number.
pub(crate) const SANDBOX_PREFIX: &str = "build-";
/// Where things lie in it.
const LIFECYCLE: &str = "/cnb/lifecycle/lifecycle";
const BUILDPACKS: &str = "/cnb/buildpacks";
const PLATFORM: &str = "/platform";
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
pub(crate) const LAYERS: &str = "/layers";
/// The execution environment of every build (Buildpack API 0.12).
pub(crate) const EXEC_ENV: &str = "production";
pub(crate) const APP: &str = "/workspace";
/// Bytes of the platform's folder. `/tmp` lies on the disk, whose limit it shares.
const PLATFORM_SIZE: u64 = 16 << 20;
/// How much longer a line of output can be as a message: an empty one still has its frame.
const FRAMING: u64 = 256;
/// Bytes of the lifecycle's last message and of what it tells on the way.
const ENDING: u64 = 2 * MESSAGE_MAX as u64;
/// Bytes of messages that are neither output nor the last. Only a forger tells more.
const NOTES: u64 = 1 << 20;
/// Bytes of the lifecycle's own complaints that are kept.
const COMPLAINTS: u64 = 64 << 10;

impl Inner {
    /// Runs detect and build; answers what was made.
    pub(crate) async fn run(
        &self,
        folder: &Folder,
        request: &BuildRequest,
        before: &Before,
        events: &dyn EventSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Fault> {
        let (messages, out) = pipe()?;
        let (complaints, err) = pipe()?;
        let stdio = Stdio::Fds { stdin: Some(self.request(request, before)?), stdout: out, stderr: err };
        let spec = self.sandbox(folder, request)?;
        let sandbox =
            self.parts.helper.run(spec, stdio).await.map_err(fault::sandbox("start its sandbox"))?;
        let said = tokio::spawn(read_complaints(complaints));
        let told = tokio::select! {
            told = listen(messages, Teller::new(events), &self.parts.limits) => told,
            () = cancel.cancelled() => Err(fault::cancelled()),
        };
        let ended = self.end(&sandbox, told.is_err()).await;
        let said = said.await.unwrap_or_default();
        if !said.trim().is_empty() {
            tracing::warn!(build = %request.id, %said, "the lifecycle complained");
        }
        let (told, exit) = (told?, ended?);
        match told {
            // What it says counts only where it ended as it should: a limit is the truer reason.
            _ if exit.cause != ExitCause::Exited => Err(fault::of_exit(&exit, &self.parts.limits)),
            Some(Ok(outcome)) if exit.success() => Ok(outcome),
            Some(Err(failure)) => Err(fault::of_failure(failure)),
            _ => Err(fault::of_exit(&exit, &self.parts.limits)),
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

    /// The request on its way to the lifecycle's standard input, through a pipe: config values touch no disk.
    fn request(&self, request: &BuildRequest, before: &Before) -> Result<OwnedFd, Fault> {
        let base = &self.base;
        let names = base.buildpacks.iter().filter_map(|path| path.file_name());
        let request = Request {
            app_dir: APP.into(),
            layers_dir: LAYERS.into(),
            platform_dir: PLATFORM.into(),
            buildpacks: names.map(|name| Path::new(BUILDPACKS).join(name)).collect(),
            order: base.order.clone(),
            target: base.target.clone(),
            exec_env: EXEC_ENV.to_owned(),
            platform_env: request.env.clone(),
            build_config_env: operator_env(&self.parts.network),
            restore: before.restore(),
        };
        let json = serde_json::to_vec(&request).map_err(fault::platform("write the lifecycle's request"))?;
        let (reader, mut writer) = std::io::pipe().map_err(fault::platform("open a pipe"))?;
        // Ends with an error, which is of no interest, where the sandbox does not start or ends first.
        tokio::task::spawn_blocking(move || writer.write_all(&json));
        Ok(reader.into())
    }

    fn sandbox(&self, folder: &Folder, request: &BuildRequest) -> Result<SandboxSpec, Fault> {
        let limits = &self.parts.limits;
        let (uid, gid) = self.base.build_user;
        Ok(SandboxSpec {
            id: format!("{SANDBOX_PREFIX}{}", request.id),
            labels: BTreeMap::from([("tool".to_owned(), request.tool.to_string())]),
            root: Root { lowers: self.base.lowers.clone(), upper: folder.at("root")?, read_only: false },
            mounts: self.mounts(folder)?,
            process: Process {
                args: vec![LIFECYCLE.to_owned()],
                env: self.process_env(),
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
            network: Network::Private { egress: self.parts.network.egress.clone() },
        })
    }

    fn mounts(&self, folder: &Folder) -> Result<Vec<Mount>, Fault> {
        let bind = |source: PathBuf, target: &str, read_only| Mount::Bind {
            source,
            target: target.to_owned(),
            read_only,
        };
        let host = |path: &Path| std::path::absolute(path).map_err(fault::platform("find its programs"));
        let mut mounts = vec![
            bind(folder.workspace()?.as_str().into(), APP, false),
            bind(folder.layers()?.as_str().into(), LAYERS, false),
            bind(host(&self.parts.lifecycle)?, LIFECYCLE, true),
            Mount::Tmpfs { target: PLATFORM.to_owned(), size: PLATFORM_SIZE },
        ];
        for buildpack in &self.base.buildpacks {
            if let Some(name) = buildpack.file_name().and_then(|name| name.to_str()) {
                mounts.push(bind(host(buildpack)?, &format!("{BUILDPACKS}/{name}"), true));
            }
        }
        if let Some(bundle) = &self.parts.network.ca_bundle {
            mounts.push(bind(host(bundle)?, AUTHORITIES, true));
        }
        Ok(mounts)
    }

    /// What the lifecycle passes on to buildpacks (cnb: HOME, HOSTNAME, the proxies, the path variables).
    fn process_env(&self) -> Vec<(String, String)> {
        let network = &self.parts.network;
        let mut env =
            vec![("HOME".to_owned(), self.base.home.clone()), ("HOSTNAME".to_owned(), "build".to_owned())];
        env.extend(self.base.path.iter().map(|path| ("PATH".to_owned(), path.clone())));
        for (name, value) in [
            ("HTTP_PROXY", &network.http_proxy),
            ("HTTPS_PROXY", &network.https_proxy),
            ("NO_PROXY", &network.no_proxy),
        ] {
            if let Some(value) = value {
                env.push((name.to_owned(), value.clone()));
                env.push((name.to_lowercase(), value.clone()));
            }
        }
        env
    }
}

/// The operator's authorities and mirrors, in the names that package managers know. They fill gaps: a tool's own
/// build-time config goes before them.
fn operator_env(network: &NetworkSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if network.ca_bundle.is_some() {
        for name in [
            "SSL_CERT_FILE",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "GIT_SSL_CAINFO",
        ] {
            env.insert(name.to_owned(), AUTHORITIES.to_owned());
        }
    }
    let mirrors = [("PIP_INDEX_URL", &network.pip_index_url), ("NPM_CONFIG_REGISTRY", &network.npm_registry)];
    env.extend(mirrors.into_iter().filter_map(|(name, url)| Some((name.to_owned(), url.clone()?))));
    env
}

fn pipe() -> Result<(Receiver, OwnedFd), Fault> {
    let (reader, writer) = std::io::pipe().map_err(fault::platform("open a pipe"))?;
    let reader = OwnedFd::from(reader);
    let receiver = std::fs::File::from(reader);
    let receiver = Receiver::from_file(receiver).map_err(fault::platform("open a pipe"))?;
    Ok((receiver, writer.into()))
}

type Told = Option<Result<Outcome, hythe_cnb::protocol::Failure>>;

/// Hears the lifecycle out. What is no message is shown as output, since only a build can have written it.
async fn listen(messages: Receiver, mut teller: Teller<'_>, limits: &BuildLimits) -> Result<Told, Fault> {
    let mut reader = BufReader::new(messages);
    let mut line = Vec::new();
    let mut told = None;
    let (mut printed, mut noted) = (0, 0);
    loop {
        line.clear();
        let limit = MESSAGE_MAX as u64 + 1;
        let read = (&mut reader).take(limit).read_until(b'\n', &mut line).await;
        if read.map_err(fault::platform("hear its lifecycle"))? == 0 {
            return Ok(told);
        }
        if line.len() > MESSAGE_MAX {
            return Err(fault::result_too_large());
        }
        let message = serde_json::from_slice(&line);
        match &message {
            // A line feed for each line: empty ones are output too.
            Ok(Message::Output { line, .. }) => printed += line.len() as u64 + 1,
            Ok(Message::Done { .. } | Message::Failed { .. }) => {}
            Ok(_) => noted += line.len() as u64,
            Err(_) => printed += line.len() as u64,
        }
        if printed > limits.output_bytes || noted > NOTES {
            return Err(fault::too_much_output(limits));
        }
        match message {
            Ok(Message::Done { outcome }) => told = Some(Ok(outcome)),
            Ok(Message::Failed { failure }) => told = Some(Err(failure)),
            Ok(message) => teller.tell(message),
            Err(_) => teller.stray(&String::from_utf8_lossy(&line)),
        }
    }
}

async fn read_complaints(complaints: Receiver) -> String {
    let mut kept = Vec::new();
    let mut reader = BufReader::new(complaints);
    let _ = (&mut reader).take(COMPLAINTS).read_to_end(&mut kept).await;
    // The rest is read and dropped, so that nobody waits for room in the pipe.
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_and_mirrors_have_the_names_that_package_managers_know() {
        let network = NetworkSettings {
            ca_bundle: Some("/etc/own.pem".into()),
            pip_index_url: Some("https://pypi.example.org/simple".into()),
            ..NetworkSettings::default()
        };
        let env = operator_env(&network);
        assert_eq!(env["PIP_CERT"], AUTHORITIES);
        assert_eq!(env["PIP_INDEX_URL"], "https://pypi.example.org/simple");
        assert!(!env.contains_key("NPM_CONFIG_REGISTRY"));
        assert!(operator_env(&NetworkSettings::default()).is_empty());
    }

    /// What a build that tells these lines comes to, where it may print 1000 bytes.
    async fn hear(lines: String) -> Result<Told, Fault> {
        let (receiver, writer) = pipe().unwrap();
        let writing = tokio::task::spawn_blocking(move || {
            let _ = std::fs::File::from(writer).write_all(lines.as_bytes());
        });
        let limits = BuildLimits { output_bytes: 1000, ..BuildLimits::default() };
        let heard = listen(receiver, Teller::new(&|_| {}), &limits).await;
        writing.await.unwrap();
        heard
    }

    #[tokio::test]
    async fn only_what_is_printed_counts_as_output() {
        let json = |message: &Message| serde_json::to_string(message).unwrap() + "\n";
        let output = |line: &str| {
            json(&Message::Output { buildpack: "test/a".parse().unwrap(), line: line.to_owned() })
        };
        let label = hythe_cnb::launch::Label { key: "k".into(), value: "v".repeat(5000) };
        let outcome = Outcome { labels: vec![label], ..Outcome::default() };
        let done = json(&Message::Done { outcome });
        let within = output(&"x".repeat(99)).repeat(10) + &done;
        assert!(within.len() > 6000 && matches!(hear(within).await, Ok(Some(Ok(_)))));
        let started = json(&Message::Started { buildpack: "test/a".parse().unwrap() });
        let beyond = [output(&"x".repeat(100)).repeat(10), output("").repeat(1001), "stray\n".repeat(200)];
        for lines in beyond.into_iter().chain([started.repeat(40_000)]) {
            assert_eq!(hear(lines + &done).await.unwrap_err().id, "build/too-much-output");
        }
    }
}
