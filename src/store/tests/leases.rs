//! Leases and claims: one holder for a time, numbers that only grow, and what has run out is another's to take.

use super::*;

on_both!(
    a_lease_has_one_holder_and_a_growing_number,
    of_many_one_gets_the_lease,
    a_claim_runs_out,
    claims_end_with_builds
);

const SHORT: Duration = Duration::from_millis(300);
const ENOUGH: Duration = Duration::from_millis(400);

async fn a_lease_has_one_holder_and_a_growing_number(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
    let take = async |store: &Store, holder: &str, ttl| {
        store.acquire_lease("leader/controller", holder, ttl).await.unwrap()
    };
    assert_eq!(one.lease("leader/controller").await.unwrap(), None);
    let first = take(&one, "a", LONG).await.unwrap();
    assert_eq!((first.fence, first.holder.as_str()), (1, "a"));
    assert_eq!(two.lease("leader/controller").await.unwrap().as_ref(), Some(&first));
    assert_eq!(take(&two, "b", LONG).await, None, "it is held");
    assert!(two.acquire_lease("tool/weather", "b", LONG).await.unwrap().is_some(), "another one is free");
    let again = take(&one, "a", LONG).await.unwrap();
    assert_eq!(again.fence, 2, "asked again after a lost answer");
    assert_eq!(one.renew_lease(&first, LONG).await.unwrap(), None, "the old number is nobody's");
    assert!(one.renew_lease(&again, LONG).await.unwrap().unwrap().until >= again.until);

    assert!(one.release_lease(&again).await.unwrap());
    assert!(!one.release_lease(&again).await.unwrap());
    assert_eq!(one.lease("leader/controller").await.unwrap(), None);
    let third = take(&two, "b", SHORT).await.unwrap();
    assert_eq!(third.fence, 3, "numbers outlive a release");
    assert_eq!(take(&one, "a", LONG).await, None);
    tokio::time::sleep(ENOUGH).await;
    assert_eq!(one.lease("leader/controller").await.unwrap(), None, "it has run out");
    assert!(two.renew_lease(&third, SHORT).await.unwrap().is_some(), "nobody took it: it is kept");
    tokio::time::sleep(ENOUGH).await;
    assert_eq!(take(&one, "a", LONG).await.unwrap().fence, 4);
    assert_eq!(two.renew_lease(&third, LONG).await.unwrap(), None, "it is another's");
    assert!(!two.release_lease(&third).await.unwrap());
}

async fn of_many_one_gets_the_lease(bed: Bed) {
    let stores = [bed.open().await, bed.open().await];
    for round in 0..5 {
        let take = |holder: usize| {
            let store = stores[holder % 2].clone();
            async move { store.acquire_lease("tool/weather", &holder.to_string(), LONG).await.unwrap() }
        };
        let tasks: Vec<_> = (0..8).map(|holder| tokio::spawn(take(holder))).collect();
        let mut won = Vec::new();
        for task in tasks {
            won.extend(task.await.unwrap());
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        assert_eq!(won[0].fence, round + 1);
        assert!(stores[0].release_lease(&won[0]).await.unwrap());
    }
}

async fn a_claim_runs_out(bed: Bed) {
    let (one, two) = (bed.open().await, bed.open().await);
    one.create_tool(&tool("weather"), None).await.unwrap();
    let id = one.enqueue_build(new_build("weather")).await.unwrap().id;
    let claimed = one.claim_next_build("a", SHORT).await.unwrap().unwrap();
    assert_eq!(claimed.claimed_by.as_deref(), Some("a"));
    assert!(claimed.claimed_until.is_some());
    assert_eq!(two.expired_claims().await.unwrap(), []);
    assert!(!two.take_claim(id, "b", LONG).await.unwrap(), "it is claimed");
    assert_eq!(one.renew_claims("a", vec![id], SHORT).await.unwrap(), [id].into());
    tokio::time::sleep(ENOUGH).await;
    let expired: Vec<_> = two.expired_claims().await.unwrap().into_iter().map(|build| build.id).collect();
    assert_eq!(expired, [id]);
    assert!(two.take_claim(id, "b", LONG).await.unwrap());
    assert!(!one.take_claim(id, "c", LONG).await.unwrap(), "one resumes it");
    assert_eq!(
        one.renew_claims("a", vec![id], LONG).await.unwrap(),
        [].into(),
        "the old holder learns that it lost it"
    );
    assert_eq!(two.renew_claims("b", vec![id], LONG).await.unwrap(), [id].into());
}

async fn claims_end_with_builds(bed: Bed) {
    let store = bed.open().await;
    let unclaimed = async |id| {
        let build = store.build(id).await.unwrap().unwrap();
        (build.claimed_by, build.claimed_until) == (None, None)
    };
    store.create_tool(&tool("weather"), None).await.unwrap();
    let first = store.enqueue_build(new_build("weather")).await.unwrap().id;
    assert!(unclaimed(first).await);
    claim(&store).await.unwrap();
    assert!(!unclaimed(first).await);
    assert!(store.requeue_build(first).await.unwrap());
    assert!(unclaimed(first).await, "queued again");
    claim(&store).await.unwrap();
    store.finish_build(first, BuildOutcome::Failed(fault())).await.unwrap();
    assert!(unclaimed(first).await, "ended");
    let second = store.enqueue_build(new_build("weather")).await.unwrap().id;
    claim(&store).await.unwrap();
    let newer = store.enqueue_build(new_build("weather")).await.unwrap().id;
    assert_eq!(store.supersede_older_builds(newer).await.unwrap(), [second]);
    assert!(unclaimed(second).await, "superseded");
    let live = claim(&store).await.unwrap().id;
    let release = store.create_release(new_release("weather", Some(live))).await.unwrap();
    assert!(!unclaimed(live).await, "it rolls out");
    store.activate(&tool("weather"), release.number, None, &deployed('a')).await.unwrap();
    assert!(unclaimed(live).await, "live");
}
