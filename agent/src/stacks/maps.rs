//! The contents of a process's mappings of code.

use std::{io, path::Path, sync::Arc};

use crate::foreign::{CodeMapping, code_mappings};

/// The source of the code in a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backing {
    /// A file, from `offset` on.
    File { path: Arc<Path>, inode: u64, offset: u64 },
    /// The vDSO: code that the kernel provides to every process.
    Vdso,
    /// Code that was generated at run time.
    Written,
}

impl Backing {
    /// Returns true for anonymous memory and for memfds: runtimes write generated code to both.
    pub(super) fn is_memory(&self) -> bool {
        match self {
            Self::File { path, .. } => path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"),
            Self::Vdso => false,
            Self::Written => true,
        }
    }
}

/// A mapping of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) backing: Backing,
}

impl Mapping {
    /// Size in bytes of the file's path; 0 without a file.
    pub(super) fn path_bytes(&self) -> usize {
        match &self.backing {
            Backing::File { path, .. } => path.as_os_str().len(),
            Backing::Vdso | Backing::Written => 0,
        }
    }
}

/// Reads a process's mappings of code, in the order of their addresses.
///
/// # Errors
///
/// The same as of [`code_mappings`].
pub(super) fn read(pid: u32) -> io::Result<Vec<Mapping>> {
    code_mappings(pid).map(joined)
}

/// Joins adjacent mappings of generated code, since runtimes write it page by page.
fn joined(mappings: Vec<CodeMapping>) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::with_capacity(mappings.len());
    for CodeMapping { start, end, offset, inode, path, is_vdso } in mappings {
        let backing = match path {
            Some(path) if inode != 0 => Backing::File { path, inode, offset },
            _ if is_vdso => Backing::Vdso,
            _ => Backing::Written,
        };
        match found.last_mut() {
            Some(last)
                if last.end == start
                    && (&last.backing, &backing) == (&Backing::Written, &Backing::Written) =>
            {
                last.end = end;
            }
            _ => found.push(Mapping { start, end, backing }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_with_a_name_is_memory() {
        let of = |path: &str| Backing::File { path: Path::new(path).into(), inode: 1, offset: 0 }.is_memory();
        assert!(of("/memfd:doublemapper (deleted)") && !of("/usr/bin/memfd:a"));
        assert!(Backing::Written.is_memory() && !Backing::Vdso.is_memory());
    }

    #[test]
    fn written_code_side_by_side_is_one_mapping() {
        let map = |start: u64, inode: u64, name: Option<&str>| CodeMapping {
            start,
            end: start + 0x1000,
            offset: 0,
            inode,
            path: name.map(|name| Path::new(name).into()),
            is_vdso: false,
        };
        // Shared memory has a name, but no file, so it counts as generated code.
        let maps =
            [(0x1000, 0, None), (0x2000, 0, Some("/dev/zero")), (0x4000, 0, None), (0x5000, 7, Some("/a"))];
        let found = joined(maps.into_iter().map(|(start, inode, name)| map(start, inode, name)).collect());
        let file = Backing::File { path: Path::new("/a").into(), inode: 7, offset: 0 };
        let expected =
            [(0x1000, 0x3000, Backing::Written), (0x4000, 0x5000, Backing::Written), (0x5000, 0x6000, file)];
        assert_eq!(found, expected.map(|(start, end, backing)| Mapping { start, end, backing }));
    }
}
