//! A registry of the outside world: with a login, with TLS, with neither; away, and empty.

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::collections::BTreeSet;
use std::path::Path;

fn with_login() -> Distribution {
    Distribution::start("127.0.0.1", DistributionOptions { login: true, ..DistributionOptions::default() })
}

fn options(registry: &Distribution) -> ExternalOptions {
    let prefix = format!("{}/hythe", registry.address());
    ExternalOptions { push: Some(registry.login(Distribution::USER)), ..Built::options(&prefix) }
}

/// Whether this names this image of the tool `weather`.
async fn has(external: &External, reference: &crate::Reference, image: &Digest) -> bool {
    let session = external.inner.place.session(&named("weather"), "pull", Vec::new());
    session.has_manifest(reference, image).await.unwrap()
}

async fn crane(login: &Path, words: &str) -> String {
    let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
    let folder = login.parent().unwrap().display().to_string();
    // Set for this command alone, and not for the tests beside it.
    let arguments =
        [vec![format!("DOCKER_CONFIG={folder}"), program("crane").display().to_string()], words].concat();
    run(&"/usr/bin/env".into(), &arguments).await.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_whole_and_is_not_sent_twice() {
    let (registry, built) = (with_login(), built());
    let external = built.to(&options(&registry));
    let first = provide(&external, "weather", &built.image).await.unwrap();
    assert!(matches!(first, Provided::Sent { layers: 2, sent: 2, bytes } if bytes > 10_000), "{first:?}");
    assert_eq!(provide(&external, "weather", &built.image).await.unwrap(), Provided::There);

    let place = format!("{}/hythe/weather@{}", registry.address(), built.image);
    assert_eq!(
        crane(&registry.login(Distribution::USER), &format!("digest {place}")).await,
        built.image.as_str()
    );
    crane(&registry.login(Distribution::USER), &format!("validate --remote {place}")).await;
    let there = crane(&registry.login(Distribution::USER), &format!("manifest {place}")).await;
    let here = built.content.manifest(&Repository::of_tool(&named("weather")), &built.image.clone().into());
    assert_eq!(there.as_bytes(), here.unwrap().unwrap().bytes.trim_ascii(), "byte for byte");

    // Another tool of the same layers: they are mounted.
    built.also("quotes");
    let second = provide(&external, "quotes", &built.image).await.unwrap();
    assert_eq!(second, Provided::Sent { layers: 2, sent: 0, bytes: 0 });
    crane(
        &registry.login(Distribution::USER),
        &format!("validate --remote {}/hythe/quotes@{}", registry.address(), built.image),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_nobody_needs_are_removed_and_others_left_alone() {
    let (registry, built) = (with_login(), built());
    let external = built.to(&options(&registry));
    provide(&external, "weather", &built.image).await.unwrap();
    let somebodys = format!("{}/hythe/weather:somebodys", registry.address());
    let other =
        crane(&registry.login(Distribution::USER), &format!("append -f /dev/null -t {somebodys}")).await;
    assert!(other.contains("@sha256:"), "{other}");
    let weather = named("weather");
    let all = external.images(&weather).await.unwrap();
    assert_eq!(all, [built.image.clone()].into());
    assert_eq!(external.remove(&weather, &all).await.unwrap(), 1);
    external.remove(&weather, &all).await.unwrap();
    assert!(external.images(&weather).await.unwrap().is_empty());
    assert!(!has(&external, &built.image.clone().into(), &built.image).await);
    assert_eq!(
        crane(&registry.login(Distribution::USER), &format!("ls {}/hythe/weather", registry.address())).await,
        "somebodys"
    );
    assert!(external.images(&named("nobody")).await.unwrap().is_empty());

    let keeps = Distribution::start(
        "127.0.0.1",
        DistributionOptions { keeps: true, ..DistributionOptions::default() },
    );
    let external = built.to(&Built::options(keeps.address()));
    provide(&external, "weather", &built.image).await.unwrap();
    let refused = external.remove(&weather, &all).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_platforms_of_one_place_leave_each_other_their_images() {
    let (registry, built, weather) = (with_login(), built(), named("weather"));
    let one = built.to(&options(&registry));
    let staging = ExternalOptions { platform: "staging".to_owned(), ..options(&registry) };
    let other = built.to(&staging);
    let all = BTreeSet::from([built.image.clone()]);
    provide(&one, "weather", &built.image).await.unwrap();
    assert!(other.images(&weather).await.unwrap().is_empty());
    // Whoever has nothing to send takes what is there.
    let empty = ContentStore::open(built.dir.path().join("empty")).unwrap();
    let without = External::open(&staging, empty).unwrap();
    assert_eq!(provide(&without, "weather", &built.image).await.unwrap(), Provided::There);
    // Equal sources are the same image, and it becomes both's.
    let second = provide(&other, "weather", &built.image).await.unwrap();
    assert_eq!(second, Provided::Sent { layers: 2, sent: 0, bytes: 0 });
    assert_eq!(other.images(&weather).await.unwrap(), all);

    assert_eq!(one.remove(&weather, &all).await.unwrap(), 1);
    assert!(one.images(&weather).await.unwrap().is_empty());
    assert_eq!(provide(&other, "weather", &built.image).await.unwrap(), Provided::There);
    let place = format!("{}/hythe/weather@{}", registry.address(), built.image);
    crane(&registry.login(Distribution::USER), &format!("validate --remote {place}")).await;
    other.remove(&weather, &all).await.unwrap();
    assert!(other.images(&weather).await.unwrap().is_empty());
    assert!(!has(&other, &built.image.clone().into(), &built.image).await, "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_person_has_named_stays_under_that_name() {
    let (registry, built, weather) = (with_login(), built(), named("weather"));
    let external = built.to(&options(&registry));
    provide(&external, "weather", &built.image).await.unwrap();
    let place = format!("{}/hythe/weather@{}", registry.address(), built.image);
    crane(&registry.login(Distribution::USER), &format!("tag {place} audited")).await;
    let all = external.images(&weather).await.unwrap();
    assert_eq!(external.remove(&weather, &all).await.unwrap(), 1, "this platform's name went");
    assert!(external.images(&weather).await.unwrap().is_empty());
    let audited = "audited".parse::<crate::Tag>().unwrap().into();
    assert!(has(&external, &audited, &built.image).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_not_shown() {
    let (registry, built) = (with_login(), built());
    registry.write_login(Distribution::USER, "hunter2");
    let patient = ExternalOptions { patience: Duration::from_mins(1), ..options(&registry) };
    let external = built.to(&patient);
    let begun = Instant::now();
    let refused = provide(&external, "weather", &built.image).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "it is not tried again");
    let text = said(&refused, registry.address());
    assert!(!text.contains("hunter2") && !format!("{refused:?}").contains("hunter2"));
    insta::assert_snapshot!(text);
    // The right one counts from its next use on.
    registry.write_login(Distribution::USER, Distribution::PASSWORD);
    provide(&external, "weather", &built.image).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_waited_for_and_one_that_is_empty_filled() {
    let (mut registry, built) = (with_login(), built());
    let external = built.to(&ExternalOptions { patience: Duration::from_secs(20), ..options(&registry) });
    registry.stop();
    let away = external.provide_now(&named("weather"), &built.image).await.unwrap_err();
    insta::assert_snapshot!(said(&away, registry.address()));
    let told = Mutex::new(Vec::new());
    let (weather, tell) = (named("weather"), |told_now| told.lock().unwrap().push(told_now));
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.resume();
    };
    let (provided, ()) = tokio::join!(external.provide(&weather, &built.image, &tell), back);
    assert!(matches!(provided.unwrap(), Provided::Sent { sent: 2, .. }));
    let told = told.into_inner().unwrap();
    let [line] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        line.starts_with(&format!("waiting for {}: ", registry.address())) && line.contains("refused"),
        "{line}"
    );

    // Whatever is remembered of the one before.
    built.also("quotes");
    registry.stop();
    registry.lose();
    registry.resume();
    assert!(matches!(
        provide(&external, "quotes", &built.image).await.unwrap(),
        Provided::Sent { sent: 2, .. }
    ));
    assert!(matches!(
        provide(&external, "weather", &built.image).await.unwrap(),
        Provided::Sent { sent: 0, .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_nowhere_is_said_to_be() {
    let (registry, built) = (with_login(), built());
    let lost = provide(&built.to(&options(&registry)), "quotes", &built.image).await.unwrap_err();
    assert!(lost.is_nowhere());
    insta::assert_snapshot!(said(&lost, registry.address()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_its_own_must_be_named() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = (cert.pem(), signing_key.serialize_pem());
    let registry = Distribution::start(
        "127.0.0.1",
        DistributionOptions { tls: Some((&tls.0, &tls.1)), login: true, ..DistributionOptions::default() },
    );
    let built = built();
    let open = ExternalOptions { plain: false, patience: Duration::from_mins(1), ..options(&registry) };
    let begun = Instant::now();
    let untrusted = provide(&built.to(&open), "weather", &built.image).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "it is not tried again");
    insta::assert_snapshot!(said(&untrusted, registry.address()));

    let bundle = registry.images().with_file_name("ca.pem");
    std::fs::write(&bundle, &tls.0).unwrap();
    let trusted = built.to(&ExternalOptions { authorities: Some(bundle.clone()), ..open.clone() });
    provide(&trusted, "weather", &built.image).await.unwrap();
    std::fs::write(&bundle, "nothing").unwrap();
    let empty = External::open(&ExternalOptions { authorities: Some(bundle), ..open }, built.content.clone());
    assert!(empty.unwrap_err().to_string().contains("no certificate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_may_be_done() {
    let registry = with_login();
    let lines = async |options: &ExternalOptions, pull: Option<&Credentials>| {
        let found = check(options, pull).await.unwrap();
        found.iter().map(|f| format!("{:?}: {}", f.verdict, f.detail)).collect::<Vec<_>>().join("\n")
    };
    let pull = Credentials::open(registry.login(Distribution::USER), registry.address()).unwrap();
    let external = options(&registry);
    let text = [lines(&external, Some(&pull)).await, lines(&external, None).await].join("\n\n");
    registry.write_login(Distribution::USER, "wrong");
    let text = [text, lines(&external, Some(&pull)).await].join("\n\n");
    insta::assert_snapshot!(text.replace(registry.address(), "HOST"));
    let keeps = Distribution::start(
        "127.0.0.1",
        DistributionOptions { keeps: true, ..DistributionOptions::default() },
    );
    let external = Built::options(&format!("{}/hythe", keeps.address()));
    insta::assert_snapshot!(lines(&external, None).await.replace(keeps.address(), "HOST"));
}
