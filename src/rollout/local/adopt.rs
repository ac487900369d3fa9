//! What outlived the server, taken back.

use super::group::{Group, Slot, Stage};
use super::machine::{Found, shut_down};
use super::supervise::Begin;
use super::tools::Tools;
use crate::runtime::{Adopted, RunnableRelease};
use crate::status::ExitReason;
use futures::future::join_all;
use hythe_model::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long an instance may take to show that it is ready still. The router does not serve meanwhile.
const LOOK: Duration = Duration::from_secs(1);
/// How long an instance that nobody wants may take to stop after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

impl Tools {
    /// Keeps the instances of these releases, starts what is missing, stops all others.
    pub(crate) async fn adopt(&self, live: Vec<RunnableRelease>) -> Result<Adopted, Fault> {
        let mut found = self.machine.found().await?;
        self.name_found(found.iter().filter_map(|found| found.instance.as_ref()));
        let mut adopted = Adopted::default();
        let mut looks = Vec::new();
        for release in live {
            self.keep_time(release.clone());
            adopted.kept += self.adopt_jobs(&release, &mut found);
            let group = self.live_group(release);
            for slot in &group.slots {
                if let Some(found) = taken(&mut found, &group, slot) {
                    looks.push(self.keep(group.clone(), slot.clone(), found));
                } else {
                    adopted.starting += 1;
                    self.occupy(&group, slot, Begin::Start);
                }
            }
        }
        adopted.kept += join_all(looks).await.len();
        let tools: Vec<_> = self.states().keys().cloned().collect();
        for tool in &tools {
            self.publish(tool);
        }
        adopted.stopped = found.iter().filter(|found| found.running).count();
        // Nobody is attached to a command any more, and a release may run its own again.
        let commands = found.extract_if(.., |found| found.instance.is_none());
        join_all(commands.map(|command| end_stranger(command, Duration::ZERO))).await;
        tokio::spawn(join_all(found.into_iter().map(|found| end_stranger(found, GRACE))));
        Ok(adopted)
    }

    /// Takes back the runs of the tool's jobs; they end as they would have, but for those that read what the tool may not any more.
    fn adopt_jobs(&self, live: &RunnableRelease, found: &mut Vec<Found>) -> usize {
        let allowed = live.settings.folders();
        let may =
            |folders: &BTreeMap<_, _>| folders.iter().all(|(at, folder)| allowed.get(at) == Some(folder));
        let own = |found: &mut Found| {
            let id = found.instance.as_ref();
            let is_own = id.is_some_and(|id| id.tool == live.release.tool && id.job().is_some());
            is_own && found.running && found.folders.as_ref().is_some_and(may)
        };
        let runs: Vec<_> = found.extract_if(.., own).collect();
        let count = runs.len();
        for run in runs {
            if let Some(id) = run.instance {
                self.adopt_job(id, run.guest, live);
            }
        }
        count
    }

    fn live_group(&self, release: RunnableRelease) -> Arc<Group> {
        let mut states = self.states();
        let state = states.entry(release.release.tool.clone()).or_default();
        let group = state.group(release, true);
        group.settled.cancel();
        state.live = Some(group.clone());
        group
    }

    async fn keep(&self, group: Arc<Group>, slot: Arc<Slot>, found: Found) {
        let settings = &group.release.settings;
        let is_web = slot.view().id.process.is_web();
        let ready = !is_web || {
            let look = found.guest.probe(&settings.readiness, settings.port);
            matches!(timeout(LOOK, look).await, Ok(Ok(())))
        };
        slot.update(|view| {
            view.guest = Some(found.guest.clone());
            if ready {
                view.stage = Stage::Ready;
            }
        });
        self.occupy(&group, &slot, Begin::Found(found.guest, ready));
    }
}

/// Takes the newest running instance of a slot's place out of what was found, where it is what would be started now; the slot gets
/// its name.
fn taken(found: &mut Vec<Found>, group: &Group, slot: &Slot) -> Option<Found> {
    let (wanted, image) = (slot.view().id, group.release.release.image.as_str());
    let (port, folders) = (group.release.settings.port, group.release.settings.folders());
    let fits = |found: &Found| {
        let same_place = found.instance.as_ref().is_some_and(|id| {
            (&id.tool, id.release, &id.process, &id.place)
                == (&wanted.tool, wanted.release, &wanted.process, &wanted.place)
        });
        let same_image = found.image.as_deref() == Some(image);
        let same_settings = found.port == Some(port) && found.folders.as_ref() == Some(&folders);
        same_place && same_image && same_settings && found.running
    };
    let places = (0..found.len()).filter(|place| fits(&found[*place]));
    let newest = places.max_by_key(|place| found[*place].instance.as_ref().map(|id| id.attempt))?;
    let taken = found.swap_remove(newest);
    slot.update(|view| {
        if let Some(id) = &taken.instance {
            view.id = id.clone();
        }
    });
    Some(taken)
}

/// Ends what nobody wants.
async fn end_stranger(found: Found, grace: Duration) {
    if found.running {
        shut_down(&*found.guest, grace).await;
    }
    let exit = found.guest.exit().await;
    let why = found.running.then(|| "stopped".to_owned());
    let exit = ExitReason { ended_because: why.or(exit.ended_because), ..exit };
    found.guest.dispose(&exit).await;
}
