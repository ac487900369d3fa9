//! Where in a tool's file system a config value is found as a file.

use crate::name::string_name;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The folder of the application (CNB Platform Interface, `CNB_APP_DIR`).
pub const APPLICATION: &str = "/workspace";
/// What the platform, the kernel or the operator has put there.
const TAKEN: &[&str] =
    &["/cnb", "/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/mnt", "/proc", "/sys"];
/// A folder of every process, which files may lie in.
const SCRATCH: &str = "/tmp";
/// The longest, in bytes.
const LONGEST: usize = 255;

/// Why a place was refused. The text is fit for a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a plain path.
    #[error(
        "`{0}` is not a file's path: write /one/like/this, or one below the application's folder, of letters, digits and . _ - @ +"
    )]
    Shape(String),
    /// Somebody else's.
    #[error("`{0}` is the platform's: choose another place")]
    Taken(String),
}

/// An absolute path without `.` and `..`. Written without a leading slash it is one below `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePlace(String);

impl FilePlace {
    /// Whether a path is this one or lies below it.
    pub fn holds(&self, path: &Self) -> bool {
        is_below(&path.0, &self.0)
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

string_name!(FilePlace, PlaceError);

impl FromStr for FilePlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let path = if text.starts_with('/') { text.to_owned() } else { format!("{APPLICATION}/{text}") };
        let plain = |part: &str| {
            !["", ".", ".."].contains(&part)
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@+".contains(&b))
        };
        let shown = || text.chars().take(60).collect();
        if path.len() > LONGEST || !path[1..].split('/').all(plain) {
            return Err(PlaceError::Shape(shown()));
        }
        let clashes = |taken: &&str| is_below(&path, taken) || is_below(taken, &path);
        if TAKEN.iter().any(clashes) || is_below(APPLICATION, &path) || path == SCRATCH {
            return Err(PlaceError::Taken(shown()));
        }
        Ok(Self(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_absolute_or_below_the_application() {
        let place = |text: &str| text.parse::<FilePlace>().unwrap().0;
        assert_eq!(place("replica.my.cnf"), "/workspace/replica.my.cnf");
        assert_eq!(place("conf/db.toml"), "/workspace/conf/db.toml");
        assert_eq!(place("/home/hythe/.my.cnf"), "/home/hythe/.my.cnf");
        assert_eq!(place("/etc/hosts.d"), "/etc/hosts.d");
        assert_eq!(place("/tmp/login"), "/tmp/login");
    }

    #[test]
    fn what_is_no_plain_path_or_somebody_elses_is_refused() {
        let refused = |text: &str| text.parse::<FilePlace>().unwrap_err();
        let long = "a/".repeat(200);
        for text in ["", "/", "a//b", "../a", "/a/./b", "a b", "a:b", "a\n", "a/", "ü", &long] {
            assert!(matches!(refused(text), PlaceError::Shape(_)), "{text:?}");
        }
        for text in [
            "/proc/1/environ",
            "/sys",
            "/dev/null",
            "/mnt/dumps",
            "/cnb/process/web",
            "/etc/hosts",
            "/etc",
            "/workspace",
            "/tmp",
        ] {
            assert!(matches!(refused(text), PlaceError::Taken(_)), "{text:?}");
        }
    }
}
