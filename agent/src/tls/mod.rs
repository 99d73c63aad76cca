//! TLS libraries in running processes: which one a process has, and where its plain text passes. Nothing here changes
//! anything; `kernel` attaches probes to what is found.
//!
//! Files and memory maps belong to whoever runs the process, so all of it is hostile: reads have bounds, tables are scanned
//! in pieces, and a file is looked at once.

mod code;
mod file;
mod process;
mod version;

pub use self::process::{Finder, Placed};

/// A function whose calls carry plain text, or end a connection.
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
    /// Offset in the file at which a call begins, with its arguments in their registers.
    pub begins: u64,
    /// Offsets of the return instructions; of Go alone, as C functions return to where the kernel can wait.
    pub returns: Vec<u64>,
}
