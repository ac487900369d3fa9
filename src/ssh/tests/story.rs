//! Stock `git` and `ssh` against the real server; only what happens with a push is the test's own.

mod story {
    mod faults;
    mod fetch;
    mod handler;
    mod hostile;
    mod limits;
    mod push;
    mod world;
}
