//! Starts a process of an image as the CNB launcher contract says.

fn main() {}
