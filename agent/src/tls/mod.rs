//! TLS libraries in running processes: their versions, and the functions that carry plain text. This module only reads;
//! the module `kernel` attaches uprobes to the functions.
//!
//! The owner of a process controls its files and mappings, so all of them may be hostile: reads are bounded, tables are
//! scanned in pieces, and each file is examined once.

mod code;
mod file;
mod process;
mod version;

pub use self::process::{Finder, Placed};

/// A function of a TLS library that is probed, because its calls carry plain text or ([`Function::Free`]) end a
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// `int SSL_read(SSL *, void *, int)`.
    Read,
    /// `int SSL_write(SSL *, const void *, int)`.
    Write,
    /// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`.
    ReadEx,
    /// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`.
    WriteEx,
    /// `ossl_ssize_t SSL_sendfile(SSL *, int, off_t, size_t, int)`.
    Sendfile,
    /// `void SSL_free(SSL *)`.
    Free,
    /// `func (c *Conn) Read(b []byte) (int, error)` of `crypto/tls`.
    GoRead,
    /// `func (c *Conn) Write(b []byte) (int, error)` of `crypto/tls`.
    GoWrite,
}

/// A function in a file, as the offsets to which probes are attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function.
    pub function: Function,
    /// Offset in the file of the instruction at which a call has its arguments in registers.
    pub begins: u64,
    /// Offsets in the file of the return instructions, for [`Function::GoRead`] only. The returns of C functions are
    /// seen by the kernel's return probes (uretprobes), which would crash Go programs. A call of Go's `Write` is seen
    /// at its beginning.
    pub returns: Vec<u64>,
}
