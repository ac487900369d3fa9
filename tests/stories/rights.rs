//! The server's own rights in a cluster (`deploy/kubernetes`), attacked with its own account.

use crate::support::{Ran, checkout, kubectl, program, until};
use std::process::Command;
use std::time::Duration;

const SERVER: &str = "--as=system:serviceaccount:hythe:hythe";

/// `kubectl` with the rights of the server's account, and nothing more.
fn server(args: &[&str]) -> Ran {
    kubectl(&[&[SERVER], args].concat())
}

/// Makes what a document says with the rights of the server's account.
fn server_applies(document: &str) -> Ran {
    server_writes(&["create"], document)
}

fn server_writes(verb: &[&str], document: &str) -> Ran {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), document).expect("a file");
    server(&[verb, &["-f", file.path().to_str().expect("a path")]].concat())
}

fn namespace(name: &str, labels: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{name}", "labels": {{{labels}}}}}}}"#
    )
}

fn binding(namespace: &str, role: &str, account: &str) -> String {
    format!(
        r#"{{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {{"name": "hythe", "namespace": "{namespace}"}},
        "roleRef": {{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "{role}"}},
        "subjects": [{{"kind": "ServiceAccount", "name": "{account}", "namespace": "hythe"}}]}}"#
    )
}

const OURS: &str = r#""hythe.dev/platform": "hythe", "pod-security.kubernetes.io/enforce": "restricted""#;

#[test]
fn the_server_reaches_what_it_has_made_and_cannot_give_itself_more() {
    let base = checkout().join("deploy/kubernetes/base");
    for file in ["namespace.yaml", "account.yaml", "rights.yaml", "admission.yaml"] {
        kubectl(&["apply", "-f", base.join(file).to_str().expect("a path")]).ok();
    }
    let own = format!("hythe-rights-{}", std::process::id());
    let foreign = format!("foreign-{}", std::process::id());
    kubectl(&["create", "namespace", &foreign]).ok();
    kubectl(&["-n", &foreign, "create", "secret", "generic", "treasure", "--from-literal=a=b"]).ok();
    // A policy counts a moment after it was made.
    until(Duration::from_secs(30), || {
        let probe = server(&["label", "namespace", &foreign, "probe=1", "--overwrite", "--dry-run=server"]);
        (probe.code != 0 && probe.err.contains("not one that Hythe has made")).then_some(())
    });

    // What it does.
    server_applies(&namespace(&own, OURS)).ok();
    server(&["-n", &own, "get", "secrets"]).failed().says("cannot list resource");
    server_applies(&binding(&own, "hythe-tools", "hythe")).ok();
    server(&["-n", &own, "create", "secret", "generic", "config", "--from-literal=a=b"]).ok();
    server(&["-n", &own, "get", "jobs,configmaps"]).ok();
    server(&["get", "pods", "-A"]).ok();

    // What it must not.
    server(&["-n", &foreign, "get", "secret", "treasure"]).failed().says("cannot get resource");
    server(&["get", "secrets", "-A"]).failed().says("cannot list resource");
    server(&["-n", "kube-system", "create", "secret", "generic", "x", "--from-literal=a=b"])
        .failed()
        .says("cannot create resource");
    server(&["label", "namespace", &foreign, "hythe.dev/platform=hythe"])
        .failed()
        .says("not one that Hythe has made");
    server(&["delete", "namespace", &foreign]).failed().says("not one that Hythe has made");
    server(&["label", "namespace", &own, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"])
        .failed()
        .says("keeps its labels");
    server_applies(&namespace(&format!("other-{}", std::process::id()), OURS))
        .failed()
        .says("makes namespaces of tools");
    server_applies(&namespace(&format!("{own}-b"), r#""hythe.dev/platform": "hythe""#))
        .failed()
        .says("keeps its labels");
    server_applies(&binding(&foreign, "hythe-tools", "hythe"))
        .failed()
        .says("only in namespaces that it has made");
    server_applies(&binding("kube-system", "hythe-tools", "hythe"))
        .failed()
        .says("only in namespaces that it has made");
    within_its_own(&own);
    more_rights(&own);
    server(&["auth", "can-i", "--list", "-n", &own]).ok();

    for namespace in [&own, &foreign] {
        kubectl(&["delete", "namespace", "--wait=false", namespace]).ok();
    }
}

/// What it would give itself, or somebody else, in a namespace of its own.
fn more_rights(own: &str) {
    kubectl(&["-n", own, "delete", "rolebinding", "hythe"]).ok();
    server_applies(&binding(own, "cluster-admin", "hythe")).failed().says("permissions not currently held");
    // What everybody holds could be given, if the policy did not say no.
    server_applies(&binding(own, "system:basic-user", "hythe")).failed().says("rights of hythe-tools");
    server_applies(&binding(own, "hythe-tools", "somebody")).failed().says("to itself");
    server(&[
        "create",
        "clusterrolebinding",
        "mine",
        "--clusterrole=cluster-admin",
        "--serviceaccount=hythe:hythe",
    ])
    .failed()
    .says("cannot create resource");
    server(&["-n", "hythe", "create", "token", "hythe"]).failed().says("cannot create resource");
}

/// What the rights in a namespace of its own would allow, and the policies do not.
fn within_its_own(own: &str) {
    for label in ["pod-security.kubernetes.io/enforce-version=v1.0", "somebody.example.org/inject=no"] {
        server(&["label", "namespace", own, label]).failed().says("its own labels and no others");
    }
    let service = |spec: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "taker", "namespace": "{own}"}}, "spec": {{"ports": [{{"port": 80}}], {spec}}}}}"#
        )
    };
    server_applies(&service(r#""externalIPs": ["203.0.113.7"]"#)).failed().says("inside the cluster");
    server_applies(&service(r#""type": "NodePort""#)).failed().says("inside the cluster");
    let pod = |name: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "namespace": "{own}"}},
            "spec": {{"containers": [{{"name": "a", "image": "localhost/absent", "stdin": true, "securityContext":
            {{"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {{"drop": ["ALL"]}},
            "seccompProfile": {{"type": "RuntimeDefault"}}}}}}]}}}}"#
        )
    };
    for name in ["run-1", "web-1"] {
        server_applies(&pod(name)).ok();
    }
    let connect = |pod: &str, how: &str| {
        server(&["get", "--raw", &format!("/api/v1/namespaces/{own}/pods/{pod}/{how}")]).failed()
    };
    for pod in ["run-1", "web-1"] {
        connect(pod, "exec?command=id").says("cannot get resource");
        connect(pod, "portforward").says("cannot get resource");
    }
    // The one may be attached to, if only it ran: what is asked here is not even a WebSocket.
    connect("run-1", "attach?stdin=true").says("BadRequest");
    connect("web-1", "attach?stdin=true").says("that tools run once");
    for first in with_pods(own, "first", r#""priorityClassName": "system-cluster-critical""#) {
        server_applies(&first).failed().says("no priority");
    }
    by_load(own);
    volumes_of_others(own);
}

/// Instances by load, as the server writes and ends them.
fn by_load(own: &str) {
    let autoscaler = format!(
        r#"{{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {{"name": "web", "namespace": "{own}"}},
        "spec": {{"scaleTargetRef": {{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}, "minReplicas": 1, "maxReplicas": 3,
        "metrics": [{{"type": "Resource", "resource": {{"name": "cpu", "target": {{"type": "AverageValue", "averageValue": "100m"}}}}}}]}}}}"#
    );
    server_writes(&["apply", "--server-side"], &autoscaler).ok();
    server(&["-n", own, "delete", "horizontalpodautoscaler", "web", "--wait=false"]).ok();
}

/// A claim of a volume that is not for tools to read, and pods that would write to one or have one made.
fn volumes_of_others(own: &str) {
    let annotated = |annotations: &str, mode: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {{"name": "taker", "namespace": "{own}", "annotations": {{{annotations}}}}},
            "spec": {{"accessModes": ["{mode}"], "resources": {{"requests": {{"storage": "1Gi"}}}}, {spec}}}}}"#
        )
    };
    let claim = |mode: &str, spec: &str| annotated("", mode, spec);
    let class = r#""storageClassName": "dumps""#;
    let named = format!(r#"{class}, "volumeName": "somebodys""#);
    // It outranks the field.
    let outranked = r#""volume.beta.kubernetes.io/storage-class": "somebodys""#;
    for taker in [
        claim("ReadWriteMany", class),
        claim("ReadOnlyMany", r#""storageClassName": """#),
        claim("ReadOnlyMany", &named),
        claim("ReadOnlyMany", &format!(r#"{class}, "selector": {{"matchLabels": {{"of": "somebody"}}}}"#)),
        claim(
            "ReadOnlyMany",
            &format!(r#"{class}, "dataSource": {{"kind": "PersistentVolumeClaim", "name": "a"}}"#),
        ),
        annotated(outranked, "ReadOnlyMany", class),
    ] {
        server_applies(&taker).failed().says("to be read by many");
    }
    server_applies(&claim("ReadOnlyMany", class)).ok();
    let patch = |document: &str| server_writes(&["apply", "--server-side"], document);
    patch(&claim("ReadOnlyMany", class)).ok();
    // Nor may one that is there get somebody's volume, nor, as the cluster itself sees to, their class.
    patch(&claim("ReadOnlyMany", &named)).failed().says("to be read by many");
    patch(&annotated(outranked, "ReadOnlyMany", class)).failed().says("field is immutable");
    // It stays with its tool.
    server(&["-n", own, "delete", "persistentvolumeclaim", "taker"]).failed().says("cannot delete resource");
    let volumes = |volume: &str| format!(r#""volumes": [{{"name": "a", {volume}}}]"#);
    for volume in [
        r#""persistentVolumeClaim": {"claimName": "taker"}"#,
        r#""ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "somebodys",
            "resources": {"requests": {"storage": "1Gi"}}}}}"#,
        r#""csi": {"driver": "secrets.example.org", "volumeAttributes": {"of": "somebody"}}"#,
    ] {
        for writer in with_pods(own, "writer", &volumes(volume)) {
            server_applies(&writer).failed().says("volumes of their own, and others to be read");
        }
    }
    for (number, volume) in [
        r#""emptyDir": {}"#,
        r#""configMap": {"name": "a"}"#,
        r#""secret": {"secretName": "config"}"#,
        r#""persistentVolumeClaim": {"claimName": "taker", "readOnly": true}"#,
    ]
    .into_iter()
    .enumerate()
    {
        for reader in with_pods(own, &format!("reader-{number}"), &volumes(volume)) {
            server_applies(&reader).ok();
        }
    }
}

/// All that a pod can come from, with this in its specification. They are as `restricted` wants them.
fn with_pods(own: &str, name: &str, more: &str) -> [String; 4] {
    let pod = |restart: &str| {
        format!(
            r#"{{"restartPolicy": "{restart}", "automountServiceAccountToken": false, {more},
            "containers": [{{"name": "a", "image": "localhost/absent",
            "securityContext": {{"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {{"drop": ["ALL"]}},
            "seccompProfile": {{"type": "RuntimeDefault"}}}}}}]}}"#
        )
    };
    let object = |kind: &str, group: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "{group}", "kind": "{kind}", "metadata": {{"name": "{name}", "namespace": "{own}"}}, "spec": {spec}}}"#
        )
    };
    let labels = r#"{"app": "a"}"#;
    let deployment = format!(
        r#"{{"replicas": 0, "selector": {{"matchLabels": {labels}}}, "template": {{"metadata": {{"labels": {labels}}}, "spec": {}}}}}"#,
        pod("Always")
    );
    let job = format!(r#"{{"template": {{"spec": {}}}}}"#, pod("Never"));
    let cron = format!(r#"{{"schedule": "0 4 1 1 *", "jobTemplate": {{"spec": {job}}}}}"#);
    [
        object("Pod", "v1", &pod("Never")),
        object("Deployment", "apps/v1", &deployment),
        object("Job", "batch/v1", &job),
        object("CronJob", "batch/v1", &cron),
    ]
}

#[test]
fn the_installation_is_whole() {
    let base = checkout().join("deploy/kubernetes/base");
    let built = kubectl(&["kustomize", base.to_str().expect("a path")]).ok().out;
    for kind in [
        "StatefulSet",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ConfigMap",
    ] {
        assert!(built.contains(&format!("kind: {kind}")), "{kind}");
    }
    // The server reads the configuration that is installed.
    for shape in ["base", "replicas", "example"] {
        let checked = Command::new(program("hythed"))
            .args(["check-config", "--config"])
            .arg(checkout().join("deploy/kubernetes").join(shape).join("hythe.toml"))
            .output()
            .expect("hythed runs");
        let said = String::from_utf8_lossy(&checked.stdout);
        let wrong = String::from_utf8_lossy(&checked.stderr);
        assert!(said.contains("read without a mistake"), "{shape}: {said}{wrong}");
    }
}
