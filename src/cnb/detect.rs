//! Detect: which group of the order applies, and the plan it agrees on.
//!
//! [`resolve`] walks the order depth first and asks its caller to run detects, a group's together. Each is run once,
//! however many groups name it. Plan alternatives are tried in `trial`.

mod trial;

use crate::buildpack::{Descriptor, Target};
use crate::plan::{BuildPlan, ResolvedPlan};
use crate::{Group, GroupElement, Order};
use std::collections::HashMap;

/// How deep composites may nest; a composite that names itself ends here.
const DEPTH: usize = 16;

/// What one detect said.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Exit 0, with the plan that it wrote.
    Pass(BuildPlan),
    /// Exit 100: it does not apply.
    Fail,
    /// Anything else: it is broken, for the reason given.
    Broken(String),
}

/// A buildpack that takes part in a trial: the descriptor's place in the store, and whether the group needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Index in the store given to [`resolve`].
    pub index: usize,
    /// Whether the group passes without it.
    pub optional: bool,
}

/// The group that applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// Indexes in the store, in the sequence of their builds.
    pub members: Vec<usize>,
    /// What they agreed on.
    pub plan: ResolvedPlan,
}

/// Why nothing was detected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// Every group failed; none of the detects was broken.
    #[error("no group of buildpacks applies")]
    NothingMatches,
    /// Every group failed, and at least one detect was broken.
    #[error("no group of buildpacks applies, and a detect is broken")]
    Broken,
    /// A group names a buildpack that the builder does not carry.
    #[error("the order names the buildpack {0}, which the builder does not carry")]
    Unknown(String),
    /// Composites nest too deep, or one names itself.
    #[error("composite buildpacks nest deeper than {DEPTH}")]
    TooDeep,
}

/// The circumstances of a detect.
pub struct Circumstances<'a> {
    /// Every buildpack that there is.
    pub store: &'a [Descriptor],
    /// What the build is for.
    pub target: &'a Target,
    /// The execution environment, as in `production`.
    pub exec_env: &'a str,
}

/// Finds the first group that passes.
///
/// `run` is given buildpacks by their index that were not run before, and answers a verdict each, in the same
/// sequence. Its last verdicts are kept by the caller, where it wants to report them.
pub fn resolve(
    circumstances: &Circumstances<'_>,
    order: &Order,
    run: &mut dyn FnMut(&[usize]) -> Vec<Verdict>,
) -> Result<Detected, DetectError> {
    let mut walk = Walk { circumstances, run, verdicts: HashMap::new() };
    walk.order(order, &[], &[], false, 0)
}

struct Walk<'a> {
    circumstances: &'a Circumstances<'a>,
    run: &'a mut dyn FnMut(&[usize]) -> Vec<Verdict>,
    verdicts: HashMap<usize, Verdict>,
}

impl Walk<'_> {
    /// Tries each group of an order before `next`, after the members that stand already.
    fn order(
        &mut self,
        order: &[Group],
        done: &[Member],
        next: &[GroupElement],
        optional: bool,
        depth: usize,
    ) -> Result<Detected, DetectError> {
        if depth > DEPTH {
            return Err(DetectError::TooDeep);
        }
        let mut failure = DetectError::NothingMatches;
        for group in order {
            let elements: Vec<_> = group.elements.iter().chain(next).cloned().collect();
            match self.group(&elements, done.to_vec(), depth) {
                Err(DetectError::Broken) => failure = DetectError::Broken,
                Err(DetectError::NothingMatches) => {}
                end => return end,
            }
        }
        if optional { self.group(next, done.to_vec(), depth) } else { Err(failure) }
    }

    fn group(
        &mut self,
        elements: &[GroupElement],
        mut done: Vec<Member>,
        depth: usize,
    ) -> Result<Detected, DetectError> {
        let store = self.circumstances.store;
        for (place, element) in elements.iter().enumerate() {
            let index = self.look_up(element)?;
            let descriptor = &store[index];
            if done.iter().any(|member| store[member.index].id == descriptor.id) {
                continue;
            }
            if descriptor.is_composite() {
                let next = &elements[place + 1..];
                return self.order(&descriptor.order, &done, next, element.optional, depth + 1);
            }
            if self.takes_part(index, element.optional) {
                done.push(Member { index, optional: element.optional });
            }
        }
        self.run_new(&done);
        trial::resolve(store, &done, &self.verdicts)
    }

    /// A buildpack for another environment is skipped; one for another target breaks the group that needs it.
    fn takes_part(&mut self, index: usize, optional: bool) -> bool {
        let descriptor = &self.circumstances.store[index];
        if !descriptor.runs_in(self.circumstances.exec_env) {
            return false;
        }
        if descriptor.supports(self.circumstances.target) {
            return true;
        }
        let reason = format!("{} does not support the target of this stack", descriptor.id);
        self.verdicts.entry(index).or_insert(Verdict::Broken(reason));
        !optional
    }

    fn look_up(&self, element: &GroupElement) -> Result<usize, DetectError> {
        let fits = |d: &Descriptor| {
            d.id == element.id && element.version.as_ref().is_none_or(|version| *version == d.version)
        };
        self.circumstances.store.iter().position(fits).ok_or_else(|| {
            let version = element.version.as_ref().map(|v| format!("@{v}")).unwrap_or_default();
            DetectError::Unknown(format!("{}{version}", element.id))
        })
    }

    fn run_new(&mut self, done: &[Member]) {
        let new: Vec<usize> =
            done.iter().map(|m| m.index).filter(|index| !self.verdicts.contains_key(index)).collect();
        if !new.is_empty() {
            let verdicts = (self.run)(&new);
            self.verdicts.extend(new.into_iter().zip(verdicts));
        }
    }
}

#[cfg(test)]
mod tests;
