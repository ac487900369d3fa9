//! Which streams are opened, on an API server in memory and a clock that jumps.

use super::*;
use async_trait::async_trait;
use hythe_cluster::{Piece, Position};
use hythe_model::{Place, ProcessType, ReleaseNumber};
use hythe_testing::api_server;

/// The lines that came, each with its pod.
#[derive(Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Witness for Listener {
    fn started(&self, _: &InstanceId, _: &std::path::Path) {}

    async fn reader(&self, instance: &InstanceId) -> Result<Option<Box<dyn Lines>>, Fault> {
        Ok(Some(Box::new(OfOne { instance: instance.to_string(), last: None, heard: self.0.clone() })))
    }

    async fn ended(&self, _: &InstanceId, _: &ExitReason) -> bool {
        true
    }
}

struct OfOne {
    instance: String,
    last: Option<Position>,
    heard: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Lines for OfOne {
    fn last(&mut self) -> Option<Position> {
        self.last
    }

    async fn take(&mut self, at: Position, piece: Piece<'_>) -> bool {
        self.last = Some(at);
        let text = String::from_utf8_lossy(piece.text);
        self.heard.lock().unwrap().push(format!("{}: {text}", self.instance));
        true
    }

    async fn finish(&mut self) -> bool {
        true
    }
}

fn pod(name: &str) -> Arc<PodView> {
    let id = InstanceId {
        tool: "weather".parse().unwrap(),
        release: ReleaseNumber(1),
        process: ProcessType::web(),
        place: Place::Name(name.to_owned()),
        attempt: 0,
    };
    Arc::new(PodView {
        name: name.to_owned(),
        set: "web".to_owned(),
        id,
        image: None,
        address: None,
        ready: true,
        leaving: false,
        since: jiff::Timestamp::UNIX_EPOCH,
        stage: Stage::Running,
        last_exit: None,
        unschedulable: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_holds_up_no_other_nodes_logs() {
    let (client, asked) = api_server(|asked, _| {
        let hangs = asked.contains("/pods/hanging-");
        (!hangs).then(|| (200, "2026-11-30T10:00:00Z hello\n".to_owned()))
    });
    let (listener, settings) = (Listener::default(), ClusterSettings::default());
    let heard = listener.0.clone();
    let logs = Logs::new(Cluster::over(client, "hythe"), settings, Arc::new(listener));
    let hanging: Vec<_> = (0..OPENING).map(|number| pod(&format!("hanging-{number}"))).collect();
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    logs.lead(end, &hanging);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.take().len(), OPENING);

    let well = pod("well");
    logs.look(&well);
    sleep(OPENED / 2).await;
    assert!(asked.take().is_empty(), "all that may be opened at once are");
    sleep(OPENED / 2).await;
    assert!(asked.take().iter().any(|asked| asked.ends_with("/pods/well/log")));
    assert_eq!(*heard.lock().unwrap(), [format!("{}: hello", well.id)]);
    // Those that hang are tried again, now and then.
    sleep(SELDOM).await;
    assert!(asked.take().iter().any(|asked| asked.ends_with("/pods/hanging-0/log")));
}
