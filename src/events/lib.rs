//! Build and runtime logs: stored first, streamed second.
