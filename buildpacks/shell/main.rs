//! The shell buildpack: a program or script at the root of the source that serves the web.
//!
//! `hythe.sh` and `start.sh` are run by bash, an executable `run` as it is. It never installs anything.

use hythe_buildpack::{BuildpackError, note, report, web};
use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, buildpack_main};
use libcnb_data::launch::LaunchBuilder;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

struct ShellBuildpack;

/// The line that starts the tool, where the source has one of the files.
fn determine_start(app: &Path) -> Option<String> {
    let script = ["hythe.sh", "start.sh"].into_iter().find(|name| app.join(name).is_file());
    if let Some(script) = script {
        return Some(format!("exec bash {script}"));
    }
    let metadata = app.join("run").metadata().ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| "exec ./run".to_owned())
}

impl Buildpack for ShellBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = BuildpackError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, BuildpackError> {
        if determine_start(&context.app_dir).is_some() {
            return DetectResultBuilder::pass().build();
        }
        println!("no hythe.sh, no start.sh, no executable run");
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, BuildpackError> {
        let Some(line) = determine_start(&context.app_dir) else {
            return Err(BuildpackError::Unexpected("the script that was detected is gone".into()).into());
        };
        note("shell", &format!("web: {line}"));
        BuildResultBuilder::new().launch(LaunchBuilder::new().process(web(&line)).build()).build()
    }

    fn on_error(&self, error: libcnb::Error<BuildpackError>) {
        report(&error);
    }
}

buildpack_main!(ShellBuildpack);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_comes_before_a_program() {
        let app = tempfile::tempdir().unwrap();
        assert_eq!(determine_start(app.path()), None);
        let run = app.path().join("run");
        std::fs::write(&run, "#!/bin/sh\n").unwrap();
        assert_eq!(determine_start(app.path()), None, "it is not executable");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(determine_start(app.path()).as_deref(), Some("exec ./run"));
        std::fs::write(app.path().join("start.sh"), "").unwrap();
        assert_eq!(determine_start(app.path()).as_deref(), Some("exec bash start.sh"));
    }
}
