//! Who this is: a challenge (RFC 9110, section 11; the distribution's token protocol) and what answers it.

use super::{ClientError, REQUEST, Session, body, refusal};
use crate::Login;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// What is shown to a registry.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    /// Name and password.
    Login(Login),
    /// A token.
    Token(SecretString),
}

impl Shown {
    /// The request with it.
    pub(super) fn on(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Login(Login { user, password }) => request.basic_auth(user, Some(password.expose_secret())),
            Self::Token(token) => request.bearer_auth(token.expose_secret()),
        }
    }
}

/// How a registry asks.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

impl Session<'_> {
    /// What answers the challenge; nothing where there is nothing to show that was not shown. Whoever the registry sent us on to
    /// learns nothing of us.
    pub(super) async fn answer_challenge(&self, response: &Response) -> Result<Option<Shown>, ClientError> {
        if !self.is_home(response.url()) {
            let place = response.url().host_str().unwrap_or_default();
            let why = format!("it leaves the question to {place}, and nothing is shown there");
            return Err(ClientError::Odd { what: "ask who this is", why });
        }
        let shown = match asked(response.headers()) {
            Some(Challenge::Bearer { realm, service }) => {
                Some(Shown::Token(self.token(&realm, service.as_deref()).await?))
            }
            // Shown once, it was refused.
            Some(Challenge::Basic) if self.shown().is_none() => self.login.clone().map(Shown::Login),
            _ => None,
        };
        if let (Some(_), Ok(mut place)) = (&shown, self.shown.write()) {
            place.clone_from(&shown);
        }
        Ok(shown)
    }

    /// A token with the session's rights, or with those of them that its user has.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<SecretString, ClientError> {
        const WHAT: &str = "give a token";
        let odd = |why: &str| ClientError::Odd { what: WHAT, why: why.to_owned() };
        let realm = Url::parse(realm).map_err(|_| odd("the place where tokens are had is no URL"))?;
        // A password is not carried where anybody may read it who could not read it before.
        if realm.scheme() != "https" && self.client.base.scheme() == "https" {
            return Err(odd("it gives tokens by plain HTTP"));
        }
        let query: Vec<_> = service.map(|name| ("service", name)).into_iter().collect();
        let scopes: Vec<_> = self.scopes.iter().map(|scope| ("scope", scope.as_str())).collect();
        let request = self.client.http.get(realm).query(&query).query(&scopes).timeout(REQUEST);
        let request =
            self.login.clone().into_iter().fold(request, |request, login| Shown::Login(login).on(request));
        let response = request.send().await.map_err(|e| ClientError::broken(&e))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(WHAT, response).await);
        }
        let read: Token = serde_json::from_slice(&body(WHAT, response).await?)
            .map_err(|_| odd("its answer is no token"))?;
        read.token.or(read.access_token).ok_or_else(|| odd("its answer has no token"))
    }
}

/// Whether an answer asks for a token.
pub(super) fn wants_token(headers: &HeaderMap) -> bool {
    matches!(asked(headers), Some(Challenge::Bearer { .. }))
}

/// The first challenge of an answer that this client knows.
fn asked(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().find_map(|value| challenge(value.to_str().ok()?))
}

/// The first challenge of a header that this client knows.
fn challenge(header: &str) -> Option<Challenge> {
    let all = http_auth::parse_challenges(header).ok()?;
    all.iter().find_map(|challenge| {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("bearer") {
            return Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") });
        }
        challenge.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (header, read) in [
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://harbor.example.org/service/token",service="harbor-registry",scope="repository:a/b:pull,push""#,
                bearer("https://harbor.example.org/service/token", Some("harbor-registry")),
            ),
            (r#"bearer realm="https://a.org/t""#, bearer("https://a.org/t", None)),
            (r#"Negotiate, Basic realm="x, y", Bearer realm="https://a.org/t""#, Some(Challenge::Basic)),
            ("Bearer", None),
            ("Digest realm=\"x\"", None),
            ("\u{1}", None),
        ] {
            assert_eq!(challenge(header), read, "{header}");
        }
    }
}
