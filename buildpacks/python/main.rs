//! The python buildpack.

fn main() {}
