//! Detection of files that have changed since they were read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Identity of a file's contents. It changes if the file is replaced, or its modification time or length changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    /// Reads the stamp of a file; `None` if there is no regular file at this path.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
        })
    }
}
