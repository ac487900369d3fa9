//! A PostgreSQL server of Debian's package, in a temporary folder, on a Unix socket alone.
//!
//! It runs as the user `hythe` where the tests run as root, whom it refuses. A keeper, a small shell, ends it and removes its
//! folder when the tests' process ends, however that happens: the keeper reads from a pipe that closes then.

use rustix::process::geteuid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The folder of Debian's packages, one folder a version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Starts the server in a new folder, says which folder, waits for the end of its input, and cleans up.
const KEEPER: &str = r#"
set -e
dir=$(mktemp -d /tmp/hythe-pg.XXXXXX)
trap '"$PROGRAMS/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
trap '' INT HUP TERM
cd "$dir"
if [ -n "$STANDBY_OF" ]; then
  "$PROGRAMS/pg_basebackup" -h "$STANDBY_OF" -U hythe -D "$dir/data" -R -X stream -c fast
else
  "$PROGRAMS/initdb" -A trust --no-sync --no-locale -E UTF8 -U hythe -D "$dir/data" >/dev/null
fi
cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
max_connections = 300
shared_buffers = 16MB
deadlock_timeout = 100ms
CONF
if [ -n "$PORT" ]; then
  printf '%s' "$CERTIFICATE" >data/server.crt
  (umask 077; printf '%s' "$KEY" >data/server.key)
  cat >>data/postgresql.conf <<CONF
listen_addresses = '127.0.0.1'
port = $PORT
ssl = on
CONF
fi
"$PROGRAMS/pg_ctl" -D "$dir/data" -w -l "$dir/log" start >/dev/null
echo "$dir"
read -r end || true
"#;

/// A server, for as long as this lives.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    keeper: Child,
    /// The keeper ends with it.
    pipe: Option<ChildStdin>,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// The one server of a test program, started when it is first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of its own, for a test that ends or restarts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_with("", "", "", "")
    }

    /// One that listens on this port of 127.0.0.1 too, where it speaks TLS with this certificate and key (PEM).
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with_tls(port: u16, certificate: &str, key: &str) -> Self {
        Self::start_with(&port.to_string(), certificate, key, "")
    }

    /// A standby of another server: it has what that one writes, and takes no writes before it is [promoted](Self::promote).
    ///
    /// # Panics
    /// When it does not start.
    pub fn standby_of(primary: &Self) -> Self {
        Self::start_with("", "", "", &primary.folder.display().to_string())
    }

    fn start_with(port: &str, certificate: &str, key: &str, standby_of: &str) -> Self {
        let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
        let programs = versions.map(|version| version.path().join("bin"));
        let programs = programs.filter(|path| path.join("initdb").is_file()).max();
        let programs = programs.expect("PostgreSQL is missing; prepare the machine by scripts/prepare");
        let mut command = as_user("sh");
        command.args(["-c", KEEPER]).env("PROGRAMS", &programs);
        command.env("PORT", port).env("CERTIFICATE", certificate).env("KEY", key);
        command.env("STANDBY_OF", standby_of);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A key that ends the tests is not to end the keeper before it has cleaned up.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut keeper =
            command.spawn().expect("setpriv and sh start; prepare the machine by scripts/prepare");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("the keeper answers");
        assert!(!line.trim().is_empty(), "the database server does not start; the lines above say why");
        let pipe = keeper.stdin.take();
        Self { folder: PathBuf::from(line.trim()), programs, keeper, pipe }
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&self) -> String {
        // The template may be copied by one at a time.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("test{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database of this name.
    pub fn url(&self, name: &str) -> String {
        format!("postgresql://hythe:unused-secret@/{name}?host={}", self.folder.display())
    }

    /// Runs SQL in a database, named or by its URL, and answers what psql printed.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let name = database.rsplit_once('/').map_or(database, |_| {
            let end = database.split('?').next().unwrap_or_default();
            end.rsplit('/').next().unwrap_or_default()
        });
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "hythe", "-d", name, "-c", sql]);
        let Output { status, stdout, stderr } =
            psql.arg("-h").arg(&self.folder).output().expect("psql starts");
        assert!(status.success(), "{sql}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).trim().to_owned()
    }

    /// Kills the server as a crash would, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn crash_and_restart(&self) {
        self.pg_ctl(&["-m", "immediate", "restart"]);
    }

    /// Ends the server as a crash would; [`Postgres::resume`] starts it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn crash(&self) {
        self.pg_ctl(&["-m", "immediate", "stop"]);
    }

    /// Makes a standby a server that takes writes.
    ///
    /// # Panics
    /// When it is none.
    pub fn promote(&self) {
        self.pg_ctl(&["promote"]);
    }

    /// Starts a server that was ended.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&self) {
        self.pg_ctl(&["start"]);
    }

    fn pg_ctl(&self, args: &[&str]) {
        let mut command = as_user(self.programs.join("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data")).arg("-w").arg("-l").arg(self.folder.join("log"));
        let status = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(
            status.expect("pg_ctl starts").success(),
            "pg_ctl {args:?} failed in {}",
            self.folder.display()
        );
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.pipe.take();
        let _ = self.keeper.wait();
    }
}

/// A command as the user `hythe` where this is root, in a folder that both may enter.
fn as_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=hythe", "--regid=hythe", "--init-groups", "--inh-caps=-all", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}
