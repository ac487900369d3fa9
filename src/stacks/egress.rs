//! The way to the mirrors: proxies, and the certificates that are trusted on it.

use std::path::PathBuf;
use std::time::Duration;

/// After this time without a connection a mirror counts as gone.
const CONNECT: Duration = Duration::from_secs(20);
/// After this time without a byte a download counts as dead.
const READ: Duration = Duration::from_mins(1);

/// How mirrors are reached; what is unset is as this process's own environment says.
#[derive(Clone, Default)]
pub struct Egress {
    /// Proxy of plain HTTP; may hold a password.
    pub http_proxy: Option<String>,
    /// Proxy of HTTPS; may hold a password.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without the proxy, as `NO_PROXY` has them.
    pub no_proxy: Option<String>,
    /// PEM bundle of certificate authorities, beside those that the machine trusts.
    pub ca_bundle: Option<PathBuf>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("no_proxy", &self.no_proxy)
            .field("ca_bundle", &self.ca_bundle)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// The proxy variables, by their lower-case names, which apt reads.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        self.variables_over(|name| std::env::var(name).ok())
    }

    fn variables_over(&self, own: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
        let set = [
            ("http_proxy", &self.http_proxy),
            ("https_proxy", &self.https_proxy),
            ("no_proxy", &self.no_proxy),
        ];
        let value = |(name, set): (&'static str, &Option<String>)| {
            let own = || own(name).or_else(|| own(&name.to_ascii_uppercase()));
            set.clone().or_else(own).filter(|value| !value.is_empty()).map(|value| (name, value))
        };
        set.into_iter().filter_map(value).collect()
    }

    /// An HTTP client that goes this way.
    pub(crate) fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(READ);
        let variables = self.variables();
        let value = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value);
        let open = value("no_proxy").and_then(|hosts| reqwest::NoProxy::from_string(hosts));
        if let Some(proxy) = value("http_proxy") {
            client = client.proxy(reqwest::Proxy::http(proxy)?.no_proxy(open.clone()));
        }
        if let Some(proxy) = value("https_proxy") {
            client = client.proxy(reqwest::Proxy::https(proxy)?.no_proxy(open));
        }
        // A bundle that is not there changes nothing: what needs it fails and says so.
        let bundle = self.ca_bundle.as_ref().and_then(|path| std::fs::read(path).ok());
        if let Some(bundle) = bundle {
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&bundle)?);
        }
        client.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

    #[test]
    fn what_is_set_comes_before_the_environment() {
        let own = |name: &str| match name {
            "http_proxy" => Some("http://own".to_owned()),
            "NO_PROXY" => Some("localhost".to_owned()),
            _ => None,
        };
        let usual = Egress::default().variables_over(own);
        assert_eq!(usual, [("http_proxy", "http://own".into()), ("no_proxy", "localhost".into())]);
        let egress = Egress { http_proxy: Some("http://set".into()), ..Egress::default() };
        assert_eq!(egress.variables_over(own)[0], ("http_proxy", "http://set".into()));
    }

    #[test]
    fn a_password_is_not_shown() {
        let egress = Egress { https_proxy: Some("http://me:secret@proxy".into()), ..Egress::default() };
        assert!(!format!("{egress:?}").contains("secret"));
    }

    #[tokio::test]
    async fn downloads_go_through_the_proxy() {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = proxy.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            line
        });
        let egress =
            Egress { http_proxy: Some(address), no_proxy: Some("other.invalid".into()), ..Egress::default() };
        let answer = egress.client().unwrap().get("http://npm.invalid/node").send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(asked.join().unwrap().trim(), "GET http://npm.invalid/node HTTP/1.1");
    }

    #[test]
    fn a_bundle_that_is_none_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        let egress = Egress { ca_bundle: Some(file.path().to_owned()), ..Egress::default() };
        assert!(egress.client().is_err());
        let gone = Egress { ca_bundle: Some("/no/such/bundle".into()), ..Egress::default() };
        assert!(gone.client().is_ok());
    }
}
