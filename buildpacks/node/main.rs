//! The node buildpack.

fn main() {}
