//! Detect: runs the detects that the order asks for, those of a group side by side.

use crate::environment::{Context, initial};
use crate::files::{self, Scratch};
use crate::process;
use crate::report::Report;
use crate::store::Buildpacks;
use hythe_cnb::buildpack::Descriptor;
use hythe_cnb::detect::{Circumstances, DetectError, Detected, Verdict, resolve};
use hythe_cnb::plan::BuildPlan;
use hythe_cnb::protocol::{BrokenDetect, Failure, Message, Named, Request, TOML_MAX, WrittenFault};
use std::process::Command;
use std::time::Instant;

/// What one detect did, beside its verdict.
struct Trace {
    index: usize,
    verdict: Verdict,
    said: Vec<String>,
    fault: Option<WrittenFault>,
}

/// Finds the group that applies and tells of it.
pub(crate) fn detect(
    request: &Request,
    buildpacks: &Buildpacks,
    context: &Context,
    report: &Report,
) -> Result<Detected, Box<Failure>> {
    let started = Instant::now();
    let scratch = Scratch::make("detect")?;
    let mut traces: Vec<Trace> = Vec::new();
    let circumstances = Circumstances {
        store: &buildpacks.descriptors,
        target: &request.target,
        exec_env: &request.exec_env,
    };
    let detected = resolve(&circumstances, &request.order, &mut |indexes| {
        let new = run_all(request, buildpacks, context, &scratch, indexes);
        let verdicts = new.iter().map(|trace| trace.verdict.clone()).collect();
        traces.extend(new);
        verdicts
    })
    .map_err(|error| failure(&error, buildpacks, &traces))?;
    let named = detected.members.iter().map(|index| named(buildpacks, *index, &traces)).collect();
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.tell(&Message::Detected { buildpacks: named, millis });
    Ok(detected)
}

fn run_all(
    request: &Request,
    buildpacks: &Buildpacks,
    context: &Context,
    scratch: &Scratch,
    indexes: &[usize],
) -> Vec<Trace> {
    std::thread::scope(|scope| {
        let run = |index: &usize| {
            let index = *index;
            scope.spawn(move || run_one(request, buildpacks, context, scratch, index))
        };
        let threads: Vec<_> = indexes.iter().map(run).collect();
        let join = |(thread, index): (std::thread::ScopedJoinHandle<'_, Trace>, &usize)| {
            let broken = |_| trace(*index, Verdict::Broken("the lifecycle failed to run it".into()));
            thread.join().unwrap_or_else(broken)
        };
        threads.into_iter().zip(indexes).map(join).collect()
    })
}

fn trace(index: usize, verdict: Verdict) -> Trace {
    Trace { index, verdict, said: Vec::new(), fault: None }
}

fn run_one(
    request: &Request,
    buildpacks: &Buildpacks,
    context: &Context,
    scratch: &Scratch,
    index: usize,
) -> Trace {
    let folder = &buildpacks.folders[index];
    let plan = scratch.join(&format!("plan-{index}.toml"));
    if let Err(error) = std::fs::write(&plan, "") {
        return trace(index, Verdict::Broken(format!("its plan cannot be made: {error}")));
    }
    let program = folder.join("bin/detect");
    let mut env = context.of(&buildpacks.descriptors[index], folder, &initial());
    env.insert("CNB_BUILD_PLAN_PATH".into(), plan.clone().into());
    let mut command = Command::new(&program);
    command.arg(&request.platform_dir).arg(&plan).current_dir(&request.app_dir).env_clear().envs(env);
    let ran = match process::run(command, &mut |_| {}) {
        Ok(ran) => ran,
        Err(error) => return trace(index, Verdict::Broken(format!("bin/detect cannot be run: {error}"))),
    };
    let verdict = match ran.status.code() {
        Some(0) => read_plan(&plan, &buildpacks.descriptors[index]),
        Some(100) => Verdict::Fail,
        _ => Verdict::Broken(ran.ending()),
    };
    Trace { index, verdict, said: ran.tail, fault: ran.fault }
}

fn read_plan(path: &std::path::Path, buildpack: &Descriptor) -> Verdict {
    let text = match files::read(path, TOML_MAX) {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return Verdict::Broken(format!("its build plan cannot be read: {error}")),
    };
    let plan = buildpack.api().map_err(|error| error.to_string());
    match plan.and_then(|api| BuildPlan::parse(&text, api).map_err(|error| error.to_string())) {
        Ok(plan) => Verdict::Pass(plan),
        Err(error) => Verdict::Broken(error),
    }
}

fn named(buildpacks: &Buildpacks, index: usize, traces: &[Trace]) -> Named {
    let descriptor = &buildpacks.descriptors[index];
    let said = traces.iter().find(|trace| trace.index == index).map(|trace| trace.said.clone());
    Named { id: descriptor.id.clone(), version: descriptor.version.clone(), said: said.unwrap_or_default() }
}

fn failure(error: &DetectError, buildpacks: &Buildpacks, traces: &[Trace]) -> Box<Failure> {
    Box::new(match error {
        DetectError::NothingMatches => Failure::NothingMatches {
            looked: traces.iter().map(|trace| named(buildpacks, trace.index, traces)).collect(),
        },
        DetectError::Broken => {
            let broken = |trace: &Trace| match &trace.verdict {
                Verdict::Broken(reason) => Some(BrokenDetect {
                    id: buildpacks.descriptors[trace.index].id.clone(),
                    reason: reason.clone(),
                    fault: trace.fault.clone(),
                    tail: trace.said.clone(),
                }),
                _ => None,
            };
            Failure::DetectBroken { broken: traces.iter().filter_map(broken).collect() }
        }
        error => Failure::Setup { reason: error.to_string() },
    })
}
