//! Names of objects.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
const LONGEST: usize = 250;

/// The name of an object: parts of lower-case letters, digits, `.`, `_` and `-`, joined by `/`. No part begins with a dot, so that
/// no name leads out of a folder or hides in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// A text that names no object.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no name of an object")]
pub struct KeyError(String);

impl Key {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(letter);
        if text.len() <= LONGEST && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyError(text.chars().take(LONGEST).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["a", "sources/0a.tar", "packs/12/pack-ab_c.idx"] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "a/.b", "A", "a b", "a\0", "ä", &"a".repeat(251)]
        {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
        assert_eq!("a/b.c".parse::<Key>().unwrap().name(), "b.c");
    }
}
