//! The environment of a process: the container's, then every layer's, then exec.d programs'.

use crate::process::LaunchError;
use command_fds::{CommandFdExt, FdMapping};
use hythe_cnb::env::{self, Env, EnvDir, LAUNCH_ROOTS, Plain};
use hythe_cnb::metadata::LaunchMetadata;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest answer of an exec.d program, in bytes.
const EXEC_D_MAX: u64 = 1 << 20;

/// What a process sees, and the layers that it has from.
pub(crate) struct Launched {
    /// Its environment.
    pub(crate) env: Env,
    /// Every layer's folder, in the order in which they count.
    pub(crate) layers: Vec<PathBuf>,
}

/// What the process sees. `kind` is its type, where it has one.
pub(crate) fn of_process(
    own: &Env,
    layers: &Path,
    app: &Path,
    metadata: &LaunchMetadata,
    kind: Option<&str>,
) -> Result<Launched, LaunchError> {
    let mut seen = env::for_launch(own);
    let mut all = Vec::new();
    for buildpack in &metadata.buildpacks {
        let found = folders(&layers.join(buildpack.id.dir_name()))?;
        for layer in &found {
            env::add_layer(&mut seen, &LAUNCH_ROOTS, layer, &|dir| dir.is_dir());
        }
        for layer in &found {
            for folder in env_folders(layer, kind) {
                env::apply(&mut seen, &files(&folder)?, Plain::Override);
            }
        }
        all.extend(found);
    }
    // Only now: a program of any layer sees what every layer adds.
    for folder in all.iter().flat_map(|layer| exec_d_folders(layer, kind)) {
        for program in programs(&folder)? {
            run_exec_d(&program, app, &mut seen)?;
        }
    }
    Ok(Launched { env: seen, layers: all })
}

fn env_folders(layer: &Path, kind: Option<&str>) -> Vec<PathBuf> {
    let launch = layer.join("env.launch");
    let of_kind = kind.map(|kind| launch.join(kind));
    [layer.join("env"), launch].into_iter().chain(of_kind).collect()
}

fn exec_d_folders(layer: &Path, kind: Option<&str>) -> Vec<PathBuf> {
    let all = layer.join("exec.d");
    let of_kind = kind.map(|kind| all.join(kind));
    [all].into_iter().chain(of_kind).collect()
}

/// Scripts that a shell reads before a process that wants one: those of profile.d, then the app's own.
pub(crate) fn profiles(
    layers: &[PathBuf],
    app: &Path,
    kind: Option<&str>,
) -> Result<Vec<PathBuf>, LaunchError> {
    let mut found = Vec::new();
    for layer in layers {
        let all = layer.join("profile.d");
        found.extend(programs(&all)?);
        if let Some(kind) = kind {
            found.extend(programs(&all.join(kind))?);
        }
    }
    found.extend(Some(app.join(".profile")).filter(|path| path.is_file()));
    Ok(found)
}

/// The folders in a folder, by name; none where it is missing.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn programs(dir: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_file()).collect())
}

/// The regular files of an env folder.
fn files(dir: &Path) -> Result<EnvDir, LaunchError> {
    let mut found = EnvDir::new();
    for path in entries(dir)?.into_iter().filter(|path| path.is_file()) {
        let value = fs::read(&path).map_err(|error| LaunchError::read(&path, &error))?;
        found.insert(path.file_name().map(OsStr::to_owned).unwrap_or_default(), value);
    }
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    let read =
        || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut found = match read() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        found => found.map_err(|error| LaunchError::read(dir, &error))?,
    };
    found.sort();
    Ok(found)
}

/// Runs a program that answers variables as TOML on file descriptor 3 (Buildpack specification, "Exec.d").
fn run_exec_d(program: &Path, app: &Path, seen: &mut Env) -> Result<(), LaunchError> {
    let failed = |why: String| LaunchError::ExecD { program: program.to_owned(), why };
    let (reader, writer) = std::io::pipe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.current_dir(app).env_clear().envs(seen.iter());
    let third = FdMapping { parent_fd: writer.into(), child_fd: 3 };
    command.fd_mappings(vec![third]).map_err(|error| failed(error.to_string()))?;
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    // The command holds the pipe's other end: without it the answer has an end.
    drop(command);
    let mut answer = String::new();
    let read = reader.take(EXEC_D_MAX).read_to_string(&mut answer);
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    read.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    let table: toml::Table = toml::from_str(&answer).map_err(|error| failed(error.message().to_owned()))?;
    for (name, value) in table {
        let toml::Value::String(value) = value else {
            return Err(failed(format!("the value of {name} is not a text")));
        };
        seen.insert(OsString::from(name), OsString::from(value));
    }
    Ok(())
}
