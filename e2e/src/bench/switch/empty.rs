//! Programs that do nothing, on the product's hooks.

use std::{fmt, fs::File, path::Path};

use aya::{
    Btf, Ebpf,
    programs::{CgroupAttachMode, Program},
};
use traffictrace_ebpf::EMPTY_OBJECT;

use super::Switch;
use crate::support::{Result, TestError};

/// Hooks in the order in which they are added, by the name of their program without `empty_`. The first ones are
/// tracepoints, which run for every socket of the machine; the others are attached to one cgroup.
const HOOKS: [(&str, &str); 7] = [
    ("send", "sock_send_length"),
    ("recv", "sock_recv_length"),
    ("state", "inet_sock_set_state"),
    ("destroy", "tcp_destroy_sock"),
    ("sendmsg4", "cgroup/sendmsg4"),
    ("recvmsg4", "cgroup/recvmsg4"),
    ("release", "cgroup/sock_release"),
];

/// The empty programs, loaded. At level n, the first n + 1 of them are attached.
pub(in crate::bench) struct Empty {
    programs: Ebpf,
    cgroup: File,
    /// Closures that detach the attached programs.
    attached: Vec<Detach>,
}

type Detach = Box<dyn FnOnce(&mut Program) -> Result<()>>;

impl Empty {
    /// Loads the programs; those that attach to a cgroup will be attached to `cgroup`.
    pub(in crate::bench) fn load(cgroup: &Path) -> Result<Self> {
        let btf = Btf::from_sys_fs().map_err(failed)?;
        let mut programs = Ebpf::load(EMPTY_OBJECT).map_err(failed)?;
        for (name, hook) in HOOKS {
            match program(&mut programs, name)? {
                Program::BtfTracePoint(program) => program.load(hook, &btf),
                Program::CgroupSockAddr(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                _ => return Err(failed(format!("{name} is of a kind that is not expected"))),
            }
            .map_err(failed)?;
        }
        let cgroup = File::open(cgroup).map_err(TestError::io(format!("open {}", cgroup.display())))?;
        Ok(Self { programs, cgroup, attached: Vec::new() })
    }

    /// Returns the hooks; level n adds the one at index n.
    pub(in crate::bench) fn hooks() -> impl ExactSizeIterator<Item = &'static str> {
        HOOKS.iter().map(|(_, hook)| *hook)
    }

    fn attach(&mut self, name: &str) -> Result<()> {
        const ALONE: CgroupAttachMode = CgroupAttachMode::Single;
        /// Attaches a program and keeps a closure that detaches it.
        macro_rules! link {
            ($kind:ident, $program:expr, $($argument:expr),*) => {{
                let link = $program.attach($($argument),*).map_err(failed)?;
                Box::new(move |program: &mut Program| match program {
                    Program::$kind(program) => program.detach(link).map_err(failed),
                    _ => Ok(()),
                })
            }};
        }
        let detach: Detach = match program(&mut self.programs, name)? {
            Program::BtfTracePoint(program) => link!(BtfTracePoint, program,),
            Program::CgroupSockAddr(program) => link!(CgroupSockAddr, program, &self.cgroup, ALONE),
            Program::CgroupSock(program) => link!(CgroupSock, program, &self.cgroup, ALONE),
            _ => return Err(failed(name)),
        };
        self.attached.push(detach);
        Ok(())
    }
}

impl Switch for Empty {
    fn begin(&mut self, level: Option<usize>) -> Result<()> {
        while let Some(detach) = self.attached.pop() {
            detach(program(&mut self.programs, HOOKS[self.attached.len()].0)?)?;
        }
        for (name, _) in HOOKS.iter().take(level.map_or(0, |level| level + 1)) {
            self.attach(name)?;
        }
        Ok(())
    }

    fn done(&mut self) -> Result<bool> {
        Ok(true)
    }
}

impl fmt::Display for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("empty programs")
    }
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    let name = format!("empty_{name}");
    programs.program_mut(&name).ok_or_else(|| failed(format!("there is no {name}")))
}

fn failed(error: impl fmt::Display) -> TestError {
    TestError::unexpected("the empty programs", error)
}
