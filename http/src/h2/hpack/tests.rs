use super::*;

/// The fields that a decoder returns.
type Told = Vec<(Name, Option<String>)>;

fn decode(table: &mut Table, block: &[u8]) -> Result<Told, Invalid> {
    let mut told = Vec::new();
    table.decode(block, &mut |name, value| told.push((name, value.map(ToOwned::to_owned))))?;
    Ok(told)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn told(fields: &[(Name, &str)]) -> Told {
    let value = |name, value: &str| (!matches!(name, Name::Pseudo | Name::Other)).then(|| value.to_owned());
    fields.iter().map(|(name, text)| (*name, value(*name, text))).collect()
}

/// A header block in hexadecimal, the fields that it decodes to, and the size of the dynamic table after it.
type Example = (&'static str, &'static [(Name, &'static str)], usize);

/// Decodes the blocks of an example one after the other, and asserts that the fields and the size of the table are the
/// expected ones after each.
#[track_caller]
fn example(mut table: Table, blocks: &[Example]) {
    for (block, fields, size) in blocks {
        let fields: Told = told(fields);
        let actual = decode(&mut table, &hex(block)).unwrap();
        assert_eq!(actual, fields, "{block}");
        assert_eq!(table.size, *size, "{block}");
    }
}

/// Returns a table of at most 256 bytes, as in RFC 7541's examples of responses (appendix C.5 and C.6), so that entries
/// are evicted.
fn small() -> Table {
    Table { capacity: 256, ..Table::new() }
}

/// The examples of RFC 7541, appendix C.1.
#[test]
fn integers() {
    let read = |bytes: &[u8], prefix| integer(&mut Octets::with_slice(bytes), prefix).ok();
    assert_eq!(read(&[0b1110_1010], 5), Some(10));
    assert_eq!(read(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5), Some(1337));
    assert_eq!(read(&[42], 7), Some(42));
    assert_eq!(read(&[0x1f, 0xe0, 0xff, 0xff, 0xff, 0x0f], 5), Some(u32::MAX));
}

#[test]
fn integers_that_are_too_long_or_cut_are_invalid() {
    let read = |bytes: &[u8]| integer(&mut Octets::with_slice(bytes), 7).ok();
    assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x10]), None);
    assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), None);
    assert_eq!(read(&[0x7f, 0x80]), None);
    assert_eq!(read(&[]), None);
}

/// The examples of RFC 7541, appendix C.2.
#[test]
fn single_representations() {
    example(
        Table::new(),
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &[(Name::Other, "")], 55)],
    );
    example(
        Table::new(),
        &[
            ("040c 2f73 616d 706c 652f 7061 7468", &[(Name::Path, "/sample/path")], 0),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", &[(Name::Other, "")], 0),
            ("82", &[(Name::Method, "GET")], 0),
        ],
    );
}

const REQUEST: &[(Name, &str)] =
    &[(Name::Method, "GET"), (Name::Pseudo, "http"), (Name::Path, "/"), (Name::Authority, "www.example.com")];
const CACHED: &[(Name, &str)] = &[
    (Name::Method, "GET"),
    (Name::Pseudo, "http"),
    (Name::Path, "/"),
    (Name::Authority, "www.example.com"),
    (Name::Other, "no-cache"),
];
const CUSTOM: &[(Name, &str)] = &[
    (Name::Method, "GET"),
    (Name::Pseudo, "https"),
    (Name::Path, "/index.html"),
    (Name::Authority, "www.example.com"),
    (Name::Other, "custom-value"),
];

/// The examples of RFC 7541, appendix C.3.
#[test]
fn requests_without_huffman() {
    example(
        Table::new(),
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUEST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", CACHED, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", CUSTOM, 164),
        ],
    );
}

/// The examples of RFC 7541, appendix C.4.
#[test]
fn requests_with_huffman() {
    example(
        Table::new(),
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUEST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", CACHED, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", CUSTOM, 164),
        ],
    );
}

const FOUND: &[(Name, &str)] =
    &[(Name::Status, "302"), (Name::Other, "private"), (Name::Other, "Mon"), (Name::Other, "https")];
const FOUND_AGAIN: &[(Name, &str)] =
    &[(Name::Status, "307"), (Name::Other, "private"), (Name::Other, "Mon"), (Name::Other, "https")];
const OK: &[(Name, &str)] = &[
    (Name::Status, "200"),
    (Name::Other, "private"),
    (Name::Other, "Mon"),
    (Name::Other, "https"),
    (Name::Other, "gzip"),
    (Name::Other, "foo"),
];

/// The examples of RFC 7541, appendix C.5, which evict entries.
#[test]
fn responses_without_huffman() {
    example(
        small(),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133
                 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                FOUND,
                222,
            ),
            ("4803 3330 37c1 c0bf", FOUND_AGAIN, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a
                 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d
                 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                OK,
                215,
            ),
        ],
    );
}

/// The examples of RFC 7541, appendix C.6, which evict entries.
#[test]
fn responses_with_huffman() {
    example(
        small(),
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
                 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                FOUND,
                222,
            ),
            ("4883 640e ffc1 c0bf", FOUND_AGAIN, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106
                 3d50 07",
                OK,
                215,
            ),
        ],
    );
}

#[test]
fn what_was_inserted_unseen_is_unknown_and_what_follows_is_found() {
    let mut table = Table::unknown();
    // Index 62 is the newest entry, which was inserted unseen. A new entry that reuses its name has an unknown name as
    // well.
    assert_eq!(decode(&mut table, &[0xbe]).unwrap(), [(Name::Unknown, None)]);
    assert_eq!(decode(&mut table, &[0x7e, 1, b'x']).unwrap(), [(Name::Unknown, None)]);
    // This block inserts a path, which becomes the newest entry.
    assert_eq!(decode(&mut table, &[0x44, 2, b'/', b'a']).unwrap(), [(Name::Path, Some("/a".to_owned()))]);
    assert_eq!(
        decode(&mut table, &[0xbe, 0xbf, 0xc0]).unwrap(),
        [(Name::Path, Some("/a".to_owned())), (Name::Unknown, None), (Name::Unknown, None)]
    );
    // After one more insertion, the name of the path is found at its new index, 63.
    decode(&mut table, &[0x40, 1, b'q', 1, b'r']).unwrap();
    assert_eq!(
        decode(&mut table, &[0x0f, 0x30, 2, b'/', b'b']).unwrap(),
        [(Name::Path, Some("/b".to_owned()))]
    );
}

#[test]
fn a_size_update_evicts_and_stands_only_at_the_beginning() {
    let mut table = Table::new();
    decode(&mut table, &[0x44, 2, b'/', b'a']).unwrap();
    assert_eq!(decode(&mut table, &[0x20, 0xbe]).unwrap(), [(Name::Unknown, None)]);
    assert_eq!((table.size, table.kept), (0, 0));
    decode(&mut table, &[0x20, 0x3f, 0x21, 0x44, 2, b'/', b'a']).unwrap();
    assert_eq!(table.capacity, 64);
    assert!(decode(&mut table, &[0x82, 0x20]).is_err());
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut table = Table { capacity: 64, ..Table::new() };
    decode(&mut table, &[0x44, 2, b'/', b'a']).unwrap();
    let mut large = vec![0x44, 60];
    large.extend([b'/'; 60]);
    assert_eq!(decode(&mut table, &large).unwrap().len(), 1);
    assert_eq!((table.size, table.entries.len()), (0, 0));
}

#[test]
fn what_is_invalid_makes_the_table_unknown() {
    // The blocks have: index 0; a string that is longer than the block; a Huffman string that is padded with zeros; one
    // with the code of the end of a string (EOS).
    for block in [&[0x80][..], &[0x44, 9, b'/'], &[0x44, 0x81, 0x00], &[0x44, 0x84, 0xff, 0xff, 0xff, 0xff]] {
        let mut table = Table::new();
        decode(&mut table, &[0x44, 2, b'/', b'a']).unwrap();
        assert!(decode(&mut table, block).is_err(), "{block:x?}");
        assert_eq!(decode(&mut table, &[0xbe]).unwrap(), [(Name::Unknown, None)]);
    }
}

#[test]
fn a_table_of_any_announced_size_keeps_within_its_bound() {
    let mut table = Table::new();
    decode(&mut table, &[0x3f, 0xff, 0xff, 0xff, 0x7f]).unwrap();
    assert_eq!(table.capacity, MAX_TABLE);
    let mut block = Vec::new();
    for _ in 0..10_000 {
        block.extend([0x44, 3, b'/', 0xff, 0xfe]);
    }
    decode(&mut table, &block).unwrap();
    assert!(table.size <= MAX_TABLE);
    assert!(table.memory() < 4 * MAX_TABLE, "{}", table.memory());
}
