//! The OCI bundle of a sandbox.
//!
//! Enter at [`config`], which turns a spec into the `config.json` of the OCI runtime specification. It touches nothing.

use super::refusal::Refusal;
use super::seccomp;
use crate::{ErrorCode, Limits, Mount, Network, Process, SandboxSpec};
use hythe_model::TerminalSize;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    BoxBuilder, Capabilities, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder,
    LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, Mount as OciMount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder, get_default_maskedpaths,
    get_default_readonly_paths,
};
use std::path::{Path, PathBuf};

/// What the spec alone does not say.
pub(super) struct Surroundings {
    /// The mounted root.
    pub(super) rootfs: PathBuf,
    /// `linux.cgroupsPath`, where there are cgroups.
    pub(super) cgroup: Option<String>,
    /// Whether memory and swap are limited together.
    pub(super) limits_swap: bool,
    /// The prepared network namespace; without one `runc` makes one with loopback alone.
    pub(super) network: Option<PathBuf>,
    /// Where each mount of the spec is found, `None` for a tmpfs; then the default files, by target.
    pub(super) sources: Vec<Option<PathBuf>>,
    /// Files that every sandbox has, with their targets.
    pub(super) defaults: Vec<(PathBuf, &'static str)>,
    /// Most open files that this machine lets us give.
    pub(super) most_files: u64,
    /// The size of its terminal, where it gets one.
    pub(super) terminal: Option<TerminalSize>,
}

/// Where programs are looked for when the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CPU_PERIOD: u64 = 100_000;
/// A sandbox is what the machine's own out-of-memory killer takes first.
const OOM_SCORE: i32 = 500;

/// The content of `config.json`.
pub(super) fn config(spec: &SandboxSpec, around: &Surroundings) -> Result<Spec, Refusal> {
    build(spec, around).map_err(|error| Refusal::new(ErrorCode::Invalid, format!("the bundle: {error}")))
}

fn build(spec: &SandboxSpec, around: &Surroundings) -> Result<Spec, OciSpecError> {
    let mut mounts = default_mounts()?;
    for (source, target) in &around.defaults {
        mounts.push(bind(source, target, "ro")?);
    }
    for (mount, source) in spec.mounts.iter().zip(&around.sources) {
        mounts.push(one_mount(mount, source.as_deref(), &spec.process)?);
    }
    let root = RootBuilder::default().path(&around.rootfs).readonly(spec.root.read_only).build()?;
    SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .hostname(&spec.hostname)
        .mounts(mounts)
        .process(process(&spec.process, &spec.limits, around)?)
        .linux(linux(spec, around)?)
        .build()
}

fn process(
    process: &Process,
    limits: &Limits,
    around: &Surroundings,
) -> Result<oci_spec::runtime::Process, OciSpecError> {
    let mut env: Vec<String> = process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !process.env.iter().any(|(name, _)| name == "PATH") {
        env.push(format!("PATH={PATH}"));
    }
    let none = Capabilities::default;
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(none())
        .effective(none())
        .inheritable(none())
        .permitted(none())
        .ambient(none())
        .build()?;
    let mut built = ProcessBuilder::default().terminal(around.terminal.is_some());
    if let Some(TerminalSize { rows, cols }) = around.terminal {
        built = built.console_size(BoxBuilder::default().height(rows).width(cols).build()?);
    }
    built
        .user(UserBuilder::default().uid(process.uid).gid(process.gid).build()?)
        .args(process.args.clone())
        .env(env)
        .cwd(&process.cwd)
        .capabilities(capabilities)
        .rlimits(vec![
            rlimit(PosixRlimitType::RlimitNofile, limits.nofile.min(around.most_files))?,
            rlimit(PosixRlimitType::RlimitCore, 0)?,
        ])
        .no_new_privileges(true)
        .oom_score_adj(OOM_SCORE)
        .build()
}

fn rlimit(kind: PosixRlimitType, value: u64) -> Result<PosixRlimit, OciSpecError> {
    PosixRlimitBuilder::default().typ(kind).soft(value).hard(value).build()
}

fn linux(spec: &SandboxSpec, around: &Surroundings) -> Result<Linux, OciSpecError> {
    let network = match (&spec.network, &around.network) {
        (Network::Private { .. }, Some(path)) => {
            LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network).path(path).build()?
        }
        _ => namespace(LinuxNamespaceType::Network)?,
    };
    let namespaces = vec![
        namespace(LinuxNamespaceType::Pid)?,
        namespace(LinuxNamespaceType::Mount)?,
        namespace(LinuxNamespaceType::Ipc)?,
        namespace(LinuxNamespaceType::Uts)?,
        namespace(LinuxNamespaceType::Cgroup)?,
        network,
    ];
    let mut masked = get_default_maskedpaths();
    masked.extend(["/sys/devices/virtual/powercap", "/sys/fs/cgroup", "/proc/interrupts"].map(str::to_owned));
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .masked_paths(masked)
        .readonly_paths(get_default_readonly_paths())
        .seccomp(seccomp::profile()?);
    if let Some(cgroup) = &around.cgroup {
        linux = linux.cgroups_path(cgroup).resources(resources(&spec.limits, around.limits_swap)?);
    }
    linux.build()
}

fn namespace(kind: LinuxNamespaceType) -> Result<LinuxNamespace, OciSpecError> {
    LinuxNamespaceBuilder::default().typ(kind).build()
}

fn resources(limits: &Limits, limits_swap: bool) -> Result<LinuxResources, OciSpecError> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut memory = LinuxMemoryBuilder::default().limit(signed(limits.memory_bytes));
    if limits_swap {
        memory = memory.swap(signed(limits.memory_bytes));
    }
    let quota = signed(u64::from(limits.cpu_millis.max(10)) * CPU_PERIOD / 1000);
    LinuxResourcesBuilder::default()
        .memory(memory.build()?)
        .cpu(LinuxCpuBuilder::default().period(CPU_PERIOD).quota(quota).build()?)
        .pids(LinuxPidsBuilder::default().limit(i64::from(limits.pids)).build()?)
        .build()
}

fn default_mounts() -> Result<Vec<OciMount>, OciSpecError> {
    let table: [(&str, &str, &[&str]); 6] = [
        ("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    table.into_iter().map(|(target, kind, options)| mount(kind, kind, target, options)).collect()
}

/// A tmpfs belongs to the sandbox's user: `runc` gives its root the mode of the folder below, which it made for root.
fn one_mount(what: &Mount, source: Option<&Path>, user: &Process) -> Result<OciMount, OciSpecError> {
    let source = source.unwrap_or(Path::new("none"));
    match what {
        // What is mounted below it is closed as well.
        Mount::Bind { target, read_only: true, .. } => bind(source, target, "rro"),
        Mount::Bind { target, .. } => bind(source, target, "rw"),
        Mount::File { target, .. } => bind(source, target, "ro"),
        Mount::Tmpfs { target, size } => {
            let (size, uid, gid) =
                (format!("size={size}"), format!("uid={}", user.uid), format!("gid={}", user.gid));
            mount("tmpfs", "tmpfs", target, &["nosuid", "nodev", "mode=0755", &size, &uid, &gid])
        }
    }
}

fn bind(source: &Path, target: &str, access: &str) -> Result<OciMount, OciSpecError> {
    mount("bind", source, target, &["rbind", "rprivate", "nosuid", "nodev", access])
}

fn mount(
    kind: &str,
    source: impl AsRef<Path>,
    target: &str,
    options: &[&str],
) -> Result<OciMount, OciSpecError> {
    MountBuilder::default()
        .typ(kind)
        .source(source.as_ref())
        .destination(target)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}
