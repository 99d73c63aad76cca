//! Unwinding: from registers and the top of a stack to return addresses.

use std::sync::Arc;

use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder as _};

use super::Registers;

#[cfg(target_arch = "aarch64")]
mod native {
    use framehop::aarch64::{CacheAarch64, PtrAuthMask, UnwindRegsAarch64, UnwinderAarch64};

    pub(super) type Unwinder = UnwinderAarch64<super::Bytes>;
    pub(super) type Cache = CacheAarch64;
    pub(super) type Native = UnwindRegsAarch64;

    /// Mask that removes the pointer authentication code from an address of 48 or 52 bits.
    const ADDRESS: u64 = (1 << 52) - 1;

    pub(super) fn registers(from: &super::Registers) -> Native {
        UnwindRegsAarch64::new_with_ptr_auth_mask(PtrAuthMask(ADDRESS), from.link, from.stack, from.frame)
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};

    pub(super) type Unwinder = UnwinderX86_64<super::Bytes>;
    pub(super) type Cache = CacheX86_64;
    pub(super) type Native = UnwindRegsX86_64;

    pub(super) fn registers(from: &super::Registers) -> Native {
        UnwindRegsX86_64::new(from.instruction, from.stack, from.frame)
    }
}

/// Bytes of a table, shared by several unwinders.
pub(super) type Bytes = Arc<[u8]>;

/// Maximum number of functions of one stack that are followed.
pub(super) const MOST_FRAMES: usize = 512;
/// Lowest possible address of a stack.
const LOWEST: u64 = 1 << 12;
/// Upper bound of addresses of a stack.
const HIGHEST: u64 = 1 << 56;

/// A file's unwinding tables, with their addresses.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) eh_frame: Bytes,
    pub(super) eh_frame_address: u64,
    pub(super) header: Bytes,
    pub(super) header_address: u64,
    pub(super) text: u64,
    pub(super) got: u64,
}

/// The reason why a walk along a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The walk reached the thread's first function.
    Root,
    /// The next word that unwinding needs lies beyond the copied bytes.
    Beyond,
    /// The walk failed: the stack or the tables lead nowhere.
    Lost,
}

/// The copied top of a stack. `start` is the address of the first byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
}

impl Copied<'_> {
    /// Returns the word at an address; `None` if the word is not among the copied bytes.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..)?.first_chunk().map(|word| u64::from_ne_bytes(*word))
    }
}

/// Result of a walk along a stack.
#[derive(Debug)]
pub(super) struct Walk {
    /// The instruction's address, followed by return addresses, innermost first.
    pub(super) addresses: Vec<u64>,
    pub(super) end: End,
    /// Offsets and values of the words in the copy that were read, by which an equal stack is recognized
    /// ([`super::known`]).
    pub(super) read: Vec<(u32, u64)>,
}

/// Unwinds the stacks of one process.
pub(super) struct Unwinder {
    unwinder: native::Unwinder,
    cache: native::Cache,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Unwinder").finish_non_exhaustive()
    }
}

impl Default for Unwinder {
    fn default() -> Self {
        Self { unwinder: native::Unwinder::new(), cache: native::Cache::new() }
    }
}

impl Unwinder {
    /// Adds a mapping of a file's code. `origin` is the ELF virtual address at which the mapping begins. Files with
    /// impossibly high addresses are left out, because their sums would overflow.
    pub(super) fn add(&mut self, start: u64, end: u64, origin: u64, sections: &Sections) {
        let addresses =
            [origin, sections.text, sections.got, sections.eh_frame_address, sections.header_address];
        if addresses.iter().any(|address| *address >= HIGHEST) {
            return;
        }
        let range = |address: u64, length: usize| Some(address..address.saturating_add(length as u64));
        let sections = ExplicitModuleSectionInfo {
            base_svma: origin,
            text_svma: range(sections.text, 0),
            got_svma: range(sections.got, 0),
            eh_frame_svma: range(sections.eh_frame_address, sections.eh_frame.len()),
            eh_frame: Some(Arc::clone(&sections.eh_frame)),
            eh_frame_hdr_svma: range(sections.header_address, sections.header.len()),
            eh_frame_hdr: Some(Arc::clone(&sections.header)),
            ..ExplicitModuleSectionInfo::default()
        };
        self.unwinder.add_module(Module::new(String::new(), start..end, start, sections));
    }

    /// Follows a stack. Before each function, `may_follow` is called with an address in the function. It returns false
    /// to end the walk there, and may add the function's mapping to the unwinder before.
    pub(super) fn walk(
        &mut self,
        from: &Registers,
        copied: Copied<'_>,
        mut may_follow: impl FnMut(&mut Self, u64) -> bool,
    ) -> Walk {
        let mut walk = Walk { addresses: vec![from.instruction], end: End::Lost, read: Vec::new() };
        if !(LOWEST..HIGHEST).contains(&from.stack) {
            return walk;
        }
        let mut registers = native::registers(from);
        let mut at = FrameAddress::from_instruction_pointer(from.instruction);
        while walk.addresses.len() < MOST_FRAMES {
            if !may_follow(self, at.address_for_lookup()) {
                return walk;
            }
            let mut beyond = false;
            let Walk { read, .. } = &mut walk;
            let mut word = |address: u64| match copied.word(address) {
                Some(value) => {
                    let place = u32::try_from(address - copied.start).unwrap_or(u32::MAX);
                    read.push((place, value));
                    Ok(value)
                }
                None => {
                    beyond |= address >= copied.start && address < HIGHEST;
                    Err(())
                }
            };
            let next = self.unwinder.unwind_frame(at, &mut registers, &mut self.cache, &mut word);
            match next.map(|next| next.map(FrameAddress::from_return_address)) {
                Ok(Some(Some(next))) => {
                    walk.addresses.push(next.address());
                    at = next;
                }
                Ok(None) => {
                    walk.end = End::Root;
                    return walk;
                }
                Ok(Some(None)) | Err(_) => {
                    walk.end = if beyond { End::Beyond } else { End::Lost };
                    return walk;
                }
            }
        }
        walk
    }
}

/// Returns the addresses that the kernel would find by following frame pointers.
pub(super) fn by_frame_pointers(from: &Registers, copied: Copied<'_>) -> Vec<u64> {
    let mut addresses = vec![from.instruction];
    let mut frame = from.frame;
    while addresses.len() < MOST_FRAMES {
        let (Some(next), Some(address)) = (copied.word(frame), copied.word(frame.wrapping_add(8))) else {
            break;
        };
        if address == 0 {
            break;
        }
        addresses.push(address);
        // A chain that leads backwards might never end.
        if next <= frame {
            break;
        }
        frame = next;
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x7fff_0000_0000;

    /// The stack of a function with two callers, linked by frame pointers.
    fn stack() -> Vec<u8> {
        let words = [0, START + 32, 0x1111, 0, 0, 0x2222, 0];
        words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect()
    }

    #[test]
    fn frame_pointers_lead_to_the_root() {
        let bytes = stack();
        let registers = Registers { instruction: 0x999, stack: START, frame: START + 8, link: 0 };
        let copied = Copied { start: START, bytes: &bytes };
        let mut unwinder = Unwinder::default();
        let walk = unwinder.walk(&registers, copied, |_, _| true);
        assert_eq!((walk.addresses, walk.end), (vec![0x999, 0x1111, 0x2222], End::Root));
        assert_eq!(by_frame_pointers(&registers, copied), [0x999, 0x1111, 0x2222]);
        let refused = unwinder.walk(&registers, copied, |_, at| at != 0x1110);
        assert_eq!((refused.addresses, refused.end), (vec![0x999, 0x1111], End::Lost));
    }

    #[test]
    fn what_lies_beyond_the_copy_is_told_from_what_leads_nowhere() {
        let bytes = stack();
        let mut unwinder = Unwinder::default();
        let mut end = |frame: u64, bytes: &[u8], stack: u64| {
            let registers = Registers { instruction: 0x999, stack, frame, link: 0 };
            unwinder.walk(&registers, Copied { start: stack, bytes }, |_, _| true).end
        };
        assert_eq!(end(START + 8, &bytes[..40], START), End::Beyond);
        assert_eq!(end(START + 4096, &bytes, START), End::Beyond);
        assert_eq!(end(START - 4096, &bytes, START), End::Lost);
        assert_eq!(end(u64::MAX - 3, &bytes, START), End::Lost);
        assert_eq!(end(8, &bytes, 0), End::Lost, "no stack is there");
    }

    #[test]
    fn chains_without_end_are_left() {
        let words = [START, 0x1111, START + 8, 0x2222];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        let registers = Registers { instruction: 0x999, stack: START, frame: START, link: 0 };
        let copied = Copied { start: START, bytes: &bytes };
        assert_eq!(by_frame_pointers(&registers, copied), [0x999, 0x1111]);
        assert!(Unwinder::default().walk(&registers, copied, |_, _| true).addresses.len() <= 3);
    }
}
