//! The same corridor, ending in a real cluster.

use crate::support::{Client, Clustered};

#[test]
fn a_push_ends_in_pods_of_its_own_namespace() {
    let server = Clustered::start("kube-push", "");
    let robin = Client::new(&server, "robin");
    robin.tool_from("handbook", "static-site");
    robin.push("handbook").ok().says("v1 is live: http://handbook.localhost");
    assert_eq!(robin.get("handbook", "/").status, 200);

    let labels =
        server.kubectl("handbook", &["get", "pods", "-o", "jsonpath={.items[*].metadata.labels}"]).ok().out;
    assert!(labels.contains(r#""hythe.dev/release":"v1""#), "{labels}");
    let ps = robin.hythe(&["ps", "-t", "handbook"]).ok().out;
    assert!(ps.contains("ready"), "{ps}");

    robin.write("handbook", "public/index.html", "<h1>Second edition</h1>");
    robin.commit("handbook", "Second edition");
    robin.push("handbook").ok().says("v2 is live");
    assert!(robin.get("handbook", "/").body.contains("Second edition"));
    robin.hythe(&["rollback", "v1", "-t", "handbook"]).ok();
    assert!(!robin.get("handbook", "/").body.contains("Second edition"));
    robin.hythe(&["tools", "delete", "handbook", "--yes"]).ok();
    server
        .kubectl("handbook", &["get", "namespace", &server.namespace("handbook")])
        .failed()
        .says("not found");
}
