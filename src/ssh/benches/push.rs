//! A push of 100,000 objects over this front, against OpenSSH with `git receive-pack`, on loopback, in the same run.
//!
//! `cargo bench -p hythe-ssh --bench push`; needs `sshd`. Prints seconds and the ratio; above 1 is slower.

#![allow(clippy::unwrap_used, reason = "a bench ends where its world does not come about")]

#[expect(dead_code, reason = "the tests use more of their world")]
#[path = "../tests/story"]
mod story {
    pub(crate) mod handler;
    pub(crate) mod world;
}

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use story::world::{Clone, MAINTAINER, World};

/// Commits of the history; each brings a tree and three blobs.
const COMMITS: usize = 20_000;
/// Rounds measured; the best counts.
const ROUNDS: usize = 3;

/// Ends the server when it is dropped.
struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    assert!(
        Path::new("/usr/sbin/sshd").exists(),
        "there is no sshd to measure against: run scripts/bench ssh"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let clone = history(&world);
    let (port, _sshd) = sshd(world.folder.path());
    let (mut hythe, mut open) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let bare = world.folder.path().join(format!("bare{round}.git"));
        assert!(Command::new("git").args(["init", "-q", "--bare"]).arg(&bare).status().unwrap().success());
        for (key, value) in [
            ("transfer.fsckObjects", "true"),
            ("receive.unpackLimit", "1"),
            ("core.fsync", "all"),
            ("pack.threads", "2"),
            ("gc.auto", "0"),
        ] {
            assert!(
                Command::new("git")
                    .arg("-C")
                    .arg(&bare)
                    .args(["config", key, value])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        open = open.min(push(&clone, &format!("ssh://127.0.0.1:{port}{}", bare.display())));
        world.repositories.delete(&story::world::tool()).unwrap();
        world.repositories.create(&story::world::tool()).unwrap();
        hythe = hythe.min(push(&clone, &world.url("weather")));
    }
    let ratio = hythe.as_secs_f64() / open.as_secs_f64();
    println!(
        "push of 100,000 objects: hythe {:.2} s, openssh {:.2} s, ratio {ratio:.2}",
        hythe.as_secs_f64(),
        open.as_secs_f64()
    );
}

/// A clone with 100,000 objects, packed as a developer's would be.
fn history(world: &World) -> Clone {
    let path = world.folder.path().join("large");
    let clone = Clone { path: path.clone(), ssh: world.ssh(MAINTAINER) };
    assert!(Command::new("git").args(["init", "-q", "-b", "main"]).arg(&path).status().unwrap().success());
    let mut child = clone.command(&["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for n in 0..COMMITS {
        let mut text = String::new();
        let message = format!("Change {n}");
        write!(
            text,
            "commit refs/heads/main\ncommitter A <a@b> {} +0000\ndata {}\n{message}\n",
            n + 1,
            message.len()
        )
        .unwrap();
        for file in 0..3 {
            let content = format!("line {n} of {file}\n").repeat(20);
            write!(text, "M 100644 inline f{file}-{}\ndata {}\n{content}\n", n % 50, content.len()).unwrap();
        }
        input.write_all(text.as_bytes()).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    clone.git(&["repack", "-adq"]);
    println!("{}", clone.git(&["count-objects", "-v"]).replace('\n', ", "));
    clone
}

fn push(clone: &Clone, url: &str) -> Duration {
    let began = Instant::now();
    let output = clone.command(&["push", "-q", url, "main"]).output().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took
}

/// A server of OpenSSH that takes the maintainer's key.
fn sshd(folder: &Path) -> (u16, Sshd) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n",
        file("host_key").display(),
        file("alice.pub").display()
    );
    std::fs::write(file("sshd_config"), config).unwrap();
    let _ = std::fs::create_dir_all("/run/sshd");
    let child = Command::new("/usr/sbin/sshd")
        .arg("-D")
        .arg("-f")
        .arg(file("sshd_config"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    (port, Sshd(child))
}
