//! What several servers share: fences around builds and turns, repositories whose rows are the truth, logs in pieces.

use super::*;

on_both!(
    a_build_is_written_about_by_its_holder_alone,
    a_build_that_waits_again_is_not_its_former_holders,
    a_turn_that_was_lost_changes_nothing,
    whoever_runs_a_build_is_asked_to_end_it,
    a_push_is_orphaned_with_its_server,
    a_ref_moves_with_its_release_or_not_at_all,
    packs_come_and_are_replaced,
    a_repository_is_taken_in_where_its_refs_do_not_stand_yet,
    lines_are_numbered_whoever_writes_them
);

const SHORT: Duration = Duration::from_millis(300);
const ENOUGH: Duration = Duration::from_millis(400);

async fn a_build_is_written_about_by_its_holder_alone(bed: Bed) {
    let (one, two) = (bed.open().await.held_by("a"), bed.open().await.held_by("b"));
    one.create_tool(&tool("weather"), None).await.unwrap();
    let id = one.enqueue_build(new_build("weather")).await.unwrap().id;
    one.claim_next_build("a", SHORT).await.unwrap().unwrap();
    let release = one.create_release(new_release("weather", Some(id))).await.unwrap().number;
    tokio::time::sleep(ENOUGH).await;
    assert!(two.take_claim(id, "b", LONG).await.unwrap());

    // The first one wakes up late, and whatever it goes on with is refused.
    let outcome = BuildOutcome::Failed(fault());
    let refused = |done: Result<(), StoreError>| matches!(done, Err(StoreError::Conflict { what }) if what.contains("another server"));
    assert!(refused(one.set_build_image(id, &image()).await));
    assert!(refused(one.create_release(new_release("weather", Some(id))).await.map(drop)));
    assert!(refused(one.activate(&tool("weather"), release, None, &deployed('a')).await.map(drop)));
    assert!(refused(one.fail_release(&tool("weather"), release, &outcome).await.map(drop)));
    assert!(refused(one.append_log("build/1", vec!["late".into()], false, Some(id)).await.map(drop)));
    assert!(!one.finish_build(id, outcome.clone()).await.unwrap());
    assert!(!one.requeue_build(id).await.unwrap());
    let row = one.build(id).await.unwrap().unwrap();
    assert_eq!((row.state, row.image, row.release), (BuildState::Running, None, Some(release)));
    two.activate(&tool("weather"), release, None, &deployed('a')).await.unwrap();
    assert!(!one.finish_build(id, outcome).await.unwrap());
    assert_eq!(two.build(id).await.unwrap().unwrap().state, BuildState::Succeeded);
}

async fn a_build_that_waits_again_is_not_its_former_holders(bed: Bed) {
    let (one, two) = (bed.open().await.held_by("a"), bed.open().await.held_by("b"));
    one.create_tool(&tool("weather"), None).await.unwrap();
    let id = one.enqueue_build(new_build("weather")).await.unwrap().id;
    one.claim_next_build("a", SHORT).await.unwrap().unwrap();
    tokio::time::sleep(ENOUGH).await;
    assert!(two.take_claim(id, "b", LONG).await.unwrap());
    assert!(two.requeue_build(id).await.unwrap(), "it is promised to be built");
    let outcome = BuildOutcome::Failed(fault());
    assert!(!one.finish_build(id, outcome.clone()).await.unwrap());
    assert!(is_conflict(&one.append_log("build/1", vec!["end".into()], true, Some(id)).await));
    assert!(is_conflict(&one.set_build_image(id, &image()).await));
    assert_eq!(one.build(id).await.unwrap().unwrap().state, BuildState::Queued);

    // Whoever ends it as one that waits may: its client has gone, or a person cancels it.
    assert!(one.end_queued_build(id, BuildOutcome::Cancelled(fault())).await.unwrap());
    assert!(!one.end_queued_build(id, outcome).await.unwrap(), "an end is an end");
    one.append_log("build/1", vec!["end".into()], true, Some(id)).await.unwrap();
    let running = one.enqueue_build(new_build("weather")).await.unwrap().id;
    two.claim_next_build("b", LONG).await.unwrap().unwrap();
    assert!(!two.end_queued_build(running, BuildOutcome::Cancelled(fault())).await.unwrap());
}

async fn a_turn_that_was_lost_changes_nothing(bed: Bed) {
    let (one, two) = (bed.open().await.held_by("a"), bed.open().await.held_by("b"));
    one.create_tool(&tool("weather"), None).await.unwrap();
    let name = Lease::of_turn(&tool("weather"));
    one.acquire_lease(&name, "a", SHORT).await.unwrap().unwrap();
    let number = one.create_release(new_release("weather", None)).await.unwrap().number;
    tokio::time::sleep(ENOUGH).await;
    two.acquire_lease(&name, "b", LONG).await.unwrap().unwrap();
    let refused = one.activate(&tool("weather"), number, None, &deployed('a')).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what }) if what.contains("another server")));
    assert!(one.create_release(new_release("weather", None)).await.is_err());
    assert_eq!(two.live_release(&tool("weather")).await.unwrap(), None);
    two.fail_release(&tool("weather"), number, &BuildOutcome::Failed(fault())).await.unwrap();
}

async fn whoever_runs_a_build_is_asked_to_end_it(bed: Bed) {
    let (one, two) = (bed.open().await.held_by("a"), bed.open().await.held_by("b"));
    one.create_tool(&tool("weather"), None).await.unwrap();
    let id = one.enqueue_build(new_build("weather")).await.unwrap().id;
    assert!(!two.ask_to_end(id, &fault()).await.unwrap(), "it does not run");
    one.claim_next_build("a", LONG).await.unwrap().unwrap();
    let mut changes = two.changes();
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.ok();
    assert!(two.ask_to_end(id, &fault()).await.unwrap());
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.expect("its holder is woken");
    assert!(two.ask_to_end(id, &Fault::new("other", "Another reason.")).await.unwrap());
    let row = one.builds_by_id(vec![id]).await.unwrap().remove(0);
    assert_eq!((row.state, row.stop), (BuildState::Running, Some(fault())), "the first reason counts");
    one.let_claims_go("a").await.unwrap();
    assert!(two.take_claim(id, "b", LONG).await.unwrap(), "at once");
    one.take_all_claims("c", LONG).await.unwrap();
    assert_eq!(one.renew_claims("c", vec![id], LONG).await.unwrap(), [id].into());
}

async fn a_push_is_orphaned_with_its_server(bed: Bed) {
    let (one, two) = (bed.open().await.held_by("a"), bed.open().await);
    one.create_tool(&tool("weather"), None).await.unwrap();
    let alive = one.acquire_lease(&Lease::of_life("a"), "a", LONG).await.unwrap().unwrap();
    let waited_for = one.enqueue_build(new_build("weather")).await.unwrap();
    assert_eq!(waited_for.attached_to.as_deref(), Some("a"));
    let detached = NewBuild { cause: BuildCause::Detached, ..new_build("weather") };
    assert_eq!(one.enqueue_build(detached).await.unwrap().attached_to, None);
    assert_eq!(two.orphaned_builds().await.unwrap(), []);
    one.release_lease(&alive).await.unwrap();
    let orphaned: Vec<_> = two.orphaned_builds().await.unwrap().into_iter().map(|build| build.id).collect();
    assert_eq!(orphaned, [waited_for.id]);
}

async fn a_ref_moves_with_its_release_or_not_at_all(bed: Bed) {
    let store = bed.open().await;
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    let moved = |from: Option<char>, to| RefMove {
        reference: "refs/heads/main".to_owned(),
        from: from.map(commit),
        to: commit(to),
    };
    let number = store.create_release(new_release("weather", None)).await.unwrap().number;
    let none = store.activate_with_ref(&weather, number, None, &deployed('a'), Some(moved(None, 'a'))).await;
    assert!(matches!(none, Err(StoreError::Absent { .. })), "there is no repository");
    store.create_repository(&weather).await.unwrap();
    let first = store.repository_version(&weather).await.unwrap().unwrap();
    let wrong =
        store.activate_with_ref(&weather, number, None, &deployed('a'), Some(moved(Some('b'), 'a'))).await;
    assert!(matches!(wrong, Err(StoreError::Conflict { .. })));
    assert_eq!(store.live_release(&weather).await.unwrap(), None, "neither has happened");
    assert_eq!(store.repository_version(&weather).await.unwrap(), Some(first));

    store.activate_with_ref(&weather, number, None, &deployed('a'), Some(moved(None, 'a'))).await.unwrap();
    assert_eq!(store.repository_ref(&weather, "refs/heads/main").await.unwrap(), Some(commit('a')));
    assert!(store.repository_version(&weather).await.unwrap().unwrap().version > first.version);
    store.create_repository(&weather).await.unwrap();
    assert!(store.repository_ref(&weather, "refs/heads/main").await.unwrap().is_some(), "it stays");

    // Git could not hold it: no copy could be brought up to date any more.
    let second = store.create_release(new_release("weather", None)).await.unwrap().number;
    let below = RefMove { reference: "refs/heads/main/2026".to_owned(), ..moved(None, 'b') };
    let refused = store.activate_with_ref(&weather, second, Some(number), &deployed('b'), Some(below)).await;
    assert!(is_conflict(&refused), "{refused:?}");
    let other = store.ref_in_the_way(&weather, "refs/heads/main/2026").await.unwrap();
    assert_eq!(other.as_deref(), Some("refs/heads/main"));
    assert_eq!(store.ref_in_the_way(&weather, "refs/heads/main2").await.unwrap(), None);
}

async fn packs_come_and_are_replaced(bed: Bed) {
    let store = bed.open().await;
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    store.create_repository(&weather).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    store.add_packs(&weather, names(&["a", "b"]), vec![commit('c')]).await.unwrap();
    store.add_packs(&weather, names(&["b", "c"]), vec![commit('c')]).await.unwrap();
    store.set_ref(&weather, "refs/hythe/builds/1", &commit('a')).await.unwrap();
    store.set_ref(&weather, "refs/hythe/builds/1", &commit('b')).await.unwrap();
    // One that has come meanwhile stays beside the one that takes the others' place.
    store.replace_packs(&weather, names(&["a", "b"]), names(&["d"])).await.unwrap();
    let state = store.repository(&weather).await.unwrap().unwrap();
    assert_eq!(state.packs, ["c".to_owned(), "d".to_owned()].into());
    assert_eq!(state.cuts, [commit('c')].into());
    assert_eq!(state.refs, [("refs/hythe/builds/1".to_owned(), commit('b'))].into());
    assert_eq!(state.head, "refs/heads/main");
    store.remove_refs(&weather, vec!["refs/hythe/builds/1".to_owned()]).await.unwrap();
    assert!(store.repository(&weather).await.unwrap().unwrap().refs.is_empty());
    assert_eq!(store.leaving_tools().await.unwrap(), []);
    store.leave_repository(&weather).await.unwrap();
    assert_eq!(store.leaving_tools().await.unwrap(), std::slice::from_ref(&weather));
    assert_eq!(store.repository(&weather).await.unwrap(), None);
    assert!(is_absent(&store.add_packs(&weather, names(&["e"]), Vec::new()).await), "nothing comes any more");
    store.create_repository(&weather).await.unwrap();
    assert_eq!(store.repository(&weather).await.unwrap(), None, "and it is not made again");
    let alone = tool("alone");
    store.create_tool(&alone, None).await.unwrap();
    store.leave_repository(&alone).await.unwrap();
    assert_eq!(store.leaving_tools().await.unwrap(), [alone, weather], "also where its repository is no row");
}

async fn a_repository_is_taken_in_where_its_refs_do_not_stand_yet(bed: Bed) {
    let store = bed.open().await;
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    store.create_repository(&weather).await.unwrap();
    let main = |digit| ("refs/heads/main".to_owned(), commit(digit));
    let kept = |build: u32, digit| (format!("refs/hythe/builds/{build}"), commit(digit));
    let own = async |refs: &[(String, CommitId)]| {
        let at = store.repository_version(&weather).await.unwrap().unwrap();
        let (packs, cuts) = (["p".to_owned()].into(), [commit('c')].into());
        let refs = refs.iter().cloned().collect();
        RepositoryState { at, head: "refs/heads/main".to_owned(), refs, packs, cuts }
    };
    let refs = async || store.repository(&weather).await.unwrap().unwrap().refs;
    let first = own(&[main('a'), kept(1, 'a')]).await;
    store.take_in_repository(&weather, first.clone()).await.unwrap();
    let found = store.repository(&weather).await.unwrap().unwrap();
    assert_eq!((found.packs, found.cuts, found.refs), (first.packs, first.cuts, first.refs));

    // A push to another server has moved on meanwhile.
    store.take_in_repository(&weather, own(&[main('b'), kept(1, 'b'), kept(2, 'b')]).await).await.unwrap();
    assert_eq!(refs().await, [main('a'), kept(1, 'a'), kept(2, 'b')].into());
    // One server went on alone for a while.
    let number = store.create_release(new_release("weather", None)).await.unwrap().number;
    store.activate(&weather, number, None, &deployed('b')).await.unwrap();
    store.take_in_repository(&weather, own(&[main('b')]).await).await.unwrap();
    assert_eq!(refs().await[&main('b').0], commit('b'), "what is live");
    let mut another = own(&[main('d')]).await;
    another.at.id += 1;
    assert!(is_conflict(&store.take_in_repository(&weather, another).await));
}

async fn lines_are_numbered_whoever_writes_them(bed: Bed) {
    let stores = [bed.open().await, bed.open().await];
    let writers = (0..20).map(|number| {
        let store = stores[number % 2].clone();
        tokio::spawn(async move {
            let lines = vec![format!("{number} one"), format!("{number} two")];
            store.append_log("build/7", lines, false, None).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let store = &stores[0];
    let mut lines = Vec::new();
    loop {
        let (state, pieces) = store.log_pieces("build/7", lines.len() as u64).await.unwrap();
        assert_eq!(state.unwrap().last, 40);
        let Some(piece) = pieces.into_iter().next() else { break };
        assert_eq!(piece.first, lines.len() as u64 + 1);
        lines.extend(piece.lines);
    }
    assert_eq!(lines.len(), 40);
    let (_, inside) = store.log_pieces("build/7", 3).await.unwrap();
    assert_eq!(inside[0].first, 3, "the rest of a piece is read with the piece");
    store.append_log("build/7", vec!["end".to_owned()], true, None).await.unwrap();
    let after = store.append_log("build/7", vec!["late".to_owned()], false, None).await.unwrap();
    assert!(after.ended && after.last == 41);
    store.append_log("build/70", vec!["another".to_owned()], false, None).await.unwrap();
    store.close_log("build/70").await.unwrap();
    store.close_log("build/7").await.unwrap();
    let (state, pieces) = store.log_pieces("build/7", 0).await.unwrap();
    assert!(state.unwrap().closed && pieces.is_empty());
    let all = store.logs("build/").await.unwrap();
    let names: Vec<_> = all.iter().map(|(name, state)| (name.as_str(), state.closed)).collect();
    assert_eq!(names, [("build/7", true), ("build/70", false)], "one that has not ended stays open");
    store.remove_log("build/7").await.unwrap();
    assert_eq!(store.log_state("build/7").await.unwrap(), None);
}
