//! The check of a function's unwinding table before it is followed: it comes from whoever runs the process, may hold a
//! program that never ends, and is evaluated without a limit.

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, EhFrame, EhFrameHdr, EhFrameOffset,
    Encoding, EndianSlice, LittleEndian, Operation, UnwindExpression, UnwindSection as _,
};

/// Length of a function's entry up to which it is followed, in bytes. The longest that are known are 20 KiB of GCC and 12 KiB of
/// rustc, and 3 KiB of Node and LLVM; half a hundred bytes are usual.
const MOST_ENTRY: usize = 1 << 15;
/// Addresses below which a file may want to be loaded; no process has higher ones.
const MOST_ADDRESS: u64 = 1 << 56;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The tables of a file by which its functions are unwound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) eh_frame: &'a [u8],
    pub(super) eh_frame_address: u64,
    pub(super) header: &'a [u8],
    pub(super) header_address: u64,
    /// Addresses of `.text` and `.got`, from which others are counted.
    pub(super) text: u64,
    pub(super) got: u64,
}

impl Tables<'_> {
    /// Bytes of the entry of the function at an address of the file, if it may be followed. One that is not there may: it is
    /// unwound by its frame pointer.
    pub(super) fn sound_at(&self, address: u64) -> Option<usize> {
        let addresses = [self.eh_frame_address, self.header_address, self.text, self.got, address];
        if addresses.iter().any(|address| *address >= MOST_ADDRESS) {
            return None;
        }
        self.entry_at(address).unwrap_or(Some(0))
    }

    /// Nothing where the unwinder finds no entry either.
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
            // What cannot be read is not evaluated either.
            Ok(None) | Err(_) => return true,
        };
        if !ends(expression, section, encoding) {
            return false;
        }
    }
}

/// Whether an expression has no jumps, without which it ends.
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
