//! The platform's own authority.
//!
//! Its key is made once and kept; certificates of servers live in memory alone. One is made at the start for the
//! addresses of the fronts, and one for each tool when a client first names it: a wildcard would not do, as clients
//! take none right below a top domain such as `localhost`.

use crate::folders::Data;
use crate::settings::Settings;
use anyhow::{Context, Result};
use jiff::ToSpan;
use jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Certificates of tools that are kept; clients may name what they like.
const KEPT: usize = 1000;

/// Signs a certificate for whatever name below the domain a client asks for.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    domain: String,
    /// One key for all certificates of servers.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    /// For clients that name nothing, or something else.
    front: Arc<CertifiedKey>,
    tools: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority of this data folder, for the front that listens there.
    pub(super) fn open(data: &Data, settings: &Settings, listen: SocketAddr) -> Result<Self> {
        let domain = settings.config.router.domain.clone();
        let own_key = authority_key(data)?;
        let params = authority_params()?;
        let own = params.self_signed(&own_key)?;
        publish(&data.keys().join("ca.pem"), &own.pem())?;
        let issuer = Issuer::new(params, own_key);
        let mut names = vec![domain.clone(), "localhost".to_owned(), listen.ip().to_string()];
        // A port stands behind the last colon, an IPv6 address in brackets.
        let public =
            [&settings.config.api.public, &settings.config.kubernetes.registry].into_iter().flatten();
        let public = public.filter_map(|public| public.rsplit_once(':'));
        names.extend(public.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));

        let key = KeyPair::generate()?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let signing = any_supported_type(&private)?;
        let certificate = own.der().clone();
        let front = Arc::new(certified(&issuer, &certificate, &key, &signing, names)?);
        Ok(Self { issuer, certificate, domain, key, signing, front, tools: Mutex::default() })
    }

    /// The certificate of a name right below the domain.
    fn tool(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let label = name.strip_suffix(&self.domain)?.strip_suffix('.')?;
        if label.is_empty() || label.len() > 63 || label.contains('.') {
            return None;
        }
        if let Some(known) = self.tools().get(name) {
            return Some(known.clone());
        }
        let made =
            certified(&self.issuer, &self.certificate, &self.key, &self.signing, vec![name.to_owned()]);
        let made = made.inspect_err(|error| tracing::warn!(name, %error, "no certificate could be made"));
        let made = Arc::new(made.ok()?);
        let mut tools = self.tools();
        if tools.len() >= KEPT {
            tools.clear();
        }
        tools.insert(name.to_owned(), made.clone());
        Some(made)
    }

    fn tools(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        Some(name.and_then(|name| self.tool(&name)).unwrap_or_else(|| self.front.clone()))
    }
}

/// Makes the authority's key and certificate where they are missing.
pub(super) fn make(data: &Data) -> Result<()> {
    publish(&data.keys().join("ca.pem"), &pem(data)?)
}

/// The authority's own certificate, as PEM.
pub(super) fn pem(data: &Data) -> Result<String> {
    Ok(authority_params()?.self_signed(&authority_key(data)?)?.pem())
}

/// A certificate for these names.
fn certified(
    issuer: &Issuer<'static, KeyPair>,
    authority: &CertificateDer<'static>,
    key: &KeyPair,
    signing: &Arc<dyn SigningKey>,
    names: Vec<String>,
) -> Result<CertifiedKey> {
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name.push(DnType::CommonName, names.into_iter().next().unwrap_or_default());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // Clients refuse two certificates of one number, and some refuse those that are good for more than 825 days.
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
    let today = jiff::Zoned::now().date();
    let on = |day: Date| {
        rcgen::date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    params.not_before = on(today.saturating_sub(1.day()));
    params.not_after = on(today.saturating_add(800.days()));
    let leaf = params.signed_by(key, issuer)?;
    Ok(CertifiedKey::new(vec![leaf.der().clone(), authority.clone()], signing.clone()))
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
    match fs::read_to_string(&path) {
        Ok(text) => {
            return KeyPair::from_pem(&text).with_context(|| format!("{} is damaged", path.display()));
        }
        // Anything else must not replace an authority that clients trust.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        Err(_) => {}
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
        let fresh = path.with_extension("new");
        fs::write(&fresh, pem)
            .and_then(|()| fs::rename(&fresh, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
