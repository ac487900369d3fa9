//! The shell buildpack.

fn main() {}
