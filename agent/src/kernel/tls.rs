//! The programs that read the plain text of TLS. They are an object of their own, loaded while a session asks for that
//! text, and are attached to functions of selected processes. A process without probes never runs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fmt,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf,
    maps::{HashMap, MapData, RingBuf},
    programs::tp_btf::BtfTracePointLink,
};
use traffictrace_ebpf::{
    TLS_OBJECT,
    layout::{
        http::Record,
        tls::{self, Way},
    },
    maps,
};

use super::{
    KernelError, gone_is_fine, load, may_look_into_processes,
    records::{self, HttpLost, Records, hash, ring},
    sees_all_processes,
    tier::{TLS, TLS_PROBES},
    uprobes::{Target, Uprobes},
};
use crate::tls::{Function, Placed};

/// Maximum number of threads that detach probes. Each of them mostly waits.
const MOST_DETACHERS: usize = 64;
/// Stack size of each such thread, in bytes.
const DETACHER_STACK: usize = 64 << 10;

/// The loaded programs. Dropping this value detaches them from the kernel's hooks; dropping the links detaches them
/// from processes.
pub struct TlsProbes {
    ebpf: Ebpf,
    probes: Uprobes,
    /// Links of the programs at tracepoints, kept because dropping a link detaches its program.
    _hooks: Vec<BtfTracePointLink>,
    news: RingBuf<MapData>,
    selected: BTreeSet<u64>,
}

/// The probes of one process. Dropping this value detaches them one after the other; [`TlsLinks::detach`] is faster.
#[derive(Debug, Default)]
pub struct TlsLinks(Vec<OwnedFd>);

impl fmt::Debug for TlsProbes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsProbes").field("selected", &self.selected).finish_non_exhaustive()
    }
}

impl TlsProbes {
    /// Loads the programs, and attaches those that report new processes and the sockets that threads use. `ring_bytes`
    /// is the size of the ring buffer for plain text, a power of two and a multiple of the page size.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if this process cannot see or look into other processes, or if the kernel has no BTF, is older
    /// than Linux 6.6, or refuses a map or a program.
    pub fn load(ring_bytes: u32) -> Result<(Self, TlsText), KernelError> {
        if !sees_all_processes() {
            let (what, advice) =
                ("the machine's process ids are not visible", "set agent.hostPID of the chart");
            return Err(KernelError::OutOfSight { what, advice });
        }
        if !may_look_into_processes() {
            return Err(KernelError::OutOfSight {
                what: "this process lacks CAP_SYS_PTRACE, to look into processes",
                advice: "run it as root, or set agent.tls=true of the chart",
            });
        }
        let btf = Btf::from_sys_fs().map_err(|source| KernelError::NoBtf { source })?;
        let mut ebpf = records::load(TLS_OBJECT, "TLS", &btf, &TLS, (maps::TLS_RING, ring_bytes), &[], &[])?;
        let probes = Uprobes::load(TLS_OBJECT, &ebpf, &btf, &TLS_PROBES)?;
        let hooks = TLS.map(|hook| load::attach_tracepoint(&mut ebpf, &btf, hook));
        let hooks = hooks.into_iter().collect::<Result<_, _>>()?;
        let text = TlsText {
            records: Records::take(&mut ebpf, maps::TLS_RING, maps::TLS_LOST)?,
            bodies: hash(&mut ebpf, maps::TLS_BODIES)?,
        };
        let news = ring(&mut ebpf, maps::TLS_NEWS)?;
        Ok((Self { ebpf, probes, _hooks: hooks, news, selected: BTreeSet::new() }, text))
    }

    /// Sets the cgroups whose new processes are reported, including processes of cgroups below them.
    pub fn select(&mut self, cgroups: &BTreeSet<u64>) -> Result<(), KernelError> {
        let failed = |e| KernelError::map("select a cgroup", maps::TLS_CGROUPS, e);
        let map = self.ebpf.map_mut(maps::TLS_CGROUPS).ok_or(KernelError::Object(maps::TLS_CGROUPS))?;
        let mut map = HashMap::<_, u64, u8>::try_from(map).map_err(failed)?;
        for added in cgroups.difference(&self.selected) {
            map.insert(added, 1, 0).map_err(failed)?;
        }
        for removed in self.selected.difference(cgroups) {
            gone_is_fine(map.remove(removed)).map_err(failed)?;
        }
        self.selected.clone_from(cgroups);
        Ok(())
    }

    /// Returns the ids of processes that began in selected cgroups, or executed another program there, since the last
    /// call.
    pub fn new_processes(&mut self) -> BTreeSet<u32> {
        let mut pids = BTreeSet::new();
        while let Some(item) = self.news.next() {
            pids.extend(tls::news(&item));
        }
        pids
    }

    /// Descriptor that becomes readable when a process has begun.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Attaches the programs to functions of a process, given by its id as this process sees it. The kernel waits for a
    /// grace period when it attaches, so all probes are attached in parallel.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the kernel refuses a probe. Then nothing stays attached.
    pub fn attach(&self, pid: u32, placed: &Placed) -> Result<TlsLinks, KernelError> {
        // The kernel takes a path, not a descriptor. This path leads to the file that was examined, even if the file's
        // name now belongs to another one.
        let path = format!("/proc/self/fd/{}", placed.file.as_raw_fd());
        let path = CString::new(path).map_err(|_| KernelError::Object("path"))?;
        let mut offsets: BTreeMap<(&str, bool), Vec<u64>> = BTreeMap::new();
        for place in placed.places.iter() {
            let (entry, end) = programs(place.function);
            offsets.entry((entry, false)).or_default().push(place.begins);
            let Some(end) = end else { continue };
            if place.returns.is_empty() {
                offsets.entry((end, true)).or_default().push(place.begins);
            } else {
                offsets.entry((end, false)).or_default().extend(&place.returns);
            }
        }
        let probe = |(program, at_return): (&str, bool), offsets: &[u64]| {
            let target = Target { path: &path, offsets, cookie: placed.go_tcp, at_return, pid };
            self.probes.attach(program, target).map_err(|error| {
                KernelError::load(format!("attach the BPF program {program} to the process {pid}"), error)
            })
        };
        let links = thread::scope(|scope| {
            let probe = &probe;
            let (mut threads, mut done) = (Vec::new(), Vec::new());
            for (key, offsets) in &offsets {
                match thread::Builder::new().spawn_scoped(scope, move || probe(*key, offsets)) {
                    Ok(thread) => threads.push(thread),
                    // If no thread can be started, the current one does the work.
                    Err(_) => done.push(probe(*key, offsets)),
                }
            }
            let joined =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            // All results are collected before an error is returned, so that the probes of the other threads are
            // detached.
            done.extend(joined);
            done
        });
        links.into_iter().collect::<Result<_, _>>().map(TlsLinks)
    }
}

impl TlsLinks {
    /// Detaches the probes of processes. The kernel waits for several grace periods for each probe, so they are
    /// detached in parallel.
    pub fn detach(all: Vec<Self>) {
        let links: Vec<OwnedFd> = all.into_iter().flat_map(|links| links.0).collect();
        let waiting = Mutex::new(links);
        let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || while take().is_some() {};
        let threads = waiting.lock().unwrap_or_else(PoisonError::into_inner).len().min(MOST_DETACHERS);
        thread::scope(|scope| {
            for _ in 1..threads {
                // If no thread can be started, fewer threads do the work.
                let _ = thread::Builder::new().stack_size(DETACHER_STACK).spawn_scoped(scope, work);
            }
            work();
        });
    }
}

/// Names of the programs for the entry and for the end of a function.
fn programs(function: Function) -> (&'static str, Option<&'static str>) {
    match function {
        Function::Read => ("tt_tls_read", Some("tt_tls_read_ret")),
        Function::ReadEx => ("tt_tls_read_ex", Some("tt_tls_read_ret")),
        Function::Write => ("tt_tls_write", Some("tt_tls_write_ret")),
        Function::WriteEx => ("tt_tls_write_ex", Some("tt_tls_write_ret")),
        Function::Sendfile => ("tt_tls_sendfile", Some("tt_tls_sendfile_ret")),
        Function::Free => ("tt_tls_free", None),
        Function::GoRead => ("tt_tls_go_read", Some("tt_tls_go_read_ret")),
        Function::GoWrite => ("tt_tls_go_write", None),
    }
}

/// Plain text that the programs hand over.
pub struct TlsText {
    records: Records,
    bodies: HashMap<MapData, Way, u64>,
}

impl fmt::Debug for TlsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsText").finish_non_exhaustive()
    }
}

impl TlsText {
    /// Passes up to `most` waiting records to `sink`, and returns their number.
    pub fn read(&mut self, most: usize, sink: &mut dyn FnMut(&Record<'_>)) -> usize {
        self.records.read(most, sink)
    }

    /// Makes the programs copy no bytes of one direction of a socket before byte number `until`, since they belong to a
    /// body or to no HTTP.
    pub fn skip(&mut self, cookie: u64, sent: bool, until: u64) {
        // If the entry cannot be added, more bytes arrive than needed.
        let _ = self.bodies.insert([cookie, u64::from(sent)], until, 0);
    }

    /// Descriptor that becomes readable when the ring buffer fills up.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.records.readable()
    }

    /// Losses so far, by cgroup of the processes.
    pub fn lost(&self) -> Result<BTreeMap<u64, HttpLost>, KernelError> {
        self.records.lost()
    }
}
