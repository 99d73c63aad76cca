//! Examination of running processes for TLS libraries.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    elf::Elf,
    foreign::{CodeMapping, code_mappings, open_mapped, open_within, root_of},
};
use procfs::{ProcError, process::Process};

use super::{
    Place,
    file::{self, Contents},
};

/// Maximum number of files whose contents a [`Finder`] remembers, and of paths.
const MOST_FILES: usize = 512;
/// TLS libraries without functions to probe: the beginning of their file names, and their names for people.
const UNSUPPORTED: [(&str, &str); 8] = [
    ("libgnutls", "GnuTLS"),
    ("libssl3.so", "NSS"),
    ("libnss3", "NSS"),
    ("libjvm", "Java"),
    ("libmbedtls", "Mbed TLS"),
    ("libwolfssl", "wolfSSL"),
    ("libs2n", "s2n-tls"),
    ("libconscrypt", "Conscrypt"),
];
/// The file through which .NET calls OpenSSL. .NET passes bytes between threads, so that the socket of a call is
/// unknown.
const DOTNET: &str = "libSystem.Security.Cryptography.Native.OpenSsl";

/// The functions of one file that a process has mapped, which are to be probed.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The file that contains the functions.
    pub file: Arc<File>,
    /// Identity of the file on this machine: device number and inode number.
    pub identity: (u64, u64),
    /// The functions in the file.
    pub places: Arc<[Place]>,
    /// For Go, the address of the method table of TCP sockets in the memory of the process; otherwise 0.
    pub go_tcp: u64,
}

/// The result of examining a process for TLS.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Names and versions of the TLS libraries; empty if no known library was found.
    pub library: String,
    /// The functions to be probed.
    pub placed: Vec<Placed>,
    /// A sentence that says why nothing is probed; empty if something is.
    pub reason: String,
}

/// The role of a file in a process, which decides how the file is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// The executable.
    Program,
    /// OpenSSL's library of TLS functions (libssl).
    Library,
    /// OpenSSL's library of ciphers (libcrypto), which always contains the version.
    Crypto,
}

/// Device number, inode number, length and modification time of a file, and the role in which it was examined.
type Key = (u64, u64, u64, i64, Role);

/// The contents that a file had when it was examined. `places` is the list in `contents`, in a form that processes
/// share.
#[derive(Debug, Clone)]
struct Known {
    contents: Arc<Contents>,
    places: Arc<[Place]>,
}

/// Examines processes, and remembers the contents of files that it has examined.
#[derive(Debug, Default)]
pub struct Finder {
    files: HashMap<Key, Known>,
    /// Paths at which libraries with functions to probe were found, and the files' identities. [`Self::expect`] looks
    /// there for processes that have not mapped the libraries yet.
    paths: HashMap<PathBuf, (u64, u64)>,
}

impl Finder {
    /// Examines a process. An error is described in [`Found::reason`].
    pub fn look(&mut self, pid: u32) -> Found {
        match self.try_look(pid) {
            Ok(found) => found,
            Err(error) => Found { reason: refusal(&error), ..Found::default() },
        }
    }

    /// Returns the libraries that a process which has just begun may map: those at paths where other processes had
    /// libraries with functions to probe, as this process sees the paths. Probes on these libraries see the first call
    /// of the process.
    pub fn expect(&mut self, pid: u32) -> Vec<Placed> {
        let Ok(root) = root_of(pid) else { return Vec::new() };
        let mut expected = Vec::new();
        let paths: Vec<PathBuf> = self.paths.keys().cloned().collect();
        for path in paths {
            if let Ok(file) = open_within(&root, &path)
                && let Ok(known) = self.contents(&file, Role::Library, "")
                && !known.places.is_empty()
                && let Ok(identity) = identity(&file)
            {
                expected.push(Placed { file: file.into(), identity, places: known.places, go_tcp: 0 });
            }
        }
        expected
    }

    fn try_look(&mut self, pid: u32) -> Result<Found, ProcError> {
        let process = Process::new(i32::try_from(pid).unwrap_or(0))?;
        let program = process.exe()?;
        let maps = code_mappings(pid)?;
        let mut found = Found::default();
        let (mut names, mut problems) = (Vec::new(), Vec::new());
        let mut unsupported: Vec<&str> = Vec::new();
        let mut crypto = String::new();
        for (path, map) in code_of(&maps) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let role = if path == program {
                Role::Program
            } else if let Some((_, library)) = UNSUPPORTED.iter().find(|(start, _)| name.starts_with(start)) {
                unsupported.push(library);
                continue;
            } else if name.starts_with(DOTNET) {
                problems.push(
                    "of .NET, whose bytes pass between threads, nobody can tell the connection".to_owned(),
                );
                continue;
            } else if name.starts_with("libssl") {
                Role::Library
            } else if name.starts_with("libcrypto") {
                Role::Crypto
            } else {
                continue;
            };
            let file = open_mapped(pid, path, (map.start, map.end), map.inode)?;
            let Ok(known) = self.contents(&file, role, &name) else { continue };
            let Contents { library, problem, go_tcp, .. } = &*known.contents;
            if role == Role::Crypto {
                crypto.clone_from(library);
                continue;
            }
            if !known.places.is_empty() {
                if role == Role::Library {
                    self.expect_again(path, &file);
                }
                let go_tcp =
                    if *go_tcp == 0 { 0 } else { go_tcp.wrapping_add(bias(&file, map).unwrap_or(0)) };
                let identity = identity(&file)?;
                found.placed.push(Placed { file: file.into(), identity, places: known.places, go_tcp });
            }
            if role == Role::Library || !library.is_empty() {
                names.push(library.clone());
            }
            problems.extend(problem.clone());
        }
        for name in &mut names {
            if name.is_empty() {
                name.clone_from(&crypto);
            }
        }
        // An unsupported library may be mapped only as a dependency, so it is not reported if another library is read.
        if found.placed.is_empty() {
            names.extend(unsupported.iter().map(|name| (*name).to_owned()));
        }
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        if problems.iter().any(|problem| problem.starts_with("of .NET")) {
            found.placed.clear();
        }
        found.library = names.join(" and ");
        found.reason = reason(&found, &unsupported, &problems);
        Ok(found)
    }

    /// Remembers the path of a library for [`Self::expect`].
    fn expect_again(&mut self, path: &Path, file: &File) {
        if let Ok(identity) = identity(file)
            && self.paths.len() < MOST_FILES
        {
            self.paths.insert(path.to_owned(), identity);
        }
    }

    /// Returns the contents of a file, which is examined unless its contents are remembered. `name` is the name of an
    /// executable; libraries need none.
    fn contents(&mut self, file: &File, role: Role, name: &str) -> io::Result<Known> {
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), role);
        if let Some(known) = self.files.get(&key) {
            return Ok(known.clone());
        }
        let contents = match role {
            Role::Program => file::program(file, name),
            Role::Library => file::library(file),
            Role::Crypto => file::crypto(file),
        };
        // A file that cannot be read counts as one without TLS, and is remembered as such.
        let contents = contents.unwrap_or_default();
        let known = Known { places: contents.places.clone().into(), contents: contents.into() };
        if self.files.len() >= MOST_FILES {
            self.files.clear();
        }
        self.files.insert(key, known.clone());
        Ok(known)
    }
}

/// Returns the files that are mapped as code, each with its first mapping. Mappings of one file follow each other, so
/// only adjacent ones are compared.
fn code_of(maps: &[CodeMapping]) -> Vec<(&Path, &CodeMapping)> {
    let mut files: Vec<(&Path, &CodeMapping)> = Vec::new();
    for map in maps {
        if let Some(path) = &map.path
            && files.last().is_none_or(|(last, _)| *last != &**path)
        {
            files.push((path, map));
        }
    }
    files
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns the difference between the addresses of a program in memory and those in its file. `map` is one of its
/// mappings of code.
fn bias(file: &File, map: &CodeMapping) -> Option<u64> {
    Some(map.start.wrapping_sub(Elf::read(file).ok()?.code_at(map.offset)?))
}

fn reason(found: &Found, unsupported: &[&str], problems: &[String]) -> String {
    if let (true, Some(problem)) = (found.placed.is_empty(), problems.first()) {
        return format!("{} is not read: {problem}.", subject(&found.library));
    }
    match (found.placed.is_empty(), unsupported.first()) {
        (false, _) => String::new(),
        (true, Some(other)) => format!("{other} is not read: only OpenSSL and Go's crypto/tls are."),
        (true, None) => {
            "No TLS library was found in the process: one that is linked into the program, such as rustls or BoringSSL, \
             is not read without symbols."
                .to_owned()
        }
    }
}

fn subject(library: &str) -> &str {
    if library.is_empty() { "The library" } else { library }
}

fn refusal(error: &ProcError) -> String {
    match error {
        ProcError::PermissionDenied(_) => {
            "There is no permission to look into the process: CAP_SYS_PTRACE is missing \
                                           (agent.tls=true of the chart gives it)."
                .to_owned()
        }
        ProcError::NotFound(_) => "The process ended before it could be looked at.".to_owned(),
        other => format!("The process could not be looked at: {other}."),
    }
}
