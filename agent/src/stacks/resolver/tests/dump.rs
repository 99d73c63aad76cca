//! Registers and stacks of other processes, in the form in which the kernel programs hand them over. A program in C
//! stops a thread and reads them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    stacks::{Mode, Program, Registers, Sample, Taken},
    testing::skip,
};

/// Source of a program that prints the registers of a stopped thread, and the top of its stack.
const SOURCE: &str = r#"
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
int main(int argc, char **argv)
{
    int tid = atoi(argv[1]), most = atoi(argv[2]), status;
    if (argc != 3 || ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) || waitpid(tid, &status, __WALL) < 0)
        return perror("ptrace"), 1;
    struct user_regs_struct r;
    struct iovec v = {&r, sizeof r};
    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &v))
        return perror("registers"), 1;
#if defined(__x86_64__)
    unsigned long w[4] = {r.rip, r.rsp, r.rbp, 0};
#else
    unsigned long w[4] = {r.pc, r.sp, r.regs[29], r.regs[30]};
#endif
    char path[64], *bytes = malloc(most);
    snprintf(path, sizeof path, "/proc/%d/mem", tid);
    FILE *f = fopen(path, "r");
    if (!f || fseek(f, w[1], SEEK_SET))
        return perror("memory"), 1;
    setvbuf(f, 0, _IONBF, 0);
    int n = fread(bytes, 1, most, f);
    ptrace(PTRACE_DETACH, tid, 0, 0);
    return fwrite(w, sizeof w, 1, stdout) != 1 || fwrite(bytes, 1, n, stdout) != n;
}
"#;

/// Writes `source` to `file` in a folder, and runs a compiler there. Returns false if the compiler is not installed.
pub(super) fn built(folder: &Path, file: &str, source: &str, command: &[&str]) -> bool {
    fs::write(folder.join(file), source).unwrap();
    let mut builds = Command::new(command[0]);
    builds.args(&command[1..]).current_dir(folder).env("GO111MODULE", "off");
    match builds.output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(_) => skip::<()>(&format!("{} is not installed", command[0])).is_some(),
    }
}

/// A program that waits in a system call, and is killed when the value is dropped.
pub(super) struct Still {
    child: Child,
    /// The process of the program: the child, or one of its descendants.
    pub(super) pid: u32,
    tid: u32,
    folder: tempfile::TempDir,
}

impl Still {
    /// Runs a command, waits until it has printed a line, and then until one of its threads reads standard input.
    pub(super) fn run(command: &mut Command) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if !built(folder.path(), "dump.c", SOURCE, &["cc", "-O1", "-o", "dump", "dump.c"]) {
            return None;
        }
        let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => return skip(&format!("{command:?}: {error}")),
        };
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let mut still = Self { pid: child.id(), tid: 0, child, folder };
        assert_eq!(line.trim(), "ready", "{command:?}");
        let until = Instant::now() + Duration::from_secs(20);
        while !still.find() {
            assert!(Instant::now() < until, "{command:?} does not stand still");
            std::thread::yield_now();
        }
        Some(still)
    }

    fn find(&mut self) -> bool {
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.filter_map(Result::ok) {
                let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
                let call = read("syscall");
                let arguments: Vec<&str> = call.split(' ').collect();
                // read(0, …), by the system call numbers of both architectures.
                if matches!(arguments[..], ["0" | "63", "0x0", ..]) {
                    self.pid = pid;
                    self.tid = thread.file_name().to_string_lossy().parse().unwrap();
                    return true;
                }
                pids.extend(
                    read("children").split_whitespace().filter_map(|child| child.parse::<u32>().ok()),
                );
            }
        }
        false
    }

    /// Returns what the kernel programs would hand over in a mode.
    pub(super) fn dump(&self, mode: Mode) -> Dump {
        let output = Command::new(self.folder.path().join("dump"))
            .args([self.tid.to_string(), mode.bytes().to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let words: Vec<u64> =
            output.stdout[..32].as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let registers = Registers { instruction: words[0], stack: words[1], frame: words[2], link: words[3] };
        let bytes = output.stdout[32..].to_vec();
        let cut = bytes.len() == mode.bytes();
        Dump { pid: self.pid, tid: self.tid, registers, bytes, cut }
    }

    /// Writes to the program's standard input, so that it continues.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // A program in a pid namespace of its own does not end with its parent, so it is killed by its own id.
        drop(self.child.stdin.take());
        if self.pid != self.child.id() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap());
            let _ = rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Registers and stack of a program, from which [`Dump::sample`] makes samples.
#[derive(Debug, Clone)]
pub(super) struct Dump {
    pub(super) pid: u32,
    tid: u32,
    pub(super) registers: Registers,
    pub(super) bytes: Vec<u8>,
    pub(super) cut: bool,
}

impl Dump {
    pub(super) fn program(&self) -> Program {
        Program { pid: self.pid, number: 0 }
    }

    pub(super) fn sample(&self) -> Sample<'_> {
        let Self { registers, bytes, cut, .. } = self;
        self.of(Taken::Copy { registers: *registers, bytes, cut: *cut })
    }

    pub(super) fn of<'a>(&self, user: Taken<'a>) -> Sample<'a> {
        Sample { program: self.program(), tid: self.tid, user, kernel: &[] }
    }
}
