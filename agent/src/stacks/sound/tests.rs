use super::*;

const HEADER: u64 = 0x1000;
const FRAMES: u64 = 0x2000;
const CODE: u64 = 0x10_0000;

/// Makes tables with one function of 256 bytes, with these unwinding instructions.
fn tables_of(instructions: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // The common entry (CIE): version 1, no augmentation, code factor 1, data factor -8, return address in register 16;
    // cfa = rsp + 8.
    let mut common = vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
    common.resize(common.len().next_multiple_of(4), 0);
    let mut frames = u32::try_from(common.len()).unwrap().to_le_bytes().to_vec();
    frames.extend(common);
    let entry = frames.len();
    let back = u32::try_from(entry + 4).unwrap();
    frames.extend(u32::try_from(20 + instructions.len()).unwrap().to_le_bytes());
    frames.extend(back.to_le_bytes());
    frames.extend(CODE.to_le_bytes());
    frames.extend(256_u64.to_le_bytes());
    frames.extend(instructions);
    frames.extend([0; 4]);
    // The index (`.eh_frame_hdr`): version 1; encodings: absolute pointer of 8 bytes, count of 4, table of absolute
    // addresses of 8.
    let mut header = vec![1, 4, 3, 4];
    header.extend(FRAMES.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    header.extend(CODE.to_le_bytes());
    header.extend((FRAMES + entry as u64).to_le_bytes());
    (frames, header)
}

fn sound(instructions: &[u8]) -> bool {
    let (frames, header) = tables_of(instructions);
    tables(&frames, &header).sound_at(CODE + 8).is_some()
}

fn tables<'a>(eh_frame: &'a [u8], header: &'a [u8]) -> Tables<'a> {
    Tables { eh_frame, eh_frame_address: FRAMES, header, header_address: HEADER, text: CODE, got: 0 }
}

#[test]
fn expressions_that_jump_are_not_followed() {
    // DW_CFA_def_cfa_expression of DW_OP_breg7 8, as in a procedure linkage table.
    assert!(sound(&[0x0f, 2, 0x77, 8]));
    // DW_OP_skip -3, which never ends.
    assert!(!sound(&[0x0f, 3, 0x2f, 0xfd, 0xff]));
    // DW_OP_lit1 and DW_OP_bra -4, a branch that is always taken.
    assert!(!sound(&[0x0f, 4, 0x31, 0x28, 0xfc, 0xff]));
    // DW_CFA_expression and DW_CFA_val_expression of rbp, with the endless DW_OP_skip.
    assert!(!sound(&[0x10, 6, 3, 0x2f, 0xfd, 0xff]));
    assert!(!sound(&[0x16, 6, 3, 0x2f, 0xfd, 0xff]));
    // The endless DW_OP_skip behind another instruction (DW_CFA_def_cfa_offset 16).
    assert!(!sound(&[0x0e, 16, 0x0f, 3, 0x2f, 0xfd, 0xff]));
}

#[test]
fn long_entries_are_not_followed() {
    assert!(sound(&vec![0; 1024]));
    assert!(!sound(&vec![0; MOST_ENTRY + 1]));
}

#[test]
fn addresses_that_no_process_has_are_not_followed() {
    let (frames, header) = tables_of(&[]);
    let tables = tables(&frames, &header);
    assert!(tables.sound_at(CODE).is_some());
    assert!(tables.sound_at(u64::MAX - 8).is_none());
    assert!(Tables { text: u64::MAX, ..tables }.sound_at(CODE).is_none());
}

#[test]
fn tables_that_are_not_there_are_no_danger() {
    assert_eq!(tables(&[], &[]).sound_at(CODE), Some(0));
    assert_eq!(tables(&[0xff; 64], &[0xff; 64]).sound_at(CODE), Some(0));
}
