//! Byte ranges (RFC 9110, section 14).

/// What part of a file a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range, several of them, or one that is not understood.
    Whole,
    /// From the first of these bytes to before the second.
    Bytes(u64, u64),
    /// A range that begins behind the end.
    Unsatisfiable,
}

/// Reads the header `Range` for a file of this many bytes.
pub(crate) fn parse(header: Option<&str>, length: u64) -> Part {
    let Some(set) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else { return Part::Whole };
    let Some((first, last)) = set.split_once('-') else { return Part::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, false) => match number(last) {
            Some(0) => Part::Unsatisfiable,
            Some(_) if length == 0 => Part::Unsatisfiable,
            Some(suffix) => Part::Bytes(length.saturating_sub(suffix), length),
            None => Part::Whole,
        },
        (false, open) => match (number(first), if open { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first > last => Part::Whole,
            (Some(first), Some(_)) if first >= length => Part::Unsatisfiable,
            (Some(first), Some(last)) => Part::Bytes(first, length.min(last.saturating_add(1))),
            _ => Part::Whole,
        },
        (true, true) => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (header, part) in [
            ("bytes=0-0", Part::Bytes(0, 1)),
            ("bytes=2-", Part::Bytes(2, 10)),
            ("bytes=-3", Part::Bytes(7, 10)),
            ("bytes=-30", Part::Bytes(0, 10)),
            ("bytes=4-99", Part::Bytes(4, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), part, "{header}");
        }
        assert_eq!(parse(None, 10), Part::Whole);
    }
}
