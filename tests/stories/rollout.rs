//! Releases that do not get ready, and instances that end.

use crate::support::{Client, Server};

#[test]
fn a_tool_that_never_listens_or_exits_never_takes_traffic() {
    let server = Server::start("rollout", "[rollout]\nreadiness = \"4 s\"\ngrace = \"1 s\"\n");
    let robin = Client::new(&server, "robin");
    robin.tool_from("quiet", "static-site");
    robin.push("quiet").ok();
    let home = robin.get("quiet", "/").body;

    for (command, fault) in [
        ("sleep 1000", "rollout/not-listening"),
        ("sh -c 'echo done; exit 0'", "rollout/exited-zero"),
        ("sh -c 'echo broken; exit 3'", "rollout/crashed"),
    ] {
        robin.write("quiet", "Procfile", &format!("web: {command}\n"));
        robin.commit("quiet", command);
        robin.push("quiet").failed().says(fault).says("v1 goes on serving");
        assert_eq!(robin.get("quiet", "/").body, home);
    }

    robin.git("quiet", &["rm", "-q", "Procfile"]).ok();
    robin.commit("quiet", "Mend it");
    robin.push("quiet").ok();
    assert_eq!(robin.get("quiet", "/").body, home);
}

#[test]
fn a_release_under_load_fails_no_request() {
    let robin = Client::new(crate::support::shared(), "load");
    robin.tool_from("steady", "static-site");
    robin.push("steady").ok();
    let router = crate::support::shared().address("router").to_owned();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let load = scope.spawn(move || {
            let client = reqwest::blocking::Client::new();
            let mut answered = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer =
                    client.get(format!("http://{router}/")).header("Host", "steady.localhost").send();
                assert_eq!(answer.expect("an answer").status(), 200);
                answered += 1;
            }
            answered
        });
        for _ in 0..5 {
            robin.hythe(&["restart", "-t", "steady"]).ok();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(load.join().expect("no request failed") > 20);
    });
}
