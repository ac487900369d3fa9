//! The store: what survives, what is served, what is collected.

use super::*;
use crate::Reference;
use hythe_oci::Hasher;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;

mod crash;

struct Site {
    dir: tempfile::TempDir,
    store: ContentStore,
    repository: Repository,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let store = ContentStore::open(dir.path()).unwrap();
    Site { dir, store, repository: "tools/weather".parse().unwrap() }
}

impl Site {
    fn reopened(&self) -> ContentStore {
        ContentStore::open(self.dir.path()).unwrap()
    }

    fn uploads(&self) -> usize {
        fs::read_dir(self.dir.path().join("uploads")).unwrap().count()
    }

    fn upload(&self, bytes: &[u8]) -> Upload {
        let upload = self.store.begin().unwrap();
        upload.file().write_all(bytes).unwrap();
        upload
    }

    /// An image of these layers; the digest of its manifest.
    fn image(&self, tag: &str, layers: &[&[u8]], subject: Option<&Digest>) -> Digest {
        let describe = |bytes: &[u8]| {
            let digest = self.store.put_blob(&self.repository, bytes).unwrap();
            serde_json::json!({"mediaType": "x", "digest": digest, "size": bytes.len()})
        };
        let config = describe(format!("config of {tag}").as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| describe(layer)).collect();
        let mut manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        if let Some(digest) = subject {
            manifest["subject"] = serde_json::json!({"mediaType": "x", "digest": digest, "size": 1});
        }
        let bytes = serde_json::to_vec(&manifest).unwrap();
        self.store.put_manifest(&self.repository, &tag.parse().unwrap(), "type/x", &bytes).unwrap()
    }
}

fn now(keep: &[&Digest], keep_tagged: bool) -> GcPolicy {
    let keep: BTreeSet<Digest> = keep.iter().map(|digest| (*digest).clone()).collect();
    GcPolicy { keep, keep_tagged, grace: Duration::ZERO }
}

#[test]
fn a_commit_is_found_after_a_reopen() {
    let site = site();
    let digest = Hasher::digest(b"content");
    assert!(!site.store.has(&digest).unwrap());
    site.upload(b"content").commit(&site.repository, &digest, 7).unwrap();
    let again = site.reopened();
    let mut read = String::new();
    again.open_blob(&digest).unwrap().read_to_string(&mut read).unwrap();
    assert_eq!((read.as_str(), again.size(&digest).unwrap()), ("content", Some(7)));
    assert!(again.linked(&site.repository, &digest).unwrap());
    assert!(!again.linked(&"tools/other".parse().unwrap(), &digest).unwrap());
    assert_eq!(again.repositories().unwrap(), std::slice::from_ref(&site.repository));
    assert_eq!(site.uploads(), 0);
    // A second commit of the same content is no error and leaves nothing.
    site.upload(b"content").commit(&"tools/other".parse().unwrap(), &digest, 7).unwrap();
    assert_eq!((site.uploads(), again.repositories().unwrap().len()), (0, 2));
}

#[test]
fn what_is_not_as_promised_is_not_published() {
    let site = site();
    let digest = Hasher::digest(b"content");
    let short = site.upload(b"conte").commit(&site.repository, &digest, 7);
    assert!(matches!(short, Err(RegistryError::Mismatch { .. })));
    let forged = site.upload(b"c0ntent").commit_checked(&site.repository, &digest);
    assert!(matches!(forged, Err(RegistryError::Mismatch { .. })));
    assert!(!site.store.has(&digest).unwrap());
    assert!(matches!(site.store.link(&site.repository, &digest), Err(RegistryError::NoBlob(_))));
    assert_eq!(site.upload(b"content").commit_checked(&site.repository, &digest).unwrap(), 7);
    let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    assert!(site.upload(b"content").commit_checked(&site.repository, &long).is_err());
    assert_eq!(site.uploads(), 0);
}

#[test]
fn sha512_works_for_blobs_and_manifests() {
    let site = site();
    // From `printf content | sha512sum`.
    let hex = "b2d1d285b5199c85f988d03649c37e44fd3dde01e5d69c50fef90651962f48110e9340b60d49a479c4c0b53f5f07d690686dd87d2481937a512e8b85ee7c617f";
    let digest: Digest = format!("sha512:{hex}").parse().unwrap();
    site.upload(b"content").commit_checked(&site.repository, &digest).unwrap();
    assert!(site.reopened().linked(&site.repository, &digest).unwrap());
    let by_digest = Reference::Digest(digest.clone());
    site.store.put_manifest(&site.repository, &by_digest, "t", b"content").unwrap();
    assert_eq!(site.store.manifest(&site.repository, &by_digest).unwrap().unwrap().bytes, b"content");
    assert!(site.store.put_manifest(&site.repository, &by_digest, "t", b"other").is_err());
}

#[test]
fn what_is_tagged_is_told_to_who_asks_and_nothing_else() {
    let site = site();
    let mut tagged = site.store.clone().tagged();
    let by_digest = Reference::Digest(Hasher::digest(b"content"));
    site.store.put_manifest(&site.repository, &by_digest, "t", b"content").unwrap();
    assert!(tagged.try_recv().is_err());
    site.store.put_manifest(&site.repository, &"v1".parse().unwrap(), "t", b"content").unwrap();
    assert_eq!(tagged.try_recv().unwrap(), (site.repository.clone(), "v1".parse().unwrap()));
}

#[test]
fn uploads_of_the_dead_are_swept_and_those_of_the_living_are_not() {
    let site = site();
    let alive = site.upload(b"half");
    fs::write(site.dir.path().join("uploads/dead"), "half a blob").unwrap();
    assert_eq!(site.uploads(), 2);
    site.reopened();
    assert_eq!(site.uploads(), 1);
    // The lock is that of whoever has the file open, as a helper that the file was handed to.
    let handed_on = alive.file().try_clone().unwrap();
    let path = fs::read_dir(site.dir.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    drop(alive);
    assert!(!path.exists(), "a dropped upload leaves nothing");
    drop(handed_on);
}

#[test]
fn manifests_are_kept_byte_for_byte() {
    let site = site();
    let bytes = b"{ \"schemaVersion\":2,\n\"config\" : null}\n";
    let tag: Reference = "latest".parse().unwrap();
    let digest = site.store.put_manifest(&site.repository, &tag, "application/x", bytes).unwrap();
    for reference in [tag.clone(), digest.clone().into()] {
        let stored = site.reopened().manifest(&site.repository, &reference).unwrap().unwrap();
        assert_eq!(
            (stored.bytes.as_slice(), stored.media_type.as_str()),
            (bytes.as_slice(), "application/x")
        );
        assert_eq!(stored.digest, digest);
        assert_eq!(site.store.manifest(&"other".parse().unwrap(), &reference).unwrap(), None);
    }
    let second = site.store.put_manifest(&site.repository, &tag, "application/x", b"{}").unwrap();
    assert_eq!(
        site.store.resolve(&site.repository, &"latest".parse().unwrap()).unwrap(),
        Some(second.clone())
    );
    for name in ["v10", "v2", "a"] {
        site.store.tag(&site.repository, &name.parse().unwrap(), &digest).unwrap();
    }
    let tags = |store: &ContentStore| {
        let tags = store.tags(&site.repository).unwrap();
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(tags(&site.store), ["a", "latest", "v10", "v2"]);
    let absent = Digest::sha256([0; 32]);
    let refused = site.store.tag(&site.repository, &"x".parse().unwrap(), &absent);
    assert!(matches!(refused, Err(RegistryError::NoManifest { .. })));
    assert!(site.store.delete_manifest(&site.repository, &digest.clone().into()).unwrap());
    assert_eq!(tags(&site.store), ["latest"], "a digest takes its tags along");
    assert!(!site.store.delete_manifest(&site.repository, &digest.into()).unwrap());
    assert!(site.store.delete_manifest(&site.repository, &tag).unwrap());
    assert!(site.store.manifest(&site.repository, &second.into()).unwrap().is_some());
}

#[test]
fn referrers_are_found_by_their_subject() {
    let site = site();
    let image = site.image("v1", &[b"layer"], None);
    let signature = site.image("signature", &[b"sig"], Some(&image));
    let found = site.store.referrers(&site.repository, &image).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].digest, found[0].artifact_type.as_deref()), (&signature, Some("x")));
    site.store.delete_manifest(&site.repository, &signature.into()).unwrap();
    assert!(site.store.referrers(&site.repository, &image).unwrap().is_empty());
}

#[test]
fn a_collection_keeps_what_releases_name_and_nothing_else() {
    let site = site();
    let kept = site.image("v1", &[b"shared", b"one"], None);
    let signature = site.image("sig", &[b"signature"], Some(&kept));
    let dropped = site.image("v2", &[b"shared", b"two"], None);
    let young = GcPolicy { grace: Duration::from_hours(1), ..now(&[], false) };
    assert_eq!(site.store.gc(&young).unwrap(), GcReport::default(), "what is young stays");
    let tagged = site.store.gc(&now(&[&kept], true)).unwrap();
    assert_eq!(tagged, GcReport::default(), "what is tagged stays where that is the policy");
    let report = site.store.gc(&now(&[&kept], false)).unwrap();
    assert_eq!(report.blobs, 3, "manifest, config and own layer of v2");
    let store = site.reopened();
    for bytes in [b"shared".as_slice(), b"one", b"signature", b"config of v1"] {
        assert!(store.linked(&site.repository, &Hasher::digest(bytes)).unwrap());
    }
    assert!(!store.has(&Hasher::digest(b"two")).unwrap());
    assert!(store.manifest(&site.repository, &kept.into()).unwrap().is_some());
    assert!(store.manifest(&site.repository, &signature.into()).unwrap().is_some());
    assert!(store.manifest(&site.repository, &dropped.into()).unwrap().is_none());
    assert_eq!(store.tags(&site.repository).unwrap().len(), 2);
}

#[test]
fn a_blob_that_others_need_leaves_a_repository_that_does_not() {
    let site = site();
    let kept = site.image("v1", &[b"shared", b"one"], None);
    let other: Repository = "tools/quotes".parse().unwrap();
    let shared = Hasher::digest(b"shared");
    site.store.link(&other, &shared).unwrap();
    assert_eq!(site.store.linked_bytes(&other, &HashSet::new()).unwrap(), 6);
    assert_eq!(site.store.linked_bytes(&other, &HashSet::from([shared.clone()])).unwrap(), 0);
    let young = GcPolicy { grace: Duration::from_hours(1), ..now(&[&kept], false) };
    site.store.gc(&young).unwrap();
    assert!(site.store.linked(&other, &shared).unwrap(), "an image of it may come");
    site.store.gc(&now(&[&kept], false)).unwrap();
    assert_eq!(site.store.linked_bytes(&other, &HashSet::new()).unwrap(), 0);
    assert!(site.store.linked(&site.repository, &shared).unwrap());
}

#[test]
fn a_repository_goes_without_those_below_it() {
    let site = site();
    let below: Repository = "tools/weather/cache".parse().unwrap();
    site.store.put_blob(&below, b"x").unwrap();
    site.image("v1", &[b"l"], None);
    site.store.delete_repository(&site.repository).unwrap();
    assert_eq!(site.store.repositories().unwrap(), std::slice::from_ref(&below));
    site.store.delete_repository(&below).unwrap();
    assert!(site.store.repositories().unwrap().is_empty());
    assert!(!site.dir.path().join("repositories/tools").exists());
    site.store.delete_repository(&below).unwrap();
}
