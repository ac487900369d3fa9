//! One story that every place of objects lives up to.

use super::*;
use std::sync::Arc;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// What is asked of any implementation; `one` and `two` are two replicas' views of the same place.
async fn story(one: Arc<dyn Objects>, two: Arc<dyn Objects>, scratch: &Path) {
    let (first, second) = (key("packs/1/a.pack"), key("packs/10/b.pack"));
    assert!(one.age(&first).await.unwrap().is_none());
    assert!(matches!(one.open(&first).await.map(drop), Err(ObjectsError::Absent(_))));
    assert_eq!(one.list(&key("packs")).await.unwrap(), []);
    assert!(!one.delete(&first).await.unwrap());

    one.put(&first, Body::Bytes(b"one".to_vec())).await.unwrap();
    let file = scratch.join("file");
    std::fs::write(&file, vec![7; 300_000]).unwrap();
    two.put(&second, Body::File(file)).await.unwrap();
    assert_eq!(read(&*two, &first, 3).await.unwrap(), b"one");
    assert!(matches!(read(&*two, &first, 2).await, Err(ObjectsError::TooLarge { most: 2, .. })));
    fetch(&*one, &second, &scratch.join("fetched")).await.unwrap();
    assert_eq!(std::fs::read(scratch.join("fetched")).unwrap(), vec![7; 300_000]);
    let missing = fetch(&*one, &key("packs/none"), &scratch.join("missing")).await;
    assert!(matches!(missing, Err(ObjectsError::Absent(_))) && !scratch.join("missing").exists());

    let names = async |prefix: &str| -> Vec<(String, u64)> {
        let listed = one.list(&key(prefix)).await.unwrap();
        listed.into_iter().map(|object| (object.key.to_string(), object.bytes)).collect()
    };
    assert_eq!(names("packs").await, [("packs/1/a.pack".into(), 3), ("packs/10/b.pack".into(), 300_000)]);
    assert_eq!(names("packs/1").await, [("packs/1/a.pack".into(), 3)], "a part is a whole one");

    // Many write the same at the same time, and one that is gone under its reader is read to its end.
    let same = key("sources/c.tar");
    let body = vec![9; 1 << 20];
    let writers = (0..8).map(|number| {
        let (objects, key, body) = ([&one, &two][number % 2].clone(), same.clone(), body.clone());
        tokio::spawn(async move { objects.put(&key, Body::Bytes(body)).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    let mut reader = one.open(&same).await.unwrap();
    assert!(two.delete(&same).await.unwrap() && one.age(&same).await.unwrap().is_none());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, body);
    one.put(&same, Body::Bytes(body)).await.unwrap();
    assert!(two.age(&same).await.unwrap().is_some());
}

#[tokio::test]
async fn a_shared_folder_keeps_objects() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || Arc::new(SharedFolder::open(folder.path()).unwrap());
    story(open(), open(), scratch.path()).await;
    let drafts = std::fs::read_dir(folder.path().join(".new")).unwrap().count();
    assert_eq!(drafts, 0, "nothing half-written is left");
}

#[tokio::test]
async fn a_put_makes_an_object_young_again_and_a_folder_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let objects = SharedFolder::open(folder.path()).unwrap();
    let (key, body) = (key("sources/a.tar"), Body::Bytes(b"a".to_vec()));
    objects.put(&key, body.clone()).await.unwrap();
    let file = std::fs::File::open(folder.path().join("sources/a.tar")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_hours(2)).unwrap();
    let sources: Key = "sources".parse().unwrap();
    assert!(objects.list(&sources).await.unwrap()[0].age > Duration::from_hours(1));
    objects.put(&key, body).await.unwrap();
    assert!(objects.list(&sources).await.unwrap()[0].age < Duration::from_mins(1));
    assert!(SharedFolder::open(folder.path().join("not-mounted")).is_err());
}
