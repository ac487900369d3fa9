//! Where the server is and what opens it: the file that `hythe login` writes, overridden by the environment.
//!
//! The file is `config.toml` in `HYTHE_CONFIG_DIR`, by default `~/.config/hythe`. `HYTHE_URL` and `HYTHE_TOKEN` win over it. A token of the file is never sent to another server than the one
//! it was saved for.

use crate::failure::{Code, Failure};
use hythe_model::Fault;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::{env, fs, io};

/// What is known of the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Its root URL.
    #[serde(with = "as_text")]
    pub url: Url,
    /// The token.
    pub token: String,
    /// Certificates in PEM that alone are trusted for it; the machine's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether the token may travel over plain HTTP to another machine.
    #[serde(default, skip_serializing_if = "is_false")]
    pub plain_http: bool,
}

/// A URL as the file has it.
mod as_text {
    use reqwest::Url;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(url: &Url, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
        let text = String::deserialize(from)?;
        super::parse_url(&text).map_err(|_| D::Error::custom("`url` is not a web address"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Settings {
    /// The settings in force.
    pub(crate) fn load() -> Result<Self, Failure> {
        let saved = read()?;
        let url = env::var("HYTHE_URL").ok().filter(|text| !text.is_empty());
        let token = env::var("HYTHE_TOKEN").ok().filter(|text| !text.is_empty());
        let settings = match (saved, url, token) {
            (Some(saved), None, None) => saved,
            (Some(saved), None, Some(token)) => Self { token, ..saved },
            (saved, Some(url), token) => overridden(saved, &url, token)?,
            (None, None, _) => return Err(nothing_known()),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Refuses to send the token over plain HTTP to another machine.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.url.scheme() {
            "https" => Ok(()),
            "http" if self.plain_http || is_loopback(&self.url) => Ok(()),
            "http" => Err(Failure::usage(
                "plain-http",
                format!("{} is plain HTTP: the token could be read on its way.", self.url),
            )
            .next("Use https://, or say that the network is trusted: hythe login URL --plain-http")),
            other => Err(Failure::usage("url", format!("`{other}:` is not a web address: use https://..."))),
        }
    }

    /// Writes the file, readable by its owner only.
    pub(crate) fn save(&self) -> Result<PathBuf, Failure> {
        let path = path()?;
        let failed = |error: io::Error| {
            Failure::local("settings", format!("{} cannot be written.", path.display()))
                .why(error.to_string())
        };
        let text = toml::to_string(self).map_err(|error| failed(io::Error::other(error)))?;
        let folder = path.parent().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let fresh = path.with_extension(format!("new.{}", std::process::id()));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&fresh))).map_err(failed)?;
        Ok(path)
    }
}

fn overridden(saved: Option<Settings>, url: &str, token: Option<String>) -> Result<Settings, Failure> {
    let url = parse_url(url)?;
    let same = saved.filter(|saved| saved.url == url);
    let token = token.or_else(|| same.as_ref().map(|saved| saved.token.clone()));
    let token = token.ok_or_else(|| {
        let fault = Fault::new("client/no-token", format!("There is no token for {url}."))
            .next("Set HYTHE_TOKEN too, or log in: hythe login URL --token -");
        Failure::Fault(Code::Login, fault)
    })?;
    let plain_http = same.as_ref().is_some_and(|saved| saved.plain_http);
    Ok(Settings { url, token, ca: same.and_then(|saved| saved.ca), plain_http })
}

fn nothing_known() -> Failure {
    let fault = Fault::new("client/not-logged-in", "Not logged in.")
        .next("Log in: hythe login URL --token -")
        .next("or set HYTHE_URL and HYTHE_TOKEN.");
    Failure::Fault(Code::Login, fault)
}

/// A root URL: without a query, ending in a slash.
pub(crate) fn parse_url(text: &str) -> Result<Url, Failure> {
    let refuse = || Failure::usage("url", format!("`{text}` is not a web address: use https://host[:port]"));
    let mut url = Url::parse(text).map_err(|_| refuse())?;
    if !url.has_host() || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(refuse());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Whether a URL names this machine: a loopback address, `localhost` or a name under it (RFC 6761, section 6.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost" || host.ends_with(".localhost"), |ip| ip.is_loopback())
}

fn path() -> Result<PathBuf, Failure> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let base = folder("HYTHE_CONFIG_DIR").or_else(|| home().map(|home| home.join("hythe")));
    base.map(|base| base.join("config.toml")).ok_or_else(|| {
        Failure::local("settings", "Neither HYTHE_CONFIG_DIR, XDG_CONFIG_HOME nor HOME is set.")
    })
}

fn read() -> Result<Option<Settings>, Failure> {
    let Ok(path) = path() else { return Ok(None) };
    let refuse = |why: String| {
        Failure::local("settings", format!("{} cannot be read.", path.display()))
            .why(why)
            .next("Write it anew: hythe login URL --token -")
    };
    match fs::read_to_string(&path) {
        // The parser's message would quote the line, and the line may be the token.
        Ok(text) => toml::from_str(&text).map(Some).map_err(|error| refuse(error.message().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refuse(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings { url: parse_url(url).unwrap(), token: "secret".into(), ca: None, plain_http: false }
    }

    #[test]
    fn urls_are_roots() {
        assert_eq!(parse_url("https://h.example").unwrap().as_str(), "https://h.example/");
        assert_eq!(parse_url("http://localhost:8080").unwrap().as_str(), "http://localhost:8080/");
        for bad in ["h.example", "https://h/?x=1", "https://me:pw@h/", "mailto:a@b", ""] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_travels_in_the_clear_to_this_machine_only() {
        for good in ["http://127.0.0.1:1", "http://[::1]:1", "http://api.localhost", "https://h.example"] {
            assert!(settings(good).check().is_ok(), "{good}");
        }
        for bad in ["http://h.example", "http://10.0.0.1", "ftp://h.example", "http://localhost.example"] {
            assert!(settings(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_saved_token_stays_with_its_server() {
        let saved = settings("https://a.example");
        assert!(overridden(Some(saved.clone()), "https://b.example", None).is_err());
        let same = overridden(Some(saved), "https://a.example/", None).ok();
        assert_eq!(same.map(|s| s.token).as_deref(), Some("secret"));
    }
}
