//! A pod that runs one command in a release's image.

use super::names::{LABEL_RELEASE, NOTE_SERVER, ONE_OFF, labels};
use super::{Wish, beneath, pod};
use crate::one_off::OneOffTerminal;
use hythe_cluster::Object;
use hythe_model::Fault;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// A one-off process may run for a day.
const LONGEST: i64 = 24 * 60 * 60;

/// What has to be there first, and the pod, which this server hears.
pub(crate) fn one_off(
    wish: &Wish<'_>,
    command: Vec<String>,
    terminal: Option<&OneOffTerminal>,
    server: &str,
) -> Result<(Vec<Object>, Pod), Fault> {
    let (objects, config) = beneath(wish)?;
    let mut container = pod::base(wish, &config, &wish.release.settings.limits);
    container.command = Some(pod::literal(command));
    // It reads what the first who attaches says, to the end of that.
    (container.stdin, container.stdin_once) = (Some(true), Some(true));
    if let Some(terminal) = terminal {
        container.tty = Some(true);
        container.env.get_or_insert_default().push(pod::named("TERM", terminal.kind.clone()));
    }
    let mut spec = pod::pod(wish, container);
    // As process 1 it would not hear of signals that it does not handle.
    spec.share_process_namespace = Some(true);
    spec.restart_policy = Some("Never".to_owned());
    spec.active_deadline_seconds = Some(LONGEST);
    // It has nothing to finish.
    spec.termination_grace_period_seconds = Some(1);
    let mut all = labels(wish);
    all.insert(LABEL_RELEASE.to_owned(), wish.release.release.number.to_string());
    let metadata = ObjectMeta {
        name: Some(format!("{ONE_OFF}{:08x}", rand::random::<u32>())),
        namespace: Some(wish.namespace()),
        labels: Some(all),
        annotations: Some(BTreeMap::from([(NOTE_SERVER.to_owned(), server.to_owned())])),
        ..ObjectMeta::default()
    };
    Ok((objects, Pod { metadata, spec: Some(spec), ..Pod::default() }))
}
