//! TLS libraries in running processes: their versions, and the functions that carry plain text. This module changes
//! nothing; `kernel` attaches probes to the functions found.
//!
//! Files and memory maps belong to the owner of the process, so all of them may be hostile: reads are bounded, tables
//! are scanned in pieces, and each file is examined once.

mod code;
mod file;
mod process;
mod version;

pub use self::process::{Finder, Placed};

/// A function whose calls carry plain text, or which ends a connection.
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

/// A function in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function.
    pub function: Function,
    /// Offset in the file at which a call has its arguments in their registers.
    pub begins: u64,
    /// Offsets of the return instructions. Used for Go only; returns of C functions are seen by the kernel's return
    /// probes.
    pub returns: Vec<u64>,
}
