//! OCI bundles run by runc in our own user namespace.
