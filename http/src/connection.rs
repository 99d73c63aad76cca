//! To be written.

/// What is known of a connection when its first piece comes.
#[derive(Debug, Clone, Copy)]
pub struct Beginning;

/// One connection.
#[derive(Debug)]
pub struct Connection;
