//! A cluster that does not do as asked: what is told, and what serves on.

use super::faults::{begin_push, expect_no_half, expect_sound, is_settled};
use super::replicas::{slow_tool, slowly};
use crate::support::{Client, Clustered, Ran, kubectl, kubectl_apply, under_load, until};
use jiff::{Timestamp, Unit};
use std::time::{Duration, Instant};

/// An object of the whole cluster's that goes with the story.
struct Away(&'static str, String);

impl Drop for Away {
    fn drop(&mut self) {
        kubectl(&["delete", self.0, &self.1, "--ignore-not-found", "--wait=false"]);
    }
}

/// Denies what is written of these resources in a tool's namespace, until this is dropped; `probe` is what it would deny.
fn denied(server: &Clustered, tool: &str, resources: &str, message: &str, probe: &[&str]) -> [Away; 2] {
    let (name, namespace) = (format!("no-{tool}-{}", server.platform()), server.namespace(tool));
    let policy = [
        Away("validatingadmissionpolicy", name.clone()),
        Away("validatingadmissionpolicybinding", name.clone()),
    ];
    kubectl_apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  matchConstraints: {{resourceRules: [{{{resources}, apiVersions: [v1], operations: [CREATE, UPDATE]}}]}}\n  \
         validations: [{{expression: 'false', message: {message}}}]\n---\n\
         apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\n\
         spec: {{policyName: {name}, validationActions: [Deny], matchResources: {{namespaceSelector: \
         {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}}}\n"
    ));
    // A policy counts a moment after it was made.
    until(Duration::from_secs(30), || server.kubectl(tool, probe).err.contains(message).then_some(()));
    policy
}

#[test]
fn a_secret_of_files_that_somebody_deletes_is_there_again_for_the_next_pod() {
    let server = Clustered::start("kube-files", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.hythe(&["config", "set", "LOGIN=a long password", "-t", "handbook"]).ok();
    robin.write("handbook", "project.toml", "[hythe.files]\n\"/home/robin/login\" = \"LOGIN\"\n");
    robin.commit("handbook", "A login");
    robin.push("handbook").ok();
    let secrets = server.kubectl("handbook", &["get", "secrets", "-o", "name"]).ok().out;
    let files = secrets.lines().find(|name| name.contains("/files-")).expect("a Secret of files");
    // Its node remembers it for as long as a pod has it.
    let probe = ["annotate", "pods", "--all", "probe=1", "--overwrite", "--dry-run=server"];
    let policy = denied(&server, "handbook", "apiGroups: [''], resources: [pods]", "no pods now", &probe);
    server.kubectl("handbook", &["delete", "pods", "--all"]).ok();
    server.kubectl("handbook", &["delete", files]).ok();
    drop(policy);
    let mut tries = 0;
    until(Duration::from_mins(2), || {
        // Who makes pods of a ReplicaSet tries less and less often, and at once where it changes.
        tries += 1;
        let probe = format!("probe={tries}");
        server.kubectl("handbook", &["annotate", "replicasets", "--all", "--overwrite", &probe]).ok();
        (server.kubectl("handbook", &["get", files]).code == 0).then_some(())
    });
    // Its node tries less and less often, and every two minutes in the end.
    until(Duration::from_mins(3), || (robin.get("handbook", "/").status == 200).then_some(()));
}

#[test]
fn a_kill_at_any_moment_of_a_release_in_a_cluster_leaves_no_half() {
    // Builds are others' stories: here all is about the canary, its pause, the rest and the switch.
    let mut server = Clustered::start("kube-kill", "[builder]\nexecutor = \"sandbox\"\n");
    {
        let robin = Client::new(&server, "robin");
        robin.tool_from("target", "static-site");
        robin.write("target", "project.toml", "[hythe.rollout]\ncanary = 1\npause = \"1 s\"\n");
        robin.commit("target", "A canary");
        robin.push("target").ok();
        robin.hythe(&["scale", "web=2", "-t", "target"]).ok();
    }
    for (number, millis) in (1..).zip((0..=7500).step_by(500)) {
        let push = begin_push(&server, number);
        std::thread::sleep(Duration::from_millis(millis));
        server.kill();
        let push = Ran::ended(push);
        let robin = Client::again(&server, "robin");
        until(Duration::from_mins(1), || is_settled(&robin, "target").then_some(()));
        // Nothing of a release that is not live is left in the cluster.
        until(Duration::from_mins(1), || {
            let deployments = server.kubectl("target", &["get", "deployments", "-o", "name"]).ok().out;
            let labels = "jsonpath={range .items[*]}{.metadata.labels.hythe\\.dev/release} {end}";
            let pods = server.kubectl("target", &["get", "pods", "-o", labels]).ok().out;
            let releases: std::collections::BTreeSet<_> = pods.split_whitespace().collect();
            (deployments.trim() == "deployment.apps/web" && releases.len() == 1).then_some(())
        });
        expect_no_half(&robin, &push);
    }
    let robin = Client::again(&server, "robin");
    robin.commit("target", "After it all");
    robin.push("target").ok();
    expect_sound(&robin, "target");
}

#[test]
fn a_rule_that_denies_and_a_webhook_that_does_not_answer_are_told_by_their_names() {
    let server = Clustered::start("kube-denied", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    let (name, namespace) = (format!("no-budgets-{}", std::process::id()), server.namespace("handbook"));
    let in_its_namespace = format!("{{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}");
    let rules =
        "[{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]";

    let probe = ["annotate", "deployment", "web", "probe=1", "--overwrite", "--dry-run=server"];
    let policy =
        denied(&server, "handbook", "apiGroups: [apps], resources: [deployments]", "no more today", &probe);
    robin.commit("handbook", "Denied");
    robin.push("handbook").failed().says("rollout/refused").says("no more today").says("v1 goes on serving");
    assert_eq!(robin.get("handbook", "/").status, 200);
    drop(policy);

    let _webhook = Away("validatingwebhookconfiguration", name.clone());
    kubectl_apply(&format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: {name}}}\nwebhooks:\n\
         - name: absent.example.org\n  failurePolicy: Fail\n  sideEffects: None\n  admissionReviewVersions: [v1]\n  timeoutSeconds: 2\n\
         \x20 clientConfig: {{url: 'https://127.0.0.1:9/'}}\n  namespaceSelector: {in_its_namespace}\n  rules: {rules}\n"
    ));
    until(Duration::from_secs(30), || {
        server.kubectl("handbook", &probe).err.contains("absent.example.org").then_some(())
    });
    robin.commit("handbook", "Nobody there");
    robin
        .push("handbook")
        .failed()
        .says("rollout/webhook-away")
        .says("absent.example.org")
        .says("v1 goes on serving");
    assert_eq!(robin.get("handbook", "/").status, 200);
}

#[test]
fn a_namespace_that_hangs_in_its_deletion_is_told_and_waited_for_no_longer_than_needed() {
    let server = Clustered::start("kube-hangs", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    server.kubectl("handbook", &["create", "configmap", "held"]).ok();
    let hold = r#"{"metadata": {"finalizers": ["example.org/held"]}}"#;
    server.kubectl("handbook", &["patch", "configmap", "held", "--type=merge", "-p", hold]).ok();

    robin.hythe(&["tools", "delete", "handbook", "--yes"]).ok();
    assert_eq!(robin.get("handbook", "/").status, 404);
    assert_eq!(server.kubectl("handbook", &["get", "pods", "-o", "name"]).out, "", "nothing of it runs");
    robin.hythe(&["tools", "create", "handbook"]).ok();
    robin.push("handbook").failed().says("rollout/namespace-terminating").says("kubectl get namespace");

    server
        .kubectl(
            "handbook",
            &["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#],
        )
        .ok();
    // The cluster looks again less and less often.
    until(Duration::from_mins(6), || {
        (server.kubectl("handbook", &["get", "namespace", &server.namespace("handbook")]).code != 0)
            .then_some(())
    });
    robin.commit("handbook", "Again");
    robin.push("handbook").ok();
    assert_eq!(robin.get("handbook", "/").status, 200);
}

#[test]
fn as_much_config_as_is_allowed_fits_a_secret_and_more_changes_nothing() {
    let server = Clustered::start("kube-large", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok();
    let set = |name: &str, count: usize| {
        let values: Vec<_> =
            (0..count).map(|number| format!("{name}_{number}={}", "x".repeat(60_000))).collect();
        let words = ["config", "set", "-t", "handbook"].into_iter().chain(values.iter().map(String::as_str));
        robin.hythe(&words.collect::<Vec<_>>())
    };
    for (name, count) in [("A", 6), ("B", 6), ("C", 5)] {
        set(name, count).ok();
    }
    set("D", 1).failed().says("config/too-much");
    let secret = ["get", "secrets", "-o", "jsonpath={.items[*].data.C_4}"];
    assert!(server.kubectl("handbook", &secret).ok().out.len() >= 80_000);
    assert_eq!(robin.get("handbook", "/").status, 200);
    let releases = robin.hythe(&["releases", "-t", "handbook"]).ok().out;
    assert!(releases.lines().any(|line| line.starts_with("v4") && line.contains("live")), "{releases}");
}

#[test]
fn a_cluster_that_hangs_dies_and_loses_its_node_is_waited_out() {
    let server = Clustered::start_alone("kube-breaks", "start = \"2 min\"\n");
    let robin = Client::new(&server, "robin");
    slow_tool(&robin, "slow");
    let (cluster, router) = (server.cluster(), server.address("router"));
    let push = || robin.git_in_background("slow", &["push", "hythe", "main"]);

    // Its database hangs for a minute, in the middle of a build and from before a push.
    slowly(&robin, "slow", 3);
    let first = push();
    server.until_a_build_runs();
    under_load(router, "slow", || {
        cluster.freeze("etcd");
        std::thread::sleep(Duration::from_mins(1));
        cluster.thaw("etcd");
        Ran::ended(first).ok().says("v2 is live");
    });
    slowly(&robin, "slow", 0);
    under_load(router, "slow", || {
        cluster.freeze("etcd");
        let second = push();
        std::thread::sleep(Duration::from_mins(1));
        cluster.thaw("etcd");
        Ran::ended(second).ok().says("v3 is live");
    });

    // Its API server dies in the middle of a build.
    slowly(&robin, "slow", 5);
    under_load(router, "slow", || {
        let push = push();
        server.until_a_build_runs();
        let killed = cluster.kill("kube-apiserver");
        std::thread::sleep(Duration::from_secs(10));
        killed.start();
        Ran::ended(push).ok().says("v4 is live");
    });
    breaks_while_a_release_comes(&server, &robin);

    // Its node is lost, and comes back.
    let killed = cluster.kill("kubelet");
    let ready = ["get", "node", "node1", "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"];
    until(Duration::from_mins(2), || (cluster.kubectl(&ready).out == "Unknown").then_some(()));
    robin.commit("slow", "No node");
    robin.push("slow").failed().says("build/pod-not-started").says("kubectl get nodes");
    killed.start();
    robin.get_until("slow", |answer| answer.status == 200);
    robin.push("slow").ok();
    assert_eq!(robin.get("slow", "/").body, "up");
    let left = ["get", "pods,secrets", "-l", "hythe.dev/build", "-o", "name"];
    assert_eq!(server.kubectl_of_builds(&left).ok().out.trim(), "");
}

/// Its API server dies, and its database hangs for longer than a release may take to get ready.
fn breaks_while_a_release_comes(server: &Clustered, robin: &Client<'_>) {
    let (cluster, router) = (server.cluster(), server.address("router"));
    let push = || robin.git_in_background("slow", &["push", "hythe", "main"]);
    robin.commit("slow", "Again");
    under_load(router, "slow", || {
        let push = push();
        until(Duration::from_mins(1), || {
            let release = "jsonpath={.spec.template.metadata.labels.hythe\\.dev/release}";
            let said = server.kubectl("slow", &["get", "deployment", "web", "-o", release]).out;
            (said == "v5").then_some(())
        });
        let killed = cluster.kill("kube-apiserver");
        std::thread::sleep(Duration::from_secs(5));
        killed.start();
        Ran::ended(push).ok().says("v5 is live");
    });

    // Just before the cluster would tell that it is ready.
    robin.write("slow", "Procfile", "web: sh -c 'sleep 8; exec node server.js'\n");
    robin.write("slow", "project.toml", "[hythe.processes.web]\nreadiness = { timeout = \"20 s\" }\n");
    robin.commit("slow", "Later");
    under_load(router, "slow", || {
        let push = push();
        until(Duration::from_mins(1), || {
            let of_it =
                ["get", "pods", "-l", "hythe.dev/release=v6", "-o", "jsonpath={.items[*].status.phase}"];
            (server.kubectl("slow", &of_it).out == "Running").then_some(())
        });
        cluster.freeze("etcd");
        std::thread::sleep(Duration::from_secs(50));
        cluster.thaw("etcd");
        Ran::ended(push).ok().says("v6 is live");
    });
}

#[test]
fn a_build_whose_node_is_lost_is_made_again() {
    let server = Clustered::start_alone("kube-node", "");
    let robin = Client::new(&server, "robin");
    slow_tool(&robin, "slow");
    slowly(&robin, "slow", 40);
    let push = robin.git_in_background("slow", &["push", "hythe", "main"]);
    server.until_a_build_runs();
    // A cluster that has lost all of its nodes moves nothing: another one is well, as far as it says, and takes no pods.
    let cluster = server.cluster();
    cluster.apply("apiVersion: v1\nkind: Node\nmetadata: {name: other}\nspec: {unschedulable: true}\n");
    let other_is_well = || {
        let now = Timestamp::now().round(Unit::Second).expect("a time");
        let ready = format!(
            r#"{{"status": {{"conditions": [{{"type": "Ready", "status": "True", "reason": "Well", "lastHeartbeatTime": "{now}"}}]}}}}"#
        );
        cluster
            .kubectl(&["patch", "node", "other", "--subresource=status", "--type=merge", "-p", &ready])
            .ok();
    };
    let pod = || {
        let path = "jsonpath={.items[*].metadata.uid}";
        server.kubectl_of_builds(&["get", "pods", "-l", "hythe.dev/build", "-o", path]).out
    };
    let first = pod();
    let killed = cluster.kill("kubelet");
    let begun = Instant::now();
    until(Duration::from_mins(3), || {
        other_is_well();
        (!pod().is_empty() && pod() != first).then_some(())
    });
    // The cluster misses a node after some 50 s.
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    killed.start();
    Ran::ended(push).ok().says("trying once more").says("v2 is live");
}
