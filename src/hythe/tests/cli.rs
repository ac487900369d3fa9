//! The program as a user runs it, against a real HTTP server on a port of its own.

#![expect(clippy::unwrap_used, reason = "helpers outside of test functions panic where a test cannot go on")]

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/endings.rs"]
mod endings;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/login.rs"]
mod login;
#[path = "cli/objects.rs"]
mod objects;
#[path = "cli/stage.rs"]
mod stage;
#[path = "cli/streams.rs"]
mod streams;
