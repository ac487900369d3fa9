//! What a push may do, judged while its objects are in quarantine.
//!
//! Enter at [`judge`]. The rules, in order: options are known; only deploy branches move; none is deleted; one a push;
//! the push follows the live commit unless the tool allows force; objects, tree and history are within limits and whole.
//!
//! A history that a shallow clone cut off before the live commit cannot be shown to follow it. Such a push is only
//! ever sent with `--force`, as CI systems with clones of depth 1 must; it is accepted, and says so.

use crate::PushRules;
use crate::refusal;
use crate::tickets::{Judgement, Ticket};
use crate::wire::{Call, Update};
use hythe_model::{CommitId, Fault, PushOptions};
use hythe_source::{Lineage, Quarantine, Repositories};

/// Judges every ref of a push. Blocks.
pub(crate) fn judge(
    repositories: &Repositories,
    ticket: &Ticket,
    rules: &PushRules,
    call: &Call,
) -> Judgement {
    let mut judgement = Judgement::default();
    let options = PushOptions::parse(call.options.iter().map(String::as_str));
    let mut deploys: Option<&str> = None;
    for update in &call.updates {
        let verdict = match &options {
            Err(error) => Err(refusal::option(error)),
            Ok(_) => by_rules(rules, update, deploys),
        };
        let verdict = verdict.and_then(|()| {
            deploys = Some(&update.reference);
            Inspection { repositories, ticket, rules, call }.run(update, &mut judgement)
        });
        if let Err(fault) = verdict {
            judgement.refused.insert(update.reference.clone(), fault);
        }
    }
    let all_refused = call.updates.iter().all(|update| judgement.refused.contains_key(&update.reference));
    if all_refused && let Err(error) = empty_quarantine(repositories, ticket, call) {
        tracing::error!(tool = %ticket.tool, %error, "the objects of a refused push stay until the next cleaning");
    }
    judgement
}

fn empty_quarantine(
    repositories: &Repositories,
    ticket: &Ticket,
    call: &Call,
) -> Result<(), hythe_source::SourceError> {
    match &call.quarantine {
        Some(path) => Quarantine::of(repositories, &ticket.tool, path)?.empty(),
        None => Ok(()),
    }
}

/// The rules that need no object.
fn by_rules(rules: &PushRules, update: &Update, deploys: Option<&str>) -> Result<(), Fault> {
    let branch = update.reference.strip_prefix("refs/heads/");
    if !branch.is_some_and(|branch| rules.branches.iter().any(|allowed| allowed == branch)) {
        return Err(refusal::other_branch(&update.reference, &rules.branches));
    }
    if is_zero(&update.new) {
        return Err(refusal::delete(&update.reference));
    }
    match deploys {
        Some(first) => Err(refusal::two_branches(first)),
        None => Ok(()),
    }
}

/// A look at the objects of one branch.
struct Inspection<'a> {
    repositories: &'a Repositories,
    ticket: &'a Ticket,
    rules: &'a PushRules,
    call: &'a Call,
}

impl Inspection<'_> {
    fn run(&self, update: &Update, judgement: &mut Judgement) -> Result<(), Fault> {
        let tool = &self.ticket.tool;
        let path = self.call.quarantine.as_deref();
        let quarantine = path.map(|path| Quarantine::of(self.repositories, tool, path)).transpose();
        let quarantine = quarantine.map_err(|error| error.fault())?;
        if let Some(quarantine) = &quarantine {
            let (objects, limit) = (quarantine.objects(), self.repositories.limits().objects);
            let objects = objects.map_err(|error| error.fault())?;
            if objects > limit {
                return Err(refusal::too_many_objects(objects, limit));
            }
        }
        let new = commit(&update.new)?;
        if !self.repositories.is_commit(tool, &new, quarantine.as_ref()) {
            return Err(refusal::not_a_commit());
        }
        self.forward(update, &new, quarantine.as_ref(), judgement)?;
        self.repositories.check(tool, &new, quarantine.as_ref())
    }

    /// The push follows the live commit, or may be forced.
    fn forward(
        &self,
        update: &Update,
        new: &CommitId,
        quarantine: Option<&Quarantine>,
        judgement: &mut Judgement,
    ) -> Result<(), Fault> {
        if is_zero(&update.old) || self.rules.allow_force {
            return Ok(());
        }
        let old = commit(&update.old)?;
        let lineage = self.repositories.lineage(&self.ticket.tool, &old, new, quarantine);
        match lineage.map_err(|error| error.fault())? {
            Lineage::Forward => Ok(()),
            Lineage::Diverged => Err(refusal::force(&update.reference, &update.old)),
            Lineage::Cut => {
                let line = format!(
                    "The clone is shallow: that the push follows {} cannot be seen and is not checked.",
                    old.short()
                );
                judgement.notes.push(line);
                Ok(())
            }
        }
    }
}

/// Git's way to write "not there".
pub(crate) fn is_zero(name: &str) -> bool {
    name.bytes().all(|byte| byte == b'0')
}

/// An object name as git writes it.
pub(crate) fn commit(name: &str) -> Result<CommitId, Fault> {
    name.parse().map_err(|_| refusal::internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(reference: &str, new: &str) -> Update {
        Update { old: "0".repeat(40), new: new.repeat(40), reference: reference.into() }
    }

    #[test]
    fn only_deploy_branches_move() {
        let rules = PushRules { branches: vec!["main".into(), "master".into()], allow_force: false };
        let id = |reference, new, deploys| {
            by_rules(&rules, &update(reference, new), deploys).err().map(|fault| fault.id)
        };
        assert_eq!(id("refs/heads/main", "a", None), None);
        assert_eq!(id("refs/heads/master", "a", None), None);
        assert_eq!(id("refs/heads/main", "0", None).as_deref(), Some("push/delete"));
        assert_eq!(
            id("refs/heads/master", "a", Some("refs/heads/main")).as_deref(),
            Some("push/two-branches")
        );
        assert_eq!(id("refs/heads/Main", "a", None).as_deref(), Some("push/other-branch"));
        assert_eq!(id("refs/heads/dev", "0", None).as_deref(), Some("push/other-branch"));
        assert_eq!(id("refs/tags/v1", "a", None).as_deref(), Some("push/not-a-branch"));
        assert_eq!(id("refs/hythe/builds/1", "a", None).as_deref(), Some("push/not-a-branch"));
    }
}
