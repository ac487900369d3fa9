//! The static buildpack.

fn main() {}
