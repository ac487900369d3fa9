//! Config, labels and manifest of the image.

use super::{Export, Shas, Written};
use crate::base::LAUNCHER;
use crate::environment::{APP, EXEC_ENV, LAYERS};
use crate::fault;
use hythe_cnb::labels;
use hythe_cnb::protocol::{Built, Outcome};
use hythe_cnb::{PLATFORM_API, ProcessName};
use hythe_model::Fault;
use hythe_oci::image::History;
use hythe_oci::{BuiltImage, ImageBuilder, LayerDescriptor};
use hythe_registry::StoredImage;
use std::collections::BTreeMap;

/// The path of a run image that names none.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Export<'_> {
    /// The run image with these layers on top.
    pub(super) fn assemble(
        &self,
        written: Vec<Written>,
        shas: Shas,
    ) -> Result<(BuiltImage, Vec<LayerDescriptor>), Fault> {
        let StoredImage { manifest, config, .. } = &self.task.common.base.run;
        let path = config.env("PATH").unwrap_or(USUAL_PATH).to_owned();
        let mut image =
            ImageBuilder::from_base(manifest, config).map_err(fault::platform("read the run image"))?;
        let layers: Vec<_> = written.iter().map(|written| written.layer.clone()).collect();
        for one in written {
            let created = Some(ImageBuilder::EPOCH.to_owned());
            image =
                image.layer(one.layer, History { created, created_by: Some(one.by), ..History::default() });
        }
        let own = |key: &str| key.starts_with(labels::RESERVED_PREFIX);
        for label in self.outcome.labels.iter().filter(|label| !own(&label.key)) {
            image = image.label(&label.key, &label.value);
        }
        for (name, value) in self.labels(shas)? {
            image = image.label(name, value);
        }
        image = image
            .env("CNB_LAYERS_DIR", LAYERS)
            .env("CNB_APP_DIR", APP)
            .env("CNB_PLATFORM_API", PLATFORM_API)
            .env("CNB_DEPRECATION_MODE", "quiet")
            .env("PATH", &format!("/cnb/process:/cnb/lifecycle:{path}"))
            .entrypoint([entrypoint(self.outcome)])
            .working_dir(APP);
        let built = image.build().map_err(fault::platform("write the image's config"))?;
        Ok((built, layers))
    }

    fn labels(&self, shas: Shas) -> Result<[(&'static str, String); 4], Fault> {
        Ok([
            (labels::LIFECYCLE_METADATA, json(&self.lifecycle_metadata(shas))?),
            (labels::BUILD_METADATA, json(&build_metadata(self.outcome))?),
            (labels::PROJECT_METADATA, json(&self.project_metadata())?),
            (labels::EXEC_ENV, EXEC_ENV.to_owned()),
        ])
    }

    fn lifecycle_metadata(&self, shas: Shas) -> labels::LifecycleMetadata {
        let stack = &self.task.common.parts.stack.run;
        let top = self.task.common.base.run.config.rootfs.diff_ids.last();
        labels::LifecycleMetadata {
            app: shas.app,
            sbom: shas.sbom,
            buildpacks: shas.buildpacks,
            config: shas.config,
            launcher: shas.launcher,
            process_types: shas.process_types,
            run_image: labels::RunImage {
                top_layer: top.map(ToString::to_string).unwrap_or_default(),
                reference: format!("{}@{}", stack.repository, stack.digest),
                image: format!("{}:{}", stack.repository, stack.tag),
                mirrors: Vec::new(),
            },
        }
    }

    fn project_metadata(&self) -> labels::ProjectMetadata {
        let version = BTreeMap::from([("commit".to_owned(), self.task.request.source.commit.to_string())]);
        let source = labels::ProjectSource { kind: "git".to_owned(), version, metadata: BTreeMap::new() };
        labels::ProjectMetadata { source: Some(source) }
    }
}

fn build_metadata(outcome: &Outcome) -> labels::BuildMetadata {
    let with = |built: &Built| labels::BuiltWith {
        id: built.id.clone(),
        version: built.version.clone(),
        homepage: built.homepage.clone(),
    };
    labels::BuildMetadata {
        buildpacks: outcome.buildpacks.iter().map(with).collect(),
        launcher: labels::Launcher { version: env!("CARGO_PKG_VERSION").to_owned() },
        processes: outcome.processes.iter().cloned().map(Into::into).collect(),
        default: outcome.default.clone(),
    }
}

/// The buildpacks' default process; else `web`, which this platform asks for as others do by an option; else the
/// launcher. One that the launcher would not start here is none of them.
fn entrypoint(outcome: &Outcome) -> String {
    let runs =
        |kind: &&ProcessName| outcome.processes.iter().any(|p| p.kind == **kind && p.runs_in(EXEC_ENV));
    let web = outcome.processes.iter().map(|process| &process.kind).find(|kind| kind.as_str() == "web");
    match outcome.default.as_ref().filter(runs).or(web.filter(runs)) {
        Some(kind) => format!("/cnb/process/{kind}"),
        None => LAUNCHER.to_owned(),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(fault::platform("write a label"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hythe_cnb::launch::Process;

    #[test]
    fn the_entrypoint_is_a_process_that_the_launcher_starts() {
        let process = |kind: &str, exec_env: &[&str]| Process {
            kind: kind.parse().unwrap(),
            command: vec!["serve".into()],
            args: Vec::new(),
            direct: true,
            buildpack_id: "a/b".parse().unwrap(),
            working_dir: None,
            exec_env: exec_env.iter().map(|name| (*name).to_owned()).collect(),
        };
        let of = |processes: Vec<Process>, default: Option<&str>| {
            let default = default.map(|kind| kind.parse().unwrap());
            entrypoint(&Outcome { processes, default, ..Outcome::default() })
        };
        let (web, job) = (process("web", &[]), process("job", &["production"]));
        let (testing, other) = (process("job", &["test"]), process("other", &["*"]));
        assert_eq!(of(vec![web.clone(), job], Some("job")), "/cnb/process/job");
        assert_eq!(of(vec![web, testing.clone()], Some("job")), "/cnb/process/web");
        assert_eq!(of(vec![testing, other], Some("job")), LAUNCHER);
        assert_eq!(of(vec![process("web", &["test"])], None), LAUNCHER);
        assert_eq!(of(Vec::new(), Some("web")), LAUNCHER);
    }
}
