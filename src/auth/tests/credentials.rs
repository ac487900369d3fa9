//! From a key or a token to an identity.

use super::keys::ED25519;
use super::*;
use hythe_store::KeyOwner;
use secrecy::ExposeSecret;
use std::time::Duration;

#[tokio::test]
async fn the_first_run_makes_an_administrator_once() {
    let (_dir, store, auth) = fresh().await;
    let first = auth.bootstrap().await.unwrap().expect("the first run");
    assert_eq!(first.maintainer.as_str(), "admin");
    assert!(store.maintainer(&first.maintainer).await.unwrap().unwrap().admin);
    let identity = auth.authenticate_token(first.token.token.expose_secret()).await.unwrap().unwrap();
    assert_eq!(identity.actor, actor("admin"));
    assert!(auth.bootstrap().await.unwrap().is_none());
}

#[tokio::test]
async fn a_key_stands_for_its_owner() {
    let (_dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    store.create_tool(&tool("weather"), None).await.unwrap();
    let key = PublicKey::parse(ED25519).unwrap();
    assert_eq!(auth.authenticate_key(&key).await.unwrap(), None);

    let row = auth.add_key(KeyOwner::Maintainer(person("ann")), &key, " ").await.unwrap();
    assert_eq!(row.title, "ann@laptop", "the comment, where no title is given");
    assert_eq!(auth.authenticate_key(&key).await.unwrap().unwrap().actor, actor("ann"));
    assert!(store.key(key.fingerprint()).await.unwrap().unwrap().last_used_at.is_some());
    let twice = auth.add_key(KeyOwner::Deploy(tool("weather")), &key, "ci").await;
    assert!(twice.unwrap_err().to_string().contains("exists already"), "a key has one owner");

    store.remove_key(&KeyOwner::Maintainer(person("ann")), key.fingerprint()).await.unwrap();
    assert_eq!(auth.authenticate_key(&key).await.unwrap(), None);
    auth.add_key(KeyOwner::Deploy(tool("weather")), &key, "ci").await.unwrap();
    let identity = auth.authenticate_key(&key).await.unwrap().unwrap();
    assert_eq!(identity.actor, Actor::DeployKey(tool("weather")));
}

#[tokio::test]
async fn a_token_is_random_hashed_and_ends() {
    let (_dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    let issued = auth.issue_token(&person("ann"), "laptop", None).await.unwrap();
    let text = issued.token.expose_secret().to_owned();
    assert!(text.starts_with("hythe_") && text.len() == 49, "{}", text.len());
    assert_ne!(auth.issue_token(&person("ann"), "laptop", None).await.unwrap().token.expose_secret(), text);
    assert!(!format!("{issued:?}").contains(&text[6..]), "no token in Debug");
    assert_eq!(issued.row.hash, hash_token(&text));

    assert_eq!(auth.authenticate_token(&text).await.unwrap().unwrap().actor, actor("ann"));
    let mut wrong = text.clone();
    let last = wrong.pop();
    wrong.push(if last == Some('A') { 'B' } else { 'A' });
    for bad in ["", "hythe_", &wrong, &text[6..], &format!("{text} ")] {
        assert_eq!(auth.authenticate_token(bad).await.unwrap(), None, "{bad}");
    }
    let short = auth.issue_token(&person("ann"), "brief", Some(Duration::from_millis(1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(auth.authenticate_token(short.token.expose_secret()).await.unwrap(), None, "expired");
    let long = auth.issue_token(&person("ann"), "long", Some(Duration::from_secs(u64::MAX))).await.unwrap();
    assert_eq!(long.row.expires_at, None);
    store.revoke_token(&person("ann"), issued.row.id).await.unwrap();
    assert_eq!(auth.authenticate_token(&text).await.unwrap(), None, "revoked");
}

#[tokio::test]
async fn wrong_tokens_are_looked_at_twenty_times_a_minute() {
    let (_dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    let issued = auth.issue_token(&person("ann"), "laptop", None).await.unwrap();
    let (right, here) = (issued.token.expose_secret(), Some("192.0.2.1".parse().unwrap()));
    for _ in 0..20 {
        assert_eq!(auth.check_token("hythe_wrong", here).await.unwrap(), Checked::Unknown);
    }
    // Whether the next one is right cannot be told, and the fronts count together.
    for checked in [auth.check_token(right, here), auth.clone().check_token("hythe_wrong", here)] {
        let checked = checked.await.unwrap();
        assert!(matches!(checked, Checked::TooMany { wait } if wait.as_secs() <= 60), "{checked:?}");
    }
    let login = auth.registry_login("ann", right, here).await.unwrap();
    assert!(matches!(login, Checked::TooMany { .. }), "{login:?}");
    for elsewhere in [None, Some("192.0.2.2".parse().unwrap())] {
        assert!(matches!(auth.check_token(right, elsewhere).await.unwrap(), Checked::Known(_)));
    }
}

#[tokio::test]
async fn no_token_is_in_the_database() {
    let (dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    let issued = auth.issue_token(&person("ann"), "laptop", None).await.unwrap();
    let copy = dir.path().join("copy.db");
    store.backup_to(&copy).await.unwrap();
    let bytes = std::fs::read(copy).unwrap();
    let secret = issued.token.expose_secret().as_bytes()[6..].to_vec();
    assert!(bytes.windows(issued.row.hash.len()).any(|window| window == issued.row.hash));
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
}
