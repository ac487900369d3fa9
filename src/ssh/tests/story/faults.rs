//! Pushes that are refused, and pushes whose client goes away.

use super::handler::Plan;
use super::world::{STRANGER, World, said};
use hythe_model::Fault;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_push_says_why_and_exits_with_one() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let fault = Fault::new(
        "python/package-not-found",
        "The build failed: a package of requirements.txt cannot be found.",
    )
    .why("flaks==3.0 is not on the package index (line 3).")
    .next("Log: hythe logs --build 212");
    world.deploys.plan(Plan::Fail(fault));
    let said = clone.push().await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(
        said.text.contains(" ! [remote rejected] main -> main (build failed: python/package-not-found)"),
        "{}",
        said.text
    );
    assert!(said.text.contains("remote:   flaks==3.0 is not on the package index"), "{}", said.text);
    assert_eq!(world.main(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_refuses_the_push() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Panic);
    let said = clone.push().await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("push/internal)"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_gets_nowhere() {
    let world = World::new().await;
    let clone = world.clone_here("a").with_key(&world, STRANGER);
    let said = clone.push().await;
    assert!(said.code != Some(0) && said.text.contains("Permission denied (publickey)"), "{}", said.text);
    assert!(world.deploys.requests().is_empty() && world.objects() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_tool_and_a_forbidden_one_look_the_same() {
    let world = World::new().await;
    world.repositories.create(&"secret".parse().unwrap()).unwrap();
    let clone = world.clone_here("a");
    let mut texts = Vec::new();
    for tool in ["secret", "absent"] {
        let said = clone.remote(&["push", &world.url(tool), "main"]).await;
        assert_ne!(said.code, Some(0));
        texts.push(
            said.text
                .replace(tool, "TOOL")
                .lines()
                .filter(|line| line.contains("TOOL"))
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    assert_eq!(texts[0], texts[1]);
    assert!(texts[0].contains("There is no tool TOOL that this key may push to."), "{}", texts[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_and_tags_are_refused_and_leave_nothing() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    clone.git(&["tag", "-a", "v1", "-m", "one"]);
    let said = clone.remote(&["push", "hythe", "main:dev"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(
        said.text.contains("[remote rejected] main -> dev (only the branch main or master is deployed"),
        "{}",
        said.text
    );
    assert!(said.text.contains("git push hythe dev:main"), "{}", said.text);
    let said = clone.remote(&["push", "hythe", "v1"]).await;
    assert!(said.code == Some(1) && said.text.contains("push/not-a-branch)"), "{}", said.text);
    let said = clone.remote(&["push", "hythe", "main:refs/hythe/builds/3"]).await;
    assert!(said.code == Some(1) && said.text.contains("[remote rejected]"), "{}", said.text);
    assert!(world.objects() == 0 && world.deploys.requests().is_empty());

    // The branch goes live, the tag beside it is refused: the code says that not all went well.
    let said = clone.remote(&["push", "hythe", "main", "v1"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(
        said.text.contains("* [new branch]      main -> main") && world.main().is_some(),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_push_moves_all_or_nothing() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let said = clone.remote(&["push", "--atomic", "hythe", "main", "main:dev"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("push/atomic)") && world.main().is_none(), "{}", said.text);
    assert!(world.deploys.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_branch_is_not_deleted_and_not_rewritten() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    clone.push().await;
    let live = world.main().unwrap();
    let said = clone.remote(&["push", "hythe", ":main"]).await;
    assert!(said.code == Some(1) && said.text.contains("push/delete)"), "{}", said.text);
    clone.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "Rewritten"]);
    let said = clone.remote(&["push", "--force", "hythe", "main"]).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("push/not-forward)") && said.text.contains("hythe rollback"), "{}", said.text);
    assert_eq!(world.main().unwrap(), live);
}

#[tokio::test(flavor = "multi_thread")]
async fn force_is_allowed_where_the_tool_says_so() {
    let world = World::with(super::world::Choice { allow_force: true, ..Default::default() }).await;
    let clone = world.clone_here("a");
    clone.push().await;
    clone.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "Rewritten"]);
    let said = clone.remote(&["push", "--force", "hythe", "main"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(world.main().unwrap(), clone.git(&["rev-parse", "HEAD"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pushes_at_once_one_wins_and_the_other_is_told() {
    let world = World::new().await;
    let (one, two) = (world.clone_here("one"), world.clone_here("two"));
    two.commit("other.py", "print('two')\n");
    world.deploys.plan(Plan::Gate);
    let first = tokio::spawn(tokio::process::Command::from(one.command(&["push", "hythe", "main"])).output());
    let second =
        tokio::spawn(tokio::process::Command::from(two.command(&["push", "hythe", "main"])).output());
    while world.deploys.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.deploys.gate.notify_one();
    world.deploys.gate.notify_waiters();
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.deploys.gate.notify_one();
    let ends = [said(first.await.unwrap().unwrap()), said(second.await.unwrap().unwrap())];
    let won: Vec<_> = ends.iter().map(|said| said.code == Some(0)).collect();
    assert!(won == [true, false] || won == [false, true], "{ends:?}");
    let lost = ends.iter().find(|said| said.code != Some(0)).unwrap();
    assert!(lost.code == Some(1) && lost.text.contains("push/branch-moved)"), "{}", lost.text);
    let winner = if won[0] { &one } else { &two };
    assert_eq!(world.main().unwrap(), winner.git(&["rev-parse", "HEAD"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_cancels_the_push_at_once() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Hang);
    let mut command = clone.command(&["push", "hythe", "main"]);
    let mut child = command.process_group(0).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    world.deploys.started.notified().await;
    let pressed = Instant::now();
    // As a terminal does it: to the whole foreground group.
    killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    tokio::time::timeout(Duration::from_secs(5), world.deploys.cancelled.notified()).await.unwrap();
    let after = world.deploys.cancelled_at.lock().unwrap().unwrap() - pressed;
    assert!(after < Duration::from_secs(2), "cancelled after {after:?}");
    child.wait().unwrap();
    assert_eq!(world.main(), None);
    assert_no_git_left(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_cancels_the_push_at_once() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Hang);
    let pids = world.folder.path().join("ssh.pid");
    let mut command = clone.command(&["push", "hythe", "main"]);
    // The pid of ssh itself, so that its death alone is seen.
    let ssh = format!("echo $$ > {}; exec {} \"$@\"", pids.display(), clone.ssh);
    let wrapper = world.folder.path().join("ssh.sh");
    std::fs::write(&wrapper, format!("#!/bin/sh\n{ssh}\n")).unwrap();
    command.env("GIT_SSH_COMMAND", format!("sh {}", wrapper.display())).env("GIT_SSH_VARIANT", "ssh");
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    world.deploys.started.notified().await;
    let pid: i32 = std::fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
    let lost = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    tokio::time::timeout(Duration::from_secs(5), world.deploys.cancelled.notified()).await.unwrap();
    let after = world.deploys.cancelled_at.lock().unwrap().unwrap() - lost;
    assert!(after < Duration::from_secs(2), "cancelled after {after:?}");
    assert!(!child.wait().unwrap().success());
    assert_no_git_left(&world).await;
}

/// No process of git or of its hooks works on this world's repositories any more.
pub(crate) async fn assert_no_git_left(world: &World) {
    let repository = world.folder.path().join("repos");
    let needle = repository.to_str().unwrap();
    for _ in 0..50 {
        let mut left = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(needle) {
                left.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("git is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_waits_for_a_running_push() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Gate);
    let push =
        tokio::spawn(tokio::process::Command::from(clone.command(&["push", "hythe", "main"])).output());
    world.deploys.started.notified().await;
    world.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.is_err(),
        "new connections are not taken"
    );
    world.deploys.gate.notify_one();
    let said = said(push.await.unwrap().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.text);
}
