//! Images in a registry of the outside world: sent there, pulled from there, and what happens when it is away.

use crate::support::{Client, Cluster, Clustered, Ran, Server, host, kubectl, until};
use hythe_testing::{Distribution, DistributionOptions};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A registry that wants a login, as the nodes of the tests' cluster find it.
fn registry() -> Distribution {
    let options = DistributionOptions { login: true, ..DistributionOptions::default() };
    let registry = Distribution::start(&host(), options);
    Cluster::shared().registry_at(registry.address(), registry.address());
    registry
}

fn settings(registry: &Distribution, more: &str) -> String {
    format!(
        "[registry.external]\nprefix = \"{}/hythe\"\nplain = true\npush_credentials = \"{}\"\npull_credentials = \"{}\"\n{more}",
        registry.address(),
        registry.login(Distribution::USER).display(),
        registry.login(Distribution::READER).display(),
    )
}

/// `crane`, with the login that lies in this folder.
fn crane(login: &Path, args: &[&str]) -> Ran {
    let tools = std::env::var("HYTHE_TOOLS").expect("HYTHE_TOOLS is not set: run the tests by `make test`");
    let mut command = Command::new(Path::new(&tools).join("bin/crane"));
    command.env("DOCKER_CONFIG", login.parent().expect("a folder")).arg("--insecure").args(args);
    command.output().expect("crane runs").into()
}

/// What a tool's pods are made of.
fn images(server: &Clustered, tool: &str) -> String {
    let path = "jsonpath={.items[*].spec.containers[*].image}";
    server.kubectl(tool, &["get", "pods", "-o", path]).ok().out
}

#[test]
fn a_push_ends_in_pods_of_an_image_from_another_registry() {
    let registry = registry();
    let server = Clustered::start("registry-push", &settings(&registry, ""));
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    let sent = format!("sent to {}/hythe: ", registry.address());
    robin.push("handbook").ok().says(&sent).says("v1 is live");
    assert_eq!(robin.get("handbook", "/").status, 200);

    let image = images(&server, "handbook");
    let repository = format!("{}/hythe/handbook", registry.address());
    let digest = image.strip_prefix(&format!("{repository}@")).expect("an image of that registry");
    // Byte for byte what the platform has.
    let ours = server.folder().join("docker/config.json");
    std::fs::create_dir(ours.parent().expect("a folder")).expect("a folder");
    let auths = serde_json::json!({"auths": {server.address("registry"): {"username": "admin", "password": server.token()}}});
    std::fs::write(&ours, auths.to_string()).expect("a file");
    let embedded = format!("{}/tools/handbook@{digest}", server.address("registry"));
    let login = registry.login(Distribution::USER);
    let (there, here) =
        (crane(&login, &["manifest", &image]).ok().out, crane(&ours, &["manifest", &embedded]).ok().out);
    assert_eq!(there, here);
    crane(&login, &["validate", "--remote", &image]).ok();
    // What pulls lies in the tool's namespace, what pushes nowhere in the cluster.
    let secret = "jsonpath={.data.\\.dockerconfigjson}";
    let key = server.kubectl("handbook", &["get", "secret", "registry", "-o", secret]).ok().out;
    let with = |user: &str| base64(&format!("{user}:{}", Distribution::PASSWORD));
    let document = base64(&format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.address(),
        with(Distribution::READER)
    ));
    assert_eq!(key, document);
    let all = kubectl(&["get", "secrets", "-A", "-o", "jsonpath={.items[*].data}"]).ok().out;
    let pushes = base64(&format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.address(),
        with(Distribution::USER)
    ));
    assert!(all.contains(&document) && !all.contains(&pushes));

    robin.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    robin.commit("handbook", "Second edition");
    robin.push("handbook").ok().says(&format!("{sent}1 of ")).says("v2 is live");
    robin.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    assert!(!robin.get("handbook", "/").body.contains("Second edition"));
    // The pods before them take a moment to go.
    until(Duration::from_secs(30), || (images(&server, "handbook") == image).then_some(()));

    // It loses everything, and the next start of a release brings it back.
    let mut registry = registry;
    registry.stop();
    registry.lose();
    registry.resume();
    crane(&login, &["digest", &image]).failed();
    robin.hythe(&["restart", "-t", "handbook"]).ok();
    assert_eq!(crane(&login, &["digest", &image]).ok().out.trim(), digest);
    robin.hythe(&["tools", "delete", "handbook", "--yes"]).ok();
    crane(&login, &["digest", &image]).failed();
    Cluster::shared().forget_registry(registry.address());
}

/// As `base64` of the machine has it.
fn base64(text: &str) -> String {
    let script = format!("printf '%s' '{text}' | base64 -w0");
    Ran::from(Command::new("sh").args(["-c", &script]).output().expect("sh runs")).ok().out
}

#[test]
fn a_registry_that_goes_away_is_waited_for_and_what_serves_goes_on() {
    let mut registry = registry();
    let more = "patience = \"15 s\"\n[builder]\nexecutor = \"sandbox\"\n";
    let server = Clustered::start("registry-away", &settings(&registry, more));
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok().says("v1 is live");

    // Gone when the image is to be sent, and back in time.
    registry.stop();
    robin.commit("handbook", "Again");
    let push = robin.git_in_background("handbook", &["push", "hythe", "main"]);
    let waits = format!("waiting for {}: ", registry.address());
    until(Duration::from_mins(1), || {
        robin.hythe(&["logs", "--build", "2", "-t", "handbook"]).out.contains(&waits).then_some(())
    });
    assert_eq!(robin.get("handbook", "/").status, 200);
    registry.resume();
    Ran::ended(push).ok().says("v2 is live");

    // Not back in time.
    registry.stop();
    robin.commit("handbook", "Once more");
    let failed = robin.push("handbook").failed().says("registry/unreachable").says("v2 goes on serving");
    assert!(failed.err.contains(&waits) && failed.err.contains("Connection refused"), "{}", failed.err);
    robin.hythe(&["restart", "-t", "handbook"]).failed().says("registry/unreachable");
    assert_eq!(robin.get("handbook", "/").status, 200);
    registry.resume();
    robin.commit("handbook", "And again");
    robin.push("handbook").ok().says("is live");

    // Gone between the build and the pull.
    Cluster::shared().registry_at(registry.address(), "127.0.0.1:9");
    robin.write("handbook", "public/index.html", "<h1>Another edition</h1>");
    robin.commit("handbook", "Another edition");
    let push = robin.git_in_background("handbook", &["push", "hythe", "main"]);
    until(Duration::from_mins(1), || {
        let pods = server.kubectl("handbook", &["get", "pods", "-o", "jsonpath={..waiting.reason}"]).out;
        pods.contains("Pull").then_some(())
    });
    assert!(!robin.get("handbook", "/").body.contains("Another edition"));
    Cluster::shared().registry_at(registry.address(), registry.address());
    Ran::ended(push).ok().says("is live");
    assert!(robin.get("handbook", "/").body.contains("Another edition"));
    Cluster::shared().forget_registry(registry.address());
}

#[test]
fn a_change_of_the_registry_brings_the_images_along() {
    let registry = registry();
    let mut server = Clustered::start("registry-change", "[builder]\nexecutor = \"sandbox\"\n");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("handbook", "static-site");
        robin.push("handbook").ok().says("v1 is live");
    }
    let config = server.folder().join("hythe.toml");
    let before = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, format!("{before}{}", settings(&registry, ""))).expect("a configuration");
    server.restart();
    let robin = Client::again(&server, "robin");
    assert_eq!(robin.get_until("handbook", |answer| answer.status == 200).status, 200);
    let place = format!("{}/hythe/handbook@", registry.address());
    until(Duration::from_mins(2), || {
        let images = images(&server, "handbook");
        assert_eq!(robin.get("handbook", "/").status, 200, "what served goes on until the new pod does");
        (!images.is_empty() && images.split_whitespace().all(|image| image.starts_with(&place))).then_some(())
    });
    robin.commit("handbook", "Again");
    robin.push("handbook").ok().says("v2 is live");
    Cluster::shared().forget_registry(registry.address());
}

#[test]
fn the_platforms_own_authority_is_enough_for_nodes_and_builds() {
    let server = Clustered::start_with_tls("registry-tls");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok().says("v1 is live");
    assert_eq!(robin.get("handbook", "/").status, 200);
    let asked = |scheme: &str| {
        let url = format!("{scheme}://{}/v2/", server.address("registry"));
        let curl = std::process::Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
            .output();
        String::from_utf8(curl.expect("curl").stdout).expect("text")
    };
    assert_eq!(asked("https"), "401");
    assert_ne!(asked("http"), "401", "nothing is asked in the clear");
}

#[test]
fn wrong_credentials_are_told_by_their_cause_and_new_ones_count_at_once() {
    let registry = registry();
    registry.write_login(Distribution::USER, "hunter2");
    let server =
        Clustered::start("registry-login", &settings(&registry, "[builder]\nexecutor = \"sandbox\"\n"));
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    let refused = robin.push("handbook").failed().says("registry/refused").says("push_credentials");
    assert!(
        refused.err.contains("Nothing was released") && !refused.err.contains("hunter2"),
        "{}",
        refused.err
    );
    let check = server.hythed(&["check-config"]).failed();
    assert!(
        check.out.contains("failure  external registry") && !check.out.contains("hunter2"),
        "{}",
        check.out
    );

    registry.write_login(Distribution::USER, Distribution::PASSWORD);
    registry.write_login(Distribution::READER, "hunter2");
    robin.commit("handbook", "Again");
    let refused = robin.push("handbook").failed().says("rollout/image-pull");
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);

    registry.write_login(Distribution::READER, Distribution::PASSWORD);
    robin.commit("handbook", "Once more");
    robin.push("handbook").ok().says("is live");
    let check = server.hythed(&["check-config"]).ok();
    assert!(check.out.contains("pass     external registry    images can be sent to"), "{}", check.out);
    Cluster::shared().forget_registry(registry.address());
}

#[test]
fn what_no_release_needs_goes_from_the_registry_too() {
    let registry = Distribution::start(
        "127.0.0.1",
        DistributionOptions { login: true, ..DistributionOptions::default() },
    );
    let settings =
        format!("[server]\nupkeep = \"1 s\"\n[registry]\nkeep_releases = 1\n{}", settings(&registry, ""));
    let server = Server::start("registry-upkeep", &settings);
    let robin = Client::new(&server, "robin");
    robin.tool_from("often", "static-site");
    for number in 1..=3 {
        robin.write("often", "public/index.html", &format!("<h1>Edition {number}</h1>"));
        robin.commit("often", &format!("Edition {number}"));
        robin.push("often").ok().says("sent to ");
    }
    let login = registry.login(Distribution::USER);
    let repository = format!("{}/hythe/often", registry.address());
    let names =
        || crane(&login, &["ls", &repository]).ok().out.lines().map(str::to_owned).collect::<Vec<_>>();
    until(Duration::from_secs(30), || (names().len() == 1).then_some(()));
    let last = names();
    // It is what is live, and an older one that is wanted again is sent again for as long as the platform has it.
    robin.hythe(&["restart", "-t", "often"]).ok();
    assert_eq!(names(), last);
    robin.hythe(&["rollback", "v1", "-t", "often"]).ok();
    assert!(robin.get("often", "/").body.contains("Edition 1"));
    until(Duration::from_secs(30), || (names().len() == 1 && names() != last).then_some(()));
}
