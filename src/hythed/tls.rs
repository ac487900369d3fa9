//! Certificates of the HTTP fronts: a given one, or one of the platform's own authority.
//!
//! The authority's key is made once and kept; server certificates are made at every start and live in memory alone.

use crate::folders::Data;
use crate::settings::Settings;
use anyhow::{Context, Result};
use hythe_config::TlsMode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
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
    let (chain, key) = match (tls.mode, &tls.certificate, &tls.key) {
        (TlsMode::Files, Some(certificate), Some(key)) => given(certificate, key)?,
        _ => own(data, settings, listen)?,
    };
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
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

/// A certificate for every tool and for the address itself, signed by the platform's authority.
fn own(data: &Data, settings: &Settings, listen: SocketAddr) -> Result<Chain> {
    let domain = &settings.config.router.domain;
    let key = authority_key(data)?;
    let params = authority_params()?;
    let authority = params.self_signed(&key)?;
    publish(&data.keys().join("ca.pem"), &authority.pem())?;
    let issuer = Issuer::new(params, key);
    let mut names =
        vec![domain.clone(), format!("*.{domain}"), "localhost".to_owned(), listen.ip().to_string()];
    // A port stands behind the last colon, an IPv6 address in brackets.
    let public = settings.config.api.public.as_deref().and_then(|public| public.rsplit_once(':'));
    names.extend(public.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name.push(DnType::CommonName, domain);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let leaf = params.signed_by(&leaf_key, &issuer)?;
    let private = PrivateKeyDer::try_from(leaf_key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((vec![leaf.der().clone(), authority.der().clone()], private))
}

fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Hythe's own authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn authority_key(data: &Data) -> Result<KeyPair> {
    let path = data.keys().join("ca.key");
    if let Ok(text) = fs::read_to_string(&path) {
        return KeyPair::from_pem(&text).with_context(|| format!("{} is damaged", path.display()));
    }
    let key = KeyPair::generate()?;
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(key)
}

/// Writes the authority's certificate where clients can be given it from; the first one stays.
fn publish(path: &Path, pem: &str) -> Result<()> {
    if !path.exists() {
        fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
