//! Every limit, and its words.

use super::handler::Plan;
use super::world::{Choice, MAINTAINER, World};
use hythe_source::SourceLimits;
use hythe_ssh::SshLimits;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// A text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    std::iter::repeat_with(&mut next).take(bytes / 16).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_too_big_is_refused_in_words() {
    let source = SourceLimits { pack_bytes: 200_000, ..SourceLimits::default() };
    let world = World::with(Choice { source, ..Choice::default() }).await;
    let clone = world.clone_here("a");
    clone.commit("data.txt", &noise(3_000_000));
    let said = clone.push().await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("The push is larger than 200.0 kB, which is the limit."), "{}", said.text);
    assert!(said.text.contains("[remote rejected] main -> main (unpacker error)"), "{}", said.text);
    assert!(world.objects() == 0 && world.deploys.requests().is_empty());
    let quarantines =
        std::fs::read_dir(world.repositories.path(&super::world::tool()).join("objects")).unwrap();
    assert!(quarantines.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("incoming")));
}

/// A world with limits that a test can reach.
async fn narrow() -> World {
    let source = SourceLimits {
        file_bytes: 1000,
        path_bytes: 40,
        depth: 3,
        objects: 30,
        files: 12,
        ..SourceLimits::default()
    };
    World::with(Choice { source, ..Choice::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tree_may_be_is_judged_before_it_is_kept() {
    let world = narrow().await;
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let one = |file: &str, content: &str| vec![(file.to_owned(), content.to_owned())];
    let many = (0..20).map(|n| (format!("f{n}"), "x".to_owned())).collect::<Vec<_>>();
    for (id, words, files) in [
        ("source/file-too-big", "big.bin (2.0 kB, limit 1.0 kB)", one("big.bin", &noise(2000))),
        ("source/path-too-long", "limit 40", one(&"n".repeat(60), "x")),
        ("source/too-deep", "a/b/c/d (limit 3 folders)", one("a/b/c/d/e.txt", "x")),
        ("source/too-many-files", "more than 12 files and folders", many),
        ("source/lfs-pointer", "m.bin", one("m.bin", pointer)),
        ("source/device-name", "sub/aux.c", one("sub/aux.c", "x")),
    ] {
        let clone = world.clone_here(&id.replace('/', "-"));
        for (file, content) in &files {
            let path = clone.path.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        clone.commit("last.txt", "x");
        let said = clone.push().await;
        assert_eq!(said.code, Some(1), "{id}: {}", said.text);
        assert!(said.text.contains(&format!("(source refused: {id})")), "{id}: {}", said.text);
        assert!(said.text.contains(words), "{id}: {}", said.text);
        assert_eq!(world.objects(), 0, "{id} left objects");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_too_many_objects_is_refused() {
    let world = narrow().await;
    let clone = world.clone_here("objects");
    for n in 0..12 {
        clone.commit("app.py", &n.to_string());
    }
    let said = clone.push().await;
    assert!(said.code == Some(1) && said.text.contains("push/too-many-objects)"), "{}", said.text);
    assert!(said.text.contains("the limit is 30") && world.objects() == 0, "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_by_key_and_in_all() {
    let ssh = SshLimits {
        connections: 3,
        connections_per_key: 2,
        strangers_per_address: 6,
        ..SshLimits::default()
    };
    let world = World::with(Choice { ssh, ..Choice::default() }).await;
    let connect = |key: &str| {
        let (ssh, port) = (world.ssh(key), world.port);
        tokio::process::Command::new("sh")
            .args(["-c", &format!("exec {ssh} -p {port} hythe@127.0.0.1 \"git-receive-pack 'weather'\"")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut held = vec![connect(MAINTAINER), connect(MAINTAINER)];
    for child in &mut held {
        let mut byte = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).await.unwrap();
    }
    let said = world.run_ssh(&["-T"], &["git-upload-pack", "'weather'"]).await;
    assert!(
        said.text.contains("This key has 2 connections already: wait until one has ended."),
        "{}",
        said.text
    );
    held.clear();
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = world.run_ssh(&["-T"], &["git-upload-pack", "'weather'"]).await;
    assert!(
        said.text.contains("Too many connections are logging in at once: try again in a moment."),
        "{}",
        said.text
    );
    drop(idle);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let clone = world.clone_here("a");
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_ended() {
    let ssh =
        SshLimits { login: Duration::from_secs(4), stall: Duration::from_secs(2), ..SshLimits::default() };
    let world = World::with(Choice { ssh, ..Choice::default() }).await;
    // Without a key.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let began = Instant::now();
    let mut all = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut all)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9) && all.starts_with(b"SSH-2.0-Hythe"));
    // With a key and a push that does not come.
    let (ssh, port) = (world.ssh(MAINTAINER), world.port);
    let child = tokio::process::Command::new("sh")
        .args(["-c", &format!("exec {ssh} -p {port} hythe@127.0.0.1 \"git-receive-pack 'weather'\"")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(Duration::from_secs(20), async move {
        let mut child = child;
        let _stdin = child.stdin.take();
        child.wait_with_output().await.unwrap()
    });
    let text = String::from_utf8_lossy(&output.await.unwrap().stderr).into_owned();
    assert!(text.contains("The connection was ended: no byte moved for 2.0 s."), "{text}");
    // With a key and no command.
    let began = Instant::now();
    let said = world.run_ssh(&["-N"], &[]).await;
    assert!(
        said.text.contains("Nothing was asked for in 2 s.") && began.elapsed() < Duration::from_secs(20),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_build_is_not_a_stall() {
    let ssh = SshLimits { stall: Duration::from_secs(3), ..SshLimits::default() };
    let world = World::with(Choice { ssh, ..Choice::default() }).await;
    let clone = world.clone_here("a");
    world.deploys.plan(Plan::Slow(vec!["silent now"], Duration::from_secs(4)));
    let said = clone.push().await;
    assert_eq!(said.code, Some(0), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_ended() {
    let ssh = SshLimits { stall: Duration::from_secs(1), ..SshLimits::default() };
    let world = World::with(Choice { ssh, ..Choice::default() }).await;
    let clone = world.clone_here("a");
    let head = clone.commit("data.txt", &noise(20_000_000));
    // Put in place from within, since a push of that size has pauses of its own.
    let fetched = std::process::Command::new("git")
        .env("GIT_DIR", world.repositories.path(&super::world::tool()))
        .args(["fetch", "-q", clone.path.to_str().unwrap(), "main:refs/heads/main"])
        .status();
    assert!(fetched.unwrap().success());
    // Asks for everything and does not read what comes: the pipe of ssh fills, then the channel's window.
    let (ssh, port) = (world.ssh(MAINTAINER), world.port);
    let ask = format!("printf '0032want {head}\\n00000009done\\n'; sleep 60");
    let script = format!("({ask}) | {ssh} -p {port} hythe@127.0.0.1 \"git-upload-pack 'weather'\"");
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [0; 4];
    stdout.read_exact(&mut byte).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    super::faults::assert_no_git_left(&world).await;
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
}
