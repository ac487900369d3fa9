//! Runs buildpacks inside the sandbox: detect, restore, build.

fn main() {}
