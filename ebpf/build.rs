//! Compiles the kernel programs with clang into objects, which `lib.rs` embeds.
//!
//! CO-RE relocations need clang; stable Rust emits none. The instruction set is pinned to v3 so that they do not change
//! with the compiler's default. Of v3, the plain object uses only what Linux 5.10 has.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const SOURCES: &str = "src/bpf";
/// Object and source of the two variants of what is counted with.
const VARIANTS: [(&str, &str); 2] = [("typed", "traffictrace"), ("plain", "plain")];
/// Object and source of what sees HTTP.
const HTTP: (&str, &str) = ("http", "http");
/// Object and source of what sees the plain text of TLS.
const TLS: (&str, &str) = ("tls", "tls");
/// Object and source of what takes stacks.
const STACKS: (&str, &str) = ("stacks", "stacks");
/// Object and source of what a benchmark compares them with.
const EMPTY: (&str, &str) = ("empty", "empty");
/// Architectures as Rust calls them, and what the source is told. The variants for the one that is not built for go to the
/// folder `other`: the unit test of the stack reads both, since a frame can be larger there.
const ARCHITECTURES: [(&str, &str); 2] =
    [("x86_64", "-D__TARGET_ARCH_x86"), ("aarch64", "-D__TARGET_ARCH_arm64")];

fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    for variable in ["CLANG", "LLVM_STRIP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for entry in fs::read_dir(SOURCES).map_err(|e| format!("cannot list {SOURCES}: {e}"))? {
        let path = entry.map_err(|e| format!("cannot list {SOURCES}: {e}"))?.path();
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let directory = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set; run cargo build")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if !ARCHITECTURES.iter().any(|(name, _)| *name == arch) {
        return Err(format!("no kernel programs for target architecture {arch:?}: use x86_64 or aarch64"));
    }
    let other = directory.join("other");
    fs::create_dir_all(&other).map_err(|e| format!("cannot make {}: {e}", other.display()))?;
    for (name, define) in ARCHITECTURES {
        let is_built_for = name == arch;
        let folder = if is_built_for { &directory } else { &other };
        for object in VARIANTS.into_iter().chain([HTTP, TLS, STACKS]).chain(is_built_for.then_some(EMPTY)) {
            compile_object(object, define, folder)?;
        }
    }
    Ok(())
}

fn compile_object((name, source): (&str, &str), define: &str, folder: &Path) -> Result<(), String> {
    let source = Path::new(SOURCES).join(source).with_extension("bpf.c");
    let object = folder.join(name).with_extension("bpf.o");
    run(Command::new(env::var_os("CLANG").unwrap_or("clang".into()))
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        // BPF_PROG() declares a context argument that no program here uses.
        .args(["-Wno-unused-parameter", "-fno-stack-protector", define])
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(&object))?;
    // Drops DWARF (most of the size) and keeps BTF.
    run(Command::new(env::var_os("LLVM_STRIP").unwrap_or("llvm-strip".into())).arg("-g").arg(&object))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| {
        format!("cannot run {name} to compile the kernel programs: {e}; install clang, llvm and libbpf-dev")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "\ncargo::error=");
    Err(format!("{name} failed ({}) to compile the kernel programs:\ncargo::error={text}", output.status))
}
