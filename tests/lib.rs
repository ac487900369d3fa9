//! The integration tests of Hythe live in `stories.rs` and `architecture.rs`.
