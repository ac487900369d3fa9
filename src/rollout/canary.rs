//! A canary: a part of a release's web instances that shares the traffic with what serves, and is watched before the rest follows.
//!
//! The two runtimes start it and see whether it stays up; [`Watch`] looks at what it answers, beside what the release before answers
//! in the same time: a tool that errs anyway may be released, one that errs more than before may not.

use crate::fault;
use crate::runtime::{Answers, Notes, RunnableRelease, Traffic};
use hythe_model::project::Canary;
use hythe_model::{BuildEvent, Fault, InstanceId, Phase, ProcessType};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at the answers.
const LOOK: Duration = Duration::from_millis(500);
/// Fewer answers than this say nothing.
const FEW: u64 = 20;
/// A canary may err so many times as often as what serves beside it.
const WORSE: u64 = 2;

/// The canary of a release that is to follow `before`, and its instances; none where nothing serves that it could share with.
pub(crate) fn of(release: &RunnableRelease, before: Option<&RunnableRelease>) -> Option<(Canary, u32)> {
    let canary = release.canary?;
    let all = web_instances(release);
    (all > 0 && before.is_some_and(|before| web_instances(before) > 0)).then(|| (canary, canary.part.of(all)))
}

fn web_instances(release: &RunnableRelease) -> u32 {
    release.release.formation.0.get(&ProcessType::web()).copied().unwrap_or(0)
}

/// One canary that takes traffic.
pub(crate) struct Watch<'a> {
    pub(crate) traffic: &'a dyn Traffic,
    pub(crate) release: &'a RunnableRelease,
    pub(crate) canary: Canary,
    /// Its instances, and those of what serves beside it.
    pub(crate) instances: &'a (dyn Fn() -> [Vec<InstanceId>; 2] + Send + Sync),
    pub(crate) notes: &'a Notes<'a>,
}

impl Watch<'_> {
    /// Waits out the pause; a fault as soon as the canary errs too often.
    pub(crate) async fn goes_well(&self) -> Result<(), Fault> {
        let (pause, all) = (self.canary.pause.duration(), web_instances(self.release));
        let part = self.canary.part.of(all);
        self.note(format!("canary: {part} of {all} ready, watched for {}", self.canary.pause), None);
        let (begun, [_, before]) = (Instant::now(), self.answers());
        loop {
            let [new, old] = self.answers();
            let old = Answers {
                all: old.all.saturating_sub(before.all),
                errors: old.errors.saturating_sub(before.errors),
            };
            if errs_too_often(new, old, self.canary.errors) {
                return Err(fault::canary_errs(&self.release.release, new, old, self.canary.errors));
            }
            let left = pause.saturating_sub(begun.elapsed());
            if left.is_zero() {
                self.note(format!("canary: does well, {}", counted(new)), Some(begun.elapsed()));
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    fn answers(&self) -> [Answers; 2] {
        (self.instances)().map(|ids| ids.iter().map(|id| self.traffic.answers(id)).sum())
    }

    fn note(&self, text: String, took: Option<Duration>) {
        let millis = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        (self.notes)(BuildEvent::Note { phase: Phase::Rollout, text, millis });
    }
}

/// Answers in words, as in "3 server errors in 50 answers".
pub(crate) fn counted(answers: Answers) -> String {
    let plural = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!("{} in {}", plural(answers.errors, "server error"), plural(answers.all, "answer"))
}

/// Whether more of a hundred answers are errors than are allowed, and a good deal more than before.
fn errs_too_often(new: Answers, old: Answers, allowed: u32) -> bool {
    let more_than_allowed = new.errors * 100 > u64::from(allowed) * new.all;
    let more_than_before = old.all == 0 || new.errors * old.all > WORSE * old.errors * new.all;
    new.all >= FEW && more_than_allowed && more_than_before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::testing;
    use hythe_model::project::Part;
    use hythe_model::units::Span;

    fn answers(all: u64, errors: u64) -> Answers {
        Answers { all, errors }
    }

    #[test]
    fn a_canary_errs_by_what_is_allowed_and_by_what_was_before() {
        assert!(!errs_too_often(answers(19, 19), answers(100, 0), 5), "too few to say anything");
        assert!(errs_too_often(answers(20, 2), answers(100, 0), 5));
        assert!(!errs_too_often(answers(20, 1), answers(100, 0), 5), "as many as are allowed");
        assert!(errs_too_often(answers(20, 1), answers(100, 0), 0));
        assert!(!errs_too_often(answers(20, 8), answers(100, 20), 5), "not much worse than before");
        assert!(errs_too_often(answers(20, 9), answers(100, 20), 5));
        assert!(errs_too_often(answers(20, 2), answers(0, 0), 5), "nobody asked the release before");
    }

    #[test]
    fn there_is_one_only_beside_something_that_serves() {
        let mut release = testing::release("weather", 2, "web=10 worker=1");
        let (before, asleep) =
            (testing::release("weather", 1, "web=1"), testing::release("weather", 1, "web=0"));
        assert_eq!(of(&release, Some(&before)), None, "none was asked for");
        let canary = Canary { part: Part::Percent(25), pause: Span::seconds(30), errors: 5 };
        release.canary = Some(canary);
        assert_eq!(of(&release, Some(&before)), Some((canary, 3)));
        assert_eq!(of(&release, None), None);
        assert_eq!(of(&release, Some(&asleep)), None);
    }
}
