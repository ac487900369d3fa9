//! The node buildpack: Node.js in a layer of the tool, packages by npm, the `start` script as the web process.
//!
//! [`project`] reads what the source asks for, [`runtime`] and [`packages`] install it. What npm says is turned into
//! written faults by [`faults`]. npm itself stays in the build image: the tool's processes are started without it.

mod faults;
mod packages;
mod project;
mod runtime;

use hythe_buildpack::{BuildpackError, note, report, web};
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, buildpack_main};
use libcnb_data::build_plan::BuildPlanBuilder;
use libcnb_data::launch::LaunchBuilder;

pub(crate) struct NodeBuildpack;

impl Buildpack for NodeBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        if !context.app_dir.join("package.json").is_file() {
            println!("no package.json");
            return DetectResultBuilder::fail().build();
        }
        println!("node (package.json)");
        let plan = BuildPlanBuilder::new().provides("node").requires("node").build();
        DetectResultBuilder::pass().build_plan(plan).build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let project = project::determine_project(&context.app_dir)?;
        let runtime = runtime::resolve_runtime(&project)?;
        let runtime = runtime::install_runtime(&context, &runtime)?;
        packages::install_packages(&context, &runtime, &project)?;
        let mut launch = LaunchBuilder::new();
        match project.start_line(&context.app_dir) {
            _ if context.app_dir.join("Procfile").is_file() => {}
            Some(line) => {
                note("web", &line);
                launch.process(web(&line));
            }
            // Another language starts it, and Node.js is there for its front end.
            None if project.is_helper => {}
            None => return Err(BuildpackError::Fault(faults::no_start_script(&project)).into()),
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

buildpack_main!(NodeBuildpack);
