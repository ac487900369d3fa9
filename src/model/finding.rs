//! What a look at the surroundings found: a machine, a database, a registry, a cluster.

use crate::Fault;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not wholly; the platform works with less.
    Warning,
    /// Not, and the platform does not work like this.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, as in `user namespaces`.
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do about it, where it is not as it should be.
    pub mend: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn pass(about: &str, detail: impl Into<String>) -> Self {
        Self { about: about.to_owned(), verdict: Verdict::Pass, detail: detail.into(), mend: None }
    }

    /// It is not, which is a warning or a failure.
    pub fn lacking(
        about: &str,
        verdict: Verdict,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { about: about.to_owned(), verdict, detail: detail.into(), mend: Some(mend.into()) }
    }

    /// The failure that this fault tells.
    pub fn failure(about: &str, Fault { what, why, next, .. }: Fault) -> Self {
        let detail = std::iter::once(what).chain(why).collect::<Vec<_>>().join(" ");
        let mend = next.into_iter().next();
        Self { about: about.to_owned(), verdict: Verdict::Failure, detail, mend }
    }
}
