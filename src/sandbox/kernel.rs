//! The calls into the kernel that Rust cannot check: the only unsafe code of the workspace.
