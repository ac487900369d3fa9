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
    let last = robin.hythe(&["logs", "--previous", "-t", "quiet"]).ok().out;
    assert!(last.contains("broken") && last.contains("ended: exit code 3"), "{last}");

    robin.git("quiet", &["rm", "-q", "Procfile"]).ok();
    robin.commit("quiet", "Mend it");
    robin.push("quiet").ok();
    assert_eq!(robin.get("quiet", "/").body, home);
}
