//! Patterns on paths, as the CNB slices use them (Go `filepath.Match`).

use crate::spec::Filter;

/// A filter's verdict on one path below a tree's source.
impl Filter {
    /// Whether a pattern of `exclude` stands for this very path.
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.iter().any(|pattern| matches(pattern.as_bytes(), path))
    }

    /// Whether a pattern of `include` stands for this very path, or there are none.
    pub(crate) fn includes(&self, path: &[u8]) -> bool {
        self.include.is_empty() || self.include.iter().any(|pattern| matches(pattern.as_bytes(), path))
    }
}

/// Whether a pattern matches a whole path, part by part.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let pattern = pattern.strip_prefix(b"./").unwrap_or(pattern);
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    let mut patterns = pattern.split(|b| *b == b'/');
    let mut names = path.split(|b| *b == b'/');
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches_name(pattern, name) => {}
            _ => return false,
        }
    }
}

/// Whether a pattern matches a name. A star remembers where it stood: no pattern takes more than quadratic time.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some(used) = matches_one(&pattern[p..], name[n]) {
            p += used;
            n += 1;
            continue;
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        (p, n) = (after, from + 1);
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// How much of the pattern one byte of a name uses up; `None` where it does not match.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'\\' => (*pattern.get(1)? == byte).then_some(2),
        b'[' => matches_class(pattern, byte),
        literal => (literal == byte).then_some(1),
    }
}

fn matches_class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut found = false;
    let mut first = true;
    while first || *pattern.get(at)? != b']' {
        first = false;
        let (low, next) = class_byte(pattern, at)?;
        let (high, next) = match pattern.get(next) {
            Some(b'-') => class_byte(pattern, next + 1)?,
            _ => (low, next),
        };
        found |= (low..=high).contains(&byte);
        at = next;
    }
    (found != negated).then_some(at + 1)
}

fn class_byte(pattern: &[u8], at: usize) -> Option<(u8, usize)> {
    match *pattern.get(at)? {
        b'\\' => Some((*pattern.get(at + 1)?, at + 2)),
        byte => Some((byte, at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_go() {
        let yes = [
            ("*.py", "a.py"),
            ("static/*", "static/x"),
            ("a?c", "abc"),
            ("[a-c]*", "bark"),
            ("[^a]", "b"),
            ("\\*", "*"),
            ("./x/", "x"),
            ("*a*b*", "xxaxxbxx"),
            ("", ""),
        ];
        for (pattern, path) in yes {
            assert!(matches(pattern.as_bytes(), path.as_bytes()), "{pattern} {path}");
        }
        let no = [
            ("*.py", "d/a.py"),
            ("*", "a/b"),
            ("a?c", "ac"),
            ("[a-c]", "d"),
            ("[", "["),
            ("a", ""),
            ("\\", "\\"),
        ];
        for (pattern, path) in no {
            assert!(!matches(pattern.as_bytes(), path.as_bytes()), "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_take_no_more_than_quadratic_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
