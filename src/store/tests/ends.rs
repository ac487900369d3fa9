//! Ends that are asked for, and releases that take another one's place.

use super::*;

on_both!(an_end_that_was_asked_for_is_no_release, a_release_takes_the_place_of_another);

/// The fault that a release's activation ended with.
async fn refused(store: &Store, number: ReleaseNumber) -> Fault {
    let error = store.activate(&tool("weather"), number, None, &deployed('a')).await.unwrap_err();
    assert!(matches!(error, StoreError::Ended { .. }), "{error:?}");
    error.into()
}

async fn running(store: &Store) -> Build {
    store.enqueue_build(new_build("weather")).await.unwrap();
    claim(store).await.unwrap()
}

async fn an_end_that_was_asked_for_is_no_release(bed: Bed) {
    let store = Store::open(bed.database).await.unwrap();
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    let reason = fault();
    let restart = store.create_release(new_release("weather", None)).await.unwrap();
    assert!(store.ask_release_to_end(&weather, restart.number, &reason).await.unwrap());
    assert_eq!(refused(&store, restart.number).await, reason);

    let build = running(&store).await;
    let code = store.create_release(new_release("weather", Some(build.id))).await.unwrap();
    assert!(store.ask_to_end(build.id, &reason).await.unwrap());
    assert_eq!(refused(&store, code.number).await, reason);
    assert_eq!(
        store.build(build.id).await.unwrap().unwrap().state,
        BuildState::Running,
        "nothing has changed"
    );
    assert_eq!(store.live_release(&weather).await.unwrap(), None);

    let numbers = async || {
        let rolling = store.rolling_out_of(&weather).await.unwrap();
        rolling.into_iter().map(|release| release.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [restart.number, code.number]);
    assert!(store.fail_release(&weather, code.number, &BuildOutcome::Cancelled(reason)).await.unwrap());
    assert_eq!(numbers().await, [restart.number]);
    let other = store.create_tool(&tool("quotes"), None).await.unwrap().name;
    assert_eq!(store.rolling_out_of(&other).await.unwrap(), []);
}

async fn a_release_takes_the_place_of_another(bed: Bed) {
    let store = Store::open(bed.database).await.unwrap();
    let weather = tool("weather");
    store.create_tool(&weather, None).await.unwrap();
    let build = running(&store).await;
    let of_build = || new_release("weather", Some(build.id));
    let first = store.create_release(of_build()).await.unwrap().number;
    let second = store.replace_release(first, &fault(), of_build()).await.unwrap().number;
    let old = store.release(&weather, first).await.unwrap().unwrap();
    assert_eq!((old.state, old.fault), (ReleaseState::Failed, Some(fault())));
    let row = store.build(build.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.release), (BuildState::Running, Some(second)), "its build goes on");
    assert!(is_conflict(&store.replace_release(first, &fault(), of_build()).await), "once");
    assert_eq!(store.releases(&weather, 10).await.unwrap().len(), 2, "nothing was written");
    let unfinished = store.unfinished_builds_of(&weather).await.unwrap();
    assert_eq!(unfinished.into_iter().map(|build| build.id).collect::<Vec<_>>(), [build.id]);
    store.activate(&weather, second, None, &deployed('a')).await.unwrap();
    assert_eq!(store.unfinished_builds_of(&weather).await.unwrap(), []);
}
