//! Telling random characters from words.
//!
//! Words and names are made of pairs of letters that are common; in random characters, most pairs are not. Each pair of
//! adjacent letters or digits counts as common or rare; two digits, and the border of two words in camel case (a lower
//! case letter before an upper case one), count as neither. Of the identifiers of 16 letters or more in a body of source
//! code, 0.3 % look random by these bounds; of random strings of 16 letters and digits, 99 %.

/// Number of characters from which random characters are taken for a secret.
pub(super) const MIN_SECRET: usize = 16;

/// Number of characters from which random ones with digits are taken for an identifier.
pub(super) const MIN_ID: usize = 10;

/// Length of the longest word from which several words are taken for one random text with separators in it.
const MIN_WORD: usize = 8;

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

/// Code of a decimal digit in [`CODES`].
const DIGIT: u8 = 26;

/// Distance of an upper case letter's code from the lower case one's, which is the letter's place in the alphabet.
const UPPER: u8 = 32;

/// Code of a character that is neither letter nor digit.
const NEITHER: u8 = 63;

/// Codes of all characters.
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

/// Whether a pair of codes counts (1) and whether it is rare (2).
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

/// The kind of a pair of codes, as in [`KINDS`].
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

/// Returns whether a text of at least [`MIN_SECRET`] characters looks random. Characters other than letters and digits
/// part words. Many short words with digits are rather a name (`x86_64-linux-musl2`), so that more pairs must be rare.
pub(super) fn is_secret(text: &[u8]) -> bool {
    if text.len() < MIN_SECRET {
        return false;
    }
    let words = text.split(|byte| !byte.is_ascii_alphanumeric());
    let longest = words.map(<[u8]>::len).max().unwrap_or_default();
    Pairs::of(text).reach(if longest >= MIN_WORD { 40 } else { 65 })
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

    /// Returns whether enough pairs count and at least so many percent of them are rare.
    fn reach(&self, percent: u32) -> bool {
        self.counted >= MIN_PAIRS && self.rare * 100 >= self.counted * percent
    }
}
