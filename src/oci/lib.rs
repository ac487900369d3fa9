//! OCI images: digests, reproducible layers, config, manifest; no network.
