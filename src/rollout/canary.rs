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
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// Fewer answers than this say nothing.
const FEW: u64 = 20;
/// A canary may err so many times as often as what serves beside it.
const WORSE: u64 = 2;

/// What comes first of a release, and how much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) canary: Canary,
    /// Web instances that come first.
    pub(crate) part: u32,
    /// Web instances that there will be.
    pub(crate) all: u32,
}

/// The canary of a release that runs so many web instances and is to follow `before`; none where nothing serves that it could share
/// with.
pub(crate) fn of(release: &RunnableRelease, before: Option<&RunnableRelease>, all: u32) -> Option<First> {
    let canary = release.canary?;
    let web = |before: &RunnableRelease| before.release.formation.0.get(&ProcessType::web()).copied();
    let is_beside = before.and_then(web).is_some_and(|count| count > 0);
    (all > 0 && is_beside).then(|| First { canary, part: canary.part.of(all), all })
}

/// One canary that takes traffic.
pub(crate) struct Watch<'a> {
    pub(crate) traffic: &'a dyn Traffic,
    pub(crate) release: &'a RunnableRelease,
    pub(crate) first: First,
    /// Its instances, and those of what serves beside it.
    pub(crate) instances: &'a (dyn Fn() -> [Vec<InstanceId>; 2] + Send + Sync),
    pub(crate) notes: &'a Notes<'a>,
}

impl Watch<'_> {
    /// Waits out the pause; a fault as soon as the canary errs too often.
    pub(crate) async fn goes_well(&self) -> Result<(), Fault> {
        let First { canary, part, all } = self.first;
        let pause = canary.pause.duration();
        self.note(format!("canary: {part} of {all} ready, watched for {}", canary.pause), None);
        let (begun, [_, before]) = (Instant::now(), self.answers().await);
        loop {
            let [new, old] = self.answers().await;
            let old = Answers {
                all: old.all.saturating_sub(before.all),
                errors: old.errors.saturating_sub(before.errors),
            };
            if errs_too_often(new, old, canary.errors) {
                return Err(fault::canary_errs(&self.release.release, new, old, canary.errors));
            }
            let left = pause.saturating_sub(begun.elapsed());
            if left.is_zero() {
                self.note(format!("canary: does well, {}", counted(new)), Some(begun.elapsed()));
                return Ok(());
            }
            sleep(left.min(LOOK)).await;
        }
    }

    async fn answers(&self) -> [Answers; 2] {
        self.traffic.answers(&self.release.release.tool, &(self.instances)()).await
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
        assert_eq!(of(&release, Some(&before), 10), None, "none was asked for");
        let canary = Canary { part: Part::Percent(25), pause: Span::seconds(30), errors: 5 };
        release.canary = Some(canary);
        assert_eq!(of(&release, Some(&before), 10), Some(First { canary, part: 3, all: 10 }));
        assert_eq!(of(&release, Some(&before), 20), Some(First { canary, part: 5, all: 20 }));
        assert_eq!(of(&release, Some(&before), 0), None);
        assert_eq!(of(&release, None, 10), None);
        assert_eq!(of(&release, Some(&asleep), 10), None);
    }
}
