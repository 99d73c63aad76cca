//! Hooks that are attached only while a session uses them, since each slows down every event that passes it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use aya::programs::tp_btf::BtfTracePointLink;
use traffictrace_ebpf::layout::Loss;

use super::{
    KernelError, Tracer,
    cgroups::{AtCgroups, CgroupPrograms},
    load::attach_tracepoint,
    tier::{CONNECTIONS, ICMP_RECV, PROCESS_END},
    twins::Twins,
};

/// Requirements of all sessions together on the hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// At least one session can want TCP.
    pub tcp: bool,
    /// At least one session can want UDP.
    pub udp: bool,
    /// At least one session can want ICMP.
    pub icmp: bool,
    /// At least one session selects processes by id, whatever cgroup their sockets belong to.
    pub by_process: bool,
    /// Selected cgroups by id, with their folders relative to the root of the cgroup2 tree.
    pub cgroups: BTreeMap<u64, PathBuf>,
}

/// The hooks of [`Wanted`] that are currently attached. Dropping a link detaches its program.
pub(super) struct Hooks {
    connections: Vec<BtfTracePointLink>,
    process_end: Option<BtfTracePointLink>,
    received_icmp: Option<BtfTracePointLink>,
    /// Link of `STACKS_CLAIM` (`tier.rs`), attached while a session wants stacks.
    pub(super) claims: Option<BtfTracePointLink>,
    /// Set if this tier has programs on cgroups.
    has_cgroup_programs: bool,
    programs: CgroupPrograms,
    at_cgroups: AtCgroups,
    by_process: bool,
    datagrams: bool,
    pub(super) twins: Twins,
}

impl Hooks {
    pub(super) fn new(programs: CgroupPrograms, has_cgroup_programs: bool) -> Self {
        Self {
            connections: Vec::new(),
            process_end: None,
            received_icmp: None,
            claims: None,
            has_cgroup_programs,
            programs,
            at_cgroups: AtCgroups::default(),
            by_process: false,
            datagrams: false,
            twins: Twins::new(),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("at_cgroups", &self.at_cgroups).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Attaches the hooks that are wanted now, and detaches the others. Call this before a larger selection is
    /// published.
    pub fn attach(&mut self, wanted: Wanted) -> Result<(), KernelError> {
        let Wanted { tcp, udp, icmp, by_process, cgroups } = wanted;
        if !tcp {
            self.hooks.connections.clear();
        } else if self.hooks.connections.is_empty() {
            let links = CONNECTIONS.map(|hook| attach_tracepoint(&mut self.ebpf, &self.btf, hook));
            self.hooks.connections = links.into_iter().collect::<Result<_, _>>()?;
        }
        (self.hooks.by_process, self.hooks.datagrams) = (by_process, udp || icmp);
        let everywhere = self.sees_all_cgroups();
        // ICMP programs stay as they are: [`Self::see_icmp_peers`] attaches them once ICMP messages are seen.
        let AtCgroups { icmp, .. } = self.hooks.at_cgroups;
        self.attach_to_cgroups(AtCgroups { selected: cgroups, everywhere, peers: udp, ends: true, icmp })?;
        self.update_twins()
    }

    /// Attaches or detaches the programs that find the peers of ICMP messages. They cost some time for each packet of
    /// the machine.
    pub fn see_icmp_peers(&mut self, wanted: bool) -> Result<(), KernelError> {
        if !wanted {
            self.hooks.received_icmp = None;
        } else if self.hooks.received_icmp.is_none() {
            self.hooks.received_icmp = Some(attach_tracepoint(&mut self.ebpf, &self.btf, ICMP_RECV)?);
        }
        let at_cgroups = AtCgroups { icmp: wanted, ..self.hooks.at_cgroups.clone() };
        self.attach_to_cgroups(at_cgroups)
    }

    /// Reacts to what the programs found out: that selected processes hold sockets of other cgroups, so programs go to
    /// the root of the cgroup tree, or that the kernel skips events, so twins are attached. Call this periodically.
    pub fn follow(&mut self) {
        let everywhere = self.sees_all_cgroups();
        if everywhere != self.hooks.at_cgroups.everywhere {
            let at_cgroups = AtCgroups { everywhere, ..self.hooks.at_cgroups.clone() };
            if let Err(error) = self.attach_to_cgroups(at_cgroups) {
                tracing::error!(%error, "peers and ends of sockets of other cgroups are not seen");
            }
        }
        if let Err(error) = self.update_twins() {
            tracing::error!(%error, "messages that the kernel skips go on missing");
        }
    }

    /// Attaches the program that removes ended processes from the selection.
    pub(super) fn follow_processes(&mut self) -> Result<(), KernelError> {
        if self.hooks.process_end.is_none() {
            self.hooks.process_end = Some(attach_tracepoint(&mut self.ebpf, &self.btf, PROCESS_END)?);
        }
        Ok(())
    }

    /// Attaches all twins from now on, whether or not the kernel skips events. With `alone`, the twins alone count
    /// messages.
    #[cfg(test)]
    pub fn use_twins(&mut self, alone: bool) {
        self.hooks.twins.attach_all(&mut self.ebpf, &self.btf, alone);
    }

    /// Returns the ids of the cgroups to which a program is attached.
    #[cfg(test)]
    pub fn cgroups_with(&self, program: &str) -> Vec<u64> {
        self.hooks.programs.cgroups_with(program)
    }

    /// Returns true if the programs that follow TCP connections are attached.
    #[cfg(test)]
    pub fn hooks_connections(&self) -> bool {
        !self.hooks.connections.is_empty()
    }

    /// Returns true if sockets of cgroups that no session selects can be counted.
    fn sees_all_cgroups(&self) -> bool {
        self.hooks.by_process || self.loss(Loss::Lenders) > 0
    }

    fn attach_to_cgroups(&mut self, wanted: AtCgroups) -> Result<(), KernelError> {
        if !self.hooks.has_cgroup_programs || wanted == self.hooks.at_cgroups {
            self.hooks.at_cgroups = wanted;
            return Ok(());
        }
        // The field is set before the attempt, so that [`Self::follow`] does not repeat a change that the kernel
        // refused.
        self.hooks.at_cgroups = wanted;
        self.hooks.programs.update(&mut self.ebpf, &self.btf, &self.hooks.at_cgroups)
    }

    fn update_twins(&mut self) -> Result<(), KernelError> {
        let Self { hooks, ebpf, btf, losses, .. } = self;
        hooks.twins.update(ebpf, btf, hooks.datagrams, &|loss| losses.of(loss))
    }
}
