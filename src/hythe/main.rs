//! The command line of maintainers.

fn main() {}
