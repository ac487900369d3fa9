//! A registry of the outside world: `distribution`, in a folder of its own, built by `make test` (`$HYTHE_TOOLS/bin/registry`).
//!
//! It is of a loopback address or one of this machine's own networks, and ends with the test that started it.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What it is asked to be; by default it lets anybody do anything, and speaks plain HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub struct DistributionOptions<'a> {
    /// Whether it knows two users alone, [`Distribution::USER`] and [`Distribution::READER`].
    pub login: bool,
    /// Certificate and key, PEM, where it speaks TLS.
    pub tls: Option<(&'a str, &'a str)>,
    /// Whether it refuses to remove anything.
    pub keeps: bool,
}

/// A registry, for as long as this lives.
#[derive(Debug)]
pub struct Distribution {
    child: Option<Child>,
    folder: PathBuf,
    address: String,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Distribution {
    /// A user whom it knows.
    pub const USER: &str = "hythe";
    /// Another one.
    pub const READER: &str = "reader";
    /// The password of both, and as bcrypt has it.
    pub const PASSWORD: &str = "secret";
    const HASH: &str = "$2b$04$rty2sD/OUQ7cE9pGSAj5BOtbsl1nEYUg6ffT5IQz4K2o16rDeqtUW";

    /// Starts a registry at a port of this host.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(host: &str, options: DistributionOptions<'_>) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/var/tmp/hythe-registry-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let listener = TcpListener::bind((host, 0)).expect("this machine has the registry's address");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let registry = Self { child: None, folder, address };
        registry.configure(options);
        for user in [Self::USER, Self::READER] {
            registry.write_login(user, Self::PASSWORD);
        }
        let mut registry = registry;
        registry.resume();
        registry
    }

    fn configure(&self, options: DistributionOptions<'_>) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: {}}}}}\n\
             http:\n  addr: {}\n  secret: for tests\n",
            path("images"),
            !options.keeps,
            self.address,
        );
        if let Some((certificate, key)) = options.tls {
            fs::write(path("tls.crt"), certificate).expect("a file");
            fs::write(path("tls.key"), key).expect("a file");
            writeln!(config, "  tls: {{certificate: {}, key: {}}}", path("tls.crt"), path("tls.key"))
                .expect("text");
        }
        if options.login {
            fs::write(
                path("htpasswd"),
                [Self::USER, Self::READER].map(|user| format!("{user}:{}\n", Self::HASH)).concat(),
            )
            .expect("a file");
            writeln!(config, "auth: {{htpasswd: {{realm: tests, path: {}}}}}", path("htpasswd"))
                .expect("text");
        }
        fs::write(path("config.yml"), config).expect("a file");
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A file of a user's credentials for it, in the form of Docker's `config.json`, in a folder of its own.
    pub fn login(&self, user: &str) -> PathBuf {
        self.folder.join(user).join("config.json")
    }

    /// Writes this password into a user's file of credentials.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn write_login(&self, user: &str, password: &str) {
        let text = format!(
            r#"{{"auths": {{"{}": {{"username": "{user}", "password": "{password}"}}}}}}"#,
            self.address
        );
        fs::create_dir_all(self.folder.join(user)).expect("a folder");
        fs::write(self.login(user), text).expect("a file");
    }

    /// Stops it; what it has stays.
    ///
    /// # Panics
    /// When it runs not.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("a running registry");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = File::options().append(true).create(true).open(self.folder.join("log")).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program()).arg("serve").arg(self.folder.join("config.yml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("the registry starts"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&self.address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Loses everything that it has.
    ///
    /// # Panics
    /// When the folder cannot be removed.
    pub fn lose(&self) {
        fs::remove_dir_all(self.images()).expect("what it had");
    }

    /// Where it keeps what it has.
    pub fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the registry said:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn program() -> PathBuf {
    let tools =
        std::env::var_os("HYTHE_TOOLS").expect("HYTHE_TOOLS is not set: run the tests by `make test`");
    let path = Path::new(&tools).join("bin/registry");
    assert!(path.is_file(), "{} is missing: run the tests by `make test`", path.display());
    path
}
