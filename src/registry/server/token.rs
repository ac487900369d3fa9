//! Bearer tokens: who may do what with which repository, for a few minutes (Docker's token authentication).
//!
//! A client that is refused is told where to get a token and for which scope; it asks [`issue`] with its name and secret
//! and gets the intersection of what it asked for and what it may. A mount asks for two scopes.

use super::error::{ApiError, Code};
use super::{Api, RegistryAction, RegistryOptions, Subject, Unproven};
use crate::Repository;
use axum::extract::{Request, State};
use axum::response::Response;
use axum_extra::headers::authorization::{Basic, Bearer};
use axum_extra::headers::{Authorization, HeaderMapExt};
use http::{HeaderMap, Method, StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SERVICE: &str = "hythe";
/// Most scopes that one token may ask for.
const MAX_SCOPES: usize = 32;

/// Signs tokens and reads them.
pub(super) struct Tokens {
    sign: EncodingKey,
    read: DecodingKey,
    rules: Validation,
    life: Duration,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// Empty for nobody in particular.
    sub: String,
    iat: u64,
    exp: u64,
    access: Vec<Access>,
}

/// What a token allows with one repository.
#[derive(Debug, Serialize, Deserialize)]
struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Claims {
    pub(super) fn allow(&self, repository: &Repository, action: RegistryAction) -> bool {
        let about = |access: &&Access| access.kind == "repository" && access.name == repository.as_str();
        self.access.iter().filter(about).any(|access| access.actions.iter().any(|a| a == action.word()))
    }
}

impl Tokens {
    pub(super) fn new(options: &RegistryOptions) -> Self {
        let key = options.token_key.unwrap_or_else(rand::random);
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[SERVICE]);
        rules.set_issuer(&[SERVICE]);
        rules.leeway = 5;
        Self {
            sign: EncodingKey::from_secret(&key),
            read: DecodingKey::from_secret(&key),
            rules,
            life: options.token_life,
        }
    }

    /// The claims of the request's token, if they allow all that is needed; otherwise the way to a token that may.
    pub(super) fn check(
        &self,
        api: &Api,
        headers: &HeaderMap,
        needed: &[(&Repository, RegistryAction)],
    ) -> Result<Claims, ApiError> {
        let token = headers.typed_get::<Authorization<Bearer>>();
        let claims = token.and_then(|token| {
            jsonwebtoken::decode::<Claims>(token.token(), &self.read, &self.rules)
                .ok()
                .map(|data| data.claims)
        });
        let refused = |why, message| challenge(api, headers, needed, why, message);
        let Some(claims) = claims else {
            return Err(refused("invalid_token", "a token is needed"));
        };
        // A token of nobody who asked for nothing opens no door, not even that of the version check.
        if needed.is_empty() && claims.sub.is_empty() && claims.access.is_empty() {
            return Err(refused("invalid_token", "a user's token is needed"));
        }
        if needed.iter().all(|(repository, action)| claims.allow(repository, *action)) {
            return Ok(claims);
        }
        Err(refused("insufficient_scope", "the token does not allow this"))
    }

    fn sign(&self, subject: &Subject, access: Vec<Access>) -> Result<String, ApiError> {
        let sub = match subject {
            Subject::Anonymous => String::new(),
            Subject::User(name) => name.clone(),
        };
        let iat = now();
        let exp = iat + self.life.as_secs();
        let claims = Claims { iss: SERVICE.to_owned(), aud: SERVICE.to_owned(), sub, iat, exp, access };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign)
            .map_err(|e| ApiError::internal(&e))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn challenge(
    api: &Api,
    headers: &HeaderMap,
    needed: &[(&Repository, RegistryAction)],
    why: &str,
    message: &str,
) -> ApiError {
    let mut text = format!("Bearer realm=\"{}/v2/token\",service=\"{SERVICE}\"", public_url(api, headers));
    for (repository, action) in needed {
        // Who pushes also reads what is there already.
        let words = match action {
            RegistryAction::Push => "pull,push",
            other => other.word(),
        };
        let _ = write!(text, ",scope=\"repository:{repository}:{words}\"");
    }
    if headers.contains_key(header::AUTHORIZATION) {
        let _ = write!(text, ",error=\"{why}\"");
    }
    ApiError::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message).with("www-authenticate", text)
}

/// This server as the client sees it.
fn public_url(api: &Api, headers: &HeaderMap) -> String {
    if let Some(url) = &api.options.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = header("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    let plain = |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
    let host = header("host").filter(plain).unwrap_or("localhost");
    format!("{scheme}://{host}")
}

/// Who asks, as the router in front of this API says; it takes out what clients say of that themselves.
fn client(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get("x-forwarded-for")?.to_str().ok()?.parse().ok()
}

fn unproven(why: Unproven) -> ApiError {
    match why {
        Unproven::Wrong => {
            ApiError::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, "user or secret is wrong")
        }
        Unproven::TooMany { wait } => {
            let message = "too many wrong secrets came from this address; try again later";
            let seconds = (wait.as_secs() + 1).to_string();
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message)
                .with("retry-after", seconds)
        }
    }
}

/// `GET /v2/token`: a token for the scopes asked for, as far as the user may have them.
pub(super) async fn issue(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::method());
    }
    let subject = if request.headers().contains_key(header::AUTHORIZATION) {
        let basic = request.headers().typed_get::<Authorization<Basic>>();
        let basic = basic.ok_or_else(|| unproven(Unproven::Wrong))?;
        let from = client(request.headers());
        api.auth.verify(basic.username(), basic.password(), from).await.map_err(unproven)?
    } else {
        Subject::Anonymous
    };
    let mut access = Vec::new();
    for (repository, actions) in scopes(request.uri().query()) {
        let mut granted = Vec::new();
        for action in actions {
            if api.auth.allowed(&subject, &repository, action).await {
                granted.push(action.word().to_owned());
            }
        }
        if !granted.is_empty() {
            let name = repository.as_str().to_owned();
            access.push(Access { kind: "repository".to_owned(), name, actions: granted });
        }
    }
    let token = api.tokens.sign(&subject, access)?;
    let expires_in = api.tokens.life.as_secs();
    let body = serde_json::json!({"token": token, "access_token": token, "expires_in": expires_in});
    let mut response = axum::response::IntoResponse::into_response(axum::Json(body));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The scopes of a query: `scope=repository:<name>:<actions>`, repeated or parted by spaces. Others are nothing to us.
fn scopes(query: Option<&str>) -> Vec<(Repository, Vec<RegistryAction>)> {
    let values = query.unwrap_or_default().split('&').filter(|pair| pair.starts_with("scope="));
    let values = values.filter_map(|pair| super::parameter(Some(pair), "scope"));
    let texts: Vec<String> =
        values.flat_map(|v| v.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    texts.iter().take(MAX_SCOPES).filter_map(|text| scope(text)).collect()
}

fn scope(text: &str) -> Option<(Repository, Vec<RegistryAction>)> {
    let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
    let asked = |action: &RegistryAction| actions.split(',').any(|a| a == "*" || a == action.word());
    let actions = RegistryAction::ALL.into_iter().filter(asked).collect();
    Some((name.parse().ok()?, actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_in_both_spellings() {
        use RegistryAction::{Delete, Pull, Push};
        let read =
            |query| scopes(Some(query)).into_iter().map(|(r, a)| (r.to_string(), a)).collect::<Vec<_>>();
        let two = vec![("a/b".to_owned(), vec![Pull, Push]), ("c".to_owned(), vec![Pull])];
        assert_eq!(read("service=x&scope=repository:a/b:push,pull&scope=repository%3Ac%3Apull"), two);
        assert_eq!(read("scope=repository:a/b:pull,push+repository:c:pull"), two);
        assert_eq!(read("scope=repository:a:*"), [("a".to_owned(), vec![Pull, Push, Delete])]);
        assert_eq!(read("scope=registry:catalog:*&scope=repository:../a:pull&scope=&scope=%zz"), []);
    }
}
