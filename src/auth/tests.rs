//! Credentials, decisions and seals.

mod credentials;
mod keys;
mod policy;
mod registry;
mod seal;

use crate::*;
use hythe_model::{Actor, MaintainerName, ToolName};
use hythe_store::Store;
use tempfile::TempDir;

async fn fresh() -> (TempDir, Store, Auth) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&dir.path().join("hythe.db")).await.expect("a new database");
    let auth = Auth::new(store.clone());
    (dir, store, auth)
}

fn tool(name: &str) -> ToolName {
    name.parse().expect("a tool name")
}

fn person(name: &str) -> MaintainerName {
    name.parse().expect("a maintainer name")
}

fn actor(name: &str) -> Actor {
    Actor::Maintainer(person(name))
}
