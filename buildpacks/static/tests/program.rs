//! The program itself, run as a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test panics where its bench cannot be laid out")]

use hythe_buildpack::testing::Bench;
use std::path::Path;

fn bench(app: &str) -> (tempfile::TempDir, Bench) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_hythe-buildpack-static"));
    let app = here.join("../../tests/fixtures/apps").join(app);
    let bench = Bench::new(root.path(), program, &here.join("buildpack.toml"), &app).unwrap();
    (root, bench)
}

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

#[test]
fn a_site_gets_a_server_in_a_layer() {
    let (_root, bench) = bench("static-site");
    assert_eq!(bench.detect().unwrap().code, Some(0));
    let build = bench.build().unwrap();
    assert_eq!(build.code, Some(0), "{}", build.output);
    assert!(bench.launch().contains("\"exec static-server public\""), "{}", bench.launch());
    assert!(bench.layers().join("static-server/bin/static-server").is_file());
}

#[test]
fn a_site_without_an_index_is_a_fault() {
    let (_root, bench) = bench("static-site");
    std::fs::remove_file(bench.app().join("public/index.html")).unwrap();
    let build = bench.build().unwrap();
    assert_eq!((build.code, build.fault().as_deref()), (Some(1), Some("static/no-index")));
}

#[test]
fn beside_a_package_json_it_serves_only_what_is_built() {
    let (_root, bench) = bench("static-site");
    std::fs::write(bench.app().join("package.json"), "{}").unwrap();
    assert_eq!(bench.detect().unwrap().code, Some(0));
    // Without an alternative: the group drops it where nothing is offered.
    assert!(
        bench.plan().contains("[[requires]]\nname = \"built-site\"") && !bench.plan().contains("[[or]]"),
        "{}",
        bench.plan()
    );
}

/// A running server, ended with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(bench: &Bench) -> Self {
        assert_eq!(bench.build().unwrap().code, Some(0));
        let mut child = Command::new(bench.layers().join("static-server/bin/static-server"))
            .arg("public")
            .env("PORT", "0")
            .current_dir(bench.app())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
        Self { child, port }
    }

    /// Sends a request and reads the whole answer.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn pages_are_served() {
    let (_root, bench) = bench("static-site");
    let server = Server::start(&bench);
    let index = server.ask("GET / HTTP/1.1");
    assert_eq!(status(&index), "200");
    assert!(index.contains("<h1>Hello from static-site</h1>"));
    assert_eq!(header(&index, "content-type"), Some("text/html; charset=utf-8"));
    let head = server.ask("HEAD / HTTP/1.1");
    assert_eq!(header(&head, "content-length"), header(&index, "content-length"));
    assert!(!head.contains("<h1>"));
    assert_eq!(status(&server.ask("GET /about HTTP/1.1")), "200");
    let missing = server.ask("GET /nothing HTTP/1.1");
    assert_eq!(status(&missing), "404");
    assert!(missing.contains("This page is not here"));
    assert_eq!(status(&server.ask("POST / HTTP/1.1")), "405");
}

#[test]
fn a_known_version_and_a_part_are_not_sent_whole() {
    let (_root, bench) = bench("static-site");
    let server = Server::start(&bench);
    let whole = server.ask("GET /style.css HTTP/1.1");
    let tag = header(&whole, "etag").unwrap();
    assert_eq!(status(&server.ask(&format!("GET /style.css HTTP/1.1\r\nIf-None-Match: {tag}"))), "304");
    let part = server.ask("GET /style.css HTTP/1.1\r\nRange: bytes=0-3");
    assert_eq!((status(&part), header(&part, "content-length")), ("206", Some("4")));
    assert!(part.ends_with("\r\n\r\nbody"), "{part}");
    assert_eq!(status(&server.ask("GET /style.css HTTP/1.1\r\nRange: bytes=9999-")), "416");
    let other = server.ask("GET /style.css HTTP/1.1\r\nRange: bytes=0-3\r\nIf-Range: \"other\"");
    assert_eq!(status(&other), "200");
}

#[test]
fn nothing_leaves_the_folder() {
    let (_root, bench) = bench("static-site");
    std::fs::write(bench.app().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bench.app().join("public/link")).unwrap();
    let server = Server::start(&bench);
    for path in ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//../secret.txt", "/link"] {
        let answer = server.ask(&format!("GET {path} HTTP/1.1"));
        assert!(matches!(status(&answer), "404" | "400"), "{path}: {answer}");
        assert!(!answer.contains("secret\n") && !answer.contains("root:"), "{path}");
    }
}

#[test]
fn it_ends_when_it_is_told_to() {
    let (_root, bench) = bench("static-site");
    let mut server = Server::start(&bench);
    let id = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
