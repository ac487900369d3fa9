//! An installation moves from a file to a server: whole, compared, or not at all.

use super::*;

/// A file with something in every table, and numbers that were used and are gone.
async fn installation() -> (Bed, Store) {
    let bed = Bed::file();
    let store = bed.open().await;
    store.create_maintainer(&ann(), true).await.unwrap();
    store.create_tool(&tool("weather"), Some(&ann())).await.unwrap();
    store.create_tool(&tool("gone"), None).await.unwrap();
    store.delete_tool(&tool("gone")).await.unwrap();
    let key = NewKey {
        owner: KeyOwner::Deploy(tool("weather")),
        fingerprint: "SHA256:ci".to_owned(),
        algorithm: "ssh-ed25519".to_owned(),
        openssh: "ssh-ed25519 AAAA".to_owned(),
        title: "Straße — \u{1f6a2}".to_owned(),
    };
    store.add_key(key).await.unwrap();
    let token = NewToken { maintainer: ann(), name: "ci".to_owned(), hash: [7; 32], expires_at: None };
    store.create_token(token).await.unwrap();
    for _ in 0..3 {
        store.enqueue_build(new_build("weather")).await.unwrap();
    }
    // More than two batches.
    for _ in 0..1100 {
        store.create_release(new_release("weather", None)).await.unwrap();
    }
    let value = ConfigValue { key: "A".to_owned(), sealed: vec![0, 255, 7], scope: ConfigScope::Both };
    store
        .change_config(&tool("weather"), 0, vec![ConfigEdit::Set(value)], &Actor::Maintainer(ann()))
        .await
        .unwrap();
    store.acquire_lease("tool/weather", "a", LONG).await.unwrap();
    (bed, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_and_numbers_go_on() {
    let (_file, from) = installation().await;
    let bed = Bed::server();
    let to = bed.open().await;
    let copied = from.copy_to(&to).await.unwrap();
    assert_eq!(copied, Copied { tools: 1, rows: 1111 });
    assert_eq!(from.copy_to(&to).await.unwrap(), copied, "who was not told may ask again");
    let weather = tool("weather");
    assert_eq!(to.tools().await.unwrap(), from.tools().await.unwrap());
    assert_eq!(to.releases(&weather, 2000).await.unwrap(), from.releases(&weather, 2000).await.unwrap());
    assert_eq!(to.builds(&weather, 9).await.unwrap(), from.builds(&weather, 9).await.unwrap());
    assert_eq!(to.token(&[7; 32]).await.unwrap(), from.token(&[7; 32]).await.unwrap());
    assert_eq!(to.key("SHA256:ci").await.unwrap(), from.key("SHA256:ci").await.unwrap());
    assert_eq!(to.sealed_values().await.unwrap(), from.sealed_values().await.unwrap());
    assert_eq!(to.members(&weather).await.unwrap(), from.members(&weather).await.unwrap());
    let (a, b) = (
        from.enqueue_build(new_build("weather")).await.unwrap(),
        to.enqueue_build(new_build("weather")).await.unwrap(),
    );
    assert_eq!(a.id, b.id, "the next number is the same");
    for store in [&from, &to] {
        store.create_tool(&tool("new"), None).await.unwrap();
    }
    let number = Postgres::shared().sql(bed.url(), "SELECT id FROM tools WHERE name = 'new'");
    assert_eq!(number, "3", "the number of a tool that was removed is not used again");
    assert_eq!(to.acquire_lease("tool/weather", "a", LONG).await.unwrap().unwrap().fence, 2);
}

#[tokio::test]
async fn a_target_with_rows_is_refused() {
    let (_file, from) = fresh().await;
    from.create_tool(&tool("weather"), None).await.unwrap();
    let to = Bed::server().open().await;
    to.create_maintainer(&ann(), false).await.unwrap();
    let error = from.copy_to(&to).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Copy { reason } if reason.contains("(1 in maintainers)")),
        "{error}"
    );
    assert_eq!(to.tools().await.unwrap(), []);
    assert!(matches!(to.copy_to(&from).await, Err(StoreError::Copy { .. })), "only this way round");
    let bed = Bed::file();
    assert!(matches!(from.copy_to(&bed.open().await).await, Err(StoreError::Copy { .. })));
}

/// The server changes a value, drops a row, or refuses one, as a damaged disk or another's trigger would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_refused_and_nothing_is_kept() {
    let (_file, from) = installation().await;
    for (what, damage) in [
        ("differs", "IF NEW.number = 700 THEN NEW.message = 'x'; END IF; RETURN NEW;"),
        ("differs", "IF NEW.number = 700 THEN RETURN NULL; END IF; RETURN NEW;"),
        ("disk full", "IF NEW.number = 700 THEN RAISE EXCEPTION 'disk full'; END IF; RETURN NEW;"),
    ] {
        let bed = Bed::server();
        let to = bed.open().await;
        let trigger = format!(
            "CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {damage} END $$; \
             CREATE TRIGGER damage BEFORE INSERT ON releases FOR EACH ROW EXECUTE FUNCTION damage();"
        );
        Postgres::shared().sql(bed.url(), &trigger);
        let error = from.copy_to(&to).await.unwrap_err();
        assert!(matches!(&error, StoreError::Copy { reason } if reason.contains(what)), "{error}");
        assert_eq!(to.maintainers().await.unwrap(), [], "all or nothing");
        assert_eq!(to.tools().await.unwrap(), []);
    }
}
