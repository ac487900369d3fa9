//! The platform's rows: tools, builds, releases, keys, tokens.
