//! What must hold when much happens at once, from one server or from two.

use super::*;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_activations_at_the_same_instant_exactly_one_wins() {
    let (dir, one) = fresh().await;
    let two = Store::open(&dir.path().join("hythe.db")).await.unwrap();
    one.create_tool(&tool("weather"), None).await.unwrap();
    let mut expected = None;
    for round in 0..20 {
        let a = one.create_release(new_release("weather", None)).await.unwrap().number;
        let b = two.create_release(new_release("weather", None)).await.unwrap().number;
        let activate = |store: Store, number| async move {
            store.activate(&tool("weather"), number, expected, &deployed('a')).await
        };
        let (first, second) =
            tokio::join!(tokio::spawn(activate(one.clone(), a)), tokio::spawn(activate(two.clone(), b)));
        let answers = [first.unwrap(), second.unwrap()];
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "round {round}: {answers:?}");
        assert_eq!(answers.iter().filter(|answer| is_conflict(answer)).count(), 1, "round {round}");
        let live = one.live_releases().await.unwrap();
        assert_eq!(live.len(), 1);
        let winner = answers.iter().find_map(|answer| answer.as_ref().ok()).unwrap();
        assert_eq!(winner.release.number, live[0].number);
        expected = Some(live[0].number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_build_is_claimed_once() {
    let (dir, one) = fresh().await;
    let two = Store::open(&dir.path().join("hythe.db")).await.unwrap();
    one.create_tool(&tool("weather"), None).await.unwrap();
    for _ in 0..30 {
        one.enqueue_build(new_build("weather")).await.unwrap();
    }
    let worker = |store: Store| async move {
        let mut mine = Vec::new();
        while !store.unfinished_builds().await.unwrap().is_empty() {
            // Nothing is free while another has the tool's only turn.
            let Some(build) = store.claim_next_build().await.unwrap() else { continue };
            mine.push(build.id);
            store.finish_build(build.id, BuildOutcome::Succeeded).await.unwrap();
        }
        mine
    };
    let workers = [&one, &two, &one, &two].map(|store| tokio::spawn(worker(store.clone())));
    let mut claimed = Vec::new();
    for worker in workers {
        claimed.extend(worker.await.unwrap());
    }
    assert_eq!(claimed.len(), 30);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn release_numbers_have_no_gap_and_no_double() {
    let (_dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let write = |store: Store| async move {
        store.create_release(new_release("weather", None)).await.unwrap().number.0
    };
    let tasks: Vec<_> = (0..40).map(|_| tokio::spawn(write(store.clone()))).collect();
    let mut numbers = BTreeSet::new();
    for task in tasks {
        numbers.insert(task.await.unwrap());
    }
    assert_eq!(numbers, (1..=40).collect());
}

#[tokio::test]
async fn the_queue_is_fair_between_tools() {
    let (_dir, store) = fresh().await;
    for name in ["greedy", "quotes", "weather"] {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    for name in ["greedy", "greedy", "greedy", "greedy", "quotes", "weather"] {
        store.enqueue_build(new_build(name)).await.unwrap();
    }
    let last = store.enqueue_build(new_build("greedy")).await.unwrap();
    assert_eq!(store.queue_position(last.id).await.unwrap(), Some(6));
    let mut order = Vec::new();
    while let Some(build) = store.claim_next_build().await.unwrap() {
        order.push(build.tool.to_string());
        store.finish_build(build.id, BuildOutcome::Succeeded).await.unwrap();
    }
    assert_eq!(order, ["greedy", "quotes", "weather", "greedy", "greedy", "greedy", "greedy"]);
    assert_eq!(store.queue_position(last.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_tool_whose_build_runs_lets_others_go_first() {
    let (_dir, store) = fresh().await;
    for name in ["greedy", "weather"] {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    for name in ["greedy", "greedy", "weather"] {
        store.enqueue_build(new_build(name)).await.unwrap();
    }
    let claimed = [store.claim_next_build().await.unwrap(), store.claim_next_build().await.unwrap()];
    let [greedy, weather] = claimed.map(Option::unwrap);
    assert_eq!([greedy.tool.as_str(), weather.tool.as_str()], ["greedy", "weather"]);
    // The second build of a tool would use the cache of its first.
    assert_eq!(store.claim_next_build().await.unwrap(), None);
    store.finish_build(weather.id, BuildOutcome::Succeeded).await.unwrap();
    assert_eq!(store.claim_next_build().await.unwrap(), None);
    store.finish_build(greedy.id, BuildOutcome::Succeeded).await.unwrap();
    assert_eq!(store.claim_next_build().await.unwrap().unwrap().tool.as_str(), "greedy");
}

#[tokio::test]
async fn a_newer_push_supersedes_builds_but_not_a_rollout() {
    let (_dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    store.create_tool(&tool("quotes"), None).await.unwrap();
    let other = store.enqueue_build(new_build("quotes")).await.unwrap();
    let rolling = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(rolling.id).await.unwrap();
    let release = store.create_release(new_release("weather", Some(rolling.id))).await.unwrap();
    let running = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(running.id).await.unwrap();
    let queued = store.enqueue_build(new_build("weather")).await.unwrap();
    let newest = store.enqueue_build(new_build("weather")).await.unwrap();

    let gone = store.supersede_older_builds(newest.id).await.unwrap();
    assert_eq!(gone, [running.id, queued.id]);
    let row = store.build(running.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.superseded_by), (BuildState::Superseded, Some(newest.id)));
    assert_eq!(store.build(other.id).await.unwrap().unwrap().state, BuildState::Queued);
    let late = store.create_release(new_release("weather", Some(running.id))).await;
    assert_eq!(late.unwrap_err().to_string(), format!("build {} is superseded, not running", running.id));
    assert!(!store.requeue_build(rolling.id).await.unwrap(), "a rollout is not built again");
    let deployed = deployed('a');
    store.activate(&tool("weather"), release.number, None, &deployed).await.unwrap();
    assert_eq!(store.build(rolling.id).await.unwrap().unwrap().state, BuildState::Succeeded);
}

#[tokio::test]
async fn a_cancelled_build_does_not_go_live() {
    let (_dir, store) = fresh().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let build = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(build.id).await.unwrap();
    let release = store.create_release(new_release("weather", Some(build.id))).await.unwrap();
    store.finish_build(build.id, BuildOutcome::Cancelled(fault())).await.unwrap();
    assert!(is_conflict(&store.activate(&tool("weather"), release.number, None, &deployed('a')).await));
    assert_eq!(store.live_release(&tool("weather")).await.unwrap(), None);
    assert!(
        store.fail_release(&tool("weather"), release.number, &BuildOutcome::Failed(fault())).await.unwrap()
    );
    assert_eq!(store.build(build.id).await.unwrap().unwrap().state, BuildState::Cancelled);
}
