//! The registry's two questions.

use super::*;
use RegistryAccess::{Pull, Push};
use secrecy::ExposeSecret;

#[tokio::test]
async fn a_token_is_the_password() {
    let (_dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    let token = auth.issue_token(&person("ann"), "docker", None).await.unwrap().token;
    let login = async |user: &str, secret: &str| auth.registry_login(user, secret, None).await.unwrap();
    for user in ["ann", "token"] {
        assert_eq!(
            login(user, token.expose_secret()).await,
            Checked::Known(Identity { actor: actor("ann") })
        );
    }
    assert_eq!(login("bob", token.expose_secret()).await, Checked::Unknown, "another's name");
    assert_eq!(login("ann", "hunter2").await, Checked::Unknown);
}

#[tokio::test]
async fn repositories_follow_the_rights_on_tools() {
    let (_dir, store, auth) = fresh().await;
    for name in ["ann", "bob", "root"] {
        store.create_maintainer(&person(name), name == "root").await.unwrap();
    }
    store.create_tool(&tool("weather"), Some(&person("ann"))).await.unwrap();
    let cases = [
        ("ann", "tools/weather", Pull, true),
        ("ann", "tools/weather", Push, true),
        ("ann", "tools/weather/inner", Pull, false),
        ("ann", "tools/../weather", Pull, false),
        ("ann", "tools/nothing", Pull, false),
        ("bob", "tools/weather", Pull, false),
        ("bob", "stacks/bookworm/run", Pull, true),
        ("bob", "stacks/bookworm/run", Push, false),
        ("root", "stacks/bookworm/run", Push, true),
        ("root", "tools/weather", Pull, true),
        ("root", "elsewhere/thing", Pull, false),
        ("root", "weather", Pull, false),
    ];
    for (name, repository, access, expected) in cases {
        let identity = Identity { actor: actor(name) };
        let allowed = auth.registry_allowed(&identity, repository, access).await.unwrap();
        assert_eq!(allowed, expected, "{name} {repository} {access:?}");
    }
}
