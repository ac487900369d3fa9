//! A registry's name and password, out of a file in the form of Docker's `config.json`.
//!
//! The file is looked at each time and read again where it has changed, so that a secret may be renewed under a running server; one
//! that cannot be read any more leaves the last one in force. Programs that a file names (`credHelpers`, `credsStore`) are never run.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest file that is read, bytes.
const LONGEST: u64 = 1 << 20;
/// How long a file that was changed may be changed once more without a trace: clocks of file systems are coarse.
const SETTLING: Duration = Duration::from_secs(2);

/// Who asks a registry.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password, or a token in its place.
    pub password: SecretString,
}

/// Why a file of credentials is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the credentials in {} cannot be used: {why}", path.display())]
pub struct CredentialsError {
    path: PathBuf,
    why: String,
}

/// A file of credentials for one registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials {
    path: PathBuf,
    host: String,
    last: Arc<Mutex<Last>>,
}

/// What was read last.
#[derive(Debug)]
struct Last {
    login: Login,
    /// The file that it was; none where that may have changed since.
    file: Option<Stamp>,
    /// Why it could not be read any more.
    trouble: Option<String>,
}

impl Credentials {
    /// Reads what the file has for this registry.
    pub fn open(path: impl Into<PathBuf>, host: &str) -> Result<Self, CredentialsError> {
        let path = path.into();
        let last = Last { login: read(&path, host)?, file: None, trouble: None };
        Ok(Self { path, host: host.to_owned(), last: Arc::new(Mutex::new(last)) })
    }

    /// Name and password as they are now.
    pub fn login(&self) -> Login {
        self.login_at(SystemTime::now())
    }

    fn login_at(&self, now: SystemTime) -> Login {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.look(Stamp::of(&self.path), now, || read(&self.path, &self.host));
        last.login.clone()
    }
}

/// What tells a file from what it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    /// Since the epoch.
    changed: Duration,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let changed = Duration::new(file.ctime().try_into().ok()?, file.ctime_nsec().try_into().ok()?);
        Some(Self { place: (file.dev(), file.ino()), size: file.size(), changed })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(UNIX_EPOCH + self.changed).is_ok_and(|age| age >= SETTLING)
    }
}

impl Last {
    /// Reads the file where it is another one than before, or may be. What cannot be read now may be read the next time.
    fn look(
        &mut self,
        file: Option<Stamp>,
        now: SystemTime,
        read: impl FnOnce() -> Result<Login, CredentialsError>,
    ) {
        if file.is_some() && self.file == file {
            return;
        }
        match read() {
            Ok(login) => {
                *self = Self { login, file: file.filter(|file| file.is_settled(now)), trouble: None };
            }
            Err(error) => {
                self.file = None;
                self.fail(error.to_string());
            }
        }
    }

    /// Says why it is used still, once.
    fn fail(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!(error = why, "the credentials from before are used");
        }
        self.trouble = Some(why);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
}

fn read(path: &Path, host: &str) -> Result<Login, CredentialsError> {
    let failed = |why: String| CredentialsError { path: path.to_owned(), why };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    parse(&text, host).map_err(failed)
}

fn parse(text: &str, host: &str) -> Result<Login, String> {
    // Where it is wrong is said, what stands there is not.
    let read = serde_json::from_str::<File>(text);
    let file = read
        .map_err(|e| format!("it is not JSON in Docker's form (line {}, column {})", e.line(), e.column()))?;
    let Some(entry) = file.auths.into_iter().find(|(key, _)| is_for(key, host)).map(|(_, entry)| entry)
    else {
        let helped = file.creds_store.is_some() || file.cred_helpers.keys().any(|key| is_for(key, host));
        return Err(if helped {
            format!(
                "it leaves {host} to a credential helper, and no program is run for it: write name and password into the file"
            )
        } else {
            format!("it has nothing for {host}; log in with: docker --config FOLDER login {host}")
        });
    };
    entry.login(host)
}

/// Keys are hosts, or URLs as older clients write them.
fn is_for(key: &str, host: &str) -> bool {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next() == Some(host)
}

impl Entry {
    fn login(self, host: &str) -> Result<Login, String> {
        if self.identitytoken.is_some() {
            return Err(format!("it has an identity token for {host}; a name and a password are needed"));
        }
        if let (Some(user), Some(password)) = (self.username, self.password) {
            return Ok(Login { user, password });
        }
        let wrong = || format!("what it has for {host} is neither `auth` nor `username` and `password`");
        let bytes = BASE64_STANDARD.decode(self.auth.ok_or_else(wrong)?.trim()).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or_else(wrong)?;
        Ok(Login { user: user.to_owned(), password: SecretString::from(password) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const HOST: &str = "harbor.example.org";

    #[test]
    fn the_forms_that_clients_write_are_read() {
        for text in [
            r#"{"auths": {"harbor.example.org": {"auth": "cm9ib3QkaHl0aGU6YTpi"}}}"#,
            r#"{"auths": {"https://harbor.example.org/v1/": {"auth": "cm9ib3QkaHl0aGU6YTpi"}}, "credsStore": "pass"}"#,
            r#"{"auths": {"other.org": {}, "harbor.example.org": {"username": "robot$hythe", "password": "a:b", "email": "x"}}}"#,
        ] {
            let login = parse(text, HOST).unwrap();
            assert_eq!(
                (login.user.as_str(), login.password.expose_secret()),
                ("robot$hythe", "a:b"),
                "{text}"
            );
            assert!(!format!("{login:?}").contains("a:b"));
        }
    }

    #[test]
    fn what_cannot_be_used_says_why_and_not_what_it_is() {
        for (text, why) in [
            ("hunter2", "it is not JSON"),
            ("{}", "it has nothing for harbor.example.org"),
            (r#"{"auths": {"harbor.example.org:443": {"auth": "eA=="}}}"#, "it has nothing"),
            (r#"{"credHelpers": {"harbor.example.org": "gcloud"}}"#, "no program is run"),
            (r#"{"auths": {"harbor.example.org": {"auth": "hunter2"}}}"#, "neither"),
            (r#"{"auths": {"harbor.example.org": {"identitytoken": "hunter2"}}}"#, "identity token"),
            (r#"{"auths": {"harbor.example.org": {"password": 7, "x": "hunter2"}}}"#, "it is not JSON"),
        ] {
            let said = parse(text, HOST).unwrap_err();
            assert!(said.contains(why) && !said.contains("hunter2"), "{text}: {said}");
        }
    }

    #[test]
    fn a_file_that_is_renewed_counts_and_one_that_is_gone_leaves_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let write = |password: &str| {
            let text = format!(r#"{{"auths": {{"{HOST}": {{"username": "a", "password": "{password}"}}}}}}"#);
            std::fs::write(&path, text).unwrap();
        };
        assert!(Credentials::open(&path, HOST).is_err());
        write("one");
        let credentials = Credentials::open(&path, HOST).unwrap();
        write("two");
        assert_eq!(credentials.login().password.expose_secret(), "two");
        // Until it has settled it is read each time, and then only once it is another one.
        assert_eq!(credentials.last.lock().unwrap().file, None);
        credentials.login_at(SystemTime::now() + SETTLING);
        assert_eq!(credentials.last.lock().unwrap().file, Stamp::of(&path));
        write("another");
        assert_eq!(credentials.login().password.expose_secret(), "another");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(credentials.login().password.expose_secret(), "another");
    }

    #[test]
    fn a_failure_that_passes_does_not_keep_the_last_password() {
        let now = UNIX_EPOCH + 10 * SETTLING;
        let stamp = |size| Some(Stamp { place: (1, 2), size, changed: SETTLING });
        let login = |password: &str| Login { user: "a".to_owned(), password: SecretString::from(password) };
        let failed = || CredentialsError { path: "a".into(), why: "too many open files".to_owned() };
        let mut last = Last { login: login("one"), file: stamp(1), trouble: None };
        last.look(stamp(1), now, || panic!("it is the same file"));
        last.look(stamp(2), now, || Err(failed()));
        assert_eq!(last.login.password.expose_secret(), "one");
        last.look(stamp(2), now, || Ok(login("two")));
        assert_eq!(last.login.password.expose_secret(), "two");
        // Nor does one in between, where the file has not changed.
        last.look(None, now, || Err(failed()));
        last.look(stamp(2), now, || Ok(login("three")));
        assert_eq!(last.login.password.expose_secret(), "three");
    }
}
