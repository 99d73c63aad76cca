//! Versions of TLS libraries, found in the texts that the libraries contain.

use std::io;

use crate::elf::{Elf, Range};

/// Maximum length of a version, in bytes.
const MOST: usize = 48;
/// Length of the header before the texts in Go's build information.
const GO_HEADER: usize = 32;
/// Magic bytes at the beginning of the header.
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Offset of the flags, and the flag that says that texts follow (Go 1.18 and later).
const GO_FLAGS: usize = 15;
const GO_INLINE: u8 = 2;

/// Returns name and version of an OpenSSL library, or of one that is linked into a program, for example `OpenSSL
/// 3.0.19`. They come from the library's own texts.
///
/// # Errors
///
/// The system's error if the file cannot be read.
pub(super) fn openssl(elf: &Elf<'_>) -> io::Result<Option<String>> {
    let Some(texts) = elf.section(".rodata") else { return Ok(None) };
    if elf.find(texts, "BoringSSL", 0, |_| Some(()))?.is_some() {
        return Ok(Some("BoringSSL".to_owned()));
    }
    for name in ["OpenSSL ", "LibreSSL "] {
        if let Some(version) = elf.find(texts, name, MOST, version)? {
            return Ok(Some(format!("{name}{version}")));
        }
    }
    Ok(None)
}

/// Returns the version number at the beginning of a text. It has two dots or more, and ends before the first byte that
/// cannot be part of it.
fn version(text: &[u8]) -> Option<String> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b".+-".contains(byte);
    let number: Vec<u8> = text.iter().take_while(is_part).copied().collect();
    let dots = number.iter().filter(|byte| **byte == b'.').count();
    let is_number = number.first().is_some_and(u8::is_ascii_digit) && dots >= 2;
    // If the number reaches the end of the bytes, it may be cut.
    (is_number && number.len() < text.len()).then(|| String::from_utf8_lossy(&number).into_owned())
}

/// The version of Go that a program was built with, or the reason why it is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Go {
    /// A version such as `go1.26.0`.
    Version(String),
    /// A version before Go 1.18.
    Old,
}

/// Reads Go's build information. Returns `None` if the program was not built by Go.
///
/// # Errors
///
/// The system's error if the file cannot be read.
pub(super) fn go(elf: &Elf<'_>) -> io::Result<Option<Go>> {
    let Some(section) = elf.section(".go.buildinfo") else { return Ok(None) };
    Ok(build_information(&elf.start(section, (GO_HEADER + 1 + MOST) as u64)?))
}

fn build_information(bytes: &[u8]) -> Option<Go> {
    if !bytes.starts_with(GO_MAGIC) {
        return None;
    }
    if bytes.get(GO_FLAGS)? & GO_INLINE == 0 {
        return Some(Go::Old);
    }
    let (length, text) = bytes.get(GO_HEADER..)?.split_first()?;
    // Lengths of 128 and more take several bytes, but such a version would be cut anyway.
    let text = text.get(..usize::from(*length).min(MOST))?;
    // Names of experiments follow after a space.
    let name = text.split(|byte| *byte == b' ').next()?;
    name.iter().all(u8::is_ascii_graphic).then(|| Go::Version(String::from_utf8_lossy(name).into_owned()))
}

/// Returns true if the library's texts contain `name`, which identifies a library without symbols.
///
/// # Errors
///
/// The system's error if the file cannot be read.
pub(super) fn mentions(elf: &Elf<'_>, name: &str) -> io::Result<bool> {
    let texts: Option<Range> = elf.section(".rodata");
    texts.map_or(Ok(false), |texts| elf.find(texts, name, 0, |_| Some(())).map(|found| found.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_with_dots() {
        assert_eq!(version(b"3.0.19 27 Jan 2026\0"), Some("3.0.19".to_owned()));
        assert_eq!(version(b"1.1.1w  11 Sep 2023\0"), Some("1.1.1w".to_owned()));
        assert_eq!(version(b"3.0.15+quic 3 Sep 2024\0"), Some("3.0.15+quic".to_owned()));
        assert_eq!(version(b"CMS routines\0"), None);
        assert_eq!(version(b"3.0 \0"), None);
        assert_eq!(version(b"3.0.19"), None, "cut");
        assert_eq!(version(b""), None);
    }

    #[test]
    fn the_build_information_of_go_has_its_version() {
        let build = |flags: u8, rest: &[u8]| {
            let mut bytes = GO_MAGIC.to_vec();
            bytes.extend([8, flags]);
            bytes.resize(GO_HEADER, 0);
            bytes.extend(rest);
            build_information(&bytes)
        };
        assert_eq!(build(2, b"\x08go1.26.0rest"), Some(Go::Version("go1.26.0".to_owned())));
        assert_eq!(build(2, b"\x10go1.26.0 X:foo!!"), Some(Go::Version("go1.26.0".to_owned())));
        assert_eq!(build(0, b""), Some(Go::Old));
        assert_eq!(build(2, b"\x08go1"), None, "cut");
        assert_eq!(build(2, b"\x03g\no"), None);
        assert_eq!(build_information(b"\xff Go"), None);
    }
}
