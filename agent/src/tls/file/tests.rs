//! Tests with programs of Go and OpenSSL, if this machine has them, and with hostile files.

use std::{fs, path::Path, process::Command};

use super::*;

/// Prints that a test is skipped because something is missing; fails if `CI=true`.
fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what} is missing");
    eprintln!("SKIPPED: {what} is missing");
}

/// Builds a Go program that uses TLS; `None` if Go is not installed.
fn go_program(folder: &Path, flags: &[&str]) -> Option<File> {
    const SOURCE: &str = "package main\n\
        import (\"crypto/tls\"; \"io\")\n\
        func main() { c, err := tls.Dial(\"tcp\", \"127.0.0.1:1\", nil); if err == nil { io.Copy(c, c) } }\n";
    fs::write(folder.join("main.go"), SOURCE).unwrap();
    let out = folder.join("program");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&out)
        .args(flags)
        .arg("main.go")
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .status();
    match built {
        Ok(status) => {
            assert!(status.success(), "go build: {status}");
            Some(File::open(out).unwrap())
        }
        Err(_) => {
            skip("go");
            None
        }
    }
}

#[test]
fn a_program_of_go_has_a_probe_at_each_return() {
    for flags in [&[][..], &["-buildmode=pie"]] {
        let folder = tempfile::tempdir().unwrap();
        let Some(file) = go_program(folder.path(), flags) else { return };
        let contents = program(&file, "program").unwrap();
        assert!(contents.library.starts_with("Go crypto/tls (go1."), "{contents:?}");
        assert_eq!(contents.problem, None);
        assert_ne!(contents.go_tcp, 0);
        let [read, write] = contents.places.as_slice() else { panic!("{contents:?}") };
        assert_eq!((read.function, write.function), (Function::GoRead, Function::GoWrite));
        assert!(read.returns.len() > 1 && read.returns.is_sorted(), "{read:?}");
        assert!(write.returns.is_empty());
        let all = fs::read(folder.path().join("program")).unwrap();
        if cfg!(target_arch = "x86_64") {
            // `push rbp` or `sub rsp` follows the stack check.
            assert!(matches!(all[read.begins as usize], 0x55 | 0x48), "{read:?}");
            assert!(read.returns.iter().all(|at| all[*at as usize] == 0xc3), "{read:?}");
        }
    }
}

/// Hides a program's symbol table instead of stripping it, so that addresses stay and the functions that are found can
/// be compared. Then examines a program that the linker stripped.
#[test]
fn a_stripped_program_of_go_has_the_same_places() {
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(whole) = go_program(folder.path(), &[mode, "-ldflags=-w"]) else { return };
        let by_symbols = program(&whole, "program").unwrap();
        // The type of the symbol table's section header becomes 0 (unused).
        let mut bytes = fs::read(folder.path().join("program")).unwrap();
        let sections = usize::try_from(u64::from_le_bytes(*bytes[40..].first_chunk().unwrap())).unwrap();
        let count = usize::from(u16::from_le_bytes(*bytes[60..].first_chunk().unwrap()));
        let mut hidden = 0;
        for header in (0..count).map(|number| sections + 64 * number) {
            if bytes[header + 4..header + 8] == [2, 0, 0, 0] {
                bytes[header + 4] = 0;
                hidden += 1;
            }
        }
        assert_eq!(hidden, 1);
        let path = folder.path().join("without");
        fs::write(&path, &bytes).unwrap();
        let by_table = program(&File::open(path).unwrap(), "program").unwrap();
        assert_eq!(by_table.go_tcp, by_symbols.go_tcp, "{mode}");
        assert_eq!(by_table.places, by_symbols.places, "{mode}");
        let stripped = go_program(folder.path(), &[mode, "-ldflags=-s -w"]).unwrap();
        let contents = program(&stripped, "program").unwrap();
        assert!(contents.library.starts_with("Go crypto/tls (go1."), "{contents:?}");
        assert_eq!((contents.places.len(), contents.problem), (2, None));
        assert_ne!(contents.go_tcp, 0);
    }
}

#[test]
fn openssl_is_found_by_its_symbols() {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let of = |name: &str| folders.iter().find_map(|folder| File::open(Path::new(folder).join(name)).ok());
    let (Some(ssl), Some(libcrypto)) = (of("libssl.so.3"), of("libcrypto.so.3")) else {
        return skip("OpenSSL 3");
    };
    let contents = library(&ssl).unwrap();
    let functions: Vec<Function> = contents.places.iter().map(|place| place.function).collect();
    assert_eq!(functions, OPENSSL.map(|(_, function)| function));
    assert!(crypto(&libcrypto).unwrap().library.starts_with("OpenSSL 3."));
}

#[test]
fn hostile_files_have_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        File::open(&path).unwrap()
    };
    assert!(program(&open(b""), "x").is_err());
    assert!(program(&open(&own[..64]), "x").is_err(), "tables beyond the end");
    // Random bytes in the ELF header and in the section headers must cause neither a panic nor an endless loop.
    let small = &own[..own.len().min(1 << 16)];
    let table = usize::try_from(u64::from_le_bytes(*own[40..].first_chunk().unwrap())).unwrap();
    let sections = &own[table..];
    let mut random = fastrand::Rng::with_seed(12);
    for _ in 0..300 {
        let mut bytes = [small, sections].concat();
        bytes[40..48].copy_from_slice(&(small.len() as u64).to_le_bytes());
        for _ in 0..8 {
            let (start, end) = if random.bool() { (16, 64) } else { (small.len(), bytes.len()) };
            let at = random.usize(start..end);
            bytes[at] = random.u8(..);
        }
        let file = open(&bytes);
        let places = program(&file, "x").map(|contents| contents.places).unwrap_or_default();
        assert!(places.is_empty());
        let _ = library(&file);
    }
}
