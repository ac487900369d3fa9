//! Runs mmdebstrap: packages to one archive that holds both roots.
//!
//! Enter at [`bootstrap`]. It runs as whoever runs the server, in a user namespace of its own (`--mode=unshare`); no
//! step needs root. One run serves both images: when the run image's packages are in place, a hook packs the root into
//! an archive inside itself and apt goes on to the build image's packages, so that both have the same versions and are
//! downloaded once.

use crate::layer::EPOCH;
use crate::{Definition, Egress, Mirrors, StackError, User};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where the run image's root lies inside the archive.
pub(crate) const RUN_ARCHIVE: &str = ".hythe-run.tar";
/// What mmdebstrap leaves in the root that says more of this machine than of the stack.
pub(crate) const TRACES: [&str; 3] = ["etc/apt/", "etc/dpkg/dpkg.cfg.d/99mmdebstrap", RUN_ARCHIVE];
/// Free bytes that both roots and their packages need while they are made.
const SCRATCH: u64 = 3 << 30;
/// Lines of mmdebstrap's output that an error quotes.
const TAIL: usize = 20;

/// Makes the roots and writes them into one archive in `folder`; gives its path.
pub(crate) async fn bootstrap(
    definition: &Definition,
    mirrors: &Mirrors,
    egress: &Egress,
    folder: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<PathBuf, StackError> {
    let archive = folder.join("root.tar");
    let mut child = Asked(
        command(definition, mirrors, egress, &archive)
            .spawn()
            .map_err(|source| StackError::StartBootstrap { source })?,
    );
    let mut tail = VecDeque::new();
    if let Some(output) = child.0.stderr.take() {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(step) = step(&line) {
                progress(step);
            }
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
    let status = child.0.wait().await.map_err(|source| StackError::StartBootstrap { source })?;
    if status.success() {
        return Ok(archive);
    }
    Err(StackError::Bootstrap { status, tail: Vec::from(tail).join("\n") })
}

/// A running mmdebstrap, asked to end when nobody waits for it any more. It is not killed: only mmdebstrap itself can
/// remove its roots, whose files belong to other users.
struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        let running =
            self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = running {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }
}

fn command(definition: &Definition, mirrors: &Mirrors, egress: &Egress, archive: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=unshare", "--variant=essential", "--format=tar", "--dpkgopt=force-unsafe-io"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg(format!("--architectures={}", definition.targets[0].arch))
        .arg(format!("--include={}", definition.run.packages.join(",")))
        .arg(format!("--customize-hook={}", users_hook(definition)))
        .arg(format!("--customize-hook={}", pack_hook()))
        .arg(format!("--customize-hook={}", install_hook(definition)))
        .args(trust(egress))
        .arg(&definition.distribution.suite)
        .arg(archive)
        .args(sources(definition, mirrors))
        .env_clear()
        .envs(egress.variables())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TMPDIR", scratch())
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Sources of the suite, its updates and its security fixes.
fn sources(definition: &Definition, mirrors: &Mirrors) -> [String; 3] {
    let (suite, components) = (&definition.distribution.suite, definition.distribution.components.join(" "));
    [
        format!("deb {} {suite} {components}", mirrors.debian),
        format!("deb {} {suite}-updates {components}", mirrors.debian),
        format!("deb {} {suite}-security {components}", mirrors.debian_security),
    ]
}

/// Writes the stack's users into the root, before both images.
fn users_hook(definition: &Definition) -> String {
    let users = &definition.users;
    let gid = users.gid;
    let user = |user: &User| {
        let (name, uid) = (&user.name, user.uid);
        [
            format!("echo '{name}:x:{uid}:{gid}::/home/{name}:/bin/bash' >>\"$1/etc/passwd\""),
            format!("echo '{name}:*:3652:0:99999:7:::' >>\"$1/etc/shadow\""),
        ]
    };
    let group = format!("echo '{}:x:{gid}:' >>\"$1/etc/group\"", users.group);
    let lines = ["set -e".to_owned(), group].into_iter().chain(user(&users.build)).chain(user(&users.run));
    lines.collect::<Vec<_>>().join("; ")
}

/// Packs the root as it is into an archive inside it.
fn pack_hook() -> String {
    let left_out =
        ["dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/cache/*", "var/lib/apt/*", RUN_ARCHIVE];
    let left_out = left_out.map(|path| format!("--exclude='./{path}'")).join(" ");
    format!(
        "tar --one-file-system --sort=name --numeric-owner --format=pax -C \"$1\" {left_out} -cf \"$1/{RUN_ARCHIVE}\" ."
    )
}

/// Installs the build image's packages the way mmdebstrap itself installs: apt outside, dpkg inside.
fn install_hook(definition: &Definition) -> String {
    format!(
        "APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get -q -o Dir::Bin::dpkg=env -o DPkg::Options::=--unset=TMPDIR \
         -o DPkg::Options::=dpkg -o DPkg::Chroot-Directory=\"$1\" --yes install {} >&2",
        definition.build.packages.join(" ")
    )
}

/// The certificates by which apt knows a mirror.
fn trust(egress: &Egress) -> Option<String> {
    let bundle = egress.ca_bundle.as_ref()?;
    Some(format!("--aptopt=Acquire::https::CAInfo \"{}\"", bundle.display()))
}

/// A folder for the roots that every user may enter, as the namespace's users must; memory where there is plenty, as
/// dpkg waits for the disk at every package.
fn scratch() -> PathBuf {
    let shared_memory = PathBuf::from("/dev/shm");
    if free(&shared_memory) >= SCRATCH && memory() >= 2 * SCRATCH {
        return shared_memory;
    }
    let on_disk = [std::env::temp_dir(), PathBuf::from("/var/tmp")];
    on_disk.iter().find(|path| free(path) >= SCRATCH).unwrap_or(&on_disk[0]).clone()
}

/// Free bytes of a file system that programs may be run from.
fn free(path: &Path) -> u64 {
    match rustix::fs::statvfs(path) {
        Ok(fs) if !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) => fs.f_bavail * fs.f_frsize,
        _ => 0,
    }
}

/// Bytes of memory that are to be had.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// What people are told of a line of mmdebstrap's output.
fn step(line: &str) -> Option<&'static str> {
    let steps = [
        ("I: running apt-get update", "reading Debian's package lists"),
        ("I: downloading packages", "downloading the run image's packages"),
        ("I: installing essential", "installing the run image's packages"),
        ("I: running --customize-hook in shell: sh -c 'APT_CONFIG", "installing the build image's packages"),
        ("I: creating tarball", "packing both roots"),
    ];
    steps.iter().find_map(|(start, text)| line.starts_with(start).then_some(*text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_few_lines() {
        assert_eq!(step("I: creating tarball..."), Some("packing both roots"));
        assert_eq!(step("Setting up gcc (4:12.2.0-3) ..."), None);
    }

    #[test]
    fn mmdebstrap_goes_the_operators_way() {
        let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm");
        let definition = Definition::read(&definition).unwrap();
        let mirrors = Mirrors { debian_security: "https://mirror/security".into(), ..Mirrors::default() };
        let egress = Egress {
            http_proxy: Some("http://proxy:3128".into()),
            ca_bundle: Some("/etc/own.pem".into()),
            ..Egress::default()
        };
        let command = command(&definition, &mirrors, &egress, Path::new("root.tar"));
        let command = command.as_std();
        let arguments: Vec<_> = command.get_args().filter_map(|argument| argument.to_str()).collect();
        assert!(arguments.contains(&"--aptopt=Acquire::https::CAInfo \"/etc/own.pem\""), "{arguments:?}");
        assert!(arguments.contains(&"deb https://mirror/security bookworm-security main"), "{arguments:?}");
        let proxy = command.get_envs().find(|(name, _)| *name == "http_proxy");
        assert_eq!(proxy.and_then(|(_, value)| value?.to_str()), Some("http://proxy:3128"));
    }

    #[test]
    fn a_machine_always_has_a_scratch_folder() {
        assert!(scratch().is_dir());
        assert!(free(Path::new("/")) > 0 && free(Path::new("/no/such/folder")) == 0);
    }
}
