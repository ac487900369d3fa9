//! What becomes of a transaction that did not succeed.

use crate::StoreError;
use crate::db::{Ended, Failure};
use diesel::result::{DatabaseErrorKind as Kind, Error as SqlError};
use rand::RngExt;
use std::time::{Duration, Instant};

/// Attempts at a transaction that others are in the way of.
const CONFLICTS: u32 = 40;
/// Attempts at one that fails by something else than diesel has a word for; a deadlock is among these.
const UNNAMED: u32 = 4;
/// The first pause, which doubles with every attempt, and the longest. Each is cut to a random part.
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(250);
/// The longest pause before another look at a server that is away.
const LOOK: Duration = Duration::from_secs(1);

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing has changed and nothing is wrong: run it again.
    Again(String),
    /// Nothing has changed, for no reason that is known.
    Unnamed(String),
    /// The connection is gone; nothing has changed.
    Lost(String),
    /// The connection is gone with the answer to COMMIT.
    Unclear(String),
}

/// What to do about the end of a transaction that was to write or not, or the failure that it is for good. `clean` says
/// whether the connection is good for another one.
pub(super) fn verdict(ended: Ended, writes: bool, clean: bool) -> Result<Verdict, Failure> {
    match ended {
        Ended::AtCommit(error) => Ok(at_commit(error)),
        Ended::Before(Failure::Refused(error)) => Err(Failure::Refused(error)),
        Ended::Before(Failure::Sql(SqlError::DatabaseError(kind, about))) => {
            let reason = about.message().to_owned();
            match kind {
                // A row that one transaction looked for in vain and another one made, unless the work says what it means.
                Kind::SerializationFailure | Kind::UniqueViolation | Kind::ForeignKeyViolation => {
                    Ok(Verdict::Again(reason))
                }
                Kind::UnableToSendCommand | Kind::ClosedConnection => Ok(Verdict::Lost(reason)),
                // The server has handed its place on to another one.
                Kind::ReadOnlyTransaction if writes => Ok(Verdict::Lost(reason)),
                Kind::ReadOnlyTransaction => Err(Failure::Sql(SqlError::DatabaseError(kind, about))),
                _ if !clean => Ok(Verdict::Lost(reason)),
                Kind::Unknown => Ok(Verdict::Unnamed(reason)),
                other => Err(Failure::Sql(SqlError::DatabaseError(other, about))),
            }
        }
        Ended::Before(Failure::Sql(error)) => Err(Failure::Sql(error)),
    }
}

/// COMMIT was sent. Only where the server says that it refused is it sure that nothing has changed.
fn at_commit(error: SqlError) -> Verdict {
    match error {
        SqlError::DatabaseError(Kind::SerializationFailure, about) => {
            Verdict::Again(about.message().to_owned())
        }
        other => Verdict::Unclear(other.to_string()),
    }
}

/// The attempts at one transaction.
pub(super) struct Attempts {
    operation: &'static str,
    place: String,
    patience: Duration,
    made: u32,
    unnamed: u32,
    /// Since when the server is away, and how often that was seen.
    away: Option<(Instant, u32)>,
}

impl Attempts {
    pub(super) fn new(operation: &'static str, place: &str, patience: Duration) -> Self {
        Self { operation, place: place.to_owned(), patience, made: 0, unnamed: 0, away: None }
    }

    /// How long to wait before the next attempt, or the error that it ends with.
    pub(super) fn next(&mut self, verdict: Verdict) -> Result<Duration, StoreError> {
        let operation = self.operation;
        match verdict {
            Verdict::Unclear(reason) => Err(StoreError::Unclear { operation, reason }),
            Verdict::Lost(reason) => self.away(&reason),
            Verdict::Unnamed(reason) => {
                self.unnamed += 1;
                if self.unnamed >= UNNAMED {
                    return Err(StoreError::Query { operation, reason });
                }
                Ok(self.pause())
            }
            Verdict::Again(reason) => {
                if self.made >= CONFLICTS {
                    return Err(StoreError::Busy { operation, attempts: self.made, reason });
                }
                Ok(self.pause())
            }
        }
    }

    /// How long to wait for a server that is away, or that it has been away for too long.
    pub(super) fn away(&mut self, reason: &str) -> Result<Duration, StoreError> {
        let (since, seen) = *self.away.get_or_insert((Instant::now(), 0));
        if since.elapsed() >= self.patience {
            let (place, waited) = (self.place.clone(), since.elapsed().as_secs());
            return Err(StoreError::Away { place, waited, reason: reason.to_owned() });
        }
        if seen == 0 {
            tracing::warn!(database = %self.place, %reason, "the database is away; waiting for it");
        }
        self.away = Some((since, seen + 1));
        Ok(jittered(seen, LOOK))
    }

    /// It answers again.
    pub(super) fn back(&mut self) {
        self.away = None;
    }

    fn pause(&mut self) -> Duration {
        self.made += 1;
        jittered(self.made - 1, LONGEST)
    }
}

/// A random part of a pause that doubles with every attempt.
fn jittered(attempt: u32, longest: Duration) -> Duration {
    let whole = SHORTEST.saturating_mul(1 << attempt.min(16)).min(longest);
    whole.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(kind: Kind) -> SqlError {
        SqlError::DatabaseError(kind, Box::new("told".to_owned()))
    }

    fn told(ended: Ended, clean: bool) -> Option<Verdict> {
        verdict(ended, true, clean).ok()
    }

    #[test]
    fn only_a_commit_that_was_refused_is_known_to_have_failed() {
        let reason = || "told".to_owned();
        assert_eq!(
            told(Ended::AtCommit(sql(Kind::SerializationFailure)), true),
            Some(Verdict::Again(reason()))
        );
        for kind in [Kind::UnableToSendCommand, Kind::ClosedConnection, Kind::Unknown] {
            assert_eq!(told(Ended::AtCommit(sql(kind)), false), Some(Verdict::Unclear(reason())));
        }
        let before = |kind| Ended::Before(sql(kind).into());
        assert_eq!(told(before(Kind::SerializationFailure), true), Some(Verdict::Again(reason())));
        assert_eq!(told(before(Kind::UnableToSendCommand), false), Some(Verdict::Lost(reason())));
        assert_eq!(
            told(before(Kind::Unknown), false),
            Some(Verdict::Lost(reason())),
            "as by a server that stops"
        );
        assert_eq!(told(before(Kind::Unknown), true), Some(Verdict::Unnamed(reason())), "as by a deadlock");
        assert_eq!(told(before(Kind::NotNullViolation), true), None);
    }

    #[test]
    fn attempts_end() {
        let mut attempts = Attempts::new("try", "there", Duration::ZERO);
        let again = || Verdict::Again("told".to_owned());
        assert!((0..CONFLICTS).all(|_| attempts.next(again()).is_ok_and(|pause| pause <= LONGEST)));
        assert!(matches!(attempts.next(again()), Err(StoreError::Busy { attempts: CONFLICTS, .. })));
        assert!(matches!(attempts.away("gone"), Err(StoreError::Away { .. })));
    }
}
