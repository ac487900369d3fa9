//! A repository whose build is hostile. Each attack ends in its own fault, the server lives, and the next push works.

use crate::support::{Client, Ran, Server};

/// A server whose builds have little of everything, so that limits are met in seconds.
const TIGHT: &str = "[builder]\nmemory = \"512 MiB\"\nprocesses = 128\ndisk = \"300 MiB\"\ntime = \"30 s\"\noutput = \"2 MiB\"\n";

/// Pushes a Node.js tool whose build script is this.
pub(crate) fn build(mallory: &Client<'_>, tool: &str, script: &str) -> Ran {
    let package = format!(
        "{{\"name\": \"{tool}\", \"version\": \"1.0.0\", \"scripts\": {{\"start\": \"node server.js\", \"build\": \"node build.js\"}}}}"
    );
    mallory.write(tool, "package.json", &package);
    mallory.write(tool, "package-lock.json", &format!(
        "{{\"name\": \"{tool}\", \"version\": \"1.0.0\", \"lockfileVersion\": 3, \"packages\": {{\"\": {{\"name\": \"{tool}\", \"version\": \"1.0.0\"}}}}}}"
    ));
    mallory.write(
        tool,
        "server.js",
        "require('http').createServer((q, a) => a.end('up')).listen(process.env.PORT)\n",
    );
    mallory.write(tool, "build.js", script);
    mallory.commit(tool, "Attack");
    mallory.push(tool)
}

#[test]
fn a_hostile_build_hurts_only_itself() {
    let server = Server::start("attack", TIGHT);
    let mallory = Client::new(&server, "mallory");
    mallory.tool_from("evil", "static-site");
    mallory.git("evil", &["rm", "-rq", "public"]).ok();

    let spawn = "const { spawn } = require('child_process');\n";
    let fork = format!(
        "{spawn}const bomb = () => {{ try {{ spawn('node', [__filename]).on('error', () => {{}}) }} catch {{}} }};\nsetInterval(bomb, 1);\n"
    );
    build(&mallory, "evil", &fork).failed().says("[remote rejected]");

    let fill = "const fs = require('fs'); const block = Buffer.alloc(1 << 20);\nfor (let n = 0; ; n++) fs.writeFileSync('/workspace/' + n, block);\n";
    build(&mallory, "evil", fill).failed().says("build/disk-full");

    build(&mallory, "evil", "setInterval(() => {}, 1000);\n").failed().says("build/too-long");

    let print = "const line = 'x'.repeat(1000) + '\\n';\nwhile (true) require('fs').writeSync(1, line);\n";
    build(&mallory, "evil", print).failed().says("build/too-much-output");

    let eat = "const kept = [];\nwhile (true) kept.push(Buffer.alloc(8 << 20, 1));\n";
    build(&mallory, "evil", eat).failed().says("[remote rejected]");

    // What it reaches for is not there: the metadata address, the server, the host, another tool, a credential.
    let reach = format!(
        "const net = require('net'), fs = require('fs');\n\
         const tries = [['169.254.169.254', 80], ['127.0.0.1', {api}], ['10.0.0.1', 80], ['192.168.0.1', 80]];\n\
         for (const [host, port] of tries) net.connect({{ host, port, timeout: 2000 }})\n\
           .on('connect', () => {{ console.log('REACHED ' + host); }}).on('error', () => {{}}).on('timeout', function () {{ this.destroy(); }});\n\
         for (const path of ['/var/lib/hythe', '{data}', '/sys/fs/cgroup/memory'])\n\
           try {{ fs.readdirSync(path).forEach(name => console.log('LISTED ' + path + ' ' + name)); }} catch {{}}\n\
         const read = path => {{ try {{ return fs.readFileSync(path, 'utf8'); }} catch {{ return ''; }} }};\n\
         if (read('/etc/shadow').includes('$')) console.log('FOUND a password');\n\
         if (/hythe_[A-Za-z0-9_-]{{30}}|TOKEN=|SECRET=/.test(read('/proc/1/environ') + JSON.stringify(process.env))) console.log('FOUND a credential');\n\
         console.log('UID ' + process.getuid());\n",
        api = server.address("api").rsplit_once(':').expect("a port").1,
        data = server.folder().display(),
    );
    let push = build(&mallory, "evil", &reach).ok().says("UID 1000").says("v1 is live");
    for caught in ["REACHED", "LISTED", "FOUND"] {
        assert!(!push.err.contains(caught), "{}", push.err);
    }
    assert_eq!(mallory.get("evil", "/").body, "up");
}

#[test]
fn hostile_trees_are_refused_by_name() {
    let mallory = Client::new(crate::support::shared(), "trees");
    mallory.tool_from("trees", "static-site");
    std::os::unix::fs::symlink("/etc/passwd", mallory.folder("trees").join("public/passwd")).expect("a link");
    mallory.commit("trees", "Link out");
    mallory.push("trees").failed().says("source/link-leaves-tree").says("public/passwd");
    mallory.git("trees", &["reset", "-q", "--hard", "HEAD~1"]).ok();
    mallory.push("trees").ok();
}
