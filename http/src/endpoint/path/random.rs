//! Distinction of random characters from words.
//!
//! Most pairs of adjacent letters in words and names are common ones ([`COMMON`]); in random characters, most pairs are
//! rare. Each pair of adjacent letters or digits counts as common or rare, and a letter beside a digit is rare. Two
//! digits, and the border of two words in camel case (a lower case letter before an upper case one), do not count. With
//! these limits, 0.3 % of the identifiers of 16 letters or more in a body of source code look random, and 99 % of
//! random strings of 16 letters and digits.

/// Minimum length in bytes of a text that counts as a secret if it looks random.
pub(super) const MIN_SECRET: usize = 16;

/// Minimum length in bytes of a text with letters and digits that counts as an identifier if it looks random.
pub(super) const MIN_ID: usize = 10;

/// Length in bytes from which a word counts as long. A text with a long word looks random with fewer rare pairs (see
/// [`is_secret`]).
const MIN_WORD: usize = 8;

/// Minimum number of pairs that must count before a text can look random.
const MIN_PAIRS: u32 = 5;

/// The second letters of common pairs, by the first letter. They are the most frequent third of all pairs, which makes
/// up 90 % of the pairs in English words and names.
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

/// Code of a decimal digit in [`CODES`].
const DIGIT: u8 = 26;

/// Difference between the codes of an upper case letter and of the same letter in lower case, whose code is its index
/// in the alphabet.
const UPPER: u8 = 32;

/// Code of a byte that is neither an ASCII letter nor a digit.
const NEITHER: u8 = 63;

/// The code of each byte.
const CODES: [u8; 256] = {
    let mut codes = [NEITHER; 256];
    let mut letter = 0;
    while letter < 26 {
        codes[(b'a' + letter) as usize] = letter;
        codes[(b'A' + letter) as usize] = UPPER + letter;
        letter += 1;
    }
    let mut digit = 0;
    while digit < 10 {
        codes[(b'0' + digit) as usize] = DIGIT;
        digit += 1;
    }
    codes
};

/// Flags of each pair of codes: 1 if the pair counts, and 2 in addition if it is rare.
const KINDS: [[u8; 64]; 64] = {
    let mut kinds = [[0; 64]; 64];
    let mut first = 0;
    while first < 64 {
        let mut second = 0;
        while second < 64 {
            kinds[first][second] = kind(first as u8, second as u8);
            second += 1;
        }
        first += 1;
    }
    kinds
};

/// Returns the flags of a pair of codes, as in [`KINDS`].
const fn kind(first: u8, second: u8) -> u8 {
    let (letter, next) = (first % UPPER, second % UPPER);
    let letters = letter < DIGIT && next < DIGIT;
    if letters && first < UPPER && second >= UPPER || first == DIGIT && second == DIGIT {
        return 0;
    }
    if letters {
        let common = COMMON[letter as usize];
        let mut index = 0;
        while index < common.len() {
            if common[index] - b'a' == next {
                return 1;
            }
            index += 1;
        }
        return 3;
    }
    let is_known = letter <= DIGIT && next <= DIGIT;
    if is_known { 3 } else { 0 }
}

/// Returns whether a text has at least [`MIN_SECRET`] bytes and looks random. Bytes other than letters and digits
/// separate words. A text of short words with digits is rather a name (`x86_64-linux-musl2`), so 65 % of its pairs must
/// be rare; if a word has [`MIN_WORD`] bytes or more, 40 % are enough.
pub(super) fn is_secret(text: &[u8]) -> bool {
    if text.len() < MIN_SECRET {
        return false;
    }
    let words = text.split(|byte| !byte.is_ascii_alphanumeric());
    let longest = words.map(<[u8]>::len).max().unwrap_or_default();
    Pairs::of(text).reach(if longest >= MIN_WORD { 40 } else { 65 })
}

/// Returns whether a text has at least [`MIN_ID`] bytes, letters as well as digits, and looks random: 60 % of its pairs
/// are rare.
pub(super) fn is_id(text: &[u8]) -> bool {
    text.len() >= MIN_ID
        && text.iter().any(u8::is_ascii_digit)
        && text.iter().any(u8::is_ascii_alphabetic)
        && Pairs::of(text).reach(60)
}

/// Counts of the pairs of adjacent bytes in a text.
#[derive(Default)]
struct Pairs {
    /// Number of pairs that count.
    counted: u32,
    /// Number of these pairs that are rare in words.
    rare: u32,
}

impl Pairs {
    /// Counts the pairs of a text.
    fn of(text: &[u8]) -> Self {
        let mut pairs = Self::default();
        let mut previous = NEITHER;
        for byte in text {
            let code = CODES[usize::from(*byte)];
            let kind = u32::from(KINDS[usize::from(previous)][usize::from(code)]);
            pairs.counted += kind & 1;
            pairs.rare += kind >> 1;
            previous = code;
        }
        pairs
    }

    /// Returns whether at least [`MIN_PAIRS`] pairs count, and at least `percent` percent of them are rare.
    fn reach(&self, percent: u32) -> bool {
        self.counted >= MIN_PAIRS && self.rare * 100 >= self.counted * percent
    }
}
