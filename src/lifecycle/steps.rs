//! Build: runs the group's builds one after another, each in what the earlier ones made of the environment.

use crate::environment::{self, Context};
use crate::files::{self, Scratch};
use crate::process::{self, Ran};
use crate::report::Report;
use crate::result::{self, Written};
use crate::store::Buildpacks;
use hythe_cnb::BuildpackId;
use hythe_cnb::detect::Detected;
use hythe_cnb::env::Env;
use hythe_cnb::launch::Processes;
use hythe_cnb::plan::BuildpackPlan;
use hythe_cnb::protocol::{Failure, Message, Outcome, Request, TIME_PREFIX, Told};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Builds everything.
pub(crate) fn build(
    request: &Request,
    detected: Detected,
    buildpacks: &Buildpacks,
    context: &Context,
    report: &Report,
) -> Result<Outcome, Box<Failure>> {
    let scratch = Scratch::make("build")?;
    let (mut env, mut plan) = (environment::initial(), detected.plan);
    let (mut outcome, mut processes) = (Outcome::default(), Processes::default());
    for index in detected.members {
        let descriptor = &buildpacks.descriptors[index];
        let asked = plan.of(&descriptor.id);
        let step = Step {
            id: &descriptor.id,
            folder: &buildpacks.folders[index],
            layers: request.layers_dir.join(descriptor.id.dir_name()),
            plan: scratch.join(&format!("plan-{index}.toml")),
        };
        step.run(request, context.of(descriptor, step.folder, &env), &asked, report)?;
        let written = result::read(&step.layers, buildpacks, index, &asked).map_err(|why| step.wrong(why))?;
        environment::add_layers(&mut env, &written.layers)
            .map_err(|error| step.wrong(format!("the environment of its layers cannot be read: {error}")))?;
        let Written { built, launch, unmet, .. } = written;
        plan.met(&asked, &unmet);
        processes.add(launch.processes);
        outcome.slices.extend(launch.slices);
        outcome.labels.extend(launch.labels);
        outcome.buildpacks.push(built);
    }
    outcome.default = processes.default_kind().cloned();
    outcome.processes = processes.into_list();
    Ok(outcome)
}

struct Step<'a> {
    id: &'a BuildpackId,
    folder: &'a Path,
    layers: PathBuf,
    plan: PathBuf,
}

impl Step<'_> {
    fn run(
        &self,
        request: &Request,
        mut env: Env,
        asked: &BuildpackPlan,
        report: &Report,
    ) -> Result<(), Box<Failure>> {
        let started = Instant::now();
        report.tell(&Message::Started { buildpack: self.id.clone() });
        let text = asked.to_toml().map_err(|error| self.wrong(error.to_string()))?;
        std::fs::write(&self.plan, text).map_err(files::setup("write", &self.plan))?;
        env.insert("CNB_LAYERS_DIR".into(), self.layers.clone().into());
        env.insert("CNB_BP_PLAN_PATH".into(), self.plan.clone().into());
        let mut command = Command::new(self.folder.join("bin/build"));
        command.arg(&self.layers).arg(&request.platform_dir).arg(&self.plan);
        command.current_dir(&request.app_dir).env_clear().envs(env);
        let mut told = Vec::new();
        let ran = process::run(command, &mut |line| match told_time(line) {
            Some(time) if told.len() < 16 => told.push(time),
            _ => report.tell(&Message::Output { buildpack: self.id.clone(), line: line.to_owned() }),
        })
        .map_err(|error| self.wrong(format!("bin/build cannot be run: {error}")))?;
        if !ran.status.success() {
            return Err(self.failed(ran));
        }
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.tell(&Message::Finished { buildpack: self.id.clone(), millis, told });
        Ok(())
    }

    fn failed(&self, ran: Ran) -> Box<Failure> {
        Box::new(Failure::Build {
            buildpack: self.id.clone(),
            code: ran.status.code(),
            signal: ran.status.signal(),
            fault: ran.fault,
            tail: ran.tail,
        })
    }

    fn wrong(&self, reason: String) -> Box<Failure> {
        Box::new(Failure::Buildpack { buildpack: self.id.to_string(), reason })
    }
}

fn told_time(line: &str) -> Option<Told> {
    serde_json::from_str(line.strip_prefix(TIME_PREFIX)?.trim()).ok()
}
