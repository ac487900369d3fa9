//! A stack of a few bytes in a real content store.

use super::*;
use crate::layer::write_layer;
use crate::tree::{Entry, Tree};

fn definition() -> Definition {
    Definition::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/bookworm")).unwrap()
}

/// Layers with one folder each, as `make` leaves them.
pub(crate) fn finished(folder: &Path, key: &str, name: &str) -> Finished {
    let layer = |name: &str| {
        let mut tree = Tree::default();
        tree.0.insert(name.to_owned(), Entry::folder(0o755, 0, 0));
        let mut bytes = Vec::new();
        let layer = write_layer(&tree, &Tree::default(), &mut bytes).unwrap();
        std::fs::write(Finished::file(folder, &layer), bytes).unwrap();
        layer
    };
    Finished {
        key: key.to_owned(),
        day: "20261120".to_owned(),
        run: layer(name),
        build: layer("build"),
        run_packages: vec!["bash=5.2".to_owned()],
        build_packages: vec!["bash=5.2".to_owned(), "gcc=12".to_owned()],
    }
}

#[test]
fn what_is_published_is_found_again() {
    let (store, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = ContentStore::open(store.path()).unwrap();
    let definition = definition();
    assert_eq!(find(&content, &definition).unwrap(), None);
    let layers = finished(folder.path(), &definition.key(), "run");
    let images = publish(&content, &definition, folder.path(), &layers).unwrap();
    assert_eq!(find(&content, &definition).unwrap().as_ref(), Some(&images));
    assert_eq!(images.build.layers, [layers.run.clone(), layers.build.clone()]);
    assert_eq!(images.run.layers, [layers.run]);
    assert_eq!(
        (images.run.repository.as_str(), images.run.tag.as_str()),
        ("stacks/bookworm/run", "20261120")
    );
}

#[test]
fn the_images_say_what_they_are() {
    let (store, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = ContentStore::open(store.path()).unwrap();
    let definition = definition();
    let layers = finished(folder.path(), &definition.key(), "run");
    let images = publish(&content, &definition, folder.path(), &layers).unwrap();
    let (run, build) =
        (ImageConfig::parse(&images.run.config).unwrap(), ImageConfig::parse(&images.build.config).unwrap());
    assert_eq!((run.config.user.as_str(), build.config.user.as_str()), ("1001:1000", "1000:1000"));
    assert_eq!((build.env("CNB_USER_ID"), build.env("CNB_GROUP_ID")), (Some("1000"), Some("1000")));
    assert_eq!(run.env("CNB_USER_ID"), None);
    assert_eq!(run.config.labels["io.buildpacks.base.distro.name"], "debian");
    assert_ne!(run.config.labels[PACKAGES_LABEL], build.config.labels[PACKAGES_LABEL]);
}

#[test]
fn another_stack_of_the_same_day_gets_a_tag_of_its_own() {
    let (store, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = ContentStore::open(store.path()).unwrap();
    let mut definition = definition();
    let one = finished(folder.path(), &definition.key(), "one");
    let one = publish(&content, &definition, folder.path(), &one).unwrap();
    definition.description.push_str(", changed");
    assert_eq!(find(&content, &definition).unwrap(), None, "latest is of the old definition");
    let two = finished(folder.path(), &definition.key(), "two");
    let two = publish(&content, &definition, folder.path(), &two).unwrap();
    assert_eq!((one.run.tag.as_str(), two.run.tag.as_str()), ("20261120", "20261120-2"));
    assert_eq!(find(&content, &definition).unwrap(), Some(two));
}
