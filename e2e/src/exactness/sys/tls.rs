//! Kernel TLS: the layer on a connection, and the key of one direction.

use std::{io, os::fd::AsFd};

use super::tcp::write_option;

/// What the key is for (linux/tls.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Encrypting what the socket sends.
    Sending = 1,
    /// Decrypting what it receives.
    Receiving = 2,
}

/// Puts the layer on a connection; its bytes pass as before until a direction has a key.
///
/// # Errors
///
/// When the kernel refuses, or has no TLS.
pub fn add_layer(socket: impl AsFd) -> io::Result<()> {
    const TCP_ULP: i32 = 31; // linux/tcp.h
    write_option(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// Gives a direction its key: AES-GCM with 128 bits, TLS 1.2, from the first record on.
///
/// # Errors
///
/// When the kernel refuses, or lacks the cipher.
pub fn set_key(socket: impl AsFd, purpose: Use, key: [u8; 16]) -> io::Result<()> {
    const SOL_TLS: i32 = 282;
    const VERSION: u16 = 0x0303;
    const AES_GCM_128: u16 = 51;
    // `struct tls12_crypto_info_aes_gcm_128`: explicit part of the nonce, key, salt, number of the record.
    let mut information = [VERSION.to_ne_bytes(), AES_GCM_128.to_ne_bytes()].concat();
    information.extend([1; 8]);
    information.extend(key);
    information.extend([2; 4]);
    information.extend([0; 8]);
    write_option(socket, SOL_TLS, purpose as i32, &information)
}
