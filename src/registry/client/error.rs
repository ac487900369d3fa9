//! What goes wrong with a registry, told apart by what can be done about it.

use super::auth;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Characters of a registry's own words that are shown.
const SHOWN: usize = 300;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// How it is to be reached makes no sense.
    #[error("{0}")]
    Unusable(String),
    /// It does not answer, or broke off.
    #[error("{0}")]
    Away(String),
    /// It is not who it says, as far as this machine can tell.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(String),
    /// It said no.
    #[error(transparent)]
    Refused(Answer),
    /// It has something else than it was sent.
    #[error("it has {actual} in place of {expected}")]
    Mismatch {
        /// What it was sent.
        expected: String,
        /// What it says that it has.
        actual: String,
    },
    /// It does not speak the protocol.
    #[error("it does not {what} as the OCI distribution specification has it: {why}")]
    Odd {
        /// What it was to do.
        what: &'static str,
        /// What was wrong.
        why: String,
    },
}

impl ClientError {
    /// A request that got no answer.
    pub(super) fn broken(error: &reqwest::Error) -> Self {
        if is_untrusted(error) { Self::Untrusted(chain(error)) } else { Self::Away(chain(error)) }
    }

    /// Whether it may go better by itself.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(answer) => answer.passes(),
            _ => false,
        }
    }

    /// How long the registry wants to be left alone.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if let Self::Refused(answer) = self { answer.wait } else { None }
    }
}

/// What a registry said instead of yes.
#[derive(Debug)]
pub(crate) struct Answer {
    what: &'static str,
    pub(crate) status: StatusCode,
    /// The code of the specification, as in `DENIED`; empty where there is none.
    pub(crate) code: String,
    /// Its own words; empty where there are none.
    pub(crate) message: String,
    wait: Option<Duration>,
    /// Whether it asks for a token, and so may mean the rights of the one that it was shown.
    wants_token: bool,
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Answer {
    pub(super) fn read(what: &'static str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let first =
            serde_json::from_slice::<Envelope>(body).ok().and_then(|all| all.errors.into_iter().next());
        let (code, message) = match first {
            Some(item) => (clean(&item.code), clean(&item.message)),
            // A proxy's page is no message.
            None if body.first() == Some(&b'<') => Default::default(),
            None => (String::new(), clean(&String::from_utf8_lossy(body))),
        };
        let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let wait = wait.map(Duration::from_secs);
        Self { what, status, code, message, wait, wants_token: auth::wants_token(headers) }
    }

    /// Whether it may say yes the next time.
    fn passes(&self) -> bool {
        let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&self.status);
        let broken = self.status.is_server_error()
            && ![StatusCode::INSUFFICIENT_STORAGE, StatusCode::NOT_IMPLEMENTED].contains(&self.status);
        // What it collected away between two questions is sent again.
        busy || broken || self.code.ends_with("BLOB_UNKNOWN") || self.code == "BLOB_UPLOAD_UNKNOWN"
    }

    /// Whether there is no room for it.
    pub(crate) fn is_full(&self) -> bool {
        let words = ["quota", "exceed the configured upper limit", "no space left"];
        let message = self.message.to_lowercase();
        [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::INSUFFICIENT_STORAGE].contains(&self.status)
            || words.iter().any(|word| message.contains(word))
    }

    /// Whether it does not let this user do it.
    pub(crate) fn is_denied(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&self.status)
    }

    /// Whether it does not know this user at all, whatever it is about; or is asked too much, by whatever.
    pub(crate) fn is_general(&self) -> bool {
        let is_stranger = self.status == StatusCode::UNAUTHORIZED && !self.wants_token;
        is_stranger || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether it does not do this for anybody.
    pub(crate) fn is_unsupported(&self) -> bool {
        let statuses = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        statuses.contains(&self.status) || self.code == "UNSUPPORTED"
    }
}

impl Error for Answer {}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it was asked to {} and answered {}", self.what, self.status)?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => Ok(()),
            ("", words) | (words, "") => write!(f, ": {words}"),
            (code, message) => write!(f, ": {message} ({code})"),
        }
    }
}

/// A stranger's words, fit for a screen.
fn clean(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN).collect::<String>().trim().to_owned()
}

/// The last cause of an error: what stands before it names the request, which may hold a token.
pub(super) fn chain(error: &reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return "no answer in time".to_owned();
    }
    let mut last: &dyn Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    clean(&last.to_string())
}

fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // What an I/O error holds is not among its causes.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.is_some_and(|held| is_untrusted(held)) || error.source().is_some_and(is_untrusted)
}
