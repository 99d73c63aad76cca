//! An index of a file's unwinding table (`.eh_frame_hdr`), made for files that have none.

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection as _};

/// Maximum number of functions in an index.
const MOST_FUNCTIONS: usize = 1 << 19;
/// Encodings of the index: absolute pointers of eight bytes and numbers of four (DW_EH_PE_udata8, DW_EH_PE_udata4).
const EIGHT: u8 = 4;
const FOUR: u8 = 3;

/// Makes the index of the table `eh_frame`, which lies at `address`. If the table is broken, the index covers the part
/// before the break. `text` and `got` are the addresses of `.text` and `.got`.
pub(super) fn of(eh_frame: &[u8], address: u64, text: u64, got: u64) -> Vec<u8> {
    let bases = BaseAddresses::default().set_eh_frame(address).set_text(text).set_got(got);
    let mut section = EhFrame::new(eh_frame, LittleEndian);
    section.set_address_size(8);
    let mut functions: Vec<(u64, u64)> = Vec::new();
    let mut common = None;
    let mut entries = section.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(entry) = entry else { continue };
        // Most functions share one common information entry (CIE), so the last one is cached.
        let found = entry.parse(|section, bases, offset| match &common {
            Some((known, part)) if *known == offset => Ok(gimli::CommonInformationEntry::clone(part)),
            _ => {
                let part = section.cie_from_offset(bases, offset)?;
                common = Some((offset, part.clone()));
                Ok(part)
            }
        });
        if let Ok(found) = found
            && functions.len() < MOST_FUNCTIONS
        {
            functions.push((found.initial_address(), address.wrapping_add(found.offset() as u64)));
        }
    }
    functions.sort_unstable();
    let mut header = vec![1, EIGHT, FOUR, EIGHT];
    header.extend(address.to_le_bytes());
    header.extend(u32::try_from(functions.len()).unwrap_or(0).to_le_bytes());
    for (function, entry) in functions {
        header.extend(function.to_le_bytes());
        header.extend(entry.to_le_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Elf;

    #[test]
    fn the_index_has_the_functions_that_the_linkers_has() {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(&file).unwrap();
        let (frames, index) = (elf.placed(".eh_frame").unwrap(), elf.placed(".eh_frame_hdr").unwrap());
        let (bytes, theirs) = (elf.bytes(frames.range).unwrap(), elf.bytes(index.range).unwrap());
        let ours = of(&bytes, frames.address, 0, 0);
        let count = |bytes: &[u8], at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
        assert!(count(&theirs, 8) > 1000);
        assert_eq!(count(&ours, 12), count(&theirs, 8));
    }

    #[test]
    fn broken_tables_end() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in 0..600 {
            let bytes: Vec<u8> = (0..length).map(|_| if random.bool() { 0 } else { random.u8(..) }).collect();
            assert!(of(&bytes, 0x1000, 0, 0).len() >= 16);
        }
    }
}
