//! Versions of TLS libraries, from the texts that their files contain.

use std::io;

use crate::elf::{Elf, Range};

/// Maximum length of a version, in bytes.
const MOST: usize = 48;
/// Length in bytes of the header of Go's build information, which is followed by texts.
const GO_HEADER: usize = 32;
/// Magic bytes at the beginning of the header.
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Offset of the flags in the header.
const GO_FLAGS: usize = 15;
/// Flag: the texts follow the header (Go 1.18 and later).
const GO_INLINE: u8 = 2;

/// Returns name and version of the OpenSSL, LibreSSL or BoringSSL in a file, such as `OpenSSL 3.0.19`; for BoringSSL
/// only the name. They come from the texts of the library.
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

/// Returns the version number at the beginning of a text, if there is one with two dots or more. The number ends before
/// the first byte that cannot be part of it.
fn version(text: &[u8]) -> Option<String> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b".+-".contains(byte);
    let number: Vec<u8> = text.iter().take_while(is_part).copied().collect();
    let dots = number.iter().filter(|byte| **byte == b'.').count();
    let is_number = number.first().is_some_and(u8::is_ascii_digit) && dots >= 2;
    // A number that reaches the end of the bytes may be cut, so it is not used.
    (is_number && number.len() < text.len()).then(|| String::from_utf8_lossy(&number).into_owned())
}

/// The version of Go that a program was built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Go {
    /// A version such as `go1.26.0`.
    Version(String),
    /// A version before Go 1.18, which is not read.
    Old,
}

/// Reads the version from Go's build information. Returns `None` if there is none, because the program was not built by
/// Go.
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
    // The length is a varint, which takes several bytes from 128 on. Such a version is longer than [`MOST`] and would
    // be cut anyway, so the first byte is enough.
    let text = text.get(..usize::from(*length).min(MOST))?;
    // Names of Go experiments may follow the version after a space.
    let name = text.split(|byte| *byte == b' ').next()?;
    name.iter().all(u8::is_ascii_graphic).then(|| Go::Version(String::from_utf8_lossy(name).into_owned()))
}

/// Returns true if the texts in a file contain `name`, by which a library without symbols is recognized.
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
