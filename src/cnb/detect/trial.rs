//! Trials: one provides/requires alternative a buildpack, left to right, until everything provided is required and
//! everything required is provided.

use super::{DetectError, Detected, Member, Verdict};
use crate::buildpack::Descriptor;
use crate::plan::{PlanEntry, ResolvedPlan, Sections};
use std::collections::HashMap;

/// A member with the alternative that is being tried.
#[derive(Clone, Copy)]
struct Choice<'a> {
    member: Member,
    sections: &'a Sections,
}

/// Judges a group whose detects have run.
pub(super) fn resolve(
    store: &[Descriptor],
    done: &[Member],
    verdicts: &HashMap<usize, Verdict>,
) -> Result<Detected, DetectError> {
    let mut passed = Vec::new();
    let (mut failed, mut broken) = (false, false);
    for member in done {
        match &verdicts[&member.index] {
            Verdict::Pass(plan) => passed.push((*member, plan)),
            Verdict::Fail => failed |= !member.optional,
            Verdict::Broken(_) => {
                broken = true;
                failed |= !member.optional;
            }
        }
    }
    if failed {
        return Err(if broken { DetectError::Broken } else { DetectError::NothingMatches });
    }
    let options: Vec<Vec<Choice<'_>>> =
        passed.iter().map(|(member, plan)| alternatives(*member, plan)).collect();
    first_trial(store, &options, &mut Vec::new()).ok_or(DetectError::NothingMatches)
}

/// Only the last alternative of an optional buildpack may be dropped: the earlier ones are tried as if required.
fn alternatives(member: Member, plan: &crate::plan::BuildPlan) -> Vec<Choice<'_>> {
    let last = plan.alternatives.len().saturating_sub(1);
    let choice = |(place, sections)| Choice {
        member: Member { optional: member.optional && place == last, ..member },
        sections,
    };
    plan.alternatives.iter().enumerate().map(choice).collect()
}

fn first_trial<'a>(
    store: &[Descriptor],
    options: &[Vec<Choice<'a>>],
    chosen: &mut Vec<Choice<'a>>,
) -> Option<Detected> {
    let Some((first, rest)) = options.split_first() else {
        return run(store, chosen.clone());
    };
    for choice in first {
        chosen.push(*choice);
        let found = first_trial(store, rest, chosen);
        chosen.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// One trial: drops optional members with something unmet until nothing is, or a required one has.
fn run(store: &[Descriptor], mut choices: Vec<Choice<'_>>) -> Option<Detected> {
    loop {
        let dependencies = Dependencies::of(store, &choices);
        let unmet = dependencies.unmet();
        if unmet.is_empty() {
            if choices.is_empty() {
                return None;
            }
            let members = choices.iter().map(|choice| choice.member.index).collect();
            return Some(Detected { members, plan: dependencies.plan() });
        }
        if unmet.iter().any(|member| !member.optional) {
            return None;
        }
        choices.retain(|choice| !unmet.iter().any(|member| member.index == choice.member.index));
    }
}

#[derive(Default)]
struct Dependency {
    entry: Option<PlanEntry>,
    /// Requirements before any provider.
    early: Vec<Member>,
    /// Providers that nobody has required since.
    extra: Vec<Member>,
}

/// Dependencies by name, in the sequence in which the names appear.
struct Dependencies {
    named: Vec<(String, Dependency)>,
}

impl Dependencies {
    fn of(store: &[Descriptor], choices: &[Choice<'_>]) -> Self {
        let mut all = Self { named: Vec::new() };
        for Choice { member, sections } in choices {
            for provide in &sections.provides {
                all.named(&provide.name).extra.push(*member);
            }
            for require in &sections.requires {
                let dependency = all.named(&require.name);
                let providers = std::mem::take(&mut dependency.extra);
                if dependency.entry.is_none() && providers.is_empty() {
                    dependency.early.push(*member);
                    continue;
                }
                let name = require.name.clone();
                let entry = dependency.entry.get_or_insert_with(|| PlanEntry {
                    name,
                    providers: Vec::new(),
                    requires: Vec::new(),
                });
                entry.providers.extend(providers.iter().map(|member| store[member.index].id.clone()));
                entry.requires.push(require.clone());
            }
        }
        all
    }

    fn named(&mut self, name: &str) -> &mut Dependency {
        let place = self.named.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.named.push((name.to_owned(), Dependency::default()));
            self.named.len() - 1
        });
        &mut self.named[place].1
    }

    fn unmet(&self) -> Vec<Member> {
        self.named.iter().flat_map(|(_, d)| d.early.iter().chain(&d.extra).copied()).collect()
    }

    fn plan(self) -> ResolvedPlan {
        ResolvedPlan { entries: self.named.into_iter().filter_map(|(_, d)| d.entry).collect() }
    }
}
