//! The stories: what people do with the platform, done to a real server with real clients.
//!
//! One server is shared by the stories that only use it; a story that breaks or bounds the server starts its own.

mod stories {
    mod api;
    mod attack;
    mod cluster_faults;
    mod conformance;
    mod deploy;
    mod faults;
    mod kubernetes;
    mod many;
    mod mounts;
    mod pods;
    mod push;
    mod registries;
    mod replica_logs;
    mod replicas;
    mod restart;
    mod rights;
    mod together;
    mod traffic;
    mod upkeep;
}
mod support;
