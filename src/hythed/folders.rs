//! Where things lie: the data folder's parts, and the installation's.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The data folder, and what is elsewhere where several servers share it.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    root: PathBuf,
    keys: PathBuf,
    shared: Option<PathBuf>,
}

impl Data {
    /// This folder, made where it is missing; nobody else may look into it. `shared` is there already: one that is not mounted would
    /// be this server's alone.
    pub(crate) fn open(root: &Path, keys: Option<&Path>, shared: Option<&Path>) -> Result<Self> {
        if let Some(shared) = shared {
            let there = shared.is_dir();
            anyhow::ensure!(there, "{} ([objects] folder) is not there: mount it first", shared.display());
        }
        let usual = shared.unwrap_or(root).join("keys");
        let keys = keys.map_or(usual, Path::to_owned);
        let folder = Self { root: root.to_owned(), keys, shared: shared.map(Path::to_owned) };
        let mut parts = vec![folder.root.clone(), folder.keys(), folder.run(), folder.logs()];
        parts.extend(folder.objects());
        for part in parts {
            let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(&part);
            make.with_context(|| format!("cannot make {}", part.display()))?;
        }
        Ok(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    /// Where objects are that every server sees.
    pub(crate) fn objects(&self) -> Option<PathBuf> {
        self.shared.as_ref().map(|shared| shared.join("objects"))
    }
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("hythe.db")
    }
    pub(crate) fn keys(&self) -> PathBuf {
        self.keys.clone()
    }
    pub(crate) fn host_key(&self) -> PathBuf {
        self.keys().join("ssh_host_ed25519_key")
    }
    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join("repos")
    }
    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }
    pub(crate) fn registry(&self) -> PathBuf {
        self.shared.as_deref().unwrap_or(&self.root).join("registry")
    }
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }
    /// What instances print, as the helper writes it; the log store reads it from there.
    pub(crate) fn instance_logs(&self) -> PathBuf {
        self.logs().join("instances")
    }
    /// What the sandbox helper alone touches.
    pub(crate) fn namespace(&self) -> PathBuf {
        self.root.join("ns")
    }
    /// Archives while base images are made.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }
    pub(crate) fn helper_socket(&self) -> PathBuf {
        self.run().join("sandbox.sock")
    }
    pub(crate) fn hook_socket(&self) -> PathBuf {
        self.run().join("hook.sock")
    }
    /// Held by the running server; its text is the process id.
    pub(crate) fn lock(&self) -> PathBuf {
        self.run().join("hythed.pid")
    }
    /// Held by whoever removes what nobody needs, and by whoever copies.
    pub(crate) fn upkeep_lock(&self) -> PathBuf {
        self.run().join("upkeep.lock")
    }
    /// Where the fronts listen, written when they do.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.run().join("addresses.json")
    }
}

/// The installation that this program belongs to: `bin/hythed`, `libexec/hythe/`, `share/hythe/`.
#[derive(Debug, Clone)]
pub(crate) struct Installation(PathBuf);

impl Installation {
    /// Found from this program's own place.
    pub(crate) fn find() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let prefix = program.parent().and_then(Path::parent).map(Path::to_owned);
        let found = Self(prefix.unwrap_or_default());
        let helper = found.helper();
        anyhow::ensure!(
            helper.is_file(),
            "{} is missing: install Hythe whole, by `make build` or a package",
            helper.display()
        );
        Ok(found)
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.0.join("bin/hythed")
    }
    pub(crate) fn helper(&self) -> PathBuf {
        self.0.join("libexec/hythe/hythe-sandbox")
    }
    pub(crate) fn lifecycle(&self) -> PathBuf {
        self.0.join("libexec/hythe/lifecycle")
    }
    pub(crate) fn carrier(&self) -> PathBuf {
        self.0.join("libexec/hythe/carrier")
    }
    pub(crate) fn launcher(&self) -> PathBuf {
        self.0.join("libexec/hythe/launcher")
    }
    pub(crate) fn buildpacks(&self) -> PathBuf {
        self.0.join("share/hythe/buildpacks")
    }
    pub(crate) fn stack(&self, name: &str) -> PathBuf {
        self.0.join("share/hythe/stacks").join(name)
    }
    pub(crate) fn builder(&self, name: &str) -> PathBuf {
        self.0.join("share/hythe/builder-images").join(name).join("builder.toml")
    }
}
