//! Who asks, and whether they may: the one door of every handler.

use super::Api;
use super::error::{ApiError, permitted};
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use hythe_auth::{Action, Checked, Decision};
use hythe_model::{Actor, BuildId, Fault, MaintainerName, ToolName};
use hythe_store::Build;
use std::net::IpAddr;
use std::time::Duration;

/// Somebody whose token was checked.
pub(crate) struct Caller {
    /// Who.
    pub actor: Actor,
    api: Api,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let token = bearer(parts).ok_or_else(unauthorized)?;
        match api.0.auth.check_token(token, client(parts)).await? {
            Checked::Known(identity) => Ok(Self { actor: identity.actor, api: api.clone() }),
            Checked::Unknown => Err(unauthorized()),
            Checked::TooMany { wait } => Err(too_many(wait)),
        }
    }
}

/// Who asks, as the router in front of the API says; it takes out what clients say of that themselves.
fn client(parts: &Parts) -> Option<IpAddr> {
    parts.headers.get("x-forwarded-for")?.to_str().ok()?.parse().ok()
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// No token, a wrong one and an old one look the same.
fn unauthorized() -> ApiError {
    ApiError::new("unauthorized", "The token is missing, wrong, revoked or has expired.")
        .next("Log in again: hythe login URL --token -")
}

fn too_many(wait: Duration) -> ApiError {
    ApiError::new("too-many-attempts", "Too many wrong tokens came from your address.")
        .retry_after(wait.as_secs() + 1)
}

impl Caller {
    /// Whether the caller may do this, to this tool where the action has one.
    pub(crate) async fn may(&self, action: Action, tool: Option<&ToolName>) -> Result<(), ApiError> {
        permitted(self.decide(action, tool).await?)
    }

    /// As [`Caller::may`], as an answer.
    pub(crate) async fn decide(&self, action: Action, tool: Option<&ToolName>) -> Result<Decision, ApiError> {
        Ok(self.api.0.auth.allow(&self.actor, action, tool).await?)
    }

    /// The build with this number, if the caller may do this with it. A build of a stranger's tool does not exist.
    pub(crate) async fn build(&self, id: BuildId, action: Action) -> Result<Build, ApiError> {
        let Some(build) = self.api.platform().store().build(id).await? else { return Err(no_build(id)) };
        match self.decide(action, Some(&build.tool)).await? {
            Decision::Absent(_) => Err(no_build(id)),
            decision => permitted(decision).map(|()| build),
        }
    }

    /// The caller's account. Tokens stand for maintainers, so that there is one.
    pub(crate) fn maintainer(&self) -> Result<&MaintainerName, ApiError> {
        match &self.actor {
            Actor::Maintainer(name) => Ok(name),
            Actor::DeployKey(_) | Actor::Platform => {
                Err(ApiError::new("forbidden", "Only an account has keys and tokens."))
            }
        }
    }
}

fn no_build(id: BuildId) -> ApiError {
    Fault::new("builds/absent", format!("There is no build {id}, or it is not yours."))
        .next("See them: hythe builds list")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use axum::response::IntoResponse;

    #[test]
    fn who_asks_is_what_the_router_says() {
        let asked = |from: &str| {
            let request = Request::builder().header("x-forwarded-for", from).body(()).unwrap();
            client(&request.into_parts().0)
        };
        assert_eq!(asked("192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(asked("::1"), Some(std::net::Ipv6Addr::LOCALHOST.into()));
        assert_eq!(asked("unknown"), None);
    }

    #[test]
    fn who_must_wait_is_told_how_long() {
        let answer = too_many(Duration::from_millis(41_500)).into_response();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (429, &"42".parse().unwrap())
        );
    }
}
