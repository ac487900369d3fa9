//! A server's URL, read: what tokio-postgres understands, and TLS beside it.

use crate::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a server may take to answer a new connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that is silent for so long is looked after, and is taken for dead after as long again.
const SILENCE: Duration = Duration::from_secs(15);

const SHAPE: &str = "it is no URL of a PostgreSQL database; write it as \
    postgresql://USER:PASSWORD@HOST:5432/NAME?sslmode=verify-full, the password percent-encoded";

/// Where a database is and how it is reached.
pub(crate) struct Address {
    pub(crate) config: Config,
    /// User, host, port and name; no secret.
    pub(crate) place: String,
    /// Authorities that sign the server's certificate, where not the machine's.
    roots: Option<PathBuf>,
}

impl Address {
    /// Reads a URL. What is wrong with it is not repeated: it may be a piece of a password.
    pub(crate) fn read(url: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::Open { place: "[store] url".to_owned(), reason: SHAPE.to_owned() };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong());
        }
        let (url, roots) = without_tls(url.trim());
        let mut config: Config = url.parse().map_err(|_| wrong())?;
        if config.get_hosts().is_empty() || config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(wrong());
        }
        config.connect_timeout(CONNECT).keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3);
        config.keepalives_retries(3).tcp_user_timeout(SILENCE * 2);
        if config.get_application_name().is_none() {
            config.application_name("hythed");
        }
        // After a failover the old server may still answer, read-only.
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let place = place(&config);
        Ok(Self { config, place, roots })
    }

    /// TLS as the server and `sslmode` want it. A certificate is always verified; libpq's `require` would not.
    pub(crate) fn tls(&self) -> Result<MakeRustlsConnect, StoreError> {
        let fault = |reason: String| StoreError::Open { place: self.place.clone(), reason };
        let mut trusted = RootCertStore::empty();
        match &self.roots {
            Some(path) => {
                let unreadable = |why: String| fault(format!("sslrootcert {}: {why}", path.display()));
                let read = certificates(path).map_err(unreadable)?;
                for certificate in read {
                    trusted.add(certificate).map_err(|error| unreadable(error.to_string()))?;
                }
            }
            None => drop(trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| fault(error.to_string()))?;
        Ok(MakeRustlsConnect::new(versions.with_root_certificates(trusted).with_no_client_auth()))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if read.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(read) }
}

/// Takes out what tokio-postgres does not know: the file of authorities, and the modes that verify, which all do here.
fn without_tls(url: &str) -> (String, Option<PathBuf>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mut roots = None;
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslrootcert", path)) => roots = Some(PathBuf::from(path.replace("%2F", "/"))),
            Some(("sslmode", "verify-full" | "verify-ca")) => kept.push("sslmode=require"),
            _ => kept.push(pair),
        }
    }
    let query = kept.join("&");
    (if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }, roots)
}

fn place(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let ports = config.get_ports();
    let with_port = |(index, name): (usize, &Host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        format!("{}:{port}", host(name))
    };
    let hosts: Vec<_> = config.get_hosts().iter().enumerate().map(with_port).collect();
    let (user, name) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    format!("postgresql://{user}@{}/{name}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_password() {
        for (url, place) in [
            ("postgresql://ann:hunter2@db:5433/hythe", "postgresql://ann@db:5433/hythe"),
            ("postgres://ann:hunter2@a,b:6000/x?sslmode=verify-full", "postgresql://ann@a:5432,b:6000/x"),
            (
                "postgresql:///hythe?host=/run/pg&user=ann&password=hunter2",
                "postgresql://ann@/run/pg:5432/hythe",
            ),
        ] {
            assert_eq!(Address::read(url).map(|address| address.place).ok().as_deref(), Some(place));
        }
    }

    #[test]
    fn a_wrong_url_is_not_repeated() {
        for url in [
            "hunter2",
            "postgresql://ann:hunter2@db/x?hun=ter2",
            "postgres://ann:hunter2@db:port/x",
            "postgres://",
        ] {
            let error = Address::read(url).err().unwrap_or_else(|| panic!("{url} was taken")).to_string();
            assert!(error.contains("postgresql://USER:PASSWORD@HOST") && !error.contains("ter2"), "{error}");
        }
    }

    #[test]
    fn authorities_and_modes_are_taken_out() {
        let (url, roots) = without_tls("postgresql://db/x?sslrootcert=/a/ca.pem&user=u&sslmode=verify-full");
        assert_eq!(url, "postgresql://db/x?user=u&sslmode=require");
        assert_eq!(roots.as_deref(), Some(Path::new("/a/ca.pem")));
        assert_eq!(
            without_tls("postgresql://db/x?sslrootcert=/a"),
            ("postgresql://db/x".to_owned(), Some("/a".into()))
        );
    }
}
