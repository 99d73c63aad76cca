use std::{fs, path::Path, process::Command};

use super::*;
use crate::testing::skip;

const SOURCE: &str = "package main\n\
    import \"os\"\n\
    //go:noinline\n\
    func inner(x int) int { if x > 3 { os.Stdout.WriteString(\"x\") }; return x + 1 }\n\
    func main() { os.Exit(inner(len(os.Args))) }\n";

/// Builds a Go program twice, with symbols and stripped; `None` if Go is not installed.
fn programs(folder: &Path, flags: &[&str], linker: &str) -> Option<[File; 2]> {
    if Command::new("go").arg("version").output().is_err() {
        return skip("go is not installed");
    }
    fs::write(folder.join("main.go"), SOURCE).unwrap();
    Some([String::new(), "-s -w".to_owned()].map(|strip| {
        let out = folder.join(if strip.is_empty() { "program" } else { "stripped" });
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&out).args(flags).arg(format!("-ldflags={strip} {linker}"));
        let external = linker.contains("external");
        command.arg("main.go").current_dir(folder).env("GO111MODULE", "off");
        assert!(command.env("CGO_ENABLED", if external { "1" } else { "0" }).status().unwrap().success());
        File::open(out).unwrap()
    }))
}

fn table_of(file: &File) -> GoTable {
    GoTable::of(&Elf::read(file).unwrap()).unwrap()
}

#[test]
fn a_stripped_program_has_the_names_of_one_with_symbols() {
    for (flags, linker) in [
        (&[][..], ""),
        (&["-buildmode=pie"][..], ""),
        (&[][..], "-linkmode=external"),
        (&["-buildmode=pie"][..], "-linkmode=external"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some([whole, stripped]) = programs(folder.path(), flags, linker) else { return };
        let symbols = Elf::read(&whole).unwrap().symbols(&["main.inner", "os.(*File).Write"]).unwrap();
        let table = table_of(&whole);
        for (name, symbol) in &symbols {
            for address in [symbol.address, symbol.address + symbol.size - 1] {
                let found = table.name_at(&whole, address).unwrap();
                assert_eq!(String::from_utf8(found).unwrap(), *name, "{flags:?} {linker}");
            }
        }
        assert_eq!(symbols.len(), 2);
        let table = table_of(&stripped);
        let elf = Elf::read(&stripped).unwrap();
        let found = table.functions(&elf, &["main.inner", "no.such", "os.(*File).Write"]).unwrap();
        let [Some(inner), None, Some(write)] = found[..] else { panic!("{found:?}") };
        // The stripped program was linked separately, so its functions may have other addresses.
        assert_eq!(table.name_at(&stripped, inner.address + 1).unwrap(), b"main.inner");
        assert_ne!(table.name_at(&stripped, inner.address - 1).unwrap(), b"main.inner");
        assert!(write.size > 16);
        assert_eq!(table.name_at(&stripped, 1), None);
        assert_eq!(table.name_at(&stripped, u64::MAX), None);
    }
}

#[test]
fn hostile_tables_name_nothing_or_anything_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let Some([_, file]) = programs(folder.path(), &[], "") else { return };
    let table = table_of(&file);
    let elf = Elf::read(&file).unwrap();
    let placed = elf.placed(".gopclntab").unwrap();
    let path = folder.path().join("hostile");
    let bytes = fs::read(folder.path().join("stripped")).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let start = usize::try_from(table.start).unwrap();
    for _ in 0..100 {
        let mut bytes = bytes.clone();
        for _ in 0..6 {
            let most = if random.bool() { 72 } else { bytes.len() - start };
            let at = start + random.usize(..most);
            bytes[at] = random.u8(..);
        }
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        if let Some(table) = GoTable::read(&Elf::read(&file).unwrap(), placed) {
            for _ in 0..20 {
                let _ = table.name_at(&file, table.text.wrapping_add(random.u64(..1 << 24)));
            }
        }
    }
    assert!(GoTable::read(&elf, Placed { address: u64::MAX, ..placed }).is_none(), "its address is nowhere");
}
