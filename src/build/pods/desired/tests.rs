use super::*;
use hythe_model::SourceTree;
use std::time::Duration;

fn settings() -> PodSettings {
    PodSettings {
        platform: "hythe".to_owned(),
        namespace: "builds-of-hythe".to_owned(),
        account: Some("hythe/hythe".parse().unwrap()),
        registry: "10.0.0.5:5000".to_owned(),
        plain: false,
        authorities: Some("PEM".to_owned()),
        registry_namespace: Some("hythe".to_owned()),
        registry_port: 5000,
        start: Duration::from_mins(5),
    }
}

fn request() -> BuildRequest {
    BuildRequest {
        tool: "weather".parse().unwrap(),
        id: BuildId(7),
        source: SourceTree {
            commit: "0123456789012345678901234567890123456789".parse().unwrap(),
            subject: "Test".into(),
            digest: Digest::sha256([1; 32]),
            files: 1,
            bytes: 1,
            project: hythe_model::Project::default(),
        },
        archive: "/source.tar".into(),
        previous: None,
        no_cache: false,
        env: BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]),
    }
}

fn with<T>(change: impl FnOnce(&mut NetworkSettings), look: impl FnOnce(&Wish<'_>) -> T) -> T {
    let mut network =
        NetworkSettings { ca_bundle: Some("/etc/own.pem".into()), ..NetworkSettings::default() };
    network.egress.enabled = true;
    change(&mut network);
    let (settings, limits, image) = (settings(), BuildLimits::default(), Digest::sha256([2; 32]));
    let env = vec![("HOME".to_owned(), "/home/cnb".to_owned())];
    look(&Wish {
        settings: &settings,
        limits: &limits,
        network: &network,
        user: (1000, 1000),
        env,
        image: &image,
    })
}

fn text(objects: &[Object]) -> String {
    let each = objects.iter().map(|object| serde_json::to_string_pretty(&object.value).unwrap());
    each.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_pod_of_a_build() {
    let pod = with(|_| {}, |wish| pod(wish, &request(), &"delivery-7".parse().unwrap()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&pod).unwrap());
}

#[test]
fn what_stands_around_builds() {
    let pull = PullAccess { user: "platform+builder".to_owned(), password: "secret".to_owned() };
    let fence = with(|_| {}, |wish| fence(wish, &pull, Some("PEM".to_owned())));
    insta::assert_snapshot!(text(&fence));
    let closed = with(|network| network.egress.enabled = false, |wish| fence_of(wish, &pull));
    assert!(!text(&closed).contains("to-internet") && text(&closed).contains("to-registry"));
}

fn fence_of(wish: &Wish<'_>, pull: &PullAccess) -> Vec<Object> {
    fence(wish, pull, None)
}

/// The password and the build-time config are in the Secret alone, which the container of the build does not see.
#[test]
fn untrusted_code_sees_no_secret() {
    let access = Access {
        registry: "10.0.0.5:5000".to_owned(),
        plain: false,
        authorities: None,
        repository: "builds/7".to_owned(),
        user: "build+7".to_owned(),
        password: "the-password".to_owned(),
        job: Digest::sha256([3; 32]),
    };
    let secret = secret(&settings(), &request(), &access).unwrap();
    assert!(
        secret.data.unwrap().contains_key("access.json") && !format!("{access:?}").contains("the-password")
    );
    let pod = with(|_| {}, |wish| pod(wish, &request(), &"delivery-7".parse().unwrap()));
    let spec = pod.spec.unwrap();
    let build = spec.init_containers.unwrap().into_iter().find(|container| container.name == BUILD).unwrap();
    let sees = |volume: &str| build.volume_mounts.iter().flatten().any(|mount| mount.name == volume);
    assert!(!sees("access") && !sees("private") && sees("work") && sees("exchange"));
    assert!(
        build
            .volume_mounts
            .iter()
            .flatten()
            .filter(|mount| mount.name == "work")
            .all(|mount| mount.sub_path.is_some())
    );
    assert_eq!(spec.automount_service_account_token, Some(false));
}
