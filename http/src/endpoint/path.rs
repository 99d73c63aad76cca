//! Paths: folded for counting, and masked for showing.
//!
//! [`fold`] replaces the parts of a path that differ from object to object by placeholders, so that the number of
//! distinct paths stays small. Its rules, in the order in which they are tried:
//!
//! | what | becomes | example |
//! |---|---|---|
//! | query, fragment, path parameters (`;jsessionid=…`) | nothing | `/a;x=1/b?c` → `/a/b` |
//! | a text that begins like a known credential, to the segment's end | `{token}` | `eyJ…` (JWT), `sk_live_…`, `ghp_…`, `AKIA…` |
//! | the value after a credential's name, to the segment's end | `{token}` | `token=…`, `password=…` |
//! | a user with a password before an `@` | `{token}` | `user:password@host` |
//! | a segment above 128 bytes | `{token}` | |
//! | a UUID, also inside a segment | `{uuid}` | `file-3fa85f64-5717-4562-b3fc-2c963f66afa6` → `file-{uuid}` |
//! | an e-mail address | `{email}` | `bob@example.com`, `bob%40example.com` |
//! | an IP address | `{ip}` | `10.0.0.1` |
//! | a date or a time, also inside a segment | `{date}` | `2024-01-31`, `2024-01-31T12:00:00Z` |
//! | a number, or several with commas | `{id}` | `42`, `52.52,13.40` |
//! | a number that is a file's name | `{id}` | `1343.png` → `{id}.png` |
//! | five digits or more; right after letters, six | `{id}` | `order-12345` → `order-{id}`, `Q1234567` → `Q{id}` |
//! | eight hexadecimal digits or more, with a letter and two decimal digits; from 16 on, with a letter | `{hash}` | `app.3f9c2b1d.js` → `app.{hash}.js` |
//! | 16 characters or more that look random (ULID, KSUID, base64url) | `{token}` | `01ARZ3NDEKTSV4RRFFQ69G5FAV` |
//! | 10 to 15 such characters with digits and letters | `{id}` | `dQw4w9WgXcQ` |
//! | the rest of a path above 16 segments or 256 bytes | `…` | |
//! | a path that begins neither with `/` nor is `*` or empty | `{invalid}` | |
//!
//! Everything else stays. A few digits in a name fold nothing, so `v1`, `v1.31`, `oauth2`, `hello.world`,
//! `report-2024.pdf` and `/grpc.health.v1.Health/Check` stay as they are. Characters look random if most pairs of them
//! are rare in English words (see [`random`]).
//!
//! The rules apply to a segment after its percent-encoding was decoded once; a decoded `/` does not split the segment.
//! The parts that stay are percent-encoded again, except for printable ASCII that a path may contain as it is, so that
//! different encodings of one path are counted as one.
//!
//! [`redact`] keeps a path as it was sent and replaces only what looks like a secret: by `{token}`, and by `{hash}` if
//! a hash has 16 digits or more. Numbers, UUIDs, shorter hashes and e-mail addresses stay.

mod encoding;
mod random;
mod secret;
mod segment;
mod shape;
#[cfg(test)]
mod tests;
mod value;

use segment::Segment;

use super::INVALID;

/// Maximum number of segments of a folded path.
const MAX_SEGMENTS: usize = 16;

/// Maximum length in bytes of a folded path, without the `/…` at the end of a cut one.
const MAX_FOLDED: usize = 256;

/// Maximum length in bytes of a masked path: three times the 1,024 bytes that are kept of a path, because each byte may
/// become percent-encoded.
const MAX_REDACTED: usize = 3 * 1024;

/// The last segment of a cut path, which stands for its rest.
const CUT: &str = "…";

/// The parts of a path that are replaced by placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Everything that differs from object to object.
    Fold,
    /// Only what looks like a secret.
    Redact,
}

/// Replaces everything in a path that differs from object to object, by the rules of this module. Folding a folded path
/// changes nothing.
pub fn fold(path: &str) -> String {
    let mut folded = String::with_capacity(path.len().min(MAX_FOLDED));
    fold_into(path, &mut folded);
    folded
}

/// Returns the path as it was sent, but without query and path parameters, and with placeholders for everything that
/// looks like a secret.
pub fn redact(path: &str) -> String {
    let mut redacted = String::with_capacity(path.len().min(MAX_REDACTED));
    write(path, Level::Redact, usize::MAX, MAX_REDACTED, &mut redacted);
    redacted
}

/// Appends the folded path to `out`.
pub(super) fn fold_into(path: &str, out: &mut String) {
    write(path, Level::Fold, MAX_SEGMENTS, MAX_FOLDED, out);
}

/// Appends the path to `out`, segment by segment. If a limit is reached, the rest becomes [`CUT`].
fn write(path: &str, level: Level, max_segments: usize, max_bytes: usize, out: &mut String) {
    let query = path.bytes().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let path = &path[..query];
    if path.is_empty() || path == "*" {
        out.push_str(path);
        return;
    }
    let Some(segments) = path.strip_prefix('/') else {
        out.push_str(INVALID);
        return;
    };
    let begin = out.len();
    let mut segments = segments.split('/').enumerate().peekable();
    while let Some((index, raw)) = segments.next() {
        let before = out.len();
        out.push('/');
        let cut = raw == CUT && segments.peek().is_none();
        if !cut && index < max_segments {
            Segment::new(level, out).write(raw);
        }
        if cut || index == max_segments || out.len() - begin > max_bytes {
            out.truncate(before);
            out.push('/');
            out.push_str(CUT);
            return;
        }
    }
}
