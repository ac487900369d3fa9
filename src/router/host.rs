//! Which tool a host name names.

use http::header::HOST;
use http::{HeaderMap, Uri};

/// Whom a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addressee<'a> {
    /// The platform itself.
    Platform,
    /// The tool of this label, if there is one.
    Tool(std::borrow::Cow<'a, str>),
    /// Nobody here.
    Nobody,
}

/// The names that this router answers to.
#[derive(Debug)]
pub(crate) struct Names {
    domain: String,
    platform: Vec<String>,
    all_platform: bool,
}

impl Names {
    /// Tools at `<tool>.<domain>`, the platform at these hosts; case and a trailing dot do not matter.
    pub(crate) fn new(domain: &str, platform: &[String]) -> Self {
        let clean = |name: &str| name.trim_matches('.').to_ascii_lowercase();
        let platform = platform.iter().map(|name| clean(name)).collect();
        Self { domain: clean(domain), platform, all_platform: false }
    }

    /// Every name is the platform's.
    pub(crate) fn platform_only() -> Self {
        Self { domain: String::new(), platform: Vec::new(), all_platform: true }
    }

    /// Whether it does not matter which host a request names.
    pub(crate) fn is_platform_only(&self) -> bool {
        self.all_platform
    }

    /// Whom this host is, as it stands in a request: perhaps with a port.
    pub(crate) fn addressee<'a>(&self, host: &'a str) -> Addressee<'a> {
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        if self.platform.iter().any(|platform| platform.eq_ignore_ascii_case(name)) {
            return Addressee::Platform;
        }
        match self.label(name) {
            Some(label) if label.bytes().any(|b| b.is_ascii_uppercase()) => {
                Addressee::Tool(label.to_ascii_lowercase().into())
            }
            Some(label) => Addressee::Tool(label.into()),
            None => Addressee::Nobody,
        }
    }

    fn label<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (label, domain) = name.split_once('.')?;
        (!label.is_empty() && domain.eq_ignore_ascii_case(&self.domain)).then_some(label)
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind([':', ']']) {
        Some(at) if host.as_bytes()[at] == b':' => &host[..at],
        _ => host,
    }
}

/// The host that a request names: its target's where it has one (RFC 9112, 3.2.2), else its one `Host` header.
pub(crate) fn of_request<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return None;
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => None,
        Some(authority) => Some(authority.as_str()),
        None => header?.to_str().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_tools_whatever_their_case_and_port() {
        let names = Names::new("Tools.Example.org.", &["hythe.example.org".into(), "[::1]".into()]);
        for host in
            ["weather.tools.example.org", "Weather.TOOLS.example.org:8443", "weather.tools.example.org."]
        {
            assert_eq!(names.addressee(host), Addressee::Tool("weather".into()), "{host}");
        }
        for host in ["hythe.example.org", "HYTHE.example.org:80", "[::1]:8080", "[::1]"] {
            assert_eq!(names.addressee(host), Addressee::Platform, "{host}");
        }
        for host in [
            "",
            "tools.example.org",
            ".tools.example.org",
            "a.b.tools.example.org",
            "weather",
            "[::2]:1",
            ":",
        ] {
            assert_eq!(names.addressee(host), Addressee::Nobody, "{host}");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let uri = Uri::from_static("/");
        let mut headers = HeaderMap::new();
        assert_eq!(of_request(&uri, &headers), None);
        headers.append(HOST, "a.localhost".parse().unwrap());
        assert_eq!(of_request(&uri, &headers), Some("a.localhost"));
        let absolute = Uri::from_static("http://b.localhost/");
        assert_eq!(of_request(&absolute, &headers), Some("b.localhost"));
        headers.append(HOST, "b.localhost".parse().unwrap());
        assert_eq!(of_request(&uri, &headers), None);
        assert_eq!(of_request(&absolute, &headers), None);
    }
}
