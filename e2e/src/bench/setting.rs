//! What is attached while load runs: nothing, the product, or another tool.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    programs::{CgroupAttachMode, Program},
};
use rustix::process::Signal;
use traffictrace_ebpf::EMPTY_OBJECT;

use crate::support::{Result, TestError, cgroup::Cgroup, needs::Host, process::Process, wait};

const LIMIT: Duration = Duration::from_secs(30);
/// Containers that are armed beside the load's.
const OTHERS: usize = 200;

/// Tracepoints of the empty programs (the loader asks for the name once more).
const HOOKS: [(&str, &str); 5] = [
    ("empty_send", "sock_send_length"),
    ("empty_recv", "sock_recv_length"),
    ("empty_space", "tcp_rcv_space_adjust"),
    ("empty_state", "inet_sock_set_state"),
    ("empty_destroy", "tcp_destroy_sock"),
];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Nothing,
    /// Programs that do nothing, on the product's hooks.
    Empty,
    /// The product traces 200 containers, the load's is none of them.
    NotSelected,
    /// The product traces the load's container too.
    Selected,
    Tcpdump,
    Nethogs,
    Bpftrace,
}

/// Another tool.
struct Tool {
    setting: Setting,
    program: &'static str,
    /// What the shell runs; it replaces the shell.
    command: &'static str,
    /// A word that it prints when it counts.
    ready: &'static str,
}

const TOOLS: [Tool; 3] = [
    Tool {
        setting: Setting::Tcpdump,
        program: "tcpdump",
        command: "exec tcpdump -i lo -w /dev/null 2>&1",
        ready: "listening on",
    },
    Tool {
        setting: Setting::Nethogs,
        program: "nethogs",
        command: "exec nethogs -t -a -d 1",
        ready: "Refreshing",
    },
    // Its tracepoints need tracefs, which is mounted for it alone where it is not.
    Tool {
        setting: Setting::Bpftrace,
        program: "bpftrace",
        command: "exec unshare --mount sh -c '
            mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing
            exec bpftrace -e \"BEGIN { printf(\\\"ready\\n\\\"); }
                tracepoint:sock:sock_send_length { @tx[pid, comm] = sum(args->ret); }
                tracepoint:sock:sock_recv_length { @rx[pid, comm] = sum(args->ret); }\" 2>&1'",
        ready: "ready",
    },
];

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "nothing attached",
            Self::Empty => "empty programs",
            Self::NotSelected => "traffictrace, not selected",
            Self::Selected => "traffictrace, selected",
            Self::Tcpdump => "tcpdump -w /dev/null",
            Self::Nethogs => "nethogs",
            Self::Bpftrace => "bpftrace, bytes by process",
        })
    }
}

/// The cgroups of a run: the load's, three levels deep, and others to be traced.
pub(super) struct Stage {
    cgroup: Cgroup,
    load: PathBuf,
    others: Vec<PathBuf>,
}

impl Stage {
    pub(super) fn new(host: &Host) -> Result<Self> {
        let cgroup = Cgroup::new(&host.cgroup_root)?;
        cgroup.child("pod")?;
        let load = cgroup.child("pod/load")?;
        let others = (0..OTHERS).map(|i| cgroup.child(&format!("other{i}"))).collect::<Result<_>>()?;
        Ok(Self { cgroup, load, others })
    }

    /// Where the load runs.
    pub(super) fn load(&self) -> &Path {
        &self.load
    }
}

/// Something that is attached until it is dropped.
pub(super) struct Attached {
    process: Option<Process>,
    /// Held until the end.
    _held: Held,
}

enum Held {
    Nothing,
    Folder { _folder: tempfile::TempDir },
    Programs { _programs: Box<Ebpf> },
}

impl Attached {
    /// Its process, if there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends it, and waits until its programs are gone. Other tools are killed; not all of them heed a signal.
    pub(super) fn end(self) -> Result<()> {
        let (Some(process), Held::Folder { .. }) = (&self.process, &self._held) else { return Ok(()) };
        process.signal(Signal::INT)?;
        self.process.map_or(Ok(()), |process| process.wait(LIMIT).map(drop))
    }
}

impl Setting {
    /// Whether the machine has it.
    pub(super) fn is_there(self) -> bool {
        let Some(tool) = TOOLS.iter().find(|tool| tool.setting == self) else { return true };
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(tool.program).is_file())
        })
    }

    /// Attaches it; returns when it counts.
    pub(super) fn attach(self, host: &Host, stage: &Stage) -> Result<Attached> {
        match self {
            Self::Nothing => Ok(Attached { process: None, _held: Held::Nothing }),
            Self::Empty => empty(host),
            Self::NotSelected => product(host, stage, false),
            Self::Selected => product(host, stage, true),
            other => {
                let tool = TOOLS.iter().find(|tool| tool.setting == other);
                let tool = tool.ok_or_else(|| TestError::unexpected("a tool", other))?;
                let process = Process::start(Command::new("sh").args(["-c", tool.command]))?;
                loop {
                    match process.line(LIMIT)? {
                        Some(line) if line.contains(tool.ready) => break,
                        Some(_) => {}
                        None => return Err(TestError::unexpected(other, process.wait(LIMIT)?.stderr)),
                    }
                }
                Ok(Attached { process: Some(process), _held: Held::Nothing })
            }
        }
    }
}

/// Attaches the empty programs.
fn empty(host: &Host) -> Result<Attached> {
    let failed = |error: &dyn fmt::Display| TestError::unexpected("the empty programs", error);
    let btf = Btf::from_sys_fs().map_err(|e| failed(&e))?;
    let mut programs = Ebpf::load(EMPTY_OBJECT).map_err(|e| failed(&e))?;
    let root = std::fs::File::open(&host.cgroup_root).map_err(|e| failed(&e))?;
    let mode = CgroupAttachMode::Single;
    for (name, program) in programs.programs_mut() {
        match program {
            Program::BtfTracePoint(program) => {
                let hook = HOOKS.iter().find(|(known, _)| *known == name).map_or(name, |(_, hook)| hook);
                program.load(hook, &btf).map_err(|e| failed(&e))?;
                program.attach().map_err(|e| failed(&e))?;
            }
            Program::CgroupSockAddr(program) => {
                program.load().map_err(|e| failed(&e))?;
                program.attach(&root, mode).map_err(|e| failed(&e))?;
            }
            Program::CgroupSock(program) => {
                program.load().map_err(|e| failed(&e))?;
                program.attach(&root, mode).map_err(|e| failed(&e))?;
            }
            _ => return Err(failed(&format!("{name} is of a kind that is not expected"))),
        }
    }
    Ok(Attached { process: None, _held: Held::Programs { _programs: Box::new(programs) } })
}

/// The standalone agent with one trace over 200 containers, as on a busy node.
fn product(host: &Host, stage: &Stage, selects_load: bool) -> Result<Attached> {
    let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
    let pod = |cgroup: &Path| {
        let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
        format!("- {{name: {name}, labels: {{app: bench}}, cgroup: {}}}\n", cgroup.display())
    };
    let mut pods: String = stage.others.iter().map(|cgroup| pod(cgroup)).collect();
    if selects_load {
        pods += &pod(&stage.cgroup.path().join("pod"));
    }
    let manifest = "apiVersion: traffictrace.dev/v1alpha1\nkind: TrafficTrace\nmetadata: {name: bench}\n\
                    spec: {selector: {}, duration: 1h}\n";
    for (file, content) in [("pods.yaml", pods.as_str()), ("bench.yaml", manifest)] {
        std::fs::write(folder.path().join(file), content).map_err(TestError::io(format!("write {file}")))?;
    }
    let mut command = Command::new(&host.traffictrace);
    command.args(["agent", "--standalone"]).arg(folder.path());
    let process = Process::start(&mut command)?;
    let status = folder.path().join("bench.status.yaml");
    wait::until("the trace to run", LIMIT, || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        Ok(if text.contains("phase: Running") { Ok(()) } else { Err(text) })
    })?;
    Ok(Attached { process: Some(process), _held: Held::Folder { _folder: folder } })
}
