//! The node buildpack: Node.js in a layer of the tool, packages by npm, the `start` script as the web process.
//!
//! [`project`] reads what the source asks for, [`runtime`] and [`packages`] install it. What npm says is turned into
//! written faults by [`faults`].

mod faults;
mod packages;
mod project;
mod runtime;

use hythe_buildpack::{BUILT_SITE, BuildpackError, note, report, web};
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, buildpack_main};
use libcnb_data::build_plan::{BuildPlan, BuildPlanBuilder};
use libcnb_data::launch::LaunchBuilder;

pub(crate) struct NodeBuildpack;

/// What is built is offered to a buildpack that serves it, where the group has one.
fn plan(makes_site: bool) -> BuildPlan {
    let mut plan = BuildPlanBuilder::new();
    if makes_site {
        plan = plan.provides("node").provides(BUILT_SITE).requires("node").or();
    }
    plan.provides("node").requires("node").build()
}

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
        let project = project::determine_project(&context.app_dir).ok();
        let makes_site = project.is_some_and(|project| project.makes_site(&context.app_dir));
        DetectResultBuilder::pass().build_plan(plan(makes_site)).build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let project = project::determine_project(&context.app_dir)?;
        let runtime = runtime::resolve_runtime(&context.layers_dir, &project)?;
        let runtime = runtime::install_runtime(&context, runtime)?;
        packages::install_packages(&context, &runtime, &project)?;
        let mut launch = LaunchBuilder::new();
        let served = context.buildpack_plan.entries.iter().any(|entry| entry.name == BUILT_SITE);
        let line =
            if served { None } else { project.web_line(&context.app_dir).map_err(BuildpackError::Fault)? };
        if let Some(line) = line {
            note("web", &line);
            launch.process(web(&line));
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

buildpack_main!(NodeBuildpack);
