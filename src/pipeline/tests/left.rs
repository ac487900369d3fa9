//! What is left of work that broke, was cut off or was overtaken.

use super::bed::Mood;
use super::{Bed, live, weather};
use hythe_model::{Actor, BuildEvent, ProcessType, ReleaseNumber, ReleaseState};
use hythe_store::BuildState;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn work_that_panics_ends_with_all_that_it_has_begun() {
    let bed = Bed::new().await;
    let live = bed.live(1).await;
    let build = bed.build().await;
    let release = bed.written(Some(&build), 1).await;
    bed.stage.is(Mood::Panics);
    bed.platform.resume_build(bed.row(&build).await).await.unwrap();
    let failed = bed.until(release.number, ReleaseState::Failed).await;
    assert_eq!(failed.fault.unwrap().id, "platform/internal");
    assert_eq!(bed.row(&build).await.state, BuildState::Failed);
    let asked = bed.stage.asked();
    assert_eq!(
        asked,
        [format!("start {}", release.number), format!("take back {} to {live}", release.number)]
    );
    bed.ended(&build).await;
    let events = bed.platform.logs().build_events(build.id, 0).await.unwrap();
    assert_eq!(events.iter().filter(|logged| logged.event.is_end()).count(), 1);
    assert!(matches!(&events.last().unwrap().event, BuildEvent::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_left_does_not_undo_what_went_live_since() {
    let bed = Bed::new().await;
    bed.live(1).await;
    let build = bed.build().await;
    let left = bed.written(Some(&build), 1).await;
    // Somebody scales while no server goes on with it.
    let scaled = bed.live(3).await;
    bed.platform.resume_build(bed.row(&build).await).await.unwrap();
    let overtaken = bed.until(left.number, ReleaseState::Failed).await;
    assert_eq!(overtaken.fault.unwrap().id, "releases/overtaken");
    let again = bed.until(ReleaseNumber(scaled.0 + 1), ReleaseState::Live).await;
    assert_eq!(again.formation.0[&ProcessType::web()], 3, "as it was scaled");
    bed.ended(&build).await;
    let row = bed.row(&build).await;
    assert_eq!((row.state, row.release), (BuildState::Succeeded, Some(again.number)));
    let asked = bed.stage.asked();
    let wanted = [
        format!("take back {} to {scaled}", left.number),
        format!("start {}", again.number),
        format!("switch {}", again.number),
    ];
    assert_eq!(asked, wanted, "nothing of it runs beside the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_stays_until_it_can() {
    let bed = Bed::new().await;
    let served = bed.live(1).await;
    let left = bed.written(None, 1).await.number;
    bed.stage.is(Mood::Away);
    let refused = bed.platform.restart(&Actor::Platform, &weather()).await.unwrap_err();
    assert_eq!(refused.id, "rollout/not-applied", "nothing begins beside it");
    assert_eq!(bed.release(left).await.state, ReleaseState::RollingOut, "its row says what is to be done");
    bed.stage.is(Mood::Well);
    let next = bed.platform.restart(&Actor::Platform, &weather()).await.unwrap();
    assert_eq!((bed.release(left).await.state, live(&bed).await.number), (ReleaseState::Failed, next.number));
    let (back, start) = (format!("take back {left} to {served}"), format!("start {}", next.number));
    assert_eq!(bed.stage.asked(), [back.clone(), back, start, format!("switch {}", next.number)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_is_left_is_taken_back_until_it_is_gone() {
    let bed = Bed::new().await;
    let build = bed.build().await;
    let left = bed.written(Some(&build), 1).await.number;
    bed.stage.is(Mood::Away);
    bed.platform.resume_build(bed.row(&build).await).await.unwrap();
    bed.ended(&build).await;
    assert_eq!(bed.row(&build).await.state, BuildState::Failed);
    assert_eq!(bed.release(left).await.state, ReleaseState::RollingOut, "something of it may be there");
    bed.stage.asked();
    bed.stage.is(Mood::Well);
    let failed = bed.until(left, ReleaseState::Failed).await;
    assert_eq!(failed.fault.unwrap().id, "rollout/cluster-away");
    assert_eq!(bed.stage.asked().last().unwrap(), &format!("take back {left} to nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_there_is_no_removal_that_was_cut_off() {
    let bed = Bed::new().await;
    bed.build().await;
    bed.live(1).await;
    std::fs::remove_dir_all(bed.repository()).unwrap();
    let again = bed.again(Mood::Well).await;
    assert_eq!(live(&again).await.number, ReleaseNumber(1));
    assert!(!again.repository().exists(), "its history would be another one");
    assert!(!again.stage.asked().contains(&"stop weather".to_owned()));

    again.platform.store().leave_repository(&weather()).await.unwrap();
    let last = again.again(Mood::Well).await;
    assert_eq!(last.platform.store().tool(&weather()).await.unwrap(), None);
    assert_eq!(last.stage.asked(), ["stop weather"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_a_cluster_that_is_away() {
    let bed = Bed::new().await;
    bed.live(1).await;
    let left = bed.written(None, 1).await.number;
    let begun = Instant::now();
    let again = bed.again(Mood::Away).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(again.release(left).await.state, ReleaseState::RollingOut);
    again.stage.is(Mood::Well);
    again.until(left, ReleaseState::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_was_left_is_ended_by_its_cancelling() {
    let bed = Bed::new().await;
    bed.live(1).await;
    let build = bed.build().await;
    let left = bed.written(Some(&build), 1).await.number;
    let outcome = hythe_store::BuildOutcome::Failed(crate::faults::interrupted());
    bed.platform.store().finish_build(build.id, outcome).await.unwrap();
    bed.platform.cancel_release(&weather(), left).await.unwrap();
    let release = bed.release(left).await;
    assert_eq!(
        (release.state, release.fault.unwrap().id.as_str()),
        (ReleaseState::Failed, "releases/cancelled")
    );
    let again = bed.platform.cancel_release(&weather(), left).await.unwrap_err();
    assert_eq!(again.id, "releases/over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_goes_at_once_whatever_was_left_of_it() {
    let bed = Bed::new().await;
    bed.live(1).await;
    bed.written(None, 1).await;
    let begun = Instant::now();
    bed.platform.delete_tool(&weather()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(bed.stage.asked(), ["stop weather"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_rolls_out_goes_when_that_has_ended() {
    let bed = Bed::new().await;
    bed.live(1).await;
    bed.stage.is(Mood::Hangs);
    let (platform, tool) = (bed.platform.clone(), weather());
    let rollout = tokio::spawn(async move { platform.restart(&Actor::Platform, &tool).await });
    bed.until(ReleaseNumber(2), ReleaseState::RollingOut).await;
    bed.platform.delete_tool(&weather()).await.unwrap();
    assert_eq!(rollout.await.unwrap().unwrap_err().id, "push/cancelled");
    assert_eq!(bed.stage.asked(), ["start v2", "stop weather"]);
}
