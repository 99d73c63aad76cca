//! Kernel TLS: adding the layer to a connection, and setting the key of one direction.

use std::{io, os::fd::AsFd};

use super::tcp::write_option;

/// The direction that a key is for (linux/tls.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Encrypts the bytes that the socket sends.
    Sending = 1,
    /// Decrypts the bytes that the socket receives.
    Receiving = 2,
}

/// Adds the TLS layer to a connection; bytes pass unchanged until a direction has a key.
///
/// # Errors
///
/// Fails when the kernel refuses, or has no TLS.
pub fn add_layer(socket: impl AsFd) -> io::Result<()> {
    const TCP_ULP: i32 = 31; // linux/tcp.h
    write_option(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls")
}

/// Sets the key of a direction: AES-GCM with 128 bits, TLS 1.2, from the first record on.
///
/// # Errors
///
/// Fails when the kernel refuses, or lacks the cipher.
pub fn set_key(socket: impl AsFd, purpose: Use, key: [u8; 16]) -> io::Result<()> {
    const SOL_TLS: i32 = 282;
    const VERSION: u16 = 0x0303;
    const AES_GCM_128: u16 = 51;
    // The fields of `struct tls12_crypto_info_aes_gcm_128`: explicit part of the nonce, key, salt, and record number.
    let mut information = [VERSION.to_ne_bytes(), AES_GCM_128.to_ne_bytes()].concat();
    information.extend([1; 8]);
    information.extend(key);
    information.extend([2; 4]);
    information.extend([0; 8]);
    write_option(socket, SOL_TLS, purpose as i32, &information)
}
