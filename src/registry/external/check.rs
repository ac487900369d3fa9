//! What `hythed check-config` asks of a registry: whether it is there, and what may be done there. Nothing is left behind.

use super::{ExternalOptions, OpenError, Place};
use crate::client::{Begun, ClientError, Session, scope};
use crate::{Credentials, Login};
use hythe_model::{Digest, Finding, Verdict};

/// A repository that nobody has.
const PROBE: &str = "hythe-check";

/// What the findings are about.
const ABOUT: &str = "external registry";

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
            Ok(()) => Finding::pass(ABOUT, format!("images can be sent to {}", self.prefix)),
            Err(error) => Finding::failure(ABOUT, self.failed(error).fault()),
        }
    }

    async fn check_delete(&self, login: Option<Login>) -> Finding {
        match self.probe(login, "pull,delete").delete_manifest(&nothing().into()).await {
            Ok(()) => Finding::pass(ABOUT, "images that nobody needs can be removed".to_owned()),
            Err(error) => Finding::lacking(
                ABOUT,
                Verdict::Warning,
                format!("images that nobody needs stay: {error}"),
                "allow these credentials to delete, and deletion at all (distribution: storage.delete.enabled)",
            ),
        }
    }

    async fn check_pull(&self, login: Option<Login>) -> Vec<Finding> {
        let named = login.is_some();
        match self.probe(login.clone(), "pull").has_manifest(&nothing().into(), &nothing()).await {
            Ok(_) if !named => {
                return vec![Finding::pass(ABOUT, "nodes can pull, as anybody can".to_owned())];
            }
            Ok(_) => {}
            Err(ClientError::Refused(answer)) if !named && answer.is_denied() => {
                return vec![Finding::lacking(
                    ABOUT,
                    Verdict::Warning,
                    "only nodes that have credentials of their own can pull".to_owned(),
                    "set pull_credentials in [registry.external], or see to it that nodes have some",
                )];
            }
            Err(error) => {
                let mut finding = Finding::failure(ABOUT, self.failed(error).fault());
                finding.detail = format!("with pull_credentials: {}", finding.detail);
                finding.mend = Some(
                    "name credentials that may read there: pull_credentials in [registry.external]"
                        .to_owned(),
                );
                return vec![finding];
            }
        }
        let mut found = vec![Finding::pass(ABOUT, "nodes can pull".to_owned())];
        if begin_and_drop(&self.probe(login, "pull,push")).await.is_ok() {
            found.push(Finding::lacking(
                ABOUT,
                Verdict::Warning,
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
