//! What the router itself answers: short pages that tell apart what is wrong.
//!
//! Each has a stable id, in the page and in the header `hythe-fault`. They are read by strangers: they name what the
//! stranger asked for and what its maintainer can do, and nothing of what is inside.

use crate::body::AnswerBody;
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};

const HYTHE_FAULT: HeaderName = HeaderName::from_static("hythe-fault");

/// Why the router answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// No one host is named, or two.
    BadHost,
    /// No tool answers at this host.
    UnknownHost,
    /// Nothing was deployed, or it is scaled to none.
    Empty,
    /// The first release is starting.
    Starting,
    /// All instances have crashed.
    Crashed,
    /// Every instance has as many requests as it may.
    Overloaded,
    /// The client has as many requests under way as it may.
    TooMany,
    /// The instance accepts no connection or gave no proper answer.
    BadGateway,
    /// The instance did not answer in time.
    TooSlow,
    /// The request's body is too long.
    TooLong,
    /// The request's body stopped coming.
    Stalled,
    /// The request's body comes too slowly.
    SlowBody,
    /// A method that is not passed on.
    Method,
}

struct Words {
    status: StatusCode,
    id: &'static str,
    what: String,
    next: &'static str,
}

impl Page {
    /// What the access log says.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::BadHost => "router/bad-host",
            Self::UnknownHost => "router/unknown-host",
            Self::Empty => "router/nothing-deployed",
            Self::Starting => "router/starting",
            Self::Crashed => "router/crashed",
            Self::Overloaded => "router/overloaded",
            Self::TooMany => "router/too-many-requests",
            Self::BadGateway => "router/bad-gateway",
            Self::TooSlow => "router/gateway-timeout",
            Self::TooLong => "router/body-too-long",
            Self::Stalled => "router/body-stalled",
            Self::SlowBody => "router/body-too-slow",
            Self::Method => "router/method",
        }
    }

    /// The status it is answered with.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadHost => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::Empty | Self::Starting | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Crashed | Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled | Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn words(self, host: &str, tool: &str) -> Words {
        let (what, next) = match self {
            Self::BadHost => (
                "The request does not name one host.".to_owned(),
                "Send exactly one Host header, or an address with a host.",
            ),
            Self::UnknownHost => (
                format!("There is no tool at {host}."),
                "Check the name in the address; a tool that was deleted or renamed does not answer here.",
            ),
            Self::Empty => (
                format!("{tool} exists, but nothing of it runs."),
                "Its maintainers deploy it with: git push hythe main",
            ),
            Self::Starting => (format!("{tool} is starting."), "Ask again in a few seconds."),
            Self::Crashed => (
                format!("{tool} has crashed and is being started again."),
                "Ask again in a while. Its maintainers see why with: hythe logs",
            ),
            Self::Overloaded => (
                format!("{tool} has more requests than it can take."),
                "Ask again in a few seconds. Its maintainers can add instances with: hythe scale",
            ),
            Self::TooMany => (
                format!("Your address has as many requests under way at {tool} as it may have."),
                "Ask again once some of them are answered.",
            ),
            Self::BadGateway => (
                format!("{tool} did not give a proper answer."),
                "Ask again in a while. Its maintainers see why with: hythe logs",
            ),
            Self::TooSlow => (
                format!("{tool} did not answer in time."),
                "Ask again in a while. Its maintainers see why with: hythe logs",
            ),
            Self::TooLong => ("The request's body is too long.".to_owned(), "Send less at once."),
            Self::Stalled => {
                ("The request's body stopped coming.".to_owned(), "Send it again, without pauses.")
            }
            Self::SlowBody => (
                "The request's body comes too slowly.".to_owned(),
                "Send it at 256 bytes a second or more, over a better connection or in smaller parts.",
            ),
            Self::Method => ("This method is not passed on to tools.".to_owned(), "Use another method."),
        };
        Words { status: self.status(), id: self.id(), what, next }
    }

    /// The answer for this host and tool, as HTML to those who ask for it.
    pub(crate) fn answer(self, request: &HeaderMap, host: &str, tool: &str) -> Response<AnswerBody> {
        let words = self.words(host, tool);
        let html = request
            .get_all(ACCEPT)
            .iter()
            .any(|accept| accept.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("text/html")));
        let (kind, text) = if html {
            ("text/html; charset=utf-8", words.html())
        } else {
            ("text/plain; charset=utf-8", words.text())
        };
        let mut answer = Response::new(AnswerBody::Text(Some(Bytes::from(text))));
        *answer.status_mut() = words.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(HYTHE_FAULT, HeaderValue::from_static(words.id));
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        match self {
            Self::Overloaded | Self::TooMany => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            Self::Starting => headers.insert(RETRY_AFTER, HeaderValue::from_static("2")),
            Self::Crashed => headers.insert(RETRY_AFTER, HeaderValue::from_static("10")),
            Self::Method => headers
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
            _ => None,
        };
        answer
    }
}

impl Words {
    fn text(&self) -> String {
        format!("{}\n{}\n\n{} ({})\n", self.what, self.next, self.status, self.id)
    }

    fn html(&self) -> String {
        const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto 0;padding:0 1rem;\
            color:#1b1f24;background:#fff}h1{font-size:1.25rem}footer{color:#59636e;font-size:.875rem}\
            @media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#14171a}footer{color:#9aa4ae}}";
        let (what, next) = (escaped(&self.what), escaped(self.next));
        let Self { status, id, .. } = self;
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{what}</title>\n<style>{STYLE}</style>\n\
             <h1>{what}</h1>\n<p>{next}</p>\n<footer>{status} &middot; {id}</footer>\n</html>\n"
        )
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Page; 13] = [
        Page::BadHost,
        Page::UnknownHost,
        Page::Empty,
        Page::Starting,
        Page::Crashed,
        Page::Overloaded,
        Page::TooMany,
        Page::BadGateway,
        Page::TooSlow,
        Page::TooLong,
        Page::Stalled,
        Page::SlowBody,
        Page::Method,
    ];

    #[test]
    fn every_page_says_what_and_what_next() {
        let pages: Vec<_> =
            ALL.iter().map(|page| page.words("weather.localhost", "weather").text()).collect();
        insta::assert_snapshot!(pages.join("---\n"));
    }

    #[test]
    fn a_host_cannot_write_html() {
        let html = Page::UnknownHost.words("<script>&\"'", "").html();
        assert!(html.contains("&lt;script&gt;&amp;&quot;&#39;") && !html.contains("<script>"));
    }

    #[test]
    fn browsers_get_html_and_programs_text() {
        let kind = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Page::Empty.answer(&headers, "", "weather").headers()[CONTENT_TYPE].clone()
        };
        assert_eq!(kind("text/html,application/xhtml+xml"), "text/html; charset=utf-8");
        assert_eq!(kind("*/*"), "text/plain; charset=utf-8");
    }
}
