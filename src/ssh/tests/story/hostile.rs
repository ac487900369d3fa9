//! Clients that want more than git.

use super::world::{MAINTAINER, World};
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_shell_no_command_and_no_subsystem() {
    let world = World::new().await;
    let refusal = "Hythe serves git push and git fetch only";
    for (options, words) in [
        (&["-T"][..], &[][..]),
        (&["-T"], &["id"]),
        (&["-T"], &["git-upload-archive", "'weather'"]),
        (&["-T"], &["git-receive-pack", "'weather';", "id"]),
    ] {
        let said = world.run_ssh(options, words).await;
        assert!(
            said.text.contains(refusal) && !said.text.contains("uid="),
            "{options:?} {words:?}: {}",
            said.text
        );
        assert_eq!(said.code, Some(1), "{options:?} {words:?}");
        let lines = said.text.lines().filter(|line| line.contains("Hythe")).count();
        assert_eq!(lines, 1, "{}", said.text);
    }
    let said = world.run_ssh(&["-tt"], &[]).await;
    assert!(said.code != Some(0) && said.text.contains("PTY allocation request failed"), "{}", said.text);
    let said = world.run_ssh(&["-s"], &["sftp"]).await;
    assert!(said.code != Some(0) && said.text.contains("subsystem request failed"), "{}", said.text);
    let said = world.run_ssh(&["-T"], &["git-receive-pack", "'../../etc'"]).await;
    assert!(said.text.contains("There is no such tool"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forwarded() {
    let world = World::new().await;
    let said = world.run_ssh(&["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:22"], &[]).await;
    assert!(said.code != Some(0) && said.text.contains("remote port forwarding failed"), "{}", said.text);
    // Standard input and output to another address, as -W asks for it: refused by the server.
    let target = format!("127.0.0.1:{}", world.port);
    let said = world.run_ssh(&["-W", &target], &[]).await;
    assert!(said.code != Some(0) && said.text.contains("administratively prohibited"), "{}", said.text);
    // An agent that the client offers is not taken: git's environment does not name one.
    let clone = world.clone_here("a");
    let said = world.run_ssh(&["-A", "-X", "-T"], &["git-upload-pack", "'weather'"]).await;
    assert!(said.text.contains("refs/heads/main") || said.text.contains("0000"), "{}", said.text);
    drop(clone);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_method_of_authentication_is_offered() {
    let world = World::new().await;
    let said = world.run_ssh(&["-v", "-o", "PubkeyAuthentication=no"], &["id"]).await;
    assert!(said.code == Some(255) && said.text.contains("Permission denied (publickey)"), "{}", said.text);
    assert!(
        said.text.contains("Authentications that can continue: publickey\n")
            || said.text.contains("continue: publickey\r"),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_a_client_does_not_reach_git() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    clone.push().await;
    // Were it taken, git would write its trace into the file.
    let trace = world.folder.path().join("trace");
    let set = format!("SetEnv=GIT_TRACE={}", trace.display());
    world.run_ssh(&["-T", "-o", &set], &["git-upload-pack", "'weather'"]).await;
    assert!(!trace.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_not_a_push() {
    let world = World::new().await;
    let ssh = world.ssh(MAINTAINER);
    let port = world.port;
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &format!("exec {ssh} -p {port} hythe@127.0.0.1 \"git-receive-pack 'weather'\"")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&b"ffffthis is not a pkt-line".repeat(10_000)).await.ok();
    drop(stdin);
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).await.unwrap();
    assert!(!child.wait().await.unwrap().success());
    assert!(world.main().is_none() && world.deploys.requests().is_empty());
    let clone = world.clone_here("a");
    assert_eq!(clone.push().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_socket_answers_only_those_who_hold_a_secret() {
    let world = World::new().await;
    let mut socket = tokio::net::UnixStream::connect(world.folder.path().join("hook.sock")).await.unwrap();
    let call = r#"{"token":"","hook":"proc-receive","updates":[{"old":"0","new":"1","reference":"refs/heads/main"}],"options":[],"quarantine":null,"atomic":false}"#;
    socket.write_all(format!("{call}\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() && world.deploys.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_in_a_pushed_tree_has_no_effect() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    let marker = world.folder.path().join("marker");
    let evil = format!(
        "[core]\n\thooksPath = hooks\n\tfsmonitor = touch {0}\n[receive]\n\tprocReceiveRefs = none\n",
        marker.display()
    );
    clone.commit("config", &evil);
    clone.commit("hooks/pre-receive", &format!("#!/bin/sh\ntouch {}\n", marker.display()));
    clone.commit("HEAD", "ref: refs/heads/other\n");
    clone.commit(".gitattributes", "* filter=evil export-subst\n");
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(!marker.exists() && world.main().is_some());
}
