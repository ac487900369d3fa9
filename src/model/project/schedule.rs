//! When something runs: the five fields of a crontab.

use crate::name::string_name;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Minute, hour, day of the month, month and day of the week, in UTC, as crontab(5) has them; or `@hourly` and its like.
///
/// It is what a cluster's `CronJob` understands too (robfig/cron): no seconds, no `L`, `W` or `#`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(String);

/// Not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a schedule: write minute, hour, day, month and day of the week, as in \"30 4 * * 1-5\", or @hourly, @daily, @weekly, @monthly; a week goes from sun (0) to sat (6)"
)]
pub struct ScheduleError(String);

/// The words that stand for five fields.
const WORDS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

impl Schedule {
    /// The first time after this one; none where the schedule names a day that never comes.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let cron = read(&self.0)?;
        let next = cron.find_next_occurrence(&time.to_zoned(TimeZone::UTC), false).ok()?;
        Some(next.timestamp())
    }
}

/// The pattern, where it is one of the kind that every runtime understands.
fn read(text: &str) -> Option<Cron> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    if WORDS.contains(&text) {
        return parser.parse(text).ok();
    }
    let fields: Vec<_> = text.split_ascii_whitespace().collect();
    let plain = |field: &&str| field.split(',').all(is_plain);
    let whole = fields.len() == 5 && fields.iter().all(plain) && !ends_on_sunday(fields[4]);
    whole.then(|| parser.parse(text).ok()).flatten()
}

/// Whether Sunday is the last day of a week, as 7 or as the end of a range: in a cluster it is 0 and nothing else, and so the first.
fn ends_on_sunday(field: &str) -> bool {
    let mut ranges = field.split(',').map(|item| item.split_once('/').map_or(item, |(range, _)| range));
    ranges.any(|range| {
        let is_7 = range.split('-').any(|day| matches!(day, "7" | "07"));
        is_7 || range.split_once('-').is_some_and(|(_, to)| to.eq_ignore_ascii_case("sun"))
    })
}

/// `*`, a number or a name of three letters, or a range of them; with a step where it is more than one value.
fn is_plain(item: &str) -> bool {
    let value = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits || (text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic()))
    };
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    let spans = range == "*" || range.split_once('-').is_some_and(|(from, to)| value(from) && value(to));
    match step {
        None => spans || value(range),
        Some(step) => spans && step.parse::<u8>().is_ok_and(|step| step > 0),
    }
}

string_name!(Schedule, ScheduleError);

impl FromStr for Schedule {
    type Err = ScheduleError;
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let schedule = Self(text.trim().to_owned());
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError(text.chars().take(60).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str) -> String {
        let from = "2026-11-27T23:30:00Z".parse().unwrap();
        schedule.parse::<Schedule>().unwrap().next_after(from).unwrap().to_string()
    }

    #[test]
    fn schedules_are_those_of_a_crontab() {
        assert_eq!(next("*/5 * * * *"), "2026-11-27T23:35:00Z");
        assert_eq!(next("30 4 * * 1-5"), "2026-11-30T04:30:00Z");
        assert_eq!(next("0 0 1 JAN *"), "2027-01-01T00:00:00Z");
        assert_eq!(next("0 12 * * sun,0"), "2026-11-29T12:00:00Z");
        assert_eq!(next("0 12 * * SUN-mon"), "2026-11-29T12:00:00Z");
        // A day of the month and one of the week: either will do.
        assert_eq!(next("0 0 13 * sat"), "2026-11-28T00:00:00Z");
        assert_eq!(next("0 0 * * */7"), "2026-11-29T00:00:00Z");
        assert_eq!(next("@hourly"), "2026-11-28T00:00:00Z");
    }

    #[test]
    fn what_a_cluster_would_not_understand_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "61 * * * *",
            "*/0 * * * *",
            "5/2 * * * *",
            "0 0 L * *",
            "0 0 * * 5#2",
            "0 0 15W * *",
            "? * * * *",
            "0 12 * * 7",
            "0 12 * * 5-7",
            "0 4 * * sat-sun",
            "0 4 * * 1,FRI-Sun/2",
            "0 4 * * fri-mon",
            "@reboot",
            "@every 5m",
            "0 0 30 2 *",
            "TZ=UTC 0 0 * * *",
            "a b c d e",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
