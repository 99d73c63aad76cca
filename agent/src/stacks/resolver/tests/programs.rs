use std::{fs, path::Path, process::Command, sync::Arc, time::Instant};

use traffictrace_profile::FrameKind;

use super::dump::{Dump, Still, built};
use crate::{
    stacks::resolver::{MOST_BYTES, Process, Shared},
    stacks::{Extent, Mode, Program, Resolver, Sample, Stack, Taken},
    testing::skip,
};

/// C program that reads from standard input in `inner`, which `middle`, `outer` and `main` call. The programs in other
/// languages below wait in the same way.
const C: &str = "#include <unistd.h>\n\
    __attribute__((noinline)) int inner(int f) { char b[100] = {0}; return read(f, b, sizeof b) + b[0]; }\n\
    __attribute__((noinline)) int middle(int f) { char b[600]; b[f] = 1; return inner(f) + b[5 * f]; }\n\
    __attribute__((noinline)) int outer(int f) { return middle(f) + 1; }\n\
    int main(void) { if (write(1, \"ready\\n\", 6) != 6) return 1; while (outer(0) > 3) {} return 0; }\n";
const CPP: &str = "#include <unistd.h>\n#include <vector>\n\
    namespace shop { template <class T> struct Desk { __attribute__((noinline)) long serve(T f) { char b[9]; return read(f, b, 9) + b[0]; } }; }\n\
    int main() { shop::Desk<int> d; if (write(1, \"ready\\n\", 6) != 6) return 1; return d.serve(0) > 1; }\n";
const RUST: &str = "mod shop { #[inline(never)] pub fn serve() -> usize { use std::io::Read; let mut b = [0; 9]; \
    std::io::stdin().read(&mut b).unwrap() + b[0] as usize } }\n\
    fn main() { println!(\"ready\"); std::process::exit(shop::serve() as i32); }\n";
const GO: &str = "package main\nimport (\"os\"; \"syscall\")\n\
    type desk struct{ n int }\n\
    //go:noinline\nfunc (d *desk) serve(f int) int { var b [9]byte; n, _ := syscall.Read(f, b[:]); d.n += n; return n }\n\
    func main() { os.Stdout.WriteString(\"ready\\n\"); d := &desk{}; for d.serve(0) > 0 { } }\n";
const PYTHON: &str = "import os\nos.write(1, b'ready\\n')\ndef serve():\n    return os.read(0, 9)\nserve()\n";
const NODE: &str = "const fs = require('fs');\nfs.writeSync(1, 'ready\\n');\n\
    function serve() { return fs.readSync(0, Buffer.alloc(9)); }\nserve();\n";

fn names(stack: &Stack) -> Vec<&str> {
    stack.frames.iter().map(|frame| frame.name.as_str()).collect()
}

/// Returns true if the stack has these names in this order, innermost first, possibly with others in between.
fn has(stack: &Stack, wanted: &[&str]) -> bool {
    let mut names = names(stack).into_iter();
    wanted.iter().all(|wanted| names.any(|name| name == *wanted))
}

/// Runs a program, and resolves its stack. The copy that `mode` takes must reach the thread's first function.
fn whole(command: &mut Command, mode: Mode) -> Option<(Still, Resolver, Dump, Arc<Stack>)> {
    let still = Still::run(command)?;
    let dump = still.dump(mode);
    let mut resolver = Resolver::new();
    let stack = resolver.resolve(&dump.sample());
    assert_eq!(stack.extent, Extent::Whole, "{:#?}", names(&stack));
    assert_eq!(resolver.resolve(&dump.sample()), stack, "seen before");
    Some((still, resolver, dump, stack))
}

#[test]
fn c_with_and_without_frame_pointers() {
    for flags in
        [&["-O2", "-fomit-frame-pointer"][..], &["-O1", "-fno-omit-frame-pointer"], &["-O2", "-static"]]
    {
        let folder = tempfile::tempdir().unwrap();
        let command =
            [&["cc", "-fno-optimize-sibling-calls", "-o", "program", "program.c"][..], flags].concat();
        if !built(folder.path(), "program.c", C, &command) {
            return;
        }
        let mut program = Command::new(folder.path().join("program"));
        let Some((_still, _, _, stack)) = whole(&mut program, Mode::Copy8) else { return };
        assert!(
            has(&stack, &["inner", "middle", "outer", "main", "_start"]),
            "{flags:?}: {:#?}",
            names(&stack)
        );
        assert!(stack.frames.iter().any(|frame| frame.module == "program" && frame.kind == FrameKind::User));
    }
}

#[test]
fn cpp_and_rust_are_demangled() {
    let folder = tempfile::tempdir().unwrap();
    if built(folder.path(), "a.cc", CPP, &["c++", "-O1", "-o", "cpp", "a.cc"]) {
        let Some((_still, _, _, stack)) = whole(&mut Command::new(folder.path().join("cpp")), Mode::Copy8)
        else {
            return;
        };
        assert!(has(&stack, &["shop::Desk<int>::serve", "main"]), "{:#?}", names(&stack));
    }
    if built(folder.path(), "b.rs", RUST, &["rustc", "-O", "--crate-name", "desk", "-o", "rust", "b.rs"]) {
        let Some((_still, _, _, stack)) = whole(&mut Command::new(folder.path().join("rust")), Mode::Copy8)
        else {
            return;
        };
        assert!(has(&stack, &["desk::shop::serve", "desk::main", "main"]), "{:#?}", names(&stack));
    }
}

#[test]
fn go_with_and_without_symbols() {
    for flags in ["", "-s -w"] {
        let folder = tempfile::tempdir().unwrap();
        let linker = format!("-ldflags={flags}");
        if !built(folder.path(), "main.go", GO, &["go", "build", &linker, "-o", "program", "main.go"]) {
            return;
        }
        let mut program = Command::new(folder.path().join("program"));
        let Some((_still, mut resolver, dump, stack)) = whole(&mut program, Mode::Copy8) else { return };
        let wanted = ["syscall.read", "main.(*desk).serve", "main.main", "runtime.main"];
        let root = stack.frames.last().unwrap();
        assert!(root.name.starts_with("runtime.goexit"), "{root:?}");
        assert!(has(&stack, &wanted), "{flags:?}: {:#?}", names(&stack));
        // After `AGREED` (50) whole copies that frame pointers also follow, the resolver lets the kernel unwind.
        for _ in 0..60 {
            resolver.resolve(&dump.sample());
        }
        if cfg!(target_arch = "x86_64") {
            assert_eq!(resolver.take_modes(), [(dump.program(), Mode::FramePointers)]);
        }
    }
}

#[test]
fn python_as_the_distribution_has_it() {
    if !Path::new("/usr/bin/python3").exists() {
        return skip("there is no /usr/bin/python3").unwrap_or_default();
    }
    let mut program = Command::new("/usr/bin/python3");
    let Some((_still, _, _, stack)) = whole(program.args(["-c", PYTHON]), Mode::Copy8) else { return };
    assert!(has(&stack, &["_PyEval_EvalFrameDefault", "Py_RunMain", "_start"]), "{:#?}", names(&stack));
    // Adjacent functions of Python without a name form one frame.
    let pairs = stack.frames.windows(2);
    assert!(
        pairs.into_iter().all(|pair| !pair[0].name.starts_with('[') || pair[0] != pair[1]),
        "{:#?}",
        names(&stack)
    );
}

#[test]
fn node_writes_names_in_its_own_namespaces() {
    // The process has its own /tmp, and the id 1 in its own pid namespace.
    let inside = "mount -t tmpfs tmpfs /tmp && exec node --perf-basic-prof --interpreted-frames-native-stack -e \"$0\"";
    let run = |command: &mut Command| {
        let Some((_still, _, _, stack)) = whole(command, Mode::Copy32) else { return };
        let serve = stack.frames.iter().find(|frame| frame.name.contains("serve"));
        let serve = serve.unwrap_or_else(|| panic!("{:#?}", stack.frames));
        assert_eq!(serve.kind, FrameKind::Jit, "{:#?}", names(&stack));
        assert!(has(&stack, &["main", "_start"]) || stack.frames.len() > 9, "{:#?}", names(&stack));
    };
    if Command::new("node").arg("--version").output().is_err() {
        return skip("node is not installed").unwrap_or_default();
    }
    if !rustix::process::geteuid().is_root() {
        return skip("other namespaces are root's: run as root").unwrap_or_default();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    // Node writes a log into its working directory, which is therefore a temporary folder.
    command.current_dir(folder.path()).args(["--pid", "--fork", "--mount", "--", "sh", "-c", inside, NODE]);
    // unshare prints an error when its child is killed.
    run(command.stderr(std::process::Stdio::null()));
}

#[test]
fn a_program_in_another_root_is_named_by_its_own_files() {
    if !rustix::process::geteuid().is_root() {
        return skip("another root folder is root's: run as root").unwrap_or_default();
    }
    let folder = tempfile::tempdir().unwrap();
    if !built(
        folder.path(),
        "hidden.c",
        C,
        &["cc", "-O1", "-static", "-fno-optimize-sibling-calls", "-o", "hidden", "hidden.c"],
    ) {
        return;
    }
    let mut command = Command::new("chroot");
    let Some((_still, _, _, stack)) = whole(command.arg(folder.path()).arg("/hidden"), Mode::Copy8) else {
        return;
    };
    assert!(has(&stack, &["inner", "middle", "outer", "main"]), "{:#?}", names(&stack));
    assert!(!Path::new("/hidden").exists());
}

#[test]
fn short_copies_grow() {
    let folder = tempfile::tempdir().unwrap();
    let deep = C.replace("char b[600]", "char b[12000]");
    if !built(
        folder.path(),
        "deep.c",
        &deep,
        &["cc", "-O1", "-fno-optimize-sibling-calls", "-o", "deep", "deep.c"],
    ) {
        return;
    }
    let Some(still) = Still::run(&mut Command::new(folder.path().join("deep"))) else { return };
    let mut resolver = Resolver::new();
    let mut mode = Mode::Copy8;
    let mut asked = Vec::new();
    for _ in 0..20 {
        let dump = still.dump(mode);
        let stack = resolver.resolve(&dump.sample());
        let extent = if dump.bytes.len() > 14_000 { Extent::Whole } else { Extent::Cut };
        assert_eq!(stack.extent, extent);
        assert_eq!(stack.frames[1].name, "inner", "{:#?}", names(&stack));
        for (program, changed) in resolver.take_modes() {
            assert_eq!(program, dump.program());
            mode = changed;
            asked.push(changed);
        }
    }
    assert_eq!(asked, [Mode::Copy16]);
}

#[test]
fn addresses_that_lead_nowhere_lead_back_to_copies() {
    let folder = tempfile::tempdir().unwrap();
    if !built(
        folder.path(),
        "a.c",
        C,
        &["cc", "-O1", "-static", "-fno-optimize-sibling-calls", "-o", "a", "a.c"],
    ) {
        return;
    }
    let Some((_still, mut resolver, dump, stack)) =
        whole(&mut Command::new(folder.path().join("a")), Mode::Copy8)
    else {
        return;
    };
    let process = resolver.processes.get_mut(&dump.pid).unwrap();
    for _ in 0..50 {
        let _ = process.modes.take(crate::stacks::modes::Outcome::Agreed(9));
    }
    let root = *process.roots().iter().next().unwrap();
    let chain = [dump.registers.instruction, root];
    let resolved = resolver.resolve(&dump.of(Taken::Addresses(&chain)));
    assert_eq!((resolved.extent, resolved.frames.last()), (Extent::Whole, stack.frames.last()));
    assert_eq!(resolver.take_modes(), []);
    for _ in 0..3 {
        let broken = resolver.resolve(&dump.of(Taken::Addresses(&[chain[0], 1])));
        assert_eq!(broken.extent, Extent::Cut);
    }
    assert_eq!(resolver.take_modes(), [(dump.program(), Mode::Copy8)]);
    assert_eq!(resolver.resolve(&dump.of(Taken::Addresses(&[]))).extent, Extent::Missing("no addresses"));
}

#[test]
fn a_process_that_executes_another_program_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, function) in [("first", "inner"), ("second", "other")] {
        let source =
            C.replace("inner", function).replace("return 0;", "execl(\"./second\", \"second\", (char *)0);");
        let file = format!("{name}.c");
        let command = ["cc", "-O1", "-no-pie", "-fno-optimize-sibling-calls", "-o", name, &file];
        if !built(folder.path(), &file, &source, &command) {
            return;
        }
    }
    let mut command = Command::new(folder.path().join("first"));
    let Some((mut still, mut resolver, dump, stack)) = whole(command.current_dir(folder.path()), Mode::Copy8)
    else {
        return;
    };
    assert!(has(&stack, &["inner", "main"]));
    // A zero byte makes the first program execute the second one.
    still.write(&[0]);
    let name = || fs::read_to_string(format!("/proc/{}/comm", dump.pid)).unwrap();
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while name().trim() != "second" && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(name().trim(), "second");
    let again = loop {
        let stack = resolver.resolve(&still.dump(Mode::Copy8).sample());
        if has(&stack, &["other", "main"]) || Instant::now() > until {
            break stack;
        }
    };
    assert!(has(&again, &["other", "main"]) && !has(&again, &["inner"]), "{:#?}", names(&again));
}

#[test]
fn a_process_that_is_gone_has_no_stack_and_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    if !built(folder.path(), "a.c", C, &["cc", "-O1", "-o", "a", "a.c"]) {
        return;
    }
    let Some((still, mut resolver, dump, _)) = whole(&mut Command::new(folder.path().join("a")), Mode::Copy8)
    else {
        return;
    };
    assert!(!resolver.processes.is_empty() && resolver.shared.images.bytes() > 0);
    drop(still);
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while !resolver.processes.is_empty() && Instant::now() < until {
        resolver.tidy();
    }
    assert!(resolver.processes.is_empty());
    assert_eq!(resolver.shared.images.bytes(), 0);
    assert_eq!(resolver.resolve(&dump.sample()).extent, Extent::Missing("the process has ended"));
}

#[test]
fn a_process_whose_first_thread_has_ended_is_seen_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let threads = C.replace("int main(void) {", "static void *work(void *unused) {")
        + "int main(void) { pthread_t t; pthread_create(&t, 0, work, 0); pthread_exit(0); }\n";
    let source = format!("#include <pthread.h>\n{threads}");
    let command = ["cc", "-O1", "-pthread", "-fno-optimize-sibling-calls", "-o", "threads", "threads.c"];
    if !built(folder.path(), "threads.c", &source, &command) {
        return;
    }
    let Some(still) = Still::run(&mut Command::new(folder.path().join("threads"))) else { return };
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while !fs::read_to_string(format!("/proc/{}/maps", still.pid)).is_ok_and(|maps| maps.is_empty()) {
        assert!(Instant::now() < until, "the first thread does not end");
        std::thread::yield_now();
    }
    let stack = Resolver::new().resolve(&still.dump(Mode::Copy8).sample());
    assert_eq!(stack.extent, Extent::Whole, "{:#?}", names(&stack));
    assert!(has(&stack, &["inner", "middle", "outer", "work"]), "{:#?}", names(&stack));
}

/// Makes a resolver that knows one process, and a sample of that process. The folder contains its program.
fn known() -> Option<(tempfile::TempDir, Still, Resolver, Dump)> {
    let folder = tempfile::tempdir().unwrap();
    if !built(folder.path(), "a.c", C, &["cc", "-O1", "-o", "a", "a.c"]) {
        return None;
    }
    let (still, resolver, dump, _) = whole(&mut Command::new(folder.path().join("a")), Mode::Copy8)?;
    Some((folder, still, resolver, dump))
}

#[test]
fn the_processes_that_were_idle_for_longest_make_room() {
    let Some((_folder, _still, mut resolver, dump)) = known() else { return };
    // The same process under many ids that no process has.
    for number in 0..300 {
        let program = Program { pid: u32::MAX - number, number: 0 };
        let mut process = Process::look(dump.pid, program, &resolver.shared).unwrap();
        if number == 0 {
            for _ in 0..3 {
                process.modes.take(crate::stacks::modes::Outcome::Short(8 << 10));
            }
        }
        resolver.processes.insert(u32::MAX - number, process);
    }
    resolver.resolve(&dump.sample());
    resolver.keep_bounds();
    assert!((100..=256).contains(&resolver.processes.len()), "{}", resolver.processes.len());
    assert!(resolver.processes.contains_key(&dump.pid), "the one that was used last");
    let told = resolver.take_modes();
    assert_eq!(
        told.first(),
        Some(&(Program { pid: u32::MAX, number: 0 }, Mode::Copy8)),
        "the kernel is told of what is forgotten"
    );
}

/// The program waits in a function of a library that it loads after it was first examined.
#[test]
fn code_that_was_mapped_a_moment_ago_is_named_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let program = "#include <dlfcn.h>\n#include <unistd.h>\n\
        int main(void) { char b; if (write(1, \"ready\\n\", 6) != 6 || read(0, &b, 1) != 1) return 1; \
        void *l = dlopen(\"./later.so\", RTLD_NOW); return l ? ((int (*)(int))dlsym(l, \"later\"))(0) + 1 : 2; }\n";
    let library = "#include <unistd.h>\nint later(int f) { char b[9]; return read(f, b, 9) + b[0]; }\n";
    if !built(folder.path(), "p.c", program, &["cc", "-O1", "-o", "program", "p.c", "-ldl"])
        || !built(folder.path(), "l.c", library, &["cc", "-O1", "-shared", "-fPIC", "-o", "later.so", "l.c"])
    {
        return;
    }
    let mut command = Command::new(folder.path().join("program"));
    let Some((mut still, mut resolver, dump, _)) = whole(command.current_dir(folder.path()), Mode::Copy8)
    else {
        return;
    };
    still.write(&[1]);
    let maps = || fs::read_to_string(format!("/proc/{}/maps", dump.pid)).unwrap();
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while !maps().contains("later.so") {
        assert!(Instant::now() < until, "the library is not loaded");
    }
    let stack = loop {
        let stack = resolver.resolve(&still.dump(Mode::Copy8).sample());
        if has(&stack, &["later", "main"]) || Instant::now() > until {
            break stack;
        }
    };
    assert!(has(&stack, &["later", "main"]), "{:#?}", names(&stack));
}

#[test]
fn a_process_with_too_many_mappings_has_no_stack() {
    let folder = tempfile::tempdir().unwrap();
    // Neighbouring mappings differ, so that the kernel does not join them.
    let source = C.replace("#include <unistd.h>", "#include <unistd.h>\n#include <sys/mman.h>").replace(
        "int main(void) {",
        "int main(void) { for (int i = 0; i < 20000; i++) mmap(0, 4096, PROT_READ | (i % 2 ? PROT_EXEC : 0), \
         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);",
    );
    if !built(folder.path(), "many.c", &source, &["cc", "-O1", "-o", "many", "many.c"]) {
        return;
    }
    let Some(still) = Still::run(&mut Command::new(folder.path().join("many"))) else { return };
    let mut resolver = Resolver::new();
    let stack = resolver.resolve(&still.dump(Mode::Copy8).sample());
    assert_eq!(stack.extent, Extent::Missing("the process has too many mappings"));
    assert!(resolver.processes.is_empty());
}

#[test]
fn a_process_that_takes_too_much_forgets_what_it_remembers_and_stays() {
    let Some((_folder, _still, mut resolver, dump)) = known() else { return };
    // Entries under ids that no process has: the same process each time, with full caches.
    for number in 0..20 {
        let mut process = Process::look(dump.pid, dump.program(), &resolver.shared).unwrap();
        process.fill();
        resolver.processes.insert(u32::MAX - number, process);
    }
    let size = |resolver: &Resolver| resolver.processes.values().map(Process::bytes).sum::<usize>();
    let before = size(&resolver);
    resolver.keep_bounds();
    assert!(before > MOST_BYTES, "{before}");
    assert_eq!((resolver.processes.len(), resolver.take_modes()), (21, vec![]), "all are known");
    let after = size(&resolver);
    assert!(after <= MOST_BYTES, "{after}");
}

#[test]
fn open_files_have_a_bound_for_all_processes() {
    let shared = Shared::default();
    let all = shared.unread.left();
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    let processes: Vec<Process> = (0..400)
        .map(|_| {
            Process::look(std::process::id(), Program { pid: std::process::id(), number: 0 }, &shared)
                .unwrap()
        })
        .collect();
    // Other tests open files at the same time, hence the margin of 300.
    assert!(shared.unread.left() < all && count() < before + all + 300, "{before} {}", count());
    drop(processes);
    assert_eq!(shared.unread.left(), all);
}

/// The resolver must be movable to another thread.
#[test]
fn a_resolver_can_be_sent() {
    fn sent<T: Send>(_: T) {}
    sent(Resolver::new());
}

#[test]
fn kernel_threads_have_the_kernels_functions() {
    let mut resolver = Resolver::new();
    let list = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let line = list.lines().find(|line| line.ends_with(" tcp_sendmsg"));
    let address = line.and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok()).unwrap_or(0);
    let sample =
        |kernel| Sample { program: Program { pid: 2, number: 0 }, tid: 2, user: Taken::Nothing, kernel };
    assert!(matches!(resolver.resolve(&sample(&[])).extent, Extent::Missing(_)));
    if address == 0 {
        return skip("the kernel shows no addresses: run as root").unwrap_or_default();
    }
    let stack = resolver.resolve(&sample(&[address + 8, address + 16, 0]));
    assert_eq!((names(&stack), stack.extent), (vec!["tcp_sendmsg", "tcp_sendmsg"], Extent::Whole));
    assert_eq!(stack.frames[0].kind, FrameKind::Kernel);
}
