//! Which streams are opened, on an API server in memory and a clock that jumps.

use super::*;
use crate::runtime::Unwatched;
use hythe_model::{Place, ProcessType, ReleaseNumber};
use hythe_testing::api_server;

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
    let (folder, settings) = (tempfile::tempdir().unwrap(), ClusterSettings::default());
    let cluster = Cluster::over(client, "hythe");
    let logs = Logs::new(cluster, settings, folder.path().to_owned(), 1 << 20, Arc::new(Unwatched));
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
    let lines = last_lines(&log_folder(folder.path(), &well.id));
    assert_eq!(lines, ["hello"]);
    // Those that hang are tried again, now and then.
    sleep(SELDOM).await;
    assert!(asked.take().iter().any(|asked| asked.ends_with("/pods/hanging-0/log")));
}
