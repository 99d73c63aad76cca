//! Rust mirror of `src/bpf/stacks_shared.h`: the records of the programs that take stacks.

use super::{word32, word64};

/// Flag of [`Record::flags`]: the call sent; otherwise it received.
pub const SENT: u32 = 1;
/// Record without a call (a claim): the thread receives bytes in a way that no call reports, such as `splice()`.
pub const CLAIM: u32 = 1 << 1;
/// A copy of the top of the user stack follows.
pub const COPIED: u32 = 1 << 2;
/// Return addresses of the user stack follow, which the kernel found by frame pointers.
pub const ADDRESSED: u32 = 1 << 3;
/// With [`COPIED`]: the stack is longer than the copy.
pub const CUT: u32 = 1 << 4;

/// Maximum number of addresses of a user stack.
pub const ADDRESSES: usize = 127;
/// Maximum number of addresses of a kernel stack.
pub const KERNEL: usize = 48;

/// Maximum number of bytes of a user stack that are copied in each of the modes 0 to 3.
pub const COPIES: [usize; 4] = [8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Number of the mode in which the kernel unwinds user stacks by frame pointers.
pub const FRAME_POINTERS: u32 = 4;

/// A value of `tt_stack_modes`: number of the mode in which a process's stacks are taken, and its program as in
/// [`Record::program`].
pub type Known = [u32; 2];

/// Size of `struct tt_stack`, without the user stack that follows it.
pub const RECORD_SIZE: usize = 96 + 8 * KERNEL;

/// Options of sessions, one bit for each session: those that want the stack of every call, and those that want the
/// kernel stack in addition to the user stack.
pub type Options = [u64; 2];

/// A record of the ring buffer: the stack of one call or, with [`CLAIM`], of a receive without a call.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Number of the slot in the flow table in which the call was counted.
    pub slot: u32,
    /// Epoch of the slot when the call was counted.
    pub epoch: u32,
    /// Number of bytes that the call moved.
    pub bytes: u32,
    /// Probability with which the call's stack was taken, as a fraction of 2³²; 0 if it was taken for certain.
    pub chance: u32,
    /// Process id on the host.
    pub pid: u32,
    /// Thread id on the host.
    pub tid: u32,
    /// Name of the thread, with a final zero if it is shorter.
    pub comm: [u8; 16],
    /// User-mode registers: address of the instruction, stack pointer, frame pointer, return address.
    pub registers: [u64; 4],
    /// Sessions for which the stack was taken, one bit each.
    pub sessions: u64,
    /// [`SENT`] and the other flags, ored.
    pub flags: u32,
    /// Number that differs for each program that the process has executed; 0 with neither [`COPIED`] nor [`ADDRESSED`].
    pub program: u32,
    /// The user stack: a copy with [`COPIED`], addresses with [`ADDRESSED`].
    pub body: &'a [u8],
    kernel: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses a record; `None` if it is shorter than its fields say.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<RECORD_SIZE>()?;
        let length = usize::try_from(word32(head, 84)?).ok()?;
        let kernel = usize::try_from(word32(head, 88)?).ok()?.min(KERNEL);
        Some(Self {
            slot: word32(head, 0)?,
            epoch: word32(head, 4)?,
            bytes: word32(head, 8)?,
            chance: word32(head, 12)?,
            pid: word32(head, 16)?,
            tid: word32(head, 20)?,
            comm: *head.get(24..)?.first_chunk()?,
            registers: [word64(head, 40)?, word64(head, 48)?, word64(head, 56)?, word64(head, 64)?],
            sessions: word64(head, 72)?,
            flags: word32(head, 80)?,
            program: word32(head, 92)?,
            body: rest.get(..length)?,
            kernel: head.get(96..96 + 8 * kernel)?,
        })
    }

    /// Returns the addresses of the user stack, innermost first, with [`ADDRESSED`].
    pub fn addresses(&self) -> impl Iterator<Item = u64> {
        words(self.body)
    }

    /// Returns the return addresses of the kernel stack, innermost first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> {
        words(self.kernel)
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes))
}

const _: () = assert!(RECORD_SIZE == 480);

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_SIZE];
        for (at, word) in
            [(0, 7), (4, 3), (8, 1000), (12, 9), (16, 44), (20, 45), (72, 6), (80, SENT), (88, 2), (92, 5)]
        {
            bytes[at..at + 4].copy_from_slice(&u32::to_ne_bytes(word));
        }
        bytes[24..29].copy_from_slice(b"httpd");
        bytes[48..56].copy_from_slice(&0x7ffe_1234_u64.to_ne_bytes());
        bytes[84..88].copy_from_slice(&length.to_ne_bytes());
        bytes[96..104].copy_from_slice(&5u64.to_ne_bytes());
        bytes[104..112].copy_from_slice(&6u64.to_ne_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_record_is_read_where_the_kernel_wrote_it() {
        let bytes = record(8, &[1, 0, 0, 0, 0, 0, 0, 0, 99]);
        let record = Record::from_bytes(&bytes).unwrap();
        assert_eq!((record.slot, record.epoch, record.bytes, record.chance), (7, 3, 1000, 9));
        assert_eq!((record.pid, record.tid, record.sessions, record.flags), (44, 45, 6, SENT));
        assert_eq!((&record.comm[..6], record.program), (&b"httpd\0"[..], 5));
        assert_eq!(record.registers, [0, 0x7ffe_1234, 0, 0]);
        assert_eq!(record.body, [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(record.addresses().collect::<Vec<_>>(), [u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0])]);
        assert_eq!(record.kernel().collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn a_record_that_is_shorter_than_it_says_is_none() {
        assert!(Record::from_bytes(&record(10, &[0; 9])).is_none());
        assert!(Record::from_bytes(&record(0, &[])[..RECORD_SIZE - 1]).is_none());
        assert!(Record::from_bytes(&record(u32::MAX, &[0; 9])).is_none());
    }
}
