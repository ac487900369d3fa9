//! What a first run makes and says: the SSH host key and the administrator's token.

use crate::control;
use crate::settings::Settings;
use anyhow::{Context, Result};
use hythe_auth::Auth;
use hythe_ssh::HostKey;
use secrecy::ExposeSecret;
use std::net::SocketAddr;

/// The server's public SSH key as `known_hosts` has it, after the host's name.
pub(crate) fn host_key(settings: &Settings) -> Result<String> {
    let key = HostKey::open_or_create(&settings.data()?.host_key())?;
    Ok(key.public_line())
}

/// Prints a new token of the administrator, whether the server runs or not.
pub(crate) fn admin_token(settings: &Settings) -> Result<()> {
    let data = settings.data()?;
    let runtime = control::runtime()?;
    let issued = runtime.block_on(async {
        let auth = Auth::new(settings.store(&data).await?);
        anyhow::Ok(auth.admin_token().await?)
    })?;
    println!("{}", issued.token.expose_secret());
    Ok(())
}

/// Makes the administrator where there is no account yet, and shows the token: this once, and nowhere else.
pub(crate) async fn bootstrap(
    auth: &Auth,
    key: &HostKey,
    settings: &Settings,
    api: SocketAddr,
) -> Result<()> {
    let Some(made) = auth.bootstrap().await.context("cannot make the first account")? else { return Ok(()) };
    println!("First run.");
    println!("  SSH host key   {}", key.fingerprint());
    println!("  Admin token    {}   (shown this once)", made.token.token.expose_secret());
    println!("  Log in with    hythe login {} --token -", url(settings, api));
    Ok(())
}

/// Where the API is, as clients name it.
fn url(settings: &Settings, api: SocketAddr) -> String {
    let scheme = if settings.speaks_tls(api) { "https" } else { "http" };
    let listen = api.to_string();
    format!("{scheme}://{}", settings.config.api.public.as_deref().unwrap_or(&listen))
}
