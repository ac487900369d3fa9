//! Times as people read them.

use jiff::{Timestamp, tz::TimeZone};

/// How long ago, in the largest unit that fits: `8 min`.
pub(crate) fn since(then: Timestamp) -> String {
    span(Timestamp::now().as_second().saturating_sub(then.as_second()))
}

/// How long ago, as part of a sentence: `8 min ago`; a time to come is `in 8 min`.
pub(crate) fn ago(then: Timestamp) -> String {
    let seconds = Timestamp::now().as_second().saturating_sub(then.as_second());
    if seconds < 0 { format!("in {}", span(-seconds)) } else { format!("{} ago", span(seconds)) }
}

/// The exact time in the reader's own time zone, to the second.
pub(crate) fn exact(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_unit() {
        let spans = [0, 59, 60, 3_599, 3_600, 172_799, 172_800, -5].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d", "0 s"]);
    }
}
