//! How much of everything a push may bring.

/// Limits on what is pushed. Each has a fault of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLimits {
    /// Bytes of a push's pack as it travels (`receive.maxInputSize`).
    pub pack_bytes: u64,
    /// Objects in a push's pack.
    pub objects: u64,
    /// Entries of a tree: files, links and folders.
    pub files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files of a tree.
    pub total_bytes: u64,
    /// Bytes of a path from the root of the tree.
    pub path_bytes: usize,
    /// Folders a path may go down.
    pub depth: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            pack_bytes: 512_000_000,
            objects: 500_000,
            files: 100_000,
            file_bytes: 100_000_000,
            total_bytes: 2_000_000_000,
            path_bytes: 1024,
            depth: 48,
        }
    }
}
