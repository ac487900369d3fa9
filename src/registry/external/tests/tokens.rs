//! A registry that asks for tokens: our own, whose rules are those of its tests (`ann` may do anything below `tools/`).

use super::*;
use crate::RegistryOptions;
use crate::server::tests::{Site, site_with};

fn login(built: &Built, site: &Site, user: &str) -> ExternalOptions {
    let path = built.dir.path().join("config.json");
    let auths =
        serde_json::json!({"auths": {site.address.to_string(): {"username": user, "password": "secret"}}});
    std::fs::write(&path, auths.to_string()).unwrap();
    ExternalOptions { push: Some(path), ..Built::options(&format!("{}/tools", site.address)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_two_repositories_at_once() {
    let (site, built) = (site_with(RegistryOptions::default()).await, built());
    let external = built.to(&login(&built, &site, "ann"));
    assert!(matches!(
        provide(&external, "weather", &built.image).await.unwrap(),
        Provided::Sent { sent: 2, .. }
    ));
    built.also("quotes");
    let second = provide(&external, "quotes", &built.image).await.unwrap();
    assert_eq!(second, Provided::Sent { layers: 2, sent: 0, bytes: 0 }, "the layers are mounted");
    let there = site.store.manifest(&"tools/quotes".parse().unwrap(), &built.image.clone().into()).unwrap();
    assert!(there.is_some());
    let quotes = named("quotes");
    let all = external.images(&quotes).await.unwrap();
    assert_eq!(all, [built.image.clone()].into());
    external.remove(&quotes, &all).await.unwrap();
    assert!(external.images(&quotes).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_told_so() {
    let (site, built) = (site_with(RegistryOptions::default()).await, built());
    let refused =
        provide(&built.to(&login(&built, &site, "bob")), "weather", &built.image).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused:?}");
    insta::assert_snapshot!(said(&refused, &site.address.to_string()));
    let nobody = provide(&built.to(&login(&built, &site, "eve")), "weather", &built.image).await.unwrap_err();
    insta::assert_snapshot!(said(&nobody, &site.address.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_run_out_is_renewed() {
    let options = RegistryOptions { token_life: Duration::from_secs(1), ..RegistryOptions::default() };
    let (site, built) = (site_with(options).await, built());
    let external = built.to(&login(&built, &site, "ann"));
    let session = external.inner.place.session(&named("weather"), "pull,push", Vec::new());
    let by_digest = built.image.clone().into();
    assert!(!session.has_manifest(&by_digest, &built.image).await.unwrap());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!session.has_manifest(&by_digest, &built.image).await.unwrap());
}
