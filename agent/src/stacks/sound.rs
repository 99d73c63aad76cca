//! Checks a function's unwinding entry before the unwinder evaluates it. Entries come from files of the traced process,
//! may contain an expression that loops forever, and the unwinder has no limit of its own.

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, EhFrame, EhFrameHdr, EhFrameOffset,
    Encoding, EndianSlice, LittleEndian, Operation, UnwindExpression, UnwindSection as _,
};

/// Maximum length of a function's entry, in bytes. The longest known ones are 20 KiB in GCC, 12 KiB in rustc, and 3 KiB
/// in Node and LLVM. About fifty bytes are usual.
const MOST_ENTRY: usize = 1 << 15;
/// Upper bound of the addresses in a file's tables. No process has higher ones, and their sums would overflow.
const MOST_ADDRESS: u64 = 1 << 56;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The tables for unwinding a file's functions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) eh_frame: &'a [u8],
    pub(super) eh_frame_address: u64,
    pub(super) header: &'a [u8],
    pub(super) header_address: u64,
    /// Addresses of `.text` and `.got`, to which others are relative.
    pub(super) text: u64,
    pub(super) got: u64,
}

impl Tables<'_> {
    /// Returns the size in bytes of the entry of the function at an address of the file, or `None` if it must not be
    /// followed. Without an entry the size is 0, and the function is unwound by its frame pointer.
    pub(super) fn sound_at(&self, address: u64) -> Option<usize> {
        let addresses = [self.eh_frame_address, self.header_address, self.text, self.got, address];
        if addresses.iter().any(|address| *address >= MOST_ADDRESS) {
            return None;
        }
        self.entry_at(address).unwrap_or(Some(0))
    }

    /// Returns the result of [`Self::sound_at`]. The outer `None` means that there is no entry: the unwinder would find
    /// none either.
    #[expect(
        clippy::option_option,
        reason = "an entry that is not there differs from one that is not followed"
    )]
    fn entry_at(&self, address: u64) -> Option<Option<usize>> {
        let bases = BaseAddresses::default()
            .set_eh_frame(self.eh_frame_address)
            .set_eh_frame_hdr(self.header_address)
            .set_text(self.text)
            .set_got(self.got);
        let header = EhFrameHdr::new(self.header, LittleEndian).parse(&bases, 8).ok()?;
        let entry = header.table()?.lookup(address, &bases).ok()?.direct().ok()?;
        let Some(offset) = entry.checked_sub(header.eh_frame_ptr().direct().ok()?) else {
            return Some(None);
        };
        let mut section = EhFrame::new(self.eh_frame, LittleEndian);
        section.set_address_size(8);
        let offset = EhFrameOffset(usize::try_from(offset).ok()?);
        let entry = section.fde_from_offset(&bases, offset, EhFrame::cie_from_offset).ok()?;
        let common = entry.cie();
        if entry.entry_len() > MOST_ENTRY || common.entry_len() > MOST_ENTRY {
            return Some(None);
        }
        let encoding = common.encoding();
        let sound = is_sound(common.instructions(&section, &bases), &section, encoding)
            && is_sound(entry.instructions(&section, &bases), &section, encoding);
        Some(sound.then(|| entry.entry_len() + common.entry_len()))
    }
}

fn is_sound(
    mut instructions: CallFrameInstructionIter<'_, Slice<'_>>,
    section: &EhFrame<Slice<'_>>,
    encoding: Encoding,
) -> bool {
    loop {
        let expression = match instructions.next() {
            Ok(Some(
                CallFrameInstruction::DefCfaExpression { expression }
                | CallFrameInstruction::Expression { expression, .. }
                | CallFrameInstruction::ValExpression { expression, .. },
            )) => expression,
            Ok(Some(_)) => continue,
            // The unwinder stops at the same broken instruction, and evaluates nothing behind it.
            Ok(None) | Err(_) => return true,
        };
        if !ends(expression, section, encoding) {
            return false;
        }
    }
}

/// Returns true if an expression has no jumps, so that it ends.
fn ends(expression: UnwindExpression<usize>, section: &EhFrame<Slice<'_>>, encoding: Encoding) -> bool {
    let Ok(expression) = expression.get(section) else { return true };
    let mut operations = expression.operations(encoding);
    loop {
        match operations.next() {
            Ok(Some(Operation::Bra { .. } | Operation::Skip { .. } | Operation::Call { .. })) => {
                return false;
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests;
