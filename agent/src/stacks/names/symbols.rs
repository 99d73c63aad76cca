//! Names of functions in a file's symbol table.

use std::fs::File;

use crate::elf::{FunctionSymbol, Range, text_at};

/// Maximum number of names of one function from which the best is chosen.
const MOST_ALIASES: usize = 16;
/// Maximum number of earlier functions that are checked for whether they extend to an address, since functions can be
/// nested.
const MOST_NESTED: usize = 8;

/// The functions of a file.
#[derive(Debug)]
pub(in crate::stacks) struct Symbols<'a> {
    /// Functions in the order of their addresses.
    pub(in crate::stacks) functions: &'a [FunctionSymbol],
    pub(in crate::stacks) file: &'a File,
    /// Location of the string table.
    pub(in crate::stacks) names: Range,
}

impl Symbols<'_> {
    /// Returns the name of the function at an address of the file.
    pub(in crate::stacks) fn name_at(&self, address: u64) -> Option<Vec<u8>> {
        let behind = self.functions.partition_point(|function| function.address <= address);
        let before = self.functions[..behind].iter().rev();
        // A function without a size extends to the next one.
        let covers = |function: &&FunctionSymbol| match function.size {
            0 => self.functions[behind - 1].address == function.address,
            size => address - function.address < u64::from(size),
        };
        let found = before.take(MOST_NESTED + MOST_ALIASES).find(covers)?;
        let first = self.functions[..behind].partition_point(|function| function.address < found.address);
        let aliases = self.functions[first..behind].iter().take_while(|alias| alias.address == found.address);
        let names = aliases.take(MOST_ALIASES).filter_map(|alias| self.name_of(alias));
        names.min_by_key(|name| {
            (name.iter().take_while(|byte| **byte == b'_').count(), name.len(), name.clone())
        })
    }

    fn name_of(&self, function: &FunctionSymbol) -> Option<Vec<u8>> {
        let place = u64::from(function.name);
        (place < self.names.length).then(|| text_at(self.file, self.names.offset.checked_add(place)?, 0))?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn an_address_belongs_to_the_function_around_it() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"__send\0send\0inner\0asm\0", 0).unwrap();
        let function = |address, size, name| FunctionSymbol { address, size, name };
        let functions = [
            function(0x100, 0x40, 0),
            function(0x100, 0x40, 7),
            function(0x110, 8, 12),
            function(0x200, 0, 18),
            function(0x300, 8, 99),
        ];
        let names = Range { offset: 0, length: 22 };
        let symbols = Symbols { functions: &functions, file: &file, names };
        let name = |address| symbols.name_at(address).map(|name| String::from_utf8(name).unwrap());
        assert_eq!(name(0xff), None);
        assert_eq!(name(0x100).as_deref(), Some("send"), "the plainest of its names");
        assert_eq!(name(0x114).as_deref(), Some("inner"));
        assert_eq!(name(0x130).as_deref(), Some("send"), "behind one that lies within it");
        assert_eq!(name(0x140), None);
        assert_eq!(name(0x2ff).as_deref(), Some("asm"));
        assert_eq!(name(0x300), None, "its name is beyond the table");
        assert_eq!(name(u64::MAX), None);
    }
}
