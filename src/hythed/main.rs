//! The server: wire, roles, first run, shutdown.

fn main() {}
