//! Quoting of words for a shell's command line.

use shlex::Quoter;

/// Quotes a word for a shell if necessary. `None` if no command line can contain it.
pub fn quoted(word: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    // Some shells replace a word such as `=name` by the path of a program.
    if !word.is_empty() && !word.starts_with('=') && word.bytes().all(is_plain) {
        return Some(word.to_owned());
    }
    Quoter::new().quote(word).ok().map(|word| word.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_word_back() {
        for word in ["--cgroup=/a.slice/b@1.service", "10.0.0.0/8,fd00::/8", "50%+"] {
            assert_eq!(quoted(word).as_deref(), Some(word));
        }
        for word in ["", "it's $HOME", "=ls", "a b", "`id`", "!x", "~", "a\nb", "\u{1b}[2J", "\"", "\\"] {
            let quoted = quoted(word).unwrap();
            assert_ne!(quoted, word);
            assert_eq!(shlex::split(&quoted), Some(vec![word.to_owned()]), "{quoted}");
        }
        assert_eq!(quoted("a\0b"), None);
    }
}
