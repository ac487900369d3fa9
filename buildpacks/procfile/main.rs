//! The procfile buildpack: processes from a `Procfile`.
//!
//! One line a process, `name: command`. It adds to what other buildpacks found, and replaces a process of the same name.
//! It never installs anything.

mod procfile;

use hythe_buildpack::{BuildpackError, note, read_optional, report, shell_process};
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, buildpack_main};
use libcnb_data::launch::{LaunchBuilder, ProcessType};

struct ProcfileBuildpack;

impl Buildpack for ProcfileBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        if context.app_dir.join("Procfile").is_file() {
            return DetectResultBuilder::pass().build();
        }
        println!("no Procfile");
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let text = read_optional(&context.app_dir.join("Procfile"))?.unwrap_or_default();
        let processes = procfile::parse(&text).map_err(BuildpackError::Fault)?;
        let mut launch = LaunchBuilder::new();
        for process in &processes {
            let kind: ProcessType = process.name.parse()?;
            launch.process(shell_process(kind, &process.command, process.name == "web"));
        }
        let names: Vec<&str> = processes.iter().map(|process| process.name.as_str()).collect();
        note("procfile", &names.join(", "));
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

buildpack_main!(ProcfileBuildpack);
