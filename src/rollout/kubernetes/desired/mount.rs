//! What a tool reads of the operator's: a claim for each mount, bound to a volume of the class that the operator named.
//!
//! A pod of a tool may name no folder of a node (`restricted` Pod Security): which one it is, or which server, the volume says.
//!
//! A claim cannot be changed, so it is called by what it asks for. It stays with its tool, whatever a release reads: a volume is
//! bound to one claim for good.

use super::{Wish, names};
use crate::settings::ReadMount;
use hythe_cluster::Object;
use hythe_cluster::fence::quantity;
use hythe_model::MountName;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use std::collections::BTreeMap;

/// The claims.
pub(super) fn claims(wish: &Wish<'_>) -> Vec<Object> {
    let each = wish.release.settings.mounts.iter().filter_map(|mount| {
        let volume = mount.volume.as_ref()?;
        let requests = BTreeMap::from([("storage".to_owned(), quantity(volume.bytes))]);
        let spec = PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadOnlyMany".to_owned()]),
            storage_class_name: Some(volume.class.clone()),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        };
        let metadata = wish.meta(claim(mount));
        Some(Object::of(&PersistentVolumeClaim { metadata, spec: Some(spec), status: None }))
    });
    each.collect()
}

/// A pod's volumes.
pub(super) fn volumes(wish: &Wish<'_>) -> impl Iterator<Item = Volume> {
    wish.release.settings.mounts.iter().map(|mount| {
        let claim = PersistentVolumeClaimVolumeSource { claim_name: claim(mount), read_only: Some(true) };
        Volume { name: called(&mount.name), persistent_volume_claim: Some(claim), ..Volume::default() }
    })
}

/// Where a container has them.
pub(super) fn places(wish: &Wish<'_>) -> impl Iterator<Item = VolumeMount> {
    wish.release.settings.mounts.iter().map(|mount| VolumeMount {
        name: called(&mount.name),
        mount_path: mount.target(),
        read_only: Some(true),
        // What is mounted below it on the node is not to be written either.
        recursive_read_only: Some("IfPossible".to_owned()),
        ..VolumeMount::default()
    })
}

/// The name of a mount's claim.
fn claim(mount: &ReadMount) -> String {
    let asked = mount.volume.as_ref().map(|volume| format!("{} {}", volume.class, volume.bytes));
    format!("{}-{}", called(&mount.name), names::short_hash(asked.unwrap_or_default().as_bytes()))
}

fn called(name: &MountName) -> String {
    format!("mount-{name}")
}
