//! Pushes that meet.

use crate::support::{Client, Ran, shared};

#[test]
fn of_pushes_at_the_same_instant_one_wins_and_git_tells_the_truth() {
    let robin = Client::new(shared(), "together");
    robin.tool_from("busy", "static-site");
    robin.push("busy").ok();
    for name in ["one", "two", "three"] {
        robin.git("busy", &["checkout", "-q", "-B", name, "main"]).ok();
        robin.write("busy", "public/index.html", &format!("<h1>{name}</h1>"));
        robin.commit("busy", name);
    }
    let push = |name: &str| robin.git_in_background("busy", &["push", "hythe", &format!("{name}:main")]);
    let pushes = ["one", "two", "three"].map(|name| (name, push(name)));
    let ended = pushes.map(|(name, child)| (name, Ran::ended(child)));
    let won: Vec<_> = ended.iter().filter(|(_, ran)| ran.code == 0).map(|(name, _)| *name).collect();
    assert_eq!(won.len(), 1, "{ended:#?}");
    assert!(robin.get("busy", "/").body.contains(won[0]));
    let head = robin.git("busy", &["rev-parse", won[0]]).ok().out;
    let remote = robin.git("busy", &["ls-remote", "hythe", "refs/heads/main"]).ok().out;
    assert!(remote.starts_with(head.trim()));
    for (_, ran) in ended.iter().filter(|(_, ran)| ran.code != 0) {
        assert!(ran.err.contains("push/superseded") || ran.err.contains("push/branch-moved"), "{ran:?}");
    }
}

#[test]
fn a_push_that_is_interrupted_releases_nothing() {
    let robin = Client::new(shared(), "interrupt");
    robin.tool_from("halted", "static-site");
    robin.push("halted").ok();
    robin.write("halted", "Procfile", "web: sleep 600\n");
    robin.commit("halted", "Never ready");
    let mut push = robin.git_in_background("halted", &["push", "hythe", "main"]);
    robin.wait_for_build("halted", 2);
    push.kill().expect("an interrupt");
    push.wait().expect("git ends");
    // The build ends as cancelled, and a new push has its way at once.
    robin.git("halted", &["rm", "-q", "Procfile"]).ok();
    robin.commit("halted", "Mend it");
    robin.push("halted").ok();
    assert_eq!(robin.get("halted", "/").status, 200);
}
