//! Headers that lead to the same bytes again and again.

use super::*;

const STRINGS: u64 = 1 << 20;

/// A sparse file whose every section is a table of symbols on the same strings.
fn of_symbols(count: u16) -> File {
    let file = tempfile::tempfile().unwrap();
    let section = |kind: u32| {
        let mut bytes = vec![0; size_of::<Section>()];
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[24..32].copy_from_slice(&STRINGS.to_le_bytes());
        bytes[32..40].copy_from_slice(&STRINGS.to_le_bytes());
        bytes
    };
    let mut header = vec![0; size_of::<Header>()];
    header[..6].copy_from_slice(b"\x7fELF\x02\x01");
    header[18..20].copy_from_slice(&elf::EM_X86_64.to_le_bytes());
    header[40..48].copy_from_slice(&(size_of::<Header>() as u64).to_le_bytes());
    header[60..62].copy_from_slice(&count.to_le_bytes());
    let sections = (0..count).flat_map(|_| section(elf::SHT_SYMTAB));
    file.write_all_at(&header.into_iter().chain(sections).collect::<Vec<u8>>(), 0).unwrap();
    file.write_all_at(b"\0SSL_read\0", STRINGS).unwrap();
    file.set_len(2 * STRINGS).unwrap();
    file
}

#[test]
fn one_table_of_symbols_is_read() {
    let file = of_symbols(MOST_HEADERS);
    let elf = Elf::read(&file).unwrap();
    let before = elf.file.left.get();
    assert!(elf.symbols(&["SSL_read"]).unwrap().is_empty());
    let read = before - elf.file.left.get();
    assert!((2 * STRINGS..3 * STRINGS).contains(&read), "{read}");
}

#[test]
fn what_is_read_of_a_file_is_bounded() {
    let file = of_symbols(1);
    let elf = Elf::read(&file).unwrap();
    elf.file.left.set(3 * STRINGS);
    assert!(elf.symbols(&["SSL_read"]).is_ok() && elf.symbols(&["SSL_read"]).is_err());
}
