//! The kernel side of TrafficTrace: the compiled programs and the Rust mirror of what they share with user space.
//!
//! The programs themselves are C with CO-RE, in `src/bpf`; `traffictrace.bpf.c` lists the hooks.

pub mod layout;

/// Bytes that start at an address aligned for the ELF parser.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static STORAGE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/storage.bpf.o")));
static PLAIN: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/plain.bpf.o")));

/// Which of the two ELF objects; each has all programs and maps, and the loader fits it to the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// For tracepoints and fexit, with storage of sockets and atomic exchanges (Linux 5.12 and later).
    Storage,
    /// For kprobes, and for older kernels.
    Plain,
}

#[cfg(feature = "bench")]
static EMPTY_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")));

/// The ELF object with programs that do nothing on the same hooks, named `empty_` instead of `tt_`: the baseline of
/// benchmarks.
#[cfg(feature = "bench")]
pub static EMPTY_OBJECT: &[u8] = &EMPTY_ALIGNED.0;

impl Variant {
    /// The object.
    pub fn object(self) -> &'static [u8] {
        match self {
            Self::Storage => &STORAGE.0,
            Self::Plain => &PLAIN.0,
        }
    }
}

/// Names of the maps in the objects.
pub mod maps {
    /// One [`super::layout::Selection`]: global data of the programs.
    pub const SELECTION: &str = ".data.selection";
    /// Not 0 where the programs that count have twins (`u64`): global data of the programs.
    pub const TWINS: &str = ".data.twins";
    /// One [`super::layout::Ring`], mapped.
    pub const RING: &str = "tt_ring";
    /// The flow table: [`super::layout::Slot`]s, mapped.
    pub const SLOTS: &str = "tt_slots";
    /// Free slot indexes (`u64`): a mapped ring, in [`super::Variant::Plain`] a queue.
    pub const FREE: &str = "tt_free";
    /// [`super::layout::PeerKey`] → slot and generation.
    pub const PEERS: &str = "tt_peers";
    /// Slot → cookie of its socket (`u64`) where [`PEERS`] leads to it, mapped.
    pub const COOKIES: &str = "tt_cookies";
    /// Queue of cookies (`u64`) of sockets that have ended and had entries in [`PEERS`].
    pub const ENDED: &str = "tt_ended";
    /// Counters by [`super::layout::Loss`] (`u64`), mapped.
    pub const LOSSES: &str = "tt_losses";
    /// Session → [`super::layout::Filter`].
    pub const FILTERS: &str = "tt_filters";
    /// Cgroup id → session bits.
    pub const CGROUPS: &str = "tt_cgroups";
    /// Process id → [`super::layout::Process`].
    pub const PROCESSES: &str = "tt_processes";
    /// Cgroup id → [`super::layout::Folder`].
    pub const FOLDERS: &str = "tt_folders";
    /// What is remembered of sockets, the kernel's own affair; in [`super::Variant::Plain`] it has a size.
    pub const SOCKETS: &str = "tt_sockets";
    /// [`super::layout::OverflowKey`] → [`super::layout::Overflow`].
    pub const OVERFLOW: &str = "tt_overflow";
}
