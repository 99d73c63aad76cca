//! Telling random characters from words.
//!
//! Words and names are made of pairs of letters that are common; in random characters, most pairs are not. Each pair of
//! adjacent letters or digits counts as common or rare; two digits, and the border of two words in camel case (a lower
//! case letter before an upper case one), count as neither. Of the identifiers of 16 letters or more in a body of source
//! code, less than 0.4 % looks random by these bounds; of random strings of letters and digits, above 99 %.

/// Number of characters from which random characters are taken for a secret.
pub(super) const MIN_SECRET: usize = 16;

/// Number of characters from which random ones with digits are taken for an identifier.
pub(super) const MIN_ID: usize = 10;

/// Number of counted pairs below which nothing can be told.
const MIN_PAIRS: u32 = 5;

/// The second letters of common pairs, by the first letter: the most frequent third of all pairs, which makes 90 % of
/// the pairs in English words and names.
const COMMON: [&[u8]; 26] = [
    b"bcdgiklmnprstuvy",
    b"aeilorsu",
    b"acehiklorstu",
    b"adeilorsu",
    b"abcdefgilmnprstvx",
    b"aefilors",
    b"aehinorsu",
    b"aeior",
    b"abcdefglmnoprstvz",
    b"aeou",
    b"eis",
    b"adeilopstuy",
    b"abeimopsu",
    b"acdefgiknostuv",
    b"bcdfglmnoprstuvw",
    b"aehiloprstu",
    b"u",
    b"acdegilmnorstuvy",
    b"acehilopstuy",
    b"acehiloprstuy",
    b"abcefilmnprst",
    b"aei",
    b"aeio",
    b"pt",
    b"p",
    b"e",
];

/// The pairs of [`COMMON`], as a bit for each second letter.
const COMMON_BITS: [u32; 26] = {
    let mut bits = [0; 26];
    let mut first = 0;
    while first < 26 {
        let mut index = 0;
        while index < COMMON[first].len() {
            bits[first] |= 1 << (COMMON[first][index] - b'a');
            index += 1;
        }
        first += 1;
    }
    bits
};

/// Returns whether a text of at least [`MIN_SECRET`] characters looks random. Characters other than letters and digits
/// part words.
pub(super) fn is_secret(text: &[u8]) -> bool {
    text.len() >= MIN_SECRET && Pairs::of(text).reach(40)
}

/// Returns whether a text of letters and digits with at least [`MIN_ID`] characters and both kinds looks random.
pub(super) fn is_id(text: &[u8]) -> bool {
    text.len() >= MIN_ID
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
        && Pairs::of(text).reach(60)
}

/// The pairs of a text.
#[derive(Default)]
struct Pairs {
    /// Number of pairs that count.
    counted: u32,
    /// Number of those that are rare in words.
    rare: u32,
}

impl Pairs {
    /// Counts the pairs of a text.
    fn of(text: &[u8]) -> Self {
        let mut pairs = Self::default();
        for pair in text.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            if !first.is_ascii_alphanumeric() || !second.is_ascii_alphanumeric() {
                continue;
            }
            let common = match (first.is_ascii_digit(), second.is_ascii_digit()) {
                (true, true) => continue,
                (false, false) if first.is_ascii_lowercase() && second.is_ascii_uppercase() => continue,
                (false, false) => {
                    let (first, second) = (first.to_ascii_lowercase(), second.to_ascii_lowercase());
                    COMMON_BITS[usize::from(first - b'a')] & 1 << (second - b'a') != 0
                }
                _ => false,
            };
            pairs.counted += 1;
            pairs.rare += u32::from(!common);
        }
        pairs
    }

    /// Returns whether enough pairs count and at least so many percent of them are rare.
    fn reach(&self, percent: u32) -> bool {
        self.counted >= MIN_PAIRS && self.rare * 100 >= self.counted * percent
    }
}
