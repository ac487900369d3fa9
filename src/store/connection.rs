//! One connection type over both databases, so that every query is written once.
//!
//! diesel's `MultiConnection` checks each query for both dialects while compiling. The PostgreSQL side is pure Rust
//! (`tokio-postgres` through diesel-async's blocking wrapper) instead of libpq: one TLS library in the program, no
//! package at build and run time, and the same connections can be told of changes. What diesel-async's wrapper lacks for
//! `MultiConnection` is in `postgres/adapter.rs`. Where the dialects differ, `dialect.rs` chooses.

#![allow(missing_docs, unreachable_pub, reason = "the derive writes what nobody outside sees")]
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::large_enum_variant,
    reason = "the derive's code is not ours"
)]

use crate::postgres::PgConnection;
use diesel::prelude::*;

/// A connection to either database. What runs on it may block.
#[derive(diesel::MultiConnection)]
pub enum AnyConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}
