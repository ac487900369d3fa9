//! One story of a database, told once whatever the database is, and what must hold when much happens at once.

mod answers;
mod copying;
mod crowd;
mod ends;
mod faults;
mod file;
mod leases;
mod server;
mod shared;
mod story;
mod tool_logs;

use crate::*;
use hythe_model::*;
use hythe_testing::Postgres;
use std::time::Duration;
use tempfile::TempDir;

/// A new database, and what it stands in.
struct Bed {
    database: Database,
    folder: TempDir,
}

impl Bed {
    fn file() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { database: folder.path().join("hythe.db").into(), folder }
    }

    fn server() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { database: Database::postgres(Postgres::shared().database()), folder }
    }

    /// Another server's view of it.
    async fn open(&self) -> Store {
        Store::open(self.database.clone()).await.expect("the database opens")
    }

    fn url(&self) -> &str {
        match &self.database {
            Database::Postgres { url } => url,
            Database::File(_) => panic!("it is a file"),
        }
    }
}

/// Each of these tests, on a file and on a server.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    super::$name(crate::tests::Bed::file()).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    super::$name(crate::tests::Bed::server()).await;
                }
            )+
        }
    };
}
use on_both;

async fn fresh() -> (TempDir, Store) {
    let Bed { database, folder } = Bed::file();
    (folder, Store::open(database).await.expect("a new database"))
}

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// Takes the next build, for a holder that never dies.
async fn claim(store: &Store) -> Option<Build> {
    store.claim_next_build("test", LONG).await.expect("a look at the queue")
}

fn tool(name: &str) -> ToolName {
    name.parse().expect("a tool name")
}

fn ann() -> MaintainerName {
    "ann".parse().expect("a maintainer name")
}

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().expect("a commit")
}

fn deployed(digit: char) -> DeployRef {
    DeployRef { reference: "refs/heads/main".to_owned(), commit: commit(digit) }
}

fn new_build(name: &str) -> NewBuild {
    let source = SourceTree {
        commit: commit('a'),
        subject: "Show wind in knots".to_owned(),
        digest: Digest::sha256([1; 32]),
        files: 312,
        bytes: 1_800_000,
        project: hythe_model::Project::default(),
    };
    NewBuild {
        tool: tool(name),
        source,
        reference: "refs/heads/main".to_owned(),
        old: Some(commit('9')),
        options: PushOptions { message: Some("Fix wind".to_owned()), ..PushOptions::default() },
        cause: BuildCause::Push,
        actor: Actor::Maintainer(ann()),
    }
}

fn new_release(name: &str, build: Option<BuildId>) -> NewRelease {
    NewRelease {
        tool: tool(name),
        image: Digest::sha256([2; 32]),
        commit: commit('a'),
        processes: vec![Process { kind: ProcessType::web(), command: "gunicorn app:app".to_owned() }],
        project: hythe_model::Project::default(),
        config: 0,
        formation: Formation([(ProcessType::web(), 1)].into()),
        cause: ReleaseCause::Restart,
        message: None,
        actor: Actor::Maintainer(ann()),
        build,
    }
}

fn image() -> PublishedImage {
    PublishedImage {
        repository: "tools/weather".to_owned(),
        digest: Digest::sha256([2; 32]),
        bytes: 84_000_000,
        layers: 7,
        new_layers: 2,
        new_bytes: 1_100_000,
        processes: Vec::new(),
    }
}

fn fault() -> Fault {
    Fault::new("rollout/crashed", "The release failed.").why("exit code 1").next("hythe logs")
}

fn is_absent<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Absent { .. }))
}

fn is_conflict<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Conflict { .. }))
}
