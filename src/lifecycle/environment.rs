//! What a buildpack's process sees: the pure rules of `hythe_cnb::env` over the folders of this machine.

use crate::files;
use hythe_cnb::buildpack::Descriptor;
use hythe_cnb::env::{self, Env, EnvDir, Plain};
use hythe_cnb::layer::LayerTypes;
use hythe_cnb::protocol::{Failure, Request};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest value of an environment file, bytes; the kernel takes no longer one.
const VALUE_MAX: u64 = 128 << 10;

/// The parts of the environment that are the same for every buildpack.
pub(crate) struct Context {
    platform: EnvDir,
    build_config: EnvDir,
    target: Vec<(&'static str, String)>,
    exec_env: String,
    platform_dir: PathBuf,
}

impl Context {
    /// Writes the platform folder and keeps what the environment needs.
    pub(crate) fn prepare(request: &Request) -> Result<Self, Box<Failure>> {
        let dir = request.platform_dir.join("env");
        fs::create_dir_all(&dir).map_err(files::setup("make", &dir))?;
        for (name, value) in &request.platform_env {
            let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
            if !plain {
                return Err(Box::new(Failure::Setup {
                    reason: format!("`{name}` cannot name an environment variable"),
                }));
            }
            let path = dir.join(name);
            fs::write(&path, value).map_err(files::setup("write", &path))?;
        }
        Ok(Self {
            platform: env_dir(&request.platform_env),
            build_config: env_dir(&request.build_config_env),
            target: request.target.variables(),
            exec_env: request.exec_env.clone(),
            platform_dir: request.platform_dir.clone(),
        })
    }

    /// The environment of one buildpack's detect or build; `base` is what earlier build layers made of it.
    pub(crate) fn of(&self, descriptor: &Descriptor, folder: &Path, base: &Env) -> Env {
        let mut env = base.clone();
        if !descriptor.clear_env {
            env::apply_platform(&mut env, &self.platform);
        }
        env::apply(&mut env, &self.build_config, Plain::Default);
        env.insert("CNB_BUILDPACK_DIR".into(), folder.into());
        env.insert("CNB_PLATFORM_DIR".into(), self.platform_dir.clone().into());
        env.extend(self.target.iter().map(|(name, value)| (OsString::from(name), value.into())));
        if descriptor.api().is_ok_and(hythe_cnb::BuildpackApi::has_execution_environments) {
            env.insert("CNB_EXEC_ENV".into(), self.exec_env.clone().into());
        }
        env
    }
}

/// The environment before any layer.
pub(crate) fn initial() -> Env {
    env::for_build(&std::env::vars_os().collect())
}

/// Adds a buildpack's build layers, sorted by name, to what later buildpacks see.
pub(crate) fn add_layers(env: &mut Env, layers: &[(PathBuf, LayerTypes)]) -> io::Result<()> {
    for (path, _) in layers.iter().filter(|(_, types)| types.build) {
        env::add_layer(env, &env::BUILD_ROOTS, path, &|dir| dir.is_dir());
        for name in ["env", "env.build"] {
            env::apply(env, &read_env_dir(&path.join(name))?, Plain::Override);
        }
    }
    Ok(())
}

fn env_dir(variables: &std::collections::BTreeMap<String, String>) -> EnvDir {
    variables.iter().map(|(name, value)| (name.into(), value.clone().into_bytes())).collect()
}

fn read_env_dir(path: &Path) -> io::Result<EnvDir> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(EnvDir::new()),
        entries => entries?,
    };
    let mut dir = EnvDir::new();
    for entry in entries {
        let entry = entry?;
        let metadata = fs::metadata(entry.path())?;
        if metadata.is_file() {
            if metadata.len() > VALUE_MAX {
                return Err(io::Error::other(format!("{} is too long", entry.path().display())));
            }
            dir.insert(entry.file_name(), fs::read(entry.path())?);
        }
    }
    Ok(dir)
}
