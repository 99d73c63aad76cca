//! Tests of hostile files, whose headers lie or lead to the same bytes again and again, and of large programs.

use std::os::unix::fs::FileExt as _;

use super::*;

const STRINGS: u64 = 1 << 20;

/// Makes a sparse file with `count` sections, each of which is a symbol table at the same place.
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

/// Returns the bytes of a small program of this machine.
fn small() -> Vec<u8> {
    std::fs::read("/bin/true").unwrap()
}

fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Calls every function of this module on a file. Only an error in the ELF header is returned.
fn read_all(file: &File) -> io::Result<()> {
    let elf = Elf::read(file)?;
    let _ = (elf.code_at(0x1000), elf.offset_of(0x1000), elf.has_symbols(), elf.most_functions());
    let _ = elf.symbols(&["SSL_read", "main"]);
    let _ = elf.functions(1 << 16).map(|(functions, names)| {
        functions.iter().take(64).for_each(|function| {
            let _ = names.offset.checked_add(function.name.into()).and_then(|at| text_at(file, at, 0));
            let _ = elf.code(Defined { address: function.address, size: function.size.into() });
        });
    });
    let _ = (elf.pointers_to(&[0x1000, 0]), elf.word_at(0x4000));
    for name in [".rodata", ".text", ".dynstr", ".gopclntab"] {
        if let Some(section) = elf.section(name) {
            let _ = (elf.find(section, "a", 8, |rest| rest.first().copied()), elf.start(section, 64));
        }
    }
    if let Some(table) = GoTable::of(&elf) {
        let _ = (table.functions(&elf, &["main.main", "a"]), table.name_at(file, 0x1000));
    }
    Ok(())
}

#[test]
fn headers_that_lie_are_read_to_an_end() {
    let bytes = small();
    let word = |at: usize| usize::try_from(u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())).unwrap();
    let (segments, sections) = (word(32), word(40));
    let places = [0..64, segments..segments + 56 * 13, sections..bytes.len()];
    let mut random = fastrand::Rng::with_seed(17);
    let begun = std::time::Instant::now();
    let mut read = 0;
    for _ in 0..600 {
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..12) {
            let place = places[random.usize(..3)].clone();
            let at = random.usize(place);
            bytes[at] = match random.usize(..4) {
                0 => 0xff,
                1 => 0x7f,
                2 => 0,
                _ => random.u8(..),
            };
        }
        read += u32::from(read_all(&file_of(&bytes)).is_ok());
    }
    assert!(read > 100, "{read}");
    // Each file takes milliseconds; the limit is for an endless loop.
    assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
}

proptest::proptest! {
    #[test]
    fn numbers_of_a_table_of_go_can_be_any(
        words in proptest::collection::vec(proptest::prelude::any::<u64>(), 8),
        small in proptest::collection::vec(0_u64..4096, 8),
        kinds in proptest::collection::vec(0_usize..3, 8),
        magic in 0_usize..3,
    ) {
        let mut bytes = vec![0; 0x2000];
        let mut table = [0xffff_fffa_u32, 0xffff_fff0, 0xffff_fff1][magic].to_le_bytes().to_vec();
        table.extend([0, 0, 1, 8]);
        for at in 0..8 {
            table.extend([words[at], small[at], u64::MAX - small[at]][kinds[at]].to_le_bytes());
        }
        bytes.extend(&table);
        bytes.resize(0x5000, 0);
        let file = file_of(&bytes);
        let elf = Elf { file: Source::new(&file, MOST_READ), machine: Machine::X86_64, loaded: Vec::new(), sections: Vec::new(), names: Vec::new() };
        for length in [table.len() as u64, 0x2000, u64::MAX] {
            let placed = Placed { address: 0, range: Range { offset: 0x2000, length } };
            if let Some(table) = GoTable::read(&elf, placed) {
                let _ = (table.functions(&elf, &["a", ""]), table.name_at(&file, small[0]), table.name_at(&file, words[1]));
            }
        }
    }
}

/// Looking for a function in a table that claims 4 GiB of names reads little more than [`MOST_SCANNED`].
#[test]
fn a_table_of_go_without_an_end_is_not_read_to_it() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 << 30).unwrap();
    let mut table = 0xffff_fffa_u32.to_le_bytes().to_vec();
    table.extend([0, 0, 1, 8]);
    for word in [1_u64 << 22, 0, 72, 4 << 30, 0, 0, 4 << 30] {
        table.extend(word.to_le_bytes());
    }
    file.write_all_at(&table, 0).unwrap();
    let elf = Elf {
        file: Source::new(&file, MOST_READ),
        machine: Machine::X86_64,
        loaded: Vec::new(),
        sections: Vec::new(),
        names: Vec::new(),
    };
    let table =
        GoTable::read(&elf, Placed { address: 0, range: Range { offset: 0, length: 8 << 30 } }).unwrap();
    let begun = std::time::Instant::now();
    let _ = table.functions(&elf, &["crypto/tls.(*Conn).Read"]);
    assert!(MOST_READ - elf.file.left.get() <= MOST_SCANNED + (1 << 20));
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

/// Large programs, if this machine has them, must be within the limits.
#[test]
fn large_programs_are_read() {
    let large = ["/usr/bin/node", "/usr/lib/chromium/chromium", "/usr/lib/google-cloud-sdk/bin/kubectl"];
    for path in large.iter().filter(|path| std::path::Path::new(path).exists()) {
        let file = File::open(path).unwrap();
        let elf = Elf::read(&file).unwrap();
        let texts = elf.section(".rodata").unwrap();
        assert!(
            texts.length <= MOST_SCANNED
                && elf.find(texts, "no such text, I hope", 0, |_| Some(())).unwrap().is_none()
        );
        if let Some(table) = GoTable::of(&elf) {
            let found = table
                .functions(&elf, &["crypto/tls.(*Conn).Read", "runtime.goexit.abi0", "no.such"])
                .unwrap();
            assert!(found[0].is_some() && found[2].is_none(), "{path}: {found:?}");
        } else {
            assert!(!elf.functions(1 << 20).unwrap().0.is_empty(), "{path}");
        }
    }
}
