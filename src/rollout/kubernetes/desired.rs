//! What a release wants to be true in the cluster: a pure function from release and settings to objects.
//!
//! Enter at [`coming`] and [`live`]. Everything of a tool lies in its own namespace, carries the same labels, and is written by
//! server-side apply in the order in which it stands here: fences first, processes last.

mod config;
mod fence;
mod job;
mod mount;
mod names;
mod one_off;
mod pod;
mod process;
mod scale;
#[cfg(test)]
mod tests;

pub(crate) use config::FILES;
pub(crate) use job::{first_pod, job_now, release_job, release_job_name};
pub(crate) use names::{
    CANARY, LABEL_PROCESS, LABEL_RELEASE, NOTE_PROCESS, NOTE_SERVER, namespace, of_process as process_name,
    owner,
};
pub(crate) use one_off::one_off;
pub(crate) use pod::CONTAINER;
pub(crate) use scale::{count, range as scale_range};

use super::settings::ClusterSettings;
use crate::runtime::RunnableRelease;
use hythe_cluster::Object;
use hythe_cluster::fence::PullAccess;
use hythe_model::Fault;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// What a release is made of, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) release: &'a RunnableRelease,
    pub(crate) settings: &'a ClusterSettings,
    /// Name and password that pull the tool's images and nothing else.
    pub(crate) pull: Option<&'a PullAccess>,
    /// How many pods each Deployment asks for now, where the release leaves that to their load.
    pub(crate) running: Option<&'a BTreeMap<String, u32>>,
}

impl Wish<'_> {
    fn meta(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace()),
            labels: Some(names::labels(self)),
            ..ObjectMeta::default()
        }
    }

    pub(crate) fn namespace(&self) -> String {
        namespace(self.settings, &self.release.release.tool)
    }
}

/// What stands around a tool, whatever runs in it; the first is the namespace.
pub(crate) fn fence(wish: &Wish<'_>) -> Vec<Object> {
    fence::objects(wish)
}

/// What has to be there before a pod of a release, and the name of its variables' Secret.
fn beneath(wish: &Wish<'_>) -> Result<(Vec<Object>, String), Fault> {
    let config = config::variables(wish)?;
    let mut all = fence::objects(wish);
    all.push(Object::of(&config));
    all.extend(config::files(wish)?.as_ref().map(Object::of));
    all.extend(mount::claims(wish));
    Ok((all, config.name_any()))
}

/// What a release needs to get ready, in the order in which it is to be written; the first is the namespace.
pub(crate) fn coming(wish: &Wish<'_>) -> Result<Vec<Object>, Fault> {
    let (mut all, config) = beneath(wish)?;
    all.extend(process::objects(wish, &config));
    Ok(all)
}

/// What a release's canary of so many web processes needs, in the same order.
pub(crate) fn canary(wish: &Wish<'_>, count: u32) -> Result<Vec<Object>, Fault> {
    let (mut all, config) = beneath(wish)?;
    all.extend(process::canary(wish, count, &config));
    Ok(all)
}

/// What a live release runs by the clock.
pub(crate) fn cron(wish: &Wish<'_>) -> Result<Vec<Object>, Fault> {
    Ok(job::cron(wish, config::variables(wish)?.name_any().as_str()))
}

/// Every object of a release that is live: what runs by the clock too.
pub(crate) fn live(wish: &Wish<'_>) -> Result<Vec<Object>, Fault> {
    let mut all = coming(wish)?;
    all.extend(cron(wish)?);
    Ok(all)
}
