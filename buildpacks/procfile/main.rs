//! The procfile buildpack.

fn main() {}
