use std::{fs, time::Instant};

use super::*;
use crate::stacks::{
    Registers,
    unwind::{Copied, Unwinder},
};

const START: u64 = 0x5555_0000_0000;
const STACK: u64 = 0x7fff_0000_0000;

/// Returns a library of the system, and the file offset of its code. The test's own binary would be too large to be
/// changed and written again and again.
fn library() -> Option<(Vec<u8>, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(" r-xp ") && line.contains("libgcc_s"))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fs::read(fields[5]).unwrap(), u64::from_str_radix(fields[2], 16).unwrap()))
}

/// Unwinds a random stack whose addresses lie in a file's code, and looks up the names of functions there.
fn tried(image: &Image, origin: u64, random: &mut fastrand::Rng) {
    let mut unwinder = Unwinder::default();
    if let Some(sections) = image.sections() {
        unwinder.add(START, START + (1 << 20), origin, sections);
    }
    let address = |random: &mut fastrand::Rng| START + random.u64(..1 << 17);
    let bytes: Vec<u8> = (0..128)
        .flat_map(|_| if random.bool() { STACK + random.u64(..1024) } else { address(random) }.to_ne_bytes())
        .collect();
    let registers = Registers { instruction: address(random), stack: STACK, frame: STACK + 64, link: 0 };
    let within = |address: u64| origin.wrapping_add(address.wrapping_sub(START));
    let walk = unwinder.walk(&registers, Copied { start: STACK, bytes: &bytes }, |_, at| {
        image.sound_at(within(at)).is_some()
    });
    for address in walk.addresses {
        let _ = image.function_at(within(address));
    }
}

#[test]
fn hostile_files_are_read_and_followed_to_an_end() {
    let Some((bytes, offset)) = library() else {
        return crate::testing::skip("this program has no libgcc_s").unwrap_or_default();
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library");
    fs::write(&path, &bytes).unwrap();
    let (headers, tables) = {
        let file = File::open(&path).unwrap();
        let elf = Elf::read(&file).unwrap();
        let of = |name: &str| {
            let range = elf.section(name).unwrap();
            usize::try_from(range.offset).unwrap()..usize::try_from(range.offset + range.length).unwrap()
        };
        (bytes.len() - 4096..bytes.len(), [of(".eh_frame_hdr"), of(".eh_frame"), of(".dynsym"), 0..256])
    };
    let mut random = fastrand::Rng::with_seed(11);
    let begun = Instant::now();
    let mut loaded = 0;
    for _ in 0..1500 {
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..40) {
            let range = match random.usize(..8) {
                0 => headers.clone(),
                other => tables[other % tables.len()].clone(),
            };
            bytes[random.usize(range)] = if random.bool() { random.u8(..) } else { 0xff };
        }
        fs::write(&path, &bytes).unwrap();
        let mut images = Images::default();
        if let Ok((image, origin)) = images.load(File::open(&path).unwrap(), &path, offset) {
            loaded += 1;
            for _ in 0..8 {
                tried(&image, origin, &mut random);
            }
        }
    }
    assert!(loaded > 500, "{loaded}");
    // Each file takes far less than a millisecond.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_file_is_read_once_and_equal_tables_are_kept_once() {
    let Some((bytes, offset)) = library() else {
        return crate::testing::skip("this program has no libgcc_s").unwrap_or_default();
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        path
    };
    let (first, second) = (write("a.so"), write("b.so (deleted)"));
    let mut images = Images::default();
    let mut load = |path: &Path| images.load(File::open(path).unwrap(), path, offset).unwrap();
    let ((one, origin), (again, same), (other, _)) = (load(&first), load(&first), load(&second));
    assert!(Arc::ptr_eq(&one, &again) && origin == same);
    assert!(!Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one.tables, &other.tables));
    assert_eq!((one.name.as_str(), other.name.as_str()), ("a.so", "b.so"));
    assert!(images.table_bytes() > 0 && images.table_bytes() == one.bytes());
    drop((one, again, other));
    assert!(images.tidy());
    assert_eq!((images.table_bytes(), images.files.len()), (0, 0));
}

#[test]
fn files_beyond_the_room_are_refused_until_there_is_some() {
    let Some((bytes, offset)) = library() else {
        return crate::testing::skip("this program has no libgcc_s").unwrap_or_default();
    };
    let folder = tempfile::tempdir().unwrap();
    let mut images = Images::default();
    let mut kept = Vec::new();
    let refusal = (0..=MOST_FILES).find_map(|number| {
        let path = folder.path().join(number.to_string());
        fs::write(&path, &bytes).unwrap();
        match images.load(File::open(&path).unwrap(), &path, offset) {
            Ok((image, _)) => {
                kept.push(image);
                None
            }
            Err(error) => Some(error.kind()),
        }
    });
    assert_eq!((refusal, kept.len()), (Some(io::ErrorKind::StorageFull), MOST_FILES));
    assert!(!images.tidy());
    kept.truncate(MOST_FILES / 2);
    assert!(images.tidy());
}

/// Makes a file whose code is mapped from 0x1000 on, with empty sections of these names and lengths.
fn sparse(folder: &Path, sections: &[(&str, u32, u64)]) -> File {
    use std::os::unix::fs::FileExt as _;
    const BODIES: u64 = 1 << 20;
    let mut options = File::options();
    let file =
        options.read(true).write(true).create(true).truncate(true).open(folder.join("sparse")).unwrap();
    let (mut names, mut headers, mut at) = (vec![0], vec![0; 64], BODIES);
    let mut header = |kind: u32, name: usize, offset: u64, length: u64, link: u32| {
        headers.extend(u32::try_from(name).unwrap().to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for word in [0, offset, offset, length] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend(link.to_le_bytes());
        headers.extend([0; 20]);
    };
    for (name, kind, length) in sections {
        header(*kind, names.len(), at, *length, 1);
        names.extend(name.bytes().chain([0]));
        at += length.next_multiple_of(4096);
    }
    let table = names.len();
    names.extend(b".shstrtab\0");
    header(3, table, 0x800, names.len() as u64, 0);
    let count = u16::try_from(headers.len() / 64).unwrap();
    let mut start = b"\x7fELF\x02\x01\x01".to_vec();
    start.resize(64, 0);
    start[18] = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    start[32] = 64;
    start[40..48].copy_from_slice(&0x4000_u64.to_le_bytes());
    start[56] = 1;
    start[60..62].copy_from_slice(&count.to_le_bytes());
    start[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    start.extend(1_u32.to_le_bytes());
    start.extend(5_u32.to_le_bytes());
    for word in [0x1000_u64, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000] {
        start.extend(word.to_le_bytes());
    }
    file.write_all_at(&start, 0).unwrap();
    file.write_all_at(&names, 0x800).unwrap();
    file.write_all_at(&headers, 0x4000).unwrap();
    file.set_len(at).unwrap();
    file
}

const PROGRAM: u32 = 1;
const SYMBOLS: u32 = 2;

#[test]
fn one_file_takes_half_of_the_room_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let mib = |number: u64| number << 20;
    for (frames, index, kept) in [(12, 6, 18), (16, 6, 0), (1024, 1, 0)] {
        let sections = [
            (".eh_frame", PROGRAM, mib(frames)),
            (".eh_frame_hdr", PROGRAM, mib(index)),
            (".symtab", SYMBOLS, mib(1024)),
            (".strtab", PROGRAM, mib(1)),
        ];
        let file = sparse(folder.path(), &sections);
        let plan = Plan::of(&Elf::read(&file).unwrap());
        assert_eq!(plan.sections as u64, mib(kept));
        assert!((MOST_OF_FILE - 16..=MOST_OF_FILE).contains(&plan.bytes()), "{plan:?}");
        let begun = Instant::now();
        let mut images = Images::default();
        let (image, _) = images.load(file, Path::new("/a"), 0x1000).unwrap();
        assert_eq!(image.bytes() as u64, mib(kept));
        // This takes tens of milliseconds, although the file claims to have two gigabytes.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_file_of_no_use_is_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, "no code").unwrap();
    let mut images = Images::default();
    let mut load =
        |path: &Path, offset| images.load(File::open(path).unwrap(), path, offset).unwrap_err().kind();
    assert_eq!(load(&path, 0), io::ErrorKind::UnexpectedEof);
    assert_eq!(load(&path, 0), io::ErrorKind::InvalidData, "it is not read again");
    fs::write(&path, "another one").unwrap();
    assert_eq!(load(&path, 0), io::ErrorKind::UnexpectedEof);
    sparse(folder.path(), &[]);
    let other = folder.path().join("sparse");
    assert_eq!(load(&other, 1 << 30), io::ErrorKind::InvalidData);
    assert!(images.useless.len() == 3 && images.load(File::open(&other).unwrap(), &other, 0x1000).is_ok());
    for number in 0..2 * MOST_USELESS as u64 {
        images.remember_useless(((0, 0, number, 0, 0), None));
    }
    assert!(images.useless.len() <= MOST_USELESS);
}
