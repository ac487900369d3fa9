//! Certificates of the HTTP fronts: a given one, or those of the platform's own authority.

mod authority;

use authority::Authority;

use crate::folders::Data;
use crate::settings::Settings;
use anyhow::{Context, Result};
use hythe_config::TlsMode;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The TLS of a front, or `None` where it speaks plainly.
pub(crate) fn for_front(
    settings: &Settings,
    data: &Data,
    listen: SocketAddr,
) -> Result<Option<Arc<ServerConfig>>> {
    if !settings.speaks_tls(listen) {
        return Ok(None);
    }
    let tls = &settings.config.tls;
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = match (tls.mode, &tls.certificate, &tls.key) {
        (TlsMode::Files, Some(certificate), Some(key)) => {
            let (chain, key) = given(certificate, key)?;
            config.with_single_cert(chain, key)?
        }
        _ => config.with_cert_resolver(Arc::new(Authority::open(data, settings, listen)?)),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// What clients know the fronts by, as PEM: the platform's own authority, or the operator's bundle where certificates are given.
pub(crate) fn authorities(settings: &Settings, data: &Data) -> Result<Option<String>> {
    if settings.config.tls.mode != TlsMode::Files {
        return authority::pem(data).map(Some);
    }
    let bundle = settings.config.egress.ca_bundle();
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    bundle.as_deref().map(read).transpose()
}

/// Makes the platform's own authority, where fronts may need one.
pub(crate) fn make_authority(settings: &Settings, data: &Data) -> Result<()> {
    match settings.config.tls.mode {
        TlsMode::Auto | TlsMode::Own => authority::make(data),
        TlsMode::Off | TlsMode::Files => Ok(()),
    }
}

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn given(certificate: &Path, key: &Path) -> Result<Chain> {
    let unreadable =
        |path: &Path| format!("{} is not a PEM file of the kind that [tls] needs", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unreadable(certificate))?;
    Ok((chain, PrivateKeyDer::from_pem_file(key).with_context(|| unreadable(key))?))
}
