//! The code of Go functions: the first instruction after the stack check, and the return instructions.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, OpKind, Register};

use crate::elf::Machine;

/// Number of instructions at the beginning of a function within which its stack check must end.
const PROLOGUE: usize = 6;
/// The instruction `RET` of arm64, which returns to the address in the link register.
const ARM64_RET: u32 = 0xd65f_03c0;
/// The instruction `B.LS` of arm64, without its distance: the branch at the end of the stack check.
const ARM64_BRANCH_LOWER_OR_SAME: u32 = 0x5400_0009;
/// Bits of an arm64 conditional branch that do not belong to its distance.
const ARM64_BRANCH_MASK: u32 = 0xff00_001f;

/// Instructions in the code of a function, as offsets in bytes from its beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Points {
    /// The first instruction after the stack check; 0 if there is no check. If a call finds too little stack, the
    /// function starts again after the stack has grown, so that a probe before the check would see the call twice.
    pub(super) begins: u64,
    /// The return instructions.
    pub(super) returns: Vec<u64>,
}

/// Finds the instructions of [`Points`] in the code of a Go function. Returns `None` if the bytes are not valid code or
/// contain no return.
pub(super) fn points(machine: Machine, code: &[u8]) -> Option<Points> {
    let points = match machine {
        Machine::X86_64 => x86_64(code)?,
        Machine::Aarch64 => aarch64(code),
    };
    (!points.returns.is_empty()).then_some(points)
}

fn x86_64(code: &[u8]) -> Option<Points> {
    let (mut begins, mut returns, mut compares_stack) = (0, Vec::new(), false);
    let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    for (number, instruction) in decoder.into_iter().enumerate() {
        if instruction.code() == Code::INVALID {
            return None;
        }
        // The stack check is `cmp rsp, [r14+0x10]; jbe`: R14 points to the goroutine, which has the limit of its stack.
        let compares = instruction.mnemonic() == Mnemonic::Cmp
            && (0..2).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
            && instruction.memory_base() == Register::R14;
        if compares_stack && number < PROLOGUE && instruction.mnemonic() == Mnemonic::Jbe {
            begins = instruction.next_ip();
        }
        compares_stack = compares || compares_stack && number < PROLOGUE && begins == 0;
        if instruction.mnemonic() == Mnemonic::Ret {
            returns.push(instruction.ip());
        }
    }
    Some(Points { begins, returns })
}

fn aarch64(code: &[u8]) -> Points {
    let words = || code.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).zip((0..).step_by(4));
    let check = words()
        .take(PROLOGUE)
        .find(|(word, _)| word & ARM64_BRANCH_MASK == ARM64_BRANCH_LOWER_OR_SAME)
        .map_or(0, |(_, at)| at + 4);
    let returns = words().filter(|(word, _)| *word == ARM64_RET).map(|(_, at)| at).collect();
    Points { begins: check, returns }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cmp rsp, [r14+0x10]; jbe +0x12; push rbp; mov rbp, rsp; test rax, rax; je +2; pop rbp; ret; pop rbp; ret 8; ...`
    const X86_64: &[u8] = &[
        0x49, 0x3b, 0x66, 0x10, 0x76, 0x12, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x85, 0xc0, 0x74, 0x02, 0x5d, 0xc3,
        0x5d, 0xc2, 0x08, 0x00, 0xcc, 0xcc, 0xcc, 0xe8, 0xe3, 0xff, 0xff, 0xff,
    ];

    #[test]
    fn returns_are_found_behind_the_check_of_the_stack() {
        let points = points(Machine::X86_64, X86_64).unwrap();
        assert_eq!(points, Points { begins: 6, returns: vec![16, 18] });
    }

    #[test]
    fn bytes_within_an_instruction_are_no_return() {
        // mov eax, 0xc3c3c3c3; ret. The byte 0xc3 is also the code of `ret`.
        let points = points(Machine::X86_64, &[0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3]).unwrap();
        assert_eq!(points, Points { begins: 0, returns: vec![5] });
    }

    #[test]
    fn a_large_frame_is_compared_by_another_register() {
        // lea r12, [rsp-0x100]; cmp r12, [r14+0x10]; jbe +1; ret
        let code =
            [0x4c, 0x8d, 0xa4, 0x24, 0x00, 0xff, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x01, 0xc3, 0xcc];
        assert_eq!(points(Machine::X86_64, &code).unwrap(), Points { begins: 14, returns: vec![14] });
    }

    #[test]
    fn what_is_no_code_has_no_points() {
        assert_eq!(points(Machine::X86_64, &[0x06, 0xc3]), None, "an instruction that is not of 64 bits");
        assert_eq!(points(Machine::X86_64, &[0x90, 0x90]), None, "it does not return");
        assert_eq!(points(Machine::X86_64, &[0xb8, 0x01]), None, "cut");
        assert_eq!(points(Machine::Aarch64, &[0xc0, 0x03, 0x5f]), None, "cut");
    }

    #[test]
    fn arm64_has_words() {
        // ldr x16, [x28, #16]; cmp sp, x16; b.ls +0x10; stp x29, x30, [sp, #-16]!; ret; ret
        let words: [u32; 6] = [0xf940_0b90, 0xeb30_63ff, 0x5400_0089, 0xa9bf_7bfd, ARM64_RET, ARM64_RET];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let points = points(Machine::Aarch64, &code).unwrap();
        assert_eq!(points, Points { begins: 12, returns: vec![16, 20] });
    }
}
