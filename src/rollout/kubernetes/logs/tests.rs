//! Which streams are opened, on an API server in memory and a clock that jumps.

use super::*;
use async_trait::async_trait;
use hythe_cluster::{Piece, Position};
use hythe_testing::api_server;

/// The lines that came and the ends, each with its pod.
#[derive(Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Witness for Listener {
    fn started(&self, _: &InstanceId, _: &std::path::Path) {}

    async fn reader(
        &self,
        instance: &InstanceId,
        _: Option<Timestamp>,
    ) -> Result<Option<Box<dyn Lines>>, Fault> {
        Ok(Some(Box::new(OfOne { instance: instance.to_string(), last: None, heard: self.0.clone() })))
    }

    async fn ended(&self, instance: &InstanceId, exit: &ExitReason, _: Option<Timestamp>) -> bool {
        self.0.lock().unwrap().push(format!("{instance}: ended, {}", exit.text()));
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
    Arc::new(PodView { name: name.to_owned(), ..crate::kubernetes::tests::pod(1, name) })
}

fn seen(pods: impl IntoIterator<Item = Arc<PodView>>) -> Seen {
    let seen = Seen::new(8080);
    for pod in pods {
        seen.update(&pod.id.tool, |view| drop(view.pods.insert(pod.name.clone(), pod.clone())));
    }
    seen
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
    logs.lead(end, &seen(hanging));
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

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_while_nobody_read_is_read_beside_the_next() {
    let (client, _asked) = api_server(|asked, _| {
        let text = if asked.contains("previous=true") { "last words" } else { "hello" };
        Some((200, format!("2026-11-30T10:00:00Z {text}\n")))
    });
    let (listener, settings) = (Listener::default(), ClusterSettings::default());
    let heard = listener.0.clone();
    let logs = Logs::new(Cluster::over(client, "hythe"), settings, Arc::new(listener));
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    let mut again = PodView::clone(&pod("again"));
    again.last_exit = Some(ExitReason { code: Some(3), ..ExitReason::default() });
    again.id.attempt = 2;
    let before = InstanceId { attempt: 1, ..again.id.clone() };
    logs.lead(end, &seen([Arc::new(again.clone())]));
    sleep(Duration::from_secs(1)).await;
    let mut heard = std::mem::take(&mut *heard.lock().unwrap());
    heard.sort();
    let mut expected = [
        format!("{}: hello", again.id),
        format!("{before}: ended, exit code 3"),
        format!("{before}: last words"),
    ];
    expected.sort();
    assert_eq!(heard, expected);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_while_reading_begins_leaves_no_stream_and_an_old_look_begins_none() {
    let (client, asked) = api_server(|_, _| Some((200, "2026-11-30T10:00:00Z hello\n".to_owned())));
    let (listener, settings) = (Listener::default(), ClusterSettings::default());
    let heard = listener.0.clone();
    let logs = Logs::new(Cluster::over(client, "hythe"), settings, Arc::new(listener));
    let end = CancellationToken::new();
    let _end = end.clone().drop_guard();
    logs.lead(end, &seen([]));
    let went = pod("went");
    logs.gone(&went);
    logs.take_up(std::slice::from_ref(&went), &seen([]));
    assert!(logs.streams().is_empty());
    sleep(Duration::from_secs(1)).await;
    assert!(heard.lock().unwrap().contains(&format!("{}: ended, its pod was removed", went.id)));

    let mut again = PodView::clone(&pod("again"));
    again.id.attempt = 2;
    logs.look(&Arc::new(again));
    sleep(Duration::from_secs(1)).await;
    asked.take();
    logs.look(&pod("again"));
    sleep(Duration::from_secs(1)).await;
    assert!(asked.take().is_empty(), "the container of the old look is not there any more");
}
