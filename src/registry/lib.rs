//! The embedded registry over one content-addressed store, and references.
