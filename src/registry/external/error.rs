//! What went wrong with the external registry, in words for whoever pushed.

use crate::client::{Answer, ClientError};
use crate::credentials::CredentialsError;
use hythe_model::{Digest, Fault, ToolName};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an external registry cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file of authorities.
    #[error("the authorities in {} cannot be read: {source}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The platform's name.
    #[error(
        "`platform` in [kubernetes] is a part of the names of images in [registry.external], and so it has letters, digits and . _ -, at most 57"
    )]
    Platform,
    /// How it is reached.
    #[error("the external registry cannot be reached as it is configured: {0}")]
    Client(String),
}

/// Why an image is not in the external registry, or is still there.
#[derive(Debug, thiserror::Error)]
pub struct ExternalError {
    host: String,
    cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// The registry did not do it.
    Client(ClientError),
    /// Neither the registry nor the content store has the image.
    Nowhere { tool: ToolName, image: Digest },
    /// The content store failed.
    Store(String),
}

impl ExternalError {
    pub(super) fn new(host: &str, cause: Cause) -> Self {
        Self { host: host.to_owned(), cause }
    }

    /// Whether it may go better by itself.
    pub(super) fn passes(&self) -> bool {
        matches!(&self.cause, Cause::Client(error) if error.passes())
    }

    /// How long the registry wants to be left alone.
    pub(super) fn wait(&self) -> Option<Duration> {
        if let Cause::Client(error) = &self.cause { error.wait() } else { None }
    }

    /// Whether the registry does not do this for anybody.
    pub fn is_unsupported(&self) -> bool {
        self.answer().is_some_and(Answer::is_unsupported)
    }

    fn answer(&self) -> Option<&Answer> {
        if let Cause::Client(ClientError::Refused(answer)) = &self.cause { Some(answer) } else { None }
    }

    /// Whether the registry cannot be asked at all now, whatever it is about.
    pub fn is_away(&self) -> bool {
        use ClientError::{Away, Untrusted, Unusable};
        matches!(&self.cause, Cause::Client(Away(_) | Untrusted(_) | Unusable(_)))
    }

    /// Whether the registry would say the same whatever it is asked about: it is away, does not know the platform, or wants to be
    /// left alone.
    pub fn is_general(&self) -> bool {
        self.is_away() || self.answer().is_some_and(Answer::is_general)
    }

    /// Whether it is the registry that failed, and not the platform.
    pub fn is_the_registrys(&self) -> bool {
        matches!(self.cause, Cause::Client(_))
    }

    /// Whether the image is nowhere at all.
    pub fn is_nowhere(&self) -> bool {
        matches!(self.cause, Cause::Nowhere { .. })
    }

    /// Whether the registry does not let the platform do this, today or tomorrow.
    pub fn is_refusal(&self) -> bool {
        self.is_unsupported() || self.answer().is_some_and(Answer::is_denied)
    }

    /// The same in words for people.
    pub fn fault(&self) -> Fault {
        let host = &self.host;
        let fault = |id: &str, what: &str| {
            Fault::new(
                format!("registry/{id}"),
                format!("The image cannot be brought to the registry {host}: {what}."),
            )
        };
        match &self.cause {
            Cause::Client(error) => of_client(error, fault),
            Cause::Nowhere { tool, .. } => {
                let what = format!("The image is gone: neither the registry {host} nor the platform has it.");
                Fault::new("registry/image-lost", what)
                    .next(format!("Build it anew: hythe redeploy --tool {tool}, or push a commit."))
            }
            Cause::Store(error) => {
                tracing::error!(%error, "an image could not be read from the content store");
                Fault::new("platform/internal", "The platform failed.")
                    .why("It could not read the image that it has built; its log has the details.")
                    .next("Try again, or tell the operator.")
            }
        }
    }
}

impl fmt::Display for ExternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Client(error) => error.fmt(f),
            Cause::Nowhere { image, .. } => write!(f, "neither {} nor the platform has {image}", self.host),
            Cause::Store(error) => f.write_str(error),
        }
    }
}

/// What the operator can do is told in its own line; whoever pushed can do little but push again.
fn of_client(error: &ClientError, fault: impl Fn(&str, &str) -> Fault) -> Fault {
    const LOOK: &str = "The operator sees more by: hythed check-config";
    let fault = match error {
        ClientError::Away(_) | ClientError::Unusable(_) => {
            let fault = fault("unreachable", "it does not answer");
            return fault.why(capital(error)).next("Try again once it is back.").next(LOOK);
        }
        ClientError::Untrusted(_) => fault("untrusted", "nobody whom this machine trusts vouches for it")
            .why(capital(error))
            .next("The operator names its authority: ca_bundle in [registry.external]."),
        ClientError::Refused(answer) if answer.is_full() => fault("full", "it has no room for it")
            .why(capital(error))
            .next("The operator raises its quota or its limit of an upload, or removes what is not needed; then try again."),
        ClientError::Refused(answer) if answer.is_denied() => fault("refused", "it refuses the platform")
            .why(capital(error))
            .next("The operator checks push_credentials in [registry.external], and what they may do there."),
        ClientError::Refused(answer) if answer.code == "DIGEST_INVALID" => {
            return mismatch(fault).why(capital(error)).next(LOOK);
        }
        ClientError::Mismatch { .. } => return mismatch(fault).why(capital(error)).next(LOOK),
        ClientError::Refused(_) | ClientError::Odd { .. } => {
            fault("failing", "it does not answer as it should").why(capital(error)).next("Try again.")
        }
    };
    fault.next(LOOK)
}

fn mismatch(fault: impl Fn(&str, &str) -> Fault) -> Fault {
    fault("digest-mismatch", "what arrives there is not what was sent")
        .next("Something on the way changes what passes it, as a proxy; the operator takes it out.")
}

/// A sentence of an error's words.
fn capital(error: &ClientError) -> String {
    let text = error.to_string();
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).chain(['.']).collect()
}
