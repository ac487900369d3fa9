//! Which objects are wished of a tool now: of what is live, or of a rollout as far as it has come.

use super::desired::{self, Wish};
use super::rollout::{Pending, Rollouts, Stage};
use crate::runtime::RunnableRelease;
use hythe_cluster::Object;
use hythe_model::{Fault, ProcessType};
use std::collections::{BTreeMap, HashSet};

impl Rollouts {
    /// What a live release wants.
    pub(super) fn objects(&self, release: &RunnableRelease) -> Result<Vec<Object>, Fault> {
        let (pull, running) = (self.pull(&release.release.tool), self.running(release));
        desired::live(&Wish { running: running.as_ref(), ..self.wish(release, pull.as_ref()) })
    }

    /// What a release needs to get ready.
    pub(super) fn coming(&self, release: &RunnableRelease) -> Result<Vec<Object>, Fault> {
        let (pull, running) = (self.pull(&release.release.tool), self.running(release));
        desired::coming(&Wish { running: running.as_ref(), ..self.wish(release, pull.as_ref()) })
    }

    /// How many pods of each process type a release asks for: where load decides, as many as there are now.
    pub(super) fn counts(&self, release: &RunnableRelease) -> BTreeMap<ProcessType, u32> {
        let running = self.running(release);
        let wish = Wish { running: running.as_ref(), ..self.wish(release, None) };
        let kinds = release.release.formation.0.keys();
        kinds.map(|kind| (kind.clone(), desired::count(&wish, kind))).collect()
    }

    /// How many pods each of a tool's Deployments asks for now, where that is left to load.
    fn running(&self, release: &RunnableRelease) -> Option<BTreeMap<String, u32>> {
        let by_load = release.settings.processes.values().any(|own| own.scale.is_some());
        by_load.then(|| {
            let view = self.seen.tool(&release.release.tool);
            let each = view.deployments.into_iter();
            each.map(|(name, seen)| (name, u32::try_from(seen.wanted).unwrap_or(0))).collect()
        })
    }

    /// What a release's canary needs.
    pub(super) fn canary_objects(&self, release: &RunnableRelease, count: u32) -> Result<Vec<Object>, Fault> {
        desired::canary(&self.wish(release, self.pull(&release.release.tool).as_ref()), count)
    }

    /// What a rollout wants to be there now.
    pub(super) fn pending_objects(&self, pending: &Pending) -> Result<Vec<Object>, Fault> {
        match (pending.stage, &pending.before) {
            (Stage::Command, _) => self.objects_before(&pending.release, pending.before.as_ref()),
            (Stage::Canary(count), Some(before)) => {
                let mut all = self.canary_objects(&pending.release, count)?;
                let titles: HashSet<_> = all.iter().map(Object::title).collect();
                let others = self.objects(before)?.into_iter();
                all.extend(others.filter(|object| !titles.contains(&object.title())));
                Ok(all)
            }
            (Stage::Canary(_), None) | (Stage::Whole, _) => self.coming(&pending.release),
        }
    }

    /// What stood before a rollout; of a first release nothing but the fence.
    pub(super) fn objects_before(
        &self,
        release: &RunnableRelease,
        before: Option<&RunnableRelease>,
    ) -> Result<Vec<Object>, Fault> {
        match before {
            Some(before) => self.objects(before),
            None => Ok(desired::fence(&self.wish(release, self.pull(&release.release.tool).as_ref()))),
        }
    }
}
