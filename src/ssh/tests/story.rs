//! Stock `git` and `ssh` against the real server; only what happens with a push is the test's own.

#![allow(clippy::unwrap_used, reason = "a test ends where its world does not come about")]

mod story {
    mod faults;
    mod fetch;
    mod handler;
    mod hostile;
    mod limits;
    mod push;
    mod world;
}
