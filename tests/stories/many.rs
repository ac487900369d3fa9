//! Many tools: what a start of the server costs the API server.

use crate::support::{Clustered, kubectl, until};
use std::collections::BTreeMap;
use std::time::Duration;

/// What tells that a tool is as it is wished again.
const MENDED: &str = "what differed from its release was mended";
/// Kinds of objects that a tool has without a pod.
const KINDS: &str = "namespaces,resourcequotas,limitranges,networkpolicies,serviceaccounts,secrets,services,poddisruptionbudgets,deployments";

#[test]
fn a_start_with_many_tools_asks_as_little_as_one_with_few_and_writes_nothing() {
    let mut server = Clustered::start_told("kube-many", "info,kube_client=debug");
    let few = start_with(&mut server, "few", 5);
    let many = start_with(&mut server, "many", 40);
    for (path, count) in &many.asked {
        let before = few.asked.get(path).copied().unwrap_or_default();
        // One of a round a second goes on beside.
        assert!(*count <= before + 8, "{path} was asked {before} times and then {count}: {many:?} {few:?}");
    }
    assert!(many.asked.len() > 8, "requests are told: {many:?}");

    // A start sees what has happened meanwhile, and touches no other tool.
    let log = server.log().len();
    server.restart_after(|server| {
        server.kubectl("many-7", &["delete", "service", "web"]).ok();
        let none = r#"{"spec":{"limits":[]}}"#;
        server.kubectl("few-3", &["patch", "limitrange", "tool", "--type=merge", "-p", none]).ok();
        let secret = server.kubectl("few-1", &["get", "secrets", "-o", "name"]).ok().out;
        let config = secret.lines().find(|name| name.contains("config-")).expect("a config").to_owned();
        server.kubectl("few-1", &["delete", &config]).ok();
    });
    until(Duration::from_mins(2), || {
        let news = server.log()[log..].to_owned();
        let mended: Vec<_> = news.lines().filter(|line| line.contains(MENDED)).collect();
        let of = |tool: &str, object: &str| {
            mended.iter().any(|line| line.contains(&format!("tool={tool} ")) && line.contains(object))
        };
        assert!(mended.len() <= 3, "{mended:?}");
        (of("many-7", "Service web") && of("few-3", "LimitRange tool") && of("few-1", "Secret config-"))
            .then_some(())
    });
}

/// What a start did.
#[derive(Debug)]
struct Cost {
    /// Requests by verb and path, without what differs between objects of a kind.
    asked: BTreeMap<String, usize>,
}

/// Adds so many tools, waits until they stand, starts the server once more and answers what that cost.
fn start_with(server: &mut Clustered, name: &str, count: u32) -> Cost {
    let tools: Vec<_> = (1..=count).map(|number| format!("{name}-{number}")).collect();
    server.restart_after(|server| {
        server.seed(&tools.iter().map(|tool| tool.parse().expect("a name")).collect::<Vec<_>>());
    });
    let all = format!("hythe.dev/platform={}", server.platform());
    until(Duration::from_mins(5), || {
        let log = server.log();
        tools
            .iter()
            .all(|tool| {
                log.lines().any(|line| line.contains(MENDED) && line.contains(&format!("tool={tool} ")))
            })
            .then_some(())
    });
    let versions = || {
        let each = "jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.managedFields[?(@.manager==\"hythe\")].time}{\"\\n\"}{end}";
        kubectl(&["get", KINDS, "-A", "-l", &all, "-o", each]).ok().out
    };
    let before = versions();
    assert!(before.lines().count() >= tools.len() * 12, "{before}");
    let log = server.log().len();
    server.restart_after(|_| {});
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(versions(), before);
    let news = server.log()[log..].to_owned();
    assert!(!news.contains(MENDED), "{news}");
    let mut asked = BTreeMap::new();
    for line in news.lines().filter(|line| line.contains("requesting")) {
        let method = field(line, "http.method=");
        assert_eq!(method, "GET", "{line}");
        let path = field(line, "http.url=");
        let path =
            path.split('?').next().unwrap_or_default().split("/namespaces/").next().unwrap_or_default();
        *asked.entry(format!("{method} {path}")).or_default() += 1;
    }
    Cost { asked }
}

/// A field of a line of the log.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let at = line.find(name).map_or("", |at| &line[at + name.len()..]);
    at.split([' ', '}']).next().unwrap_or_default()
}
