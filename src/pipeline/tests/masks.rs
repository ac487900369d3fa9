//! What is kept out of logs.

use super::{Bed, live, weather};
use crate::ConfigChange;
use crate::cancel::Cancel;
use crate::tests::bed::Mood;
use futures::TryStreamExt;
use hythe_events::{LinePlace, LineSource, LogLine, LogQuery, Printing};
use hythe_model::{Actor, BuildEvent, ReleaseNumber};
use hythe_store::{ConfigEdit, ConfigScope, ConfigValue};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::Semaphore;

fn value(number: u32) -> String {
    format!("secret-number-{number}")
}

/// Sets the config to a value of this number.
async fn set(bed: &Bed, number: u32) {
    let (key, scope) = ("TOKEN".to_owned(), ConfigScope::Run);
    let set = ConfigChange::Set { key, value: value(number).into(), scope };
    bed.platform.change_config(&Actor::Platform, &weather(), vec![set]).await.unwrap();
}

/// Releases of five values, one after the other.
async fn five_releases(bed: &Bed) -> Vec<ReleaseNumber> {
    bed.live(1).await;
    let mut releases = Vec::new();
    for number in 1..=5 {
        set(bed, number).await;
        releases.push(live(bed).await.number);
    }
    releases
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_of_a_release_is_masked_for_as_long_as_a_job_of_it_runs() {
    let bed = Bed::new().await;
    let releases = five_releases(&bed).await;
    let is_masked = async |number: u32| {
        let masker = bed.platform.masker(&weather(), Printing::new(), None).await.unwrap();
        !masker.mask(&value(number)).contains("number")
    };
    assert!(is_masked(5).await && !is_masked(1).await);
    bed.stage.runs_a_job_of(releases[0]);
    assert!(is_masked(5).await && is_masked(1).await && !is_masked(2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_masked_as_its_release_asks_for_whatever_the_runtime_knows_by_then() {
    let bed = Bed::new().await;
    let releases = five_releases(&bed).await;
    // What outlived the server is read before the runtime knows anything of it.
    let again = bed.again(Mood::Well).await;
    let logs = again.platform.logs();
    for (release, name) in [(releases[4], "web.1"), (releases[0], "job.import.a")] {
        let instance = format!("{release}.{name}");
        let mut lines = logs.read_instance(&weather(), &instance, None).await.unwrap().expect("it is wanted");
        let text = format!("{} and {} or {}", value(1), value(5), value(2));
        assert!(lines.take(LinePlace { time: Timestamp::now(), count: 1 }, text.as_bytes(), true).await);
        assert!(lines.finish().await);
    }
    logs.append_soon(&weather(), "router", LineSource::Access, format!("GET /{}", value(1)));
    let lines: Vec<LogLine> = logs.lines(&weather(), LogQuery::default()).try_collect().await.unwrap();
    let shown: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    let own = "secret-number-1 and [masked] or secret-number-2";
    assert_eq!(shown, [own, "[masked] and [masked] or secret-number-2", "GET /[masked]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_set_while_a_build_runs_is_masked_in_its_log() {
    let bed = Bed::new().await;
    let build = bed.build().await;
    let log = bed.platform.build_log(&build);
    bed.platform.mask_log(&log, &weather(), None, Some(0)).await.unwrap();
    set(&bed, 1).await;
    bed.stage.prints(&format!("migrating with {}", value(1)));
    let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    // How it ends is not what this is about: nothing has such a commit.
    let _ = bed.platform.deploy(&build, &log, &Cancel::default(), slot).await;
    let events = bed.platform.logs().build_events(build.id, 0).await.unwrap();
    let lines = events.into_iter().filter_map(|logged| match logged.event {
        BuildEvent::Output { line, .. } => Some(line),
        _ => None,
    });
    assert_eq!(lines.collect::<Vec<_>>(), ["migrating with [masked]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_build_begins_whose_secrets_cannot_be_masked() {
    let bed = Bed::new().await;
    bed.live(1).await;
    let build = hythe_store::Build { image: None, ..bed.build().await };
    // Nothing that the build itself would read.
    let (key, sealed, scope) = ("TOKEN".to_owned(), b"nothing".to_vec(), ConfigScope::Run);
    let edit = ConfigEdit::Set(ConfigValue { key, sealed, scope });
    bed.platform.store().change_config(&weather(), 0, vec![edit], &Actor::Platform).await.unwrap();
    let log = bed.platform.build_log(&build);
    let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let refused = bed.platform.deploy(&build, &log, &Cancel::default(), slot).await.unwrap_err();
    assert_eq!(refused.id, "config/unreadable");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_could_not_be_masked_are_refused_when_they_are_set() {
    let bed = Bed::new().await;
    bed.live(1).await;
    // Of as many bytes as a config may have, in the shortest lines that are masked.
    let lines = |seed: u64| {
        let line = |number: u64| {
            format!("{:08x}\n", (seed * 7_000 + number).wrapping_mul(2_654_435_761) & 0xffff_ffff)
        };
        (0..7_000).map(line).collect::<String>()
    };
    let set = async |first: u64| {
        let one = |number: u64| {
            let (key, value) = (format!("LINES_{number}"), lines(first + number).into());
            ConfigChange::Set { key, value, scope: ConfigScope::Run }
        };
        let changes = (0..16).map(one).collect();
        bed.platform.change_config(&Actor::Platform, &weather(), changes).await
    };
    set(0).await.unwrap();
    let refused = set(100).await.unwrap_err();
    assert_eq!(refused.id, "config/unmaskable", "{refused}");
    let unset = (0..16).map(|number| ConfigChange::Unset { key: format!("LINES_{number}") }).collect();
    bed.platform.change_config(&Actor::Platform, &weather(), unset).await.unwrap();
}
