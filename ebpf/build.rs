//! Compiles the kernel programs with clang into objects, which `lib.rs` embeds.
//!
//! The programs need CO-RE relocations, which clang emits and stable Rust does not. The instruction set is pinned to
//! v3, so that it does not change with clang's default. Of its instructions, the plain object uses only those that
//! Linux 5.10 has.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const SOURCES: &str = "src/bpf";
/// Object and source of each of the two objects that count traffic; `Variant` in `lib.rs` tells them apart.
const VARIANTS: [(&str, &str); 2] = [("typed", "traffictrace"), ("plain", "plain")];
/// Object and source of the programs that read HTTP from packets.
const HTTP: (&str, &str) = ("http", "http");
/// Object and source of the programs that read the plain text of TLS at the calls of its libraries.
const TLS: (&str, &str) = ("tls", "tls");
/// Object and source of the programs that take stacks.
const STACKS: (&str, &str) = ("stacks", "stacks");
/// Object and source of programs that do nothing, the baseline of a benchmark.
const EMPTY: (&str, &str) = ("empty", "empty");
/// Rust's name of each architecture, and the clang argument that selects it in the C source. Objects for the
/// architecture that is not built for go to the folder `other`: `src/stack.rs` tests both, since a frame can be larger
/// there.
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
        // BPF_PROG() declares a context argument that most programs do not use.
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
