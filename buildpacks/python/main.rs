//! The python buildpack: the interpreter in a layer of the tool, packages by pip, and a server found in the code.
//!
//! [`project`] reads what the source asks for, [`runtime`] and [`pip`] install it, [`start`] finds how it is started.
//! What pip says is turned into written faults by [`faults`]. It never runs the tool's own code.

mod faults;
mod pip;
mod poetry;
mod project;
mod requirements;
mod runtime;
mod start;

use hythe_buildpack::{BuildpackError, note, report, web};
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, buildpack_main};
use libcnb_data::build_plan::BuildPlanBuilder;
use libcnb_data::launch::LaunchBuilder;

pub(crate) struct PythonBuildpack;

impl Buildpack for PythonBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        let Some(sign) = project::determine_sign(&context.app_dir) else {
            println!("no requirements.txt, no pyproject.toml, no Python file beside a Procfile");
            return DetectResultBuilder::fail().build();
        };
        println!("python ({sign})");
        let plan = BuildPlanBuilder::new().provides("python").requires("python").build();
        DetectResultBuilder::pass().build_plan(plan).build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let project = project::determine_project(&context.app_dir)?;
        let runtime = runtime::resolve_runtime(&project)?;
        let runtime = runtime::install_runtime(&context, runtime)?;
        let packages = pip::install_packages(&context, &runtime, &project)?;
        let mut launch = LaunchBuilder::new();
        let line = start::determine_web(&context.app_dir, &packages.join("bin"));
        if let Some(line) = line.map_err(BuildpackError::Fault)? {
            note("web", line.trim_start_matches("exec "));
            launch.process(web(&line));
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

buildpack_main!(PythonBuildpack);
