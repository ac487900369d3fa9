//! What `hythed check-config` asks of a registry: whether it is there, and what may be done there. Nothing is left behind.

use super::{ExternalOptions, OpenError, Place};
use crate::client::{Begun, ClientError, Session, scope};
use crate::{Credentials, Login};
use hythe_model::{Digest, Fault};

/// A repository that nobody has.
const PROBE: &str = "hythe-check";

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Pass,
    /// Not as well as it might be.
    Warning,
    /// Nothing can be deployed like this.
    Failure,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Finding {
    fn pass(detail: String) -> Self {
        Self { verdict: Verdict::Pass, detail, mend: None }
    }

    fn warning(detail: String, mend: &str) -> Self {
        Self { verdict: Verdict::Warning, detail, mend: Some(mend.to_owned()) }
    }

    fn failure(Fault { what, why, next, .. }: Fault) -> Self {
        let detail = std::iter::once(what).chain(why).collect::<Vec<_>>().join(" ");
        Self { verdict: Verdict::Failure, detail, mend: next.into_iter().next() }
    }
}

/// Asks what may be done with the credentials of a registry, and with those that nodes pull with.
pub async fn check(options: &ExternalOptions, pull: Option<&Credentials>) -> Result<Vec<Finding>, OpenError> {
    let place = Place::open(options)?;
    let push = place.push.as_ref().map(Credentials::login);
    let mut found = vec![place.check_push(push.clone()).await];
    if found[0].verdict != Verdict::Failure {
        found.push(place.check_delete(push).await);
        found.extend(place.check_pull(pull.map(Credentials::login)).await);
    }
    Ok(found)
}

impl Place {
    fn probe(&self, login: Option<Login>, actions: &str) -> Session<'_> {
        let repository = self.prefix.below(PROBE);
        let scopes = vec![scope(&repository, actions)];
        self.client.session(repository, login, scopes)
    }

    async fn check_push(&self, login: Option<Login>) -> Finding {
        match begin_and_drop(&self.probe(login, "pull,push")).await {
            Ok(()) => Finding::pass(format!("images can be sent to {}", self.prefix)),
            Err(error) => Finding::failure(self.failed(error).fault()),
        }
    }

    async fn check_delete(&self, login: Option<Login>) -> Finding {
        match self.probe(login, "pull,delete").delete_manifest(&nothing().into()).await {
            Ok(()) => Finding::pass("images that nobody needs can be removed".to_owned()),
            Err(error) => Finding::warning(
                format!("images that nobody needs stay: {error}"),
                "allow these credentials to delete, and deletion at all (distribution: storage.delete.enabled)",
            ),
        }
    }

    async fn check_pull(&self, login: Option<Login>) -> Vec<Finding> {
        let named = login.is_some();
        match self.probe(login.clone(), "pull").has_manifest(&nothing().into(), &nothing()).await {
            Ok(_) if !named => return vec![Finding::pass("nodes can pull, as anybody can".to_owned())],
            Ok(_) => {}
            Err(ClientError::Refused(answer)) if !named && answer.is_denied() => {
                return vec![Finding::warning(
                    "only nodes that have credentials of their own can pull".to_owned(),
                    "set pull_credentials in [registry.external], or see to it that nodes have some",
                )];
            }
            Err(error) => {
                let mut finding = Finding::failure(self.failed(error).fault());
                finding.detail = format!("with pull_credentials: {}", finding.detail);
                finding.mend = Some(
                    "name credentials that may read there: pull_credentials in [registry.external]"
                        .to_owned(),
                );
                return vec![finding];
            }
        }
        let mut found = vec![Finding::pass("nodes can pull".to_owned())];
        if begin_and_drop(&self.probe(login, "pull,push")).await.is_ok() {
            found.push(Finding::warning(
                "what nodes pull with may push too, and lies in every tool's namespace".to_owned(),
                "name credentials that only read: pull_credentials in [registry.external]",
            ));
        }
        found
    }
}

/// Whether an upload can be begun; it is dropped at once.
async fn begin_and_drop(session: &Session<'_>) -> Result<(), ClientError> {
    if let Begun::At(place) = session.begin(&nothing(), None).await? {
        // What is left of it the registry sweeps.
        let _ = session.cancel(place).await;
    }
    Ok(())
}

/// A digest that no image has.
fn nothing() -> Digest {
    Digest::sha256([0; 32])
}
