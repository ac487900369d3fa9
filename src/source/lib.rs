//! Reads pushed trees safely and stores them durably.
