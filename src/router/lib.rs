//! Traffic by host name into instances.
