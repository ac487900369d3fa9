//! What tools print, as every server of several shows it, whichever reads it, dies or comes.

use super::replicas::kill;
use crate::support::{Client, Replicas, checkout, until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Prints its count, twenty times a second.
const TICKS: &str = "(tick=0; while :; do tick=$((tick + 1)); echo \"tick $tick\"; sleep 0.05; done) &\n";

/// A client that follows a tool's log.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Follower {
    fn start(client: &Client<'_>, words: &[&str]) -> Self {
        let mut child = client.hythe_in_background(&[&["logs", "--json", "-t", "ticks"], words].concat());
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let seen = lines.clone();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                seen.lock().expect("no panic").push(serde_json::from_str(&line).expect("a line as JSON"));
            }
        });
        Self { child, lines }
    }

    fn seen(&self) -> Vec<Value> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Ends it, after which no more is seen.
    fn stop(mut self) -> Vec<Value> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.seen()
    }
}

fn position(line: &Value) -> u64 {
    line["position"].as_u64().expect("a position")
}

/// What of lines counts, by the instance that printed it.
fn ticks(lines: &[Value], instance: &str) -> Vec<u64> {
    let its = lines.iter().filter(|line| line["instance"] == instance);
    its.filter_map(|line| line["text"].as_str()?.strip_prefix("tick ")?.parse().ok()).collect()
}

/// The last instance that counts.
fn counting(lines: &[Value]) -> Option<String> {
    let last =
        lines.iter().rev().find(|line| line["text"].as_str().is_some_and(|text| text.starts_with("tick ")));
    Some(last?["instance"].as_str()?.to_owned())
}

/// That positions and counts rise by one, so that nothing is missing and nothing comes twice.
fn is_whole(lines: &[Value], instance: &str) {
    let rises = lines.windows(2).all(|pair| position(&pair[1]) == position(&pair[0]) + 1);
    assert!(rises, "{:?}", lines.iter().map(position).collect::<Vec<_>>());
    let ticks = ticks(lines, instance);
    assert!(!ticks.is_empty() && ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
}

fn all(client: &Client<'_>, words: &[&str]) -> Vec<Value> {
    let said = client.hythe(&[&["logs", "--json", "-t", "ticks", "-n", "100000"], words].concat()).ok().out;
    said.lines().map(|line| serde_json::from_str(line).expect("a line as JSON")).collect()
}

/// The process of the server that leads.
fn leader(replicas: &Replicas) -> String {
    until(Duration::from_secs(30), || {
        let holder = "SELECT coalesce(max(holder), '') FROM leases WHERE name = 'controller'";
        let holder = replicas.rows.sql(&replicas.url, holder);
        holder.rsplit('-').nth(1).map(str::to_owned)
    })
}

#[test]
fn every_server_shows_all_logs_and_none_is_lost_with_a_server() {
    let mut replicas = Replicas::start("replicas-logs", ["", ""]);
    let last = {
        let robin = Client::new(&replicas.one, "robin");
        robin.tool_from("ticks", "shell-perl");
        let script = checkout().join("tests/fixtures/apps/shell-perl/start.sh");
        let script = std::fs::read_to_string(script).expect("the sample");
        robin.write("ticks", "start.sh", &format!("{TICKS}{script}"));
        robin.commit("ticks", "Count");
        robin.push("ticks").ok().says("v1 is live");
        let other = Client::moved(&replicas.two, &robin, "robin");
        let leader = leader(&replicas);
        let (leads, follows) = if leader == replicas.one.pid() { (&robin, &other) } else { (&other, &robin) };
        everything_is_everywhere(leads, follows);
        an_end_is_told_everywhere(&replicas, leads, follows);
        a_server_dies(&leader, leads, follows)
    };
    // The one that died comes again, and shows what was written before and without it.
    let dead = if replicas.one.pid() == leader(&replicas) { &mut replicas.two } else { &mut replicas.one };
    dead.pin();
    dead.spawn();
    let again = Client::again(dead, "robin");
    let lines = all(&again, &[]);
    assert_eq!(position(&lines[0]), 1, "nothing of it was lost");
    assert!(position(lines.last().expect("lines")) >= last);
}

/// Who asks the server that does not lead is told what instances print, and of requests at both.
fn everything_is_everywhere(leads: &Client<'_>, follows: &Client<'_>) {
    for client in [leads, follows] {
        client.get_until("ticks", |answer| answer.status == 200);
    }
    leads.get("ticks", "/at-the-one-that-leads");
    follows.get("ticks", "/at-the-other");
    for client in [leads, follows] {
        let begun = Instant::now();
        let lines = until(Duration::from_secs(5), || {
            let lines = all(client, &[]);
            let has = |text: &str| {
                lines.iter().any(|line| line["text"].as_str().is_some_and(|line| line.contains(text)))
            };
            (has("/at-the-one-that-leads") && has("/at-the-other") && has("listening on")).then_some(lines)
        });
        println!("all lines after {:?}", begun.elapsed());
        is_whole(&lines, &counting(&lines).expect("it counts"));
    }
    // What is printed now is seen within a moment.
    let follower = Follower::start(follows, &["-f", "-n", "1"]);
    let seen = until(Duration::from_secs(10), || follower.seen().into_iter().nth(30));
    let printed: jiff::Timestamp = seen["at"].as_str().expect("a time").parse().expect("a time");
    let late = jiff::Timestamp::now().duration_since(printed);
    println!("a line is seen {late:?} after it was printed, at most");
    assert!(late < jiff::SignedDuration::from_secs(3), "{late:?}");
    follower.stop();
}

/// A pod is deleted, and its last words are told by both.
fn an_end_is_told_everywhere(replicas: &Replicas, leads: &Client<'_>, follows: &Client<'_>) {
    let before = counting(&all(leads, &[])).expect("it counts");
    replicas.kubectl_of("ticks", &["delete", "pods", "--all", "--wait=false"]).ok();
    let told = |client: &Client<'_>| client.hythe(&["logs", "--previous", "--json", "-t", "ticks"]).ok().out;
    let ended = until(Duration::from_mins(1), || {
        let ended = told(leads);
        ended.contains(&before).then_some(ended)
    });
    assert!(ended.contains("tick "), "{ended}");
    assert_eq!(told(follows), ended);
    until(Duration::from_mins(1), || (counting(&all(leads, &[]))? != before).then_some(()));
}

/// The server that leads is killed. One client follows the other server, one was at the dead one and goes on at the other; both see
/// every line once. The last position that was seen is answered.
fn a_server_dies(leader: &str, leads: &Client<'_>, follows: &Client<'_>) -> u64 {
    let instance = counting(&all(follows, &[])).expect("it counts");
    let stays = Follower::start(follows, &["-f", "-n", "10"]);
    let moves = Follower::start(leads, &["-f", "-n", "10"]);
    until(Duration::from_secs(10), || (stays.seen().len() > 50 && moves.seen().len() > 50).then_some(()));
    kill(leader);
    let dead = Instant::now();
    let before = moves.stop();
    let count = ticks(&before, &instance).last().copied().expect("it counts");
    // Longer than the lease of the one that led.
    until(Duration::from_mins(1), || {
        let ticks = ticks(&stays.seen(), &instance);
        ticks.last().is_some_and(|last| *last > count + 600).then_some(())
    });
    println!("600 lines more, {:?} after the server died", dead.elapsed());
    let stayed = stays.stop();
    is_whole(&stayed, &instance);

    let from = position(before.last().expect("lines")) + 1;
    let rest: Vec<_> = all(follows, &[]).into_iter().filter(|line| position(line) >= from).collect();
    let both = [before, rest].concat();
    is_whole(&both, &instance);
    position(both.last().expect("lines"))
}
