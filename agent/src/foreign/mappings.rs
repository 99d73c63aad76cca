//! A process's mappings of code, from `/proc/PID/maps`. The kernel writes the lines, but the process decides on their
//! number and on the names in them.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

/// Maximum number of bytes of the list that are read: enough for some 50,000 mappings, data included. The kernel allows
/// a process 65,530 by default; browsers, databases and the JVM have at most some thousand.
const MOST_READ: u64 = 4 << 20;
/// Maximum number of code mappings of a process. Programs with many libraries, or whose runtime generates code, have
/// some hundred.
const MOST_MAPPINGS: usize = 4096;
/// Maximum number of bytes of all paths; a path that the next mapping repeats is counted once. A thousand libraries
/// need 100 KiB.
const MOST_PATHS: usize = 256 << 10;
/// Maximum number of bytes of one line: enough for a path of 4,095 bytes, each of which is escaped as four.
const MOST_LINE: u64 = 1 << 15;

/// A mapping of executable memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeMapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Offset in the file of the mapping's first byte.
    pub(crate) offset: u64,
    /// Inode number of the file; 0 if no file is mapped.
    pub(crate) inode: u64,
    /// Path of the file, or a name with a leading slash that the kernel shows for shared memory; `None` for memory
    /// without a name, and for names in brackets.
    pub(crate) path: Option<Arc<Path>>,
    /// True for `[vdso]`, the code that the kernel provides to processes.
    pub(crate) is_vdso: bool,
}

/// Reads a process's mappings of code, in the order of their addresses.
///
/// # Errors
///
/// The system's error, for example without permission; [`io::ErrorKind::FileTooLarge`] if the list exceeds one of the
/// limits of this module. An incomplete list is not returned, because nobody would notice that functions are missing.
pub(crate) fn code_mappings(pid: u32) -> io::Result<Vec<CodeMapping>> {
    parse(BufReader::with_capacity(1 << 16, File::open(format!("/proc/{pid}/maps"))?))
}

/// Parses a list of mappings and returns those of code. Lines that are not valid are skipped.
fn parse(list: impl BufRead) -> io::Result<Vec<CodeMapping>> {
    let mut list = list.take(MOST_READ + 1);
    let mut found: Vec<CodeMapping> = Vec::new();
    let (mut line, mut paths, mut is_rest) = (Vec::new(), 0, false);
    loop {
        line.clear();
        let read = list.by_ref().take(MOST_LINE).read_until(b'\n', &mut line)?;
        if list.limit() == 0 || found.len() > MOST_MAPPINGS || paths > MOST_PATHS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if read == 0 {
            return Ok(found);
        }
        // A line longer than `MOST_LINE` comes in several parts. All of them are skipped, because the process controls
        // the contents of a part and could forge a line.
        let is_line = !std::mem::replace(&mut is_rest, !line.ends_with(b"\n"));
        let whole = line.strip_suffix(b"\n").filter(|_| is_line);
        let Some(mut mapping) = whole.and_then(mapping_of) else { continue };
        // Mappings of the same file usually follow each other, and share the path in memory.
        let last = found.last().and_then(|last| last.path.as_ref());
        match (&mapping.path, last) {
            (Some(path), Some(last)) if path == last => mapping.path = Some(Arc::clone(last)),
            (Some(path), _) => paths += path.as_os_str().len(),
            (None, _) => {}
        }
        found.push(mapping);
    }
}

/// Parses a line `START-END PERMISSIONS OFFSET DEVICE INODE`, followed by spaces and the name. Returns `None` if the
/// mapping is not executable or the line is not valid.
fn mapping_of(line: &[u8]) -> Option<CodeMapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || str::from_utf8(fields.next()?).ok();
    let (range, permissions) = (next()?, next()?);
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (offset, _device, inode) = (next()?, next()?, next()?);
    let name = fields.next().unwrap_or_default().trim_ascii_start();
    let (start, end) = range.split_once('-')?;
    let hex = |number: &str| u64::from_str_radix(number, 16).ok();
    let (start, end) = (hex(start)?, hex(end)?);
    let is_code = start < end && name != b"[vsyscall]";
    is_code.then_some(CodeMapping {
        start,
        end,
        offset: hex(offset)?,
        inode: inode.parse().ok()?,
        path: name.starts_with(b"/").then(|| Path::new(OsStr::from_bytes(&unescaped(name))).into()),
        is_vdso: name == b"[vdso]",
    })
}

/// Restores the line feeds in a name, the only bytes that the kernel escapes.
fn unescaped(name: &[u8]) -> Vec<u8> {
    const BREAK: &[u8] = b"\\012";
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = memchr::memmem::find(rest, BREAK) {
        plain.extend(&rest[..at]);
        plain.push(b'\n');
        rest = &rest[at + BREAK.len()..];
    }
    plain.extend(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use proptest::prelude::*;

    use super::*;

    /// Start, offset, inode, path, and whether the mapping is `[vdso]`.
    type Short = (u64, u64, u64, Option<&'static [u8]>, bool);

    #[test]
    fn code_is_kept_and_broken_lines_are_not() {
        let text = b"00400000-00401000 r--p 00000000 08:01 12                         /bin/a\n\
                     00401000-00402000 r-xp 00001000 08:01 12                         /bin/a b \n\
                     nonsense r-xp\n\
                     7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
                     7f0000001000-7f0000002000 rwxp 00000000 00:00 0                  [anon:x]\n\
                     7f0000003000-7f0000004000 r-xp 00000000 08:01 14                 /SYSV\xe9\n\
                     7f0000005000-7f0000006000 r-xp 00000000 08:01 15                 /a\\012b\n\
                     7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                  [vdso]\n\
                     ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]\n\
                     7f0000002000-7f0000003000 r-xp 00000000 08:01 13                 /cu";
        let found: Vec<Short> = parse(&text[..])
            .unwrap()
            .iter()
            .map(|map| {
                let path =
                    map.path.clone().map(|path| path.as_os_str().as_bytes().to_vec().leak() as &[u8]);
                (map.start, map.offset, map.inode, path, map.is_vdso)
            })
            .collect();
        let expected: [Short; 6] = [
            (0x40_1000, 0x1000, 12, Some(b"/bin/a b "), false),
            (0x7f00_0000_0000, 0, 0, None, false),
            (0x7f00_0000_1000, 0, 0, None, false),
            (0x7f00_0000_3000, 0, 14, Some(b"/SYSV\xe9"), false),
            (0x7f00_0000_5000, 0, 15, Some(b"/a\nb"), false),
            (0x7ffc_0000_0000, 0, 0, None, true),
        ];
        assert_eq!(found, expected);
        assert_eq!(parse(&b"\xff\xff-\xff r-xp \xff\n\n"[..]).unwrap(), []);
    }

    #[test]
    fn more_than_is_kept_is_an_error() {
        let lines = |count: u64, permissions: &str, name: &str| {
            let mut text = Vec::new();
            for at in 1..=count {
                writeln!(text, "{:x}-{:x} {permissions} 0 08:01 {at} {name}{at}", at << 12, (at + 1) << 12)
                    .unwrap();
            }
            parse(text.as_slice()).map(|found| found.len()).map_err(|error| error.kind())
        };
        let too_large = Err(io::ErrorKind::FileTooLarge);
        assert_eq!(lines(4096, "r-xp", "/a"), Ok(4096));
        assert_eq!(lines(4097, "r-xp", "/a"), too_large);
        assert_eq!(lines(100, "r-xp", &format!("/{}", "a".repeat(4000))), too_large, "long names");
        assert_eq!(lines(40_000, "r--p", "/a"), Ok(0));
        assert_eq!(lines(200_000, "r--p", "/a"), too_large);
        assert_eq!(
            parse(vec![b'a'; 5 << 20].as_slice()).map_err(|error| error.kind()).unwrap_err(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn a_long_name_makes_no_mappings() {
        let forged = "1000-2000 r-xp 0 08:01 1 /bin/forged";
        let start = "3000-4000 r-xp 0 08:01 1 /";
        for length in MOST_LINE as usize - start.len() - 2..MOST_LINE as usize - start.len() + 2 {
            let text = format!("{start}{}{forged}\n5000-6000 r-xp 0 08:01 2 /b\n", "a".repeat(length));
            let found: Vec<u64> = parse(text.as_bytes()).unwrap().iter().map(|map| map.start).collect();
            assert_eq!(found, [0x5000], "{length}");
        }
    }

    #[test]
    fn the_path_of_one_file_is_kept_once() {
        let text = "1000-2000 r-xp 0 08:01 1 /a\n2000-3000 r-xp 0 08:01 1 /a\n3000-4000 r-xp 0 08:01 2 /b\n";
        let found = parse(text.as_bytes()).unwrap();
        let path = |at: usize| found[at].path.as_ref().unwrap();
        assert!(Arc::ptr_eq(path(0), path(1)) && !Arc::ptr_eq(path(1), path(2)));
    }

    #[test]
    fn this_process_has_its_own_program() {
        let own = std::env::current_exe().unwrap();
        let maps = code_mappings(std::process::id()).unwrap();
        assert!(maps.iter().any(|map| map.path.as_deref() == Some(own.as_path())));
        assert!(maps.iter().any(|map| map.is_vdso));
        assert!(maps.is_sorted_by_key(|map| map.start));
        assert!(fs::metadata(own).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_a_line_is_it_ends(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(line.as_slice());
            let _ = parse([b"1000-2000 r-xp 0 08:01 1 /SYSV", line.as_slice(), b"\n"].concat().as_slice());
        }
    }
}
