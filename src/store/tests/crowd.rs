//! What must hold when much happens at once, from one server or from two. "Two" are two stores, each with its connections.

use super::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

on_both!(
    of_activations_at_the_same_instant_exactly_one_wins,
    every_build_is_claimed_once,
    release_numbers_have_no_gap_and_no_double,
    the_queue_is_fair_between_tools,
    the_queue_is_fair_whoever_claims,
    a_tool_whose_build_runs_lets_others_go_first,
    a_newer_push_supersedes_builds_but_not_a_rollout,
    a_cancelled_build_does_not_go_live,
);

async fn of_activations_at_the_same_instant_exactly_one_wins(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
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

async fn every_build_is_claimed_once(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
    one.create_tool(&tool("weather"), None).await.unwrap();
    for _ in 0..30 {
        one.enqueue_build(new_build("weather")).await.unwrap();
    }
    let worker = |store: Store| async move {
        let mut mine = Vec::new();
        while !store.unfinished_builds().await.unwrap().is_empty() {
            // Nothing is free while another has the tool's only turn.
            let Some(build) = claim(&store).await else { continue };
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

async fn release_numbers_have_no_gap_and_no_double(bed: Bed) {
    let stores = [bed.open().await, bed.open().await];
    stores[0].create_tool(&tool("weather"), None).await.unwrap();
    let write = |store: Store| async move {
        store.create_release(new_release("weather", None)).await.unwrap().number.0
    };
    let tasks: Vec<_> = (0..40).map(|turn| tokio::spawn(write(stores[turn % 2].clone()))).collect();
    let mut numbers = BTreeSet::new();
    for task in tasks {
        numbers.insert(task.await.unwrap());
    }
    assert_eq!(numbers, (1..=40).collect());
}

async fn the_queue_is_fair_between_tools(bed: Bed) {
    let store = bed.open().await;
    for name in ["greedy", "quotes", "weather"] {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    for name in ["greedy", "greedy", "greedy", "greedy", "quotes", "weather"] {
        store.enqueue_build(new_build(name)).await.unwrap();
    }
    let last = store.enqueue_build(new_build("greedy")).await.unwrap();
    assert_eq!(store.queue_position(last.id).await.unwrap(), Some(6));
    let mut order = Vec::new();
    while let Some(build) = claim(&store).await {
        order.push(build.tool.to_string());
        store.finish_build(build.id, BuildOutcome::Succeeded).await.unwrap();
    }
    assert_eq!(order, ["greedy", "quotes", "weather", "greedy", "greedy", "greedy", "greedy"]);
    assert_eq!(store.queue_position(last.id).await.unwrap(), None);
}

async fn the_queue_is_fair_whoever_claims(bed: Bed) {
    let stores = [bed.open().await, bed.open().await];
    let singles = ["a", "b", "c", "d", "e"];
    for name in ["greedy"].iter().chain(&singles) {
        stores[0].create_tool(&tool(name), None).await.unwrap();
    }
    for name in ["greedy"; 20].iter().chain(&singles) {
        stores[0].enqueue_build(new_build(name)).await.unwrap();
    }
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let worker = |store: Store| {
        let order = Arc::clone(&order);
        async move {
            while !store.unfinished_builds().await.unwrap().is_empty() {
                let Some(build) = claim(&store).await else { continue };
                order.lock().unwrap().push(build.tool.to_string());
                store.finish_build(build.id, BuildOutcome::Succeeded).await.unwrap();
            }
        }
    };
    let workers: Vec<_> = (0..4).map(|turn| tokio::spawn(worker(stores[turn % 2].clone()))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 25);
    // Each waits for one turn of the greedy tool, and for what the other workers have just taken.
    let last = order.iter().rposition(|name| name != "greedy");
    assert!(last < Some(10), "{order:?}");
}

async fn a_tool_whose_build_runs_lets_others_go_first(bed: Bed) {
    let store = bed.open().await;
    for name in ["greedy", "weather"] {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    for name in ["greedy", "greedy", "weather"] {
        store.enqueue_build(new_build(name)).await.unwrap();
    }
    let claimed = [claim(&store).await, claim(&store).await];
    let [greedy, weather] = claimed.map(Option::unwrap);
    assert_eq!([greedy.tool.as_str(), weather.tool.as_str()], ["greedy", "weather"]);
    // The second build of a tool would use the cache of its first.
    assert_eq!(claim(&store).await, None);
    store.finish_build(weather.id, BuildOutcome::Succeeded).await.unwrap();
    assert_eq!(claim(&store).await, None);
    store.finish_build(greedy.id, BuildOutcome::Succeeded).await.unwrap();
    assert_eq!(claim(&store).await.unwrap().tool.as_str(), "greedy");
}

async fn a_newer_push_supersedes_builds_but_not_a_rollout(bed: Bed) {
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    store.create_tool(&tool("quotes"), None).await.unwrap();
    let other = store.enqueue_build(new_build("quotes")).await.unwrap();
    let rolling = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(rolling.id, "test", LONG).await.unwrap();
    let release = store.create_release(new_release("weather", Some(rolling.id))).await.unwrap();
    let running = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(running.id, "test", LONG).await.unwrap();
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

async fn a_cancelled_build_does_not_go_live(bed: Bed) {
    let store = bed.open().await;
    store.create_tool(&tool("weather"), None).await.unwrap();
    let build = store.enqueue_build(new_build("weather")).await.unwrap();
    store.start_build(build.id, "test", LONG).await.unwrap();
    let release = store.create_release(new_release("weather", Some(build.id))).await.unwrap();
    store.finish_build(build.id, BuildOutcome::Cancelled(fault())).await.unwrap();
    assert!(is_conflict(&store.activate(&tool("weather"), release.number, None, &deployed('a')).await));
    assert_eq!(store.live_release(&tool("weather")).await.unwrap(), None);
    assert!(
        store.fail_release(&tool("weather"), release.number, &BuildOutcome::Failed(fault())).await.unwrap()
    );
    assert_eq!(store.build(build.id).await.unwrap().unwrap().state, BuildState::Cancelled);
}
