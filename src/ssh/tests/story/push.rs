//! Pushes that go well, and what a screen shows.

use super::handler::{Plan, commit};
use super::world::{DEPLOY, World};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_moves_the_branch_and_exits_with_zero() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let head = clone.git(&["rev-parse", "HEAD"]);
    assert_eq!(world.main().as_deref(), Some(head.as_str()));
    assert!(said.text.contains(&format!("remote: Hythe  weather  {}", &head[..7])), "{}", said.text);
    assert!(said.text.contains("* [new branch]      main -> main"), "{}", said.text);

    let next = clone.commit("app.py", "print('again')\n");
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let requests = world.deploys.requests();
    assert_eq!((requests[1].old.clone(), requests[1].new.clone()), (Some(commit(&head)), commit(&next)));
    assert_eq!(requests[0].old, None);
    assert_eq!(clone.git(&["rev-parse", "refs/remotes/hythe/main"]), next);

    let said = clone.push().await;
    assert!(said.code == Some(0) && said.text.contains("Everything up-to-date"), "{}", said.text);
    assert_eq!(world.deploys.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_while_the_push_runs() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Slow(
        vec!["first", "", "\u{1b}[31msecond\u{1b}[0m", "third"],
        Duration::from_millis(700),
    ));
    let mut command = tokio::process::Command::from(clone.command(&["push", "hythe", "main"]));
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut first, mut third) = (None, None);
    let mut all = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("first") {
            first = Some(Instant::now());
        }
        if line.contains("third") {
            third = Some(Instant::now());
        }
        all.push_str(&line);
        all.push('\n');
    }
    assert!(child.wait().await.unwrap().success(), "{all}");
    let between = third.unwrap() - first.unwrap();
    assert!(between > Duration::from_secs(1), "lines came together, {between:?} apart: {all}");
    assert!(all.contains("remote: second") && !all.contains("[31m"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn push_options_arrive_and_unknown_ones_are_refused() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let said = clone.remote(&["push", "-o", "force-it", "hythe", "main"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("there is no push option `force-it`"), "{}", said.text);
    assert!(said.text.contains("push/unknown-option)"), "{}", said.text);
    assert_eq!((world.main(), world.objects()), (None, 0));

    let said =
        clone.remote(&["push", "-o", "no-cache", "-o", "message=Wind in knots", "hythe", "main"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let options = &world.deploys.requests()[0].options;
    assert!(options.no_cache && !options.detach);
    assert_eq!(options.message.as_deref(), Some("Wind in knots"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_push_reports_its_build_and_leaves_the_branch() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let said = clone.remote(&["push", "-o", "detach", "hythe", "main"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("* [new reference]   main -> refs/hythe/builds/7"), "{}", said.text);
    assert_eq!(world.main(), None);
    assert!(clone.remote(&["rev-parse", "refs/remotes/hythe/main"]).await.code != Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_pushes_and_reads_nothing() {
    let world = World::new().await;
    let clone = world.clone_here("a").with_key(&world, DEPLOY);
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(world.deploys.requests()[0].actor.to_string(), "deploy key of weather");
    let said = clone.remote(&["fetch", "hythe"]).await;
    assert_ne!(said.code, Some(0));
    assert!(said.text.contains("There is no tool weather that this key may fetch from."), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_pushes() {
    let world = World::new().await;
    let origin = world.clone_here("origin");
    for round in 0..4 {
        origin.commit("app.py", &format!("print({round})\n"));
    }
    // A clone of depth 1 whose base the server has.
    assert_eq!(origin.push().await.code, Some(0));
    let base = world.folder.path().join("shallow");
    let from = format!("file://{}", origin.path.display());
    origin.git(&["clone", "-q", "--depth", "1", &from, base.to_str().unwrap()]);
    let shallow = super::world::Clone { path: base, ssh: origin.ssh.clone() };
    shallow.git(&["remote", "add", "hythe", &world.url("weather")]);
    let new = shallow.commit("app.py", "print('shallow')\n");
    let said = shallow.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(world.main(), Some(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_that_starts_a_tool_leaves_a_sound_repository() {
    let world = World::new().await;
    let origin = world.clone_here("origin");
    for round in 0..4 {
        origin.commit("app.py", &format!("print({round})\n"));
    }
    let base = world.folder.path().join("shallow");
    let from = format!("file://{}", origin.path.display());
    origin.git(&["clone", "-q", "--depth", "1", &from, base.to_str().unwrap()]);
    let shallow = super::world::Clone { path: base, ssh: origin.ssh.clone() };
    shallow.git(&["remote", "add", "hythe", &world.url("weather")]);
    let said = shallow.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    // The server knows where history ends: a check finds nothing missing, and a clone works.
    let path = world.repositories.path(&super::world::tool());
    let check =
        std::process::Command::new("git").env("GIT_DIR", &path).args(["fsck", "--strict"]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let copy = world.folder.path().join("copy");
    let said = shallow.remote(&["clone", "-q", &world.url("weather"), copy.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    // A later commit follows by the ordinary rule; a rewritten one is refused by it.
    shallow.commit("app.py", "print('next')\n");
    assert_eq!(shallow.push().await.code, Some(0));
    let live = world.main();
    // A newer clone of depth 1, as a CI system makes it, has no common history that can be seen.
    origin.commit("app.py", "print('elsewhere')\n");
    let ci = world.folder.path().join("ci");
    origin.git(&["clone", "-q", "--depth", "1", &from, ci.to_str().unwrap()]);
    let ci = super::world::Clone { path: ci, ssh: origin.ssh.clone() };
    ci.git(&["remote", "add", "hythe", &world.url("weather")]);
    assert_eq!(ci.push().await.code, Some(1));
    assert_eq!(world.main(), live);
    let said = ci.remote(&["push", "--force", "hythe", "main"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("The clone is shallow"), "{}", said.text);
    assert_eq!(world.main(), Some(ci.git(&["rev-parse", "HEAD"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn master_deploys_too_and_becomes_what_a_clone_checks_out() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let said = clone.remote(&["push", "hythe", "main:master"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    let copy = world.folder.path().join("copy");
    let said = clone.remote(&["clone", "-q", &world.url("weather"), copy.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(copy.join("app.py").is_file());
}
