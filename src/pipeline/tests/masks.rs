//! What is kept out of logs.

use super::{Bed, live, weather};
use crate::ConfigChange;
use hythe_model::Actor;
use hythe_store::ConfigScope;

#[tokio::test(flavor = "multi_thread")]
async fn the_config_of_a_release_is_masked_for_as_long_as_a_job_of_it_runs() {
    let bed = Bed::new().await;
    bed.live(1).await;
    let value = |number: u32| format!("secret-number-{number}");
    let mut releases = Vec::new();
    for number in 1..=5 {
        let (key, scope) = ("TOKEN".to_owned(), ConfigScope::Run);
        let set = ConfigChange::Set { key, value: value(number).into(), scope };
        bed.platform.change_config(&Actor::Platform, &weather(), vec![set]).await.unwrap();
        releases.push(live(&bed).await.number);
    }
    let is_masked = async |number: u32| {
        let masker = bed.platform.masker(&weather(), []).await.unwrap();
        !masker.mask(&value(number)).contains("number")
    };
    assert!(is_masked(5).await && !is_masked(1).await);
    bed.stage.runs_a_job_of(releases[0]);
    assert!(is_masked(5).await && is_masked(1).await && !is_masked(2).await);
}
