//! Runs a buildpack's own program as a lifecycle does; for the tests of each buildpack.
//!
//! The machine stands in for the build image, so that a test is about what does not need the stack's runtimes.

use libcnb::build::BuildContext;
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, Env, Target, read_toml_file, write_toml_file};
use libcnb_data::buildpack_plan::BuildpackPlan;
use libcnb_data::layer_content_metadata::LayerContentMetadata;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a buildpack's own functions are given in a build, with `layers` and `workspace` below `root`.
pub fn build_context<B>(root: &Path) -> io::Result<BuildContext<B>>
where
    B: Buildpack<Platform = GenericPlatform, Metadata = GenericMetadata>,
{
    let folder = |name: &str| {
        let folder = root.join(name);
        fs::create_dir_all(&folder).map(|()| folder)
    };
    let descriptor =
        serde_json::json!({ "api": "0.10", "buildpack": { "id": "hythe/x", "version": "0.1.0" } });
    let text = |text: &str| text.to_owned();
    Ok(BuildContext {
        layers_dir: folder("layers")?,
        app_dir: folder("workspace")?,
        buildpack_dir: folder("buildpack")?,
        target: Target {
            os: text("linux"),
            arch: text("amd64"),
            arch_variant: None,
            distro_name: text("debian"),
            distro_version: text("12"),
        },
        platform: GenericPlatform::new(Env::new()),
        buildpack_plan: BuildpackPlan { entries: Vec::new() },
        buildpack_descriptor: serde_json::from_value(descriptor)?,
        store: None,
    })
}

/// Does to layers what happens to them between two builds: those that are not cached go, the others lose their types.
pub fn restore_layers(layers: &Path) -> io::Result<()> {
    for entry in fs::read_dir(layers)? {
        let record = entry?.path();
        if record.extension().is_none_or(|e| e != "toml") || record.ends_with("launch.toml") {
            continue;
        }
        let read = read_toml_file::<LayerContentMetadata>(&record);
        let mut layer = read.map_err(|error| io::Error::other(error.to_string()))?;
        if layer.types.take().is_some_and(|types| types.cache) {
            write_toml_file(&layer, &record).map_err(|error| io::Error::other(error.to_string()))?;
        } else {
            fs::remove_file(&record)?;
            fs::remove_dir_all(record.with_extension(""))?;
        }
    }
    Ok(())
}

/// A buildpack laid out in a folder, with one source to work on.
#[derive(Debug)]
pub struct Bench {
    root: PathBuf,
}

/// What a phase did.
#[derive(Debug)]
pub struct Phase {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub output: String,
}

impl Phase {
    /// The id of the fault that ends the output.
    pub fn fault(&self) -> Option<String> {
        let json = self.output.lines().last()?.strip_prefix("::hythe-fault::")?;
        let fault: serde_json::Value = serde_json::from_str(json).ok()?;
        fault["id"].as_str().map(str::to_owned)
    }
}

impl Bench {
    /// Lays out a program with its `buildpack.toml` and a copy of a source in `root`, an empty folder.
    pub fn new(root: &Path, program: &Path, descriptor: &Path, app: &Path) -> io::Result<Self> {
        let bench = Self { root: root.to_owned() };
        let bin = bench.buildpack().join("bin");
        for folder in [&bin, &bench.layers(), &root.join("platform/env")] {
            fs::create_dir_all(folder)?;
        }
        // Links: a file that was just written may still be open in a child that another thread is starting, and then
        // cannot be run.
        for name in ["build", "detect"] {
            std::os::unix::fs::symlink(program, bin.join(name))?;
        }
        fs::copy(descriptor, bench.buildpack().join("buildpack.toml"))?;
        fs::write(root.join("plan-in.toml"), "")?;
        crate::copy_tree(app, &bench.app(), &|_| false).map_err(io::Error::other)?;
        Ok(bench)
    }

    /// The source that is built.
    pub fn app(&self) -> PathBuf {
        self.root.join("workspace")
    }

    /// The buildpack's layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn buildpack(&self) -> PathBuf {
        self.root.join("buildpack")
    }

    /// Runs `bin/detect`.
    pub fn detect(&self) -> io::Result<Phase> {
        let plan = self.root.join("plan-out.toml");
        self.run("detect", &[&self.root.join("platform"), &plan])
    }

    /// Runs `bin/build`.
    pub fn build(&self) -> io::Result<Phase> {
        self.run("build", &[&self.layers(), &self.root.join("platform"), &self.root.join("plan-in.toml")])
    }

    /// The build plan that detect wrote, empty where it wrote none.
    pub fn plan(&self) -> String {
        fs::read_to_string(self.root.join("plan-out.toml")).unwrap_or_default()
    }

    /// The processes that build wrote, as `launch.toml`.
    pub fn launch(&self) -> String {
        fs::read_to_string(self.layers().join("launch.toml")).unwrap_or_default()
    }

    fn run(&self, phase: &str, arguments: &[&Path]) -> io::Result<Phase> {
        loop {
            match self.try_run(phase, arguments) {
                // Another test's child still holds the copy open for writing, until it starts a program itself.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                ran => return ran,
            }
        }
    }

    fn try_run(&self, phase: &str, arguments: &[&Path]) -> io::Result<Phase> {
        let output = Command::new(self.buildpack().join("bin").join(phase))
            .args(arguments)
            .current_dir(self.app())
            .env("CNB_BUILDPACK_DIR", self.buildpack())
            .env("CNB_TARGET_OS", "linux")
            .env("CNB_TARGET_ARCH", "amd64")
            .env("CNB_TARGET_DISTRO_NAME", "debian")
            .env("CNB_TARGET_DISTRO_VERSION", "12")
            .output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Phase { code: output.status.code(), output: text })
    }
}
