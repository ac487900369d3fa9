//! The story: push, release, queue.
