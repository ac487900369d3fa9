//! Headers on their way through: what belongs to one hop stays behind, what tells of the client is set anew.
//!
//! Enter at [`Forwarding::apply`] for requests and [`clean_answer`] for answers.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, HeaderValue, UPGRADE,
};
use http::{HeaderMap, Uri};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names a request through all logs.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a connection says of its client, the same for all its requests.
#[derive(Debug)]
pub(crate) struct Forwarding {
    client: HeaderValue,
    proto: HeaderValue,
    forwarded: String,
    /// The last host, and the `Forwarded` header made for it.
    last: Mutex<Option<(HeaderValue, HeaderValue)>>,
}

impl Forwarding {
    /// Of a client at this address, with or without TLS.
    pub(crate) fn new(client: IpAddr, tls: bool) -> Self {
        let proto = if tls { "https" } else { "http" };
        let address = client.to_string();
        let node = if client.is_ipv6() { format!("\"[{address}]\"") } else { address.clone() };
        let client = HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown"));
        let forwarded = format!("for={node};proto={proto};host=\"");
        Self { client, proto: HeaderValue::from_static(proto), forwarded, last: Mutex::default() }
    }

    /// Rewrites a request's headers for an instance.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, host: &HeaderValue, request_id: HeaderValue) {
        drop_hop_by_hop(headers);
        self.introduce(headers, host, request_id);
        join_cookies(headers);
    }

    /// Says who the client is, and takes out what it said of that itself.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap, host: &HeaderValue, request_id: HeaderValue) {
        drop_all(headers, is_impostor);
        headers.insert(HOST, host.clone());
        headers.insert(X_FORWARDED_FOR, self.client.clone());
        headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        headers.insert(X_FORWARDED_HOST, host.clone());
        headers.insert(FORWARDED, self.forwarded(host));
        headers.insert(X_REQUEST_ID, request_id);
    }

    fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, forwarded)) = last.as_ref().filter(|(known, _)| known == host) {
            return forwarded.clone();
        }
        let host_bytes = host.as_bytes().iter().filter(|b| !matches!(b, b'"' | b'\\'));
        let text: Vec<u8> = self.forwarded.bytes().chain(host_bytes.copied()).chain(*b"\"").collect();
        let forwarded = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("for=unknown"));
        *last = Some((host.clone(), forwarded.clone()));
        forwarded
    }
}

/// Removes from an answer what belongs to the hop behind us.
pub(crate) fn clean_answer(headers: &mut HeaderMap, request_id: HeaderValue) {
    drop_hop_by_hop(headers);
    headers.insert(X_REQUEST_ID, request_id);
}

/// Removes `Connection`, what it names, and what belongs to one hop by definition (RFC 9110, 7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A message's own frame is nobody's to give away.
            .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    drop_all(headers, is_of_one_hop);
}

fn is_of_one_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"te"
            | b"transfer-encoding"
            | b"upgrade"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            // The router itself says 100 Continue when it starts to read.
            | b"expect"
    )
}

/// Removes headers by their names. Most messages have none to remove, and are looked through once.
fn drop_all(headers: &mut HeaderMap, is_one: impl Fn(&[u8]) -> bool) {
    let is_one = |name: &&HeaderName| is_one(name.as_str().as_bytes());
    if headers.keys().any(|name| is_one(&name)) {
        let unwanted: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
        for name in unwanted {
            headers.remove(name);
        }
    }
}

/// Whether a client may not say it of itself. A name with `_` is none that HTTP knows, and to CGI and WSGI it is another
/// spelling of the one with `-`, or a variable of their own, as `SCRIPT_NAME`: they believe it because the router, whom
/// they trust, passed it on.
fn is_impostor(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x') if name.starts_with(b"x-forwarded") || name == b"x-real-ip" => true,
        Some(b'f') if name == b"forwarded" => true,
        // CGI programs read it as the variable `HTTP_PROXY`.
        Some(b'p') if name == b"proxy" => true,
        _ => name.contains(&b'_'),
    }
}

/// Whether a header may follow a request's body. A trailer that routes, frames or vouches comes too late to be checked
/// and early enough to be believed (RFC 9110, 6.5.1).
pub(crate) fn may_follow(name: &HeaderName) -> bool {
    let framing = [CONTENT_LENGTH, HOST, COOKIE, AUTHORIZATION, X_REQUEST_ID];
    let bytes = name.as_str().as_bytes();
    !is_impostor(bytes) && !is_of_one_hop(bytes) && !framing.contains(name)
}

/// HTTP/2 may send cookies apart; HTTP/1.1 takes one header (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(b"; ".as_slice())) {
        headers.insert(COOKIE, joined);
    }
}

/// The protocol that a request asks to change to, where it asks properly.
pub(crate) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    // Plain HTTP/2 is no tunnel but a way around this router.
    let is_http = protocol.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("h2c"));
    (asks && !is_http).then(|| protocol.clone())
}

/// The request's id: the client's where it is sane, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/'))
    };
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    match (given.next().filter(sane), given.next()) {
        (Some(id), None) => id.clone(),
        _ => new_id(),
    }
}

fn new_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes: [u8; 16] = rand::random();
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// The target of a request as instances are asked: path and query.
pub(crate) fn origin_form(uri: Uri) -> Uri {
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(_)) => uri,
        (_, Some(path)) => Uri::from(path.clone()),
        (_, None) => Uri::from_static("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    fn applied(mut headers: HeaderMap) -> HeaderMap {
        let host = HeaderValue::from_static("weather.localhost");
        let forwarding = Forwarding::new("192.0.2.7".parse().unwrap(), true);
        forwarding.apply(&mut headers, &host, HeaderValue::from_static("id-1"));
        headers
    }

    #[test]
    fn a_client_cannot_say_where_it_comes_from() {
        let spoofed = headers(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-port", "1"),
            ("x_request_id", "evil"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("proxy", "http://evil"),
            ("script_name", "/admin"),
            ("path_info", "/admin"),
            ("remote_user", "root"),
            ("_", "a"),
            ("own_token", "a"),
            ("x-own", "kept"),
        ]);
        let headers = applied(spoofed);
        let mut pairs: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        pairs.sort();
        assert_eq!(
            pairs,
            [
                "forwarded: for=192.0.2.7;proto=https;host=\"weather.localhost\"",
                "host: weather.localhost",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: weather.localhost",
                "x-forwarded-proto: https",
                "x-own: kept",
                "x-request-id: id-1",
            ]
        );
    }

    #[test]
    fn trailers_add_nothing_that_headers_may_not_say() {
        let may = |name: &'static str| may_follow(&HeaderName::from_static(name));
        assert!(may("x-sum") && may("server-timing"));
        for name in
            ["x-forwarded-for", "x_sum", "host", "content-length", "transfer-encoding", "authorization"]
        {
            assert!(!may(name), "{name}");
        }
    }

    #[test]
    fn what_belongs_to_one_hop_stays_behind() {
        let headers = applied(headers(&[
            ("connection", "close, X-Secret, content-length"),
            ("connection", "te"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("expect", "100-continue"),
        ]));
        for gone in ["connection", "x-secret", "te", "transfer-encoding", "keep-alive", "upgrade", "expect"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["content-length"], "3");
    }

    #[test]
    fn a_client_of_ipv6_is_quoted() {
        let forwarding = Forwarding::new("2001:db8::7".parse().unwrap(), false);
        let mut headers = HeaderMap::new();
        forwarding.apply(&mut headers, &HeaderValue::from_static("a\"b"), HeaderValue::from_static("1"));
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::7]\";proto=http;host=\"ab\"");
        assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
    }

    #[test]
    fn cookies_become_one_header() {
        let headers = applied(headers(&[("cookie", "a=1"), ("cookie", "b=2")]));
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn upgrades_are_asked_for_properly_or_not_at_all() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(upgrade_of(&headers(&websocket)).unwrap(), "websocket");
        assert!(upgrade_of(&headers(&websocket[1..])).is_none());
        assert!(upgrade_of(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])).is_none());
    }

    #[test]
    fn ids_are_kept_where_they_are_sane() {
        assert_eq!(request_id(&headers(&[("x-request-id", "abc-123")])), "abc-123");
        for bad in ["", "a b", "<script>"] {
            let made = request_id(&headers(&[("x-request-id", bad)]));
            assert!(made.len() == 32 && made != bad, "{bad}");
        }
        let twice = request_id(&headers(&[("x-request-id", "a"), ("x-request-id", "b")]));
        assert_eq!(twice.len(), 32);
    }
}
