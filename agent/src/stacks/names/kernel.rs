//! The kernel's functions, from its own list (`/proc/kallsyms`).

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    time::{Duration, Instant},
};

/// Maximum number of bytes that are read of the list.
const MOST_READ: u64 = 64 << 20;
/// Maximum number of functions that are kept.
const MOST_FUNCTIONS: usize = 1 << 19;
/// Maximum number of bytes of names that are kept.
const MOST_NAMES: usize = 16 << 20;
/// Minimum time between two attempts to read the list.
const PAUSE: Duration = Duration::from_secs(60);

/// The functions of the running kernel.
#[derive(Debug, Default)]
pub(in crate::stacks) struct Kernel {
    /// Addresses with the offsets of their names in `names`, sorted by address.
    functions: Vec<(u64, u32)>,
    /// Names, each ended by a line break. A module's name follows after a tab, in brackets.
    names: String,
    read: Option<Instant>,
}

impl Kernel {
    /// Returns the name of the function at an address, and its module if it has one. Returns `None` if the kernel does
    /// not show addresses, for example to programs without the right to see them.
    pub(in crate::stacks) fn name_at(&mut self, address: u64) -> Option<(&str, &str)> {
        if self.read.is_none_or(|read| self.functions.is_empty() && read.elapsed() >= PAUSE) {
            self.refresh();
        }
        let behind = self.functions.partition_point(|(start, _)| *start <= address);
        let (_, place) = self.functions[..behind].last()?;
        let line = self.names.get(*place as usize..)?.lines().next()?;
        let (name, module) = line.split_once('\t').unwrap_or((line, ""));
        Some((name, module.trim_start_matches('[').trim_end_matches(']')))
    }

    fn refresh(&mut self) {
        self.read = Some(Instant::now());
        if let Ok(file) = File::open("/proc/kallsyms") {
            (self.functions, self.names) = parse(BufReader::new(file.take(MOST_READ)));
        }
    }
}

fn parse(mut list: impl BufRead) -> (Vec<(u64, u32)>, String) {
    let (mut functions, mut names) = (Vec::new(), String::new());
    let mut line = String::new();
    while list.by_ref().read_line(&mut line).is_ok_and(|read| read > 0) {
        let mut fields = line.split_whitespace();
        if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
            (fields.next(), fields.next(), fields.next())
            && let Ok(address) = u64::from_str_radix(address, 16)
            && let Ok(place) = u32::try_from(names.len())
            && address != 0
            && functions.len() < MOST_FUNCTIONS
            && names.len() + line.len() < MOST_NAMES
        {
            functions.push((address, place));
            names.push_str(name);
            if let Some(module) = fields.next() {
                names.push('\t');
                names.push_str(module);
            }
            names.push('\n');
        }
        line.clear();
    }
    functions.sort_unstable();
    functions.shrink_to_fit();
    names.shrink_to_fit();
    (functions, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_modules() {
        let list = "ffffffff81000000 T _stext\nffffffff81000100 t tcp_sendmsg\nffffffff81000180 d data\n\
                    ffffffffc0000000 t nf_hook\t[nf_conntrack]\n0000000000000000 T hidden\nnonsense\n";
        let (functions, names) = parse(list.as_bytes());
        let mut kernel = Kernel { functions, names, read: Some(Instant::now()) };
        assert_eq!(kernel.name_at(0xffff_ffff_8100_0190), Some(("tcp_sendmsg", "")));
        assert_eq!(kernel.name_at(0xffff_ffff_c000_0010), Some(("nf_hook", "nf_conntrack")));
        assert_eq!(kernel.name_at(0x1000), None);
    }

    #[test]
    fn a_list_without_addresses_names_nothing() {
        let (functions, names) = parse(&b"0000000000000000 T a\n0000000000000000 T b\n"[..]);
        assert_eq!((functions, names.as_str()), (vec![], ""));
    }
}
