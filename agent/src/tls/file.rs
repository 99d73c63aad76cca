//! Examination of a file for the functions of a TLS library.

use std::{fs::File, io};

use super::{
    Function, Place, code,
    version::{self, Go},
};
use crate::elf::{Defined, Elf, GoTable};

/// Symbols of OpenSSL's functions.
const OPENSSL: [(&str, Function); 6] = [
    ("SSL_read", Function::Read),
    ("SSL_write", Function::Write),
    ("SSL_read_ex", Function::ReadEx),
    ("SSL_write_ex", Function::WriteEx),
    ("SSL_sendfile", Function::Sendfile),
    ("SSL_free", Function::Free),
];
/// Symbols of the functions of Go's `crypto/tls`: Read and Write.
const GO: [&str; 2] = ["crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"];
/// Symbols of the method table (itab) through which Go uses a TCP socket as a `net.Conn`: since Go 1.20, and before.
/// With its address, the kernel program recognizes a TCP socket below a `tls.Conn`.
const GO_TCP: [&str; 2] = ["go:itab.*net.TCPConn,net.Conn", "go.itab.*net.TCPConn,net.Conn"];

/// Two methods of the table [`GO_TCP`], with their offsets in it in bytes. A header of 24 bytes is followed by pointers
/// to the methods of `net.Conn`, sorted by name: `Close`, `LocalAddr`, `Read`, `RemoteAddr`, `SetDeadline`,
/// `SetReadDeadline`, `SetWriteDeadline`, `Write`. `crypto/tls` calls both methods, so the linker keeps them.
const GO_TCP_METHODS: [(&str, u64); 2] =
    [("net.(*TCPConn).Read", 24 + 2 * 8), ("net.(*TCPConn).Write", 24 + 7 * 8)];

/// The TLS functions in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Name and version of the TLS library; empty if there is none or it is unknown.
    pub(super) library: String,
    /// The functions to probe; empty if there are none or they could not be found.
    pub(super) places: Vec<Place>,
    /// For Go, the address of the method table of TCP sockets ([`GO_TCP`]) in the file; otherwise 0.
    pub(super) go_tcp: u64,
    /// The reason why `places` is empty although the file uses TLS, as the end of a sentence that begins with "… is not
    /// read:".
    pub(super) problem: Option<String>,
}

impl Contents {
    fn unreadable(library: String, problem: &str) -> Self {
        Self { library, problem: Some(problem.to_owned()), ..Self::default() }
    }
}

/// Examines the executable of a process for Go's TLS, an OpenSSL that is linked into the executable, and rustls. `name`
/// is the name of the executable.
///
/// # Errors
///
/// The system's error if the file cannot be read, [`io::ErrorKind::InvalidData`] if it is not a supported ELF file.
pub(super) fn program(file: &File, name: &str) -> io::Result<Contents> {
    let elf = Elf::read(file)?;
    if let Some(go) = version::go(&elf)? {
        return of_go(&elf, &go);
    }
    let places = openssl_places(&elf)?;
    if !places.is_empty() {
        let version = version::openssl(&elf)?.unwrap_or_else(|| "OpenSSL".to_owned());
        return Ok(Contents { library: format!("{name}'s own {version}"), places, ..Contents::default() });
    }
    if version::mentions(&elf, "rustls")? {
        return Ok(Contents::unreadable("rustls".to_owned(), "its library has no functions to attach to"));
    }
    Ok(Contents::default())
}

/// Examines a libssl: the shared library of OpenSSL or of a fork.
///
/// # Errors
///
/// The same as of [`program`].
pub(super) fn library(file: &File) -> io::Result<Contents> {
    let elf = Elf::read(file)?;
    let places = openssl_places(&elf)?;
    let library = version::openssl(&elf)?.unwrap_or_default();
    Ok(Contents { library, places, ..Contents::default() })
}

/// Reads the version of OpenSSL from libcrypto, which always contains it; libssl may not.
///
/// # Errors
///
/// The same as of [`program`].
pub(super) fn crypto(file: &File) -> io::Result<Contents> {
    let library = version::openssl(&Elf::read(file)?)?.unwrap_or_default();
    Ok(Contents { library, ..Contents::default() })
}

fn openssl_places(elf: &Elf<'_>) -> io::Result<Vec<Place>> {
    let found = elf.symbols(&OPENSSL.map(|(name, _)| name))?;
    // Half of a conversation is of no use, so the functions of both directions must be there.
    if !found.contains_key("SSL_read") || !found.contains_key("SSL_write") {
        return Ok(Vec::new());
    }
    let places = OPENSSL.iter().filter_map(|(name, function)| {
        let begins = elf.offset_of(found.get(name)?.address)?;
        Some(Place { function: *function, begins, returns: Vec::new() })
    });
    Ok(places.collect())
}

fn of_go(elf: &Elf<'_>, go: &Go) -> io::Result<Contents> {
    let library = match go {
        Go::Version(version) => format!("Go crypto/tls ({version})"),
        Go::Old => {
            let library = "Go crypto/tls (before go1.18)".to_owned();
            return Ok(Contents::unreadable(library, "Go before 1.18 passes arguments in another way"));
        }
    };
    let found = if elf.has_symbols() { by_symbols(elf)? } else { by_table(elf)? };
    let GoFunctions { read, write, tcp } = match found {
        Found::All(functions) => functions,
        // A program that uses TLS over TCP has all of [`GoFunctions`], so this one does not use TLS over TCP.
        Found::Nothing => return Ok(Contents::default()),
        Found::Unclear => {
            let problem =
                "its executable is stripped of symbols, and without them two types of socket look alike";
            return Ok(Contents::unreadable(library, problem));
        }
    };
    let mut places = Vec::new();
    for (defined, function) in [(read, Function::GoRead), (write, Function::GoWrite)] {
        let Some(place) = go_place(elf, defined, function)? else {
            return Ok(Contents::unreadable(library, "its code could not be read"));
        };
        places.push(place);
    }
    Ok(Contents { library, places, go_tcp: tcp, problem: None })
}

/// The functions and the table of a Go program that are needed to read its TLS.
#[derive(Debug)]
struct GoFunctions {
    read: Defined,
    write: Defined,
    /// Address of the method table through which the program uses a TCP socket as a `net.Conn`.
    tcp: u64,
}

/// The result of looking for [`GoFunctions`].
#[derive(Debug)]
enum Found {
    All(GoFunctions),
    /// At least one of the functions, or the table, is missing: the program does not use TLS over TCP.
    Nothing,
    /// More than one place in the file could be the method table.
    Unclear,
}

fn by_symbols(elf: &Elf<'_>) -> io::Result<Found> {
    let names: Vec<&'static str> = GO.into_iter().chain(GO_TCP).collect();
    let found = elf.symbols(&names)?;
    let of = |name: &str| found.get(name).copied();
    let tcp = GO_TCP.iter().find_map(|name| of(name));
    let (Some(read), Some(write), Some(tcp)) = (of(GO[0]), of(GO[1]), tcp) else { return Ok(Found::Nothing) };
    Ok(Found::All(GoFunctions { read, write, tcp: tcp.address }))
}

/// Finds the functions of a stripped program in the table that Go's runtime needs ([`GoTable`]), and the method table
/// by the pointers in it to two of its functions.
fn by_table(elf: &Elf<'_>) -> io::Result<Found> {
    let Some(table) = GoTable::of(elf) else { return Ok(Found::Nothing) };
    let names: Vec<&str> = GO.into_iter().chain(GO_TCP_METHODS.map(|(name, _)| name)).collect();
    let found = table.functions(elf, &names)?;
    let [Some(read), Some(write), Some(first), Some(second)] = found[..] else { return Ok(Found::Nothing) };
    let pointers = elf.pointers_to(&[first.address, second.address])?;
    let [firsts, seconds] = &pointers[..] else { return Ok(Found::Nothing) };
    let (at, next) = (GO_TCP_METHODS[0].1, GO_TCP_METHODS[1].1);
    let tables = firsts.iter().filter_map(|place| place.checked_sub(at));
    let mut tables = tables.filter(|table| seconds.binary_search(&table.wrapping_add(next)).is_ok());
    Ok(match (tables.next(), tables.next()) {
        (Some(tcp), None) => Found::All(GoFunctions { read, write, tcp }),
        (Some(_), Some(_)) => Found::Unclear,
        (None, _) => Found::Nothing,
    })
}

fn go_place(elf: &Elf<'_>, defined: Defined, function: Function) -> io::Result<Option<Place>> {
    let (Some(code), Some(start)) = (elf.code(defined)?, elf.offset_of(defined.address)) else {
        return Ok(None);
    };
    let points = code::points(elf.machine, &code);
    Ok(points.map(|points| Place {
        function,
        begins: start + points.begins,
        returns: match function {
            Function::GoRead => points.returns.iter().map(|at| start + at).collect(),
            _ => Vec::new(),
        },
    }))
}

#[cfg(test)]
mod tests;
