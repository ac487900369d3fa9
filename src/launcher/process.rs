//! What is started: a process type by the name that this program was called by, or a command of the user's.

use crate::environment;
use hythe_cnb::env::Env;
use hythe_cnb::launch::Process;
use hythe_cnb::metadata::LaunchMetadata;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// A file of the image cannot be read.
    #[error("cannot read {path}: {why}")]
    Read { path: PathBuf, why: String },
    /// The image's metadata says something that it must not.
    #[error("{0}")]
    Metadata(#[from] hythe_cnb::FormatError),
    /// The image has no such process and no command was given.
    #[error("the image has no process `{0}`, and no command was given")]
    NoProcess(String),
    /// An exec.d program failed.
    #[error("{program}: {why}")]
    ExecD { program: PathBuf, why: String },
    /// The app's folder or the process's own cannot be entered.
    #[error("cannot start in {dir}: {why}")]
    Folder { dir: PathBuf, why: io::Error },
    /// The program cannot be started.
    #[error("cannot start {program}: {why}")]
    Exec { program: String, why: io::Error },
}

impl LaunchError {
    pub(crate) fn read(path: &Path, error: &io::Error) -> Self {
        Self::Read { path: path.to_owned(), why: error.to_string() }
    }

    /// The exit code: as a shell has it where the program is missing (127) or cannot be run (126).
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Exec { why, .. } if why.kind() == io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            _ => 80,
        }
    }
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// Program and arguments, without a shell.
    Direct(Vec<OsString>),
    /// A command for bash: alone it is a script, with arguments each word is expanded on its own.
    Shell(Vec<OsString>),
}

/// Becomes the process; returns only the reason why not.
pub(crate) fn launch() -> LaunchError {
    match prepare() {
        Ok(mut command) => {
            let why = command.exec();
            LaunchError::Exec { program: command.get_program().to_string_lossy().into_owned(), why }
        }
        Err(error) => error,
    }
}

fn prepare() -> Result<Command, LaunchError> {
    let own: Env = env::vars_os().collect();
    let folder = |name: &str, usual: &str| {
        own.get(OsStr::new(name)).map_or_else(|| PathBuf::from(usual), PathBuf::from)
    };
    let (layers, app) = (folder("CNB_LAYERS_DIR", "/layers"), folder("CNB_APP_DIR", "/workspace"));
    let file = layers.join("config/metadata.toml");
    let text = fs::read_to_string(&file).map_err(|error| LaunchError::read(&file, &error))?;
    let metadata = LaunchMetadata::parse(&text)?;

    let mut words = env::args_os();
    let called = words.next().map(PathBuf::from).unwrap_or_default();
    let called = called.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let exec_env =
        own.get(OsStr::new("CNB_EXEC_ENV")).and_then(|value| value.to_str()).unwrap_or("production");
    let process = metadata.process(&called, exec_env);
    let start = choose(process, &called, words.collect())?;
    let kind = process.map(|_| called.as_str());
    let launched = environment::of_process(&own, &layers, &app, &metadata, kind)?;
    let dir =
        process.and_then(|process| process.working_dir.as_ref()).map_or_else(|| app.clone(), PathBuf::from);
    match start {
        Start::Direct(words) => {
            let command = direct(&words, launched.env);
            env::set_current_dir(&dir).map_err(|why| LaunchError::Folder { dir, why })?;
            Ok(command)
        }
        Start::Shell(words) => {
            let profiles = environment::profiles(&launched.layers, &app, kind)?;
            env::set_current_dir(&app).map_err(|why| LaunchError::Folder { dir: app, why })?;
            Ok(shell(&words, &profiles, &dir, launched.env))
        }
    }
}

/// A process's own arguments give way to the user's; without a process `--` comes before a command that needs no shell.
fn choose(process: Option<&Process>, called: &str, words: Vec<OsString>) -> Result<Start, LaunchError> {
    if let Some(process) = process {
        let args = if words.is_empty() { process.args.iter().map(OsString::from).collect() } else { words };
        let command = process.command.iter().map(OsString::from);
        return Ok(if process.direct {
            Start::Direct(command.chain(args).collect())
        } else {
            Start::Shell(std::iter::once(process.command.join(" ").into()).chain(args).collect())
        });
    }
    let mut words = words.into_iter();
    match words.next() {
        None => Err(LaunchError::NoProcess(called.to_owned())),
        Some(first) if first == "--" => {
            let command: Vec<_> = words.collect();
            if command.is_empty() {
                Err(LaunchError::NoProcess(called.to_owned()))
            } else {
                Ok(Start::Direct(command))
            }
        }
        Some(script) => Ok(Start::Shell(std::iter::once(script).chain(words).collect())),
    }
}

/// The program is looked up in the process's own `PATH`, not in the container's.
fn direct(words: &[OsString], seen: Env) -> Command {
    let mut command = Command::new(look_up(&words[0], seen.get(OsStr::new("PATH"))));
    command.arg0(&words[0]).args(&words[1..]).env_clear().envs(seen);
    command
}

/// A script that reads the profiles and gives way to the command, word for word as the reference's launcher has it.
fn shell(words: &[OsString], profiles: &[PathBuf], dir: &Path, seen: Env) -> Command {
    let mut script = String::new();
    for profile in profiles {
        let _ = writeln!(script, "source \"{}\"", profile.display());
    }
    let _ = writeln!(script, "cd \"{}\"", dir.display());
    if words.len() < 2 {
        script.push_str("exec bash -c \"$@\"");
    } else {
        let word = |place: usize| match place {
            0 => r#""$(eval echo \"$0\")""#.to_owned(),
            _ => format!(r#""$(eval echo \"${{{place}}}\")""#),
        };
        let all: Vec<_> = (0..words.len()).map(word).collect();
        let _ = write!(script, "exec bash -c '{}' \"${{@:1}}\"", all.join(" "));
    }
    let mut command = Command::new("/bin/bash");
    command.arg0("bash").arg("-c").arg(script).arg("launcher").args(words).env_clear().envs(seen);
    command
}

fn look_up(program: &OsStr, path: Option<&OsString>) -> PathBuf {
    let plain = PathBuf::from(program);
    if plain.components().count() > 1 || plain.is_absolute() {
        return plain;
    }
    let folders = path.map(|path| env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    folders.into_iter().map(|folder| folder.join(program)).find(|path| is_program(path)).unwrap_or(plain)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
