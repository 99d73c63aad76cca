//! The kernel side of TrafficTrace: the compiled programs and the Rust mirror of what they share with user space.
//!
//! The programs themselves are C with CO-RE, in `src/bpf`; `traffictrace.bpf.c` lists the hooks.

pub mod layout;
#[cfg(test)]
mod stack;

/// Wrapper that aligns an object's bytes to 8, as the ELF parser requires.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static TYPED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/typed.bpf.o")));
static PLAIN: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/plain.bpf.o")));

static HTTP_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/http.bpf.o")));

/// The ELF object that reads HTTP from packets. It is loaded beside the counting one while a session asks for requests.
pub static HTTP_OBJECT: &[u8] = &HTTP_ALIGNED.0;

static TLS_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/tls.bpf.o")));

/// The ELF object that reads the plain text of TLS at the calls of its libraries. It is loaded beside the counting one
/// while a session asks for that.
pub static TLS_OBJECT: &[u8] = &TLS_ALIGNED.0;

static STACKS_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/stacks.bpf.o")));

/// The ELF object that takes stacks; loaded in addition to [`Variant::Typed`] while a session asks for them.
pub static STACKS_OBJECT: &[u8] = &STACKS_ALIGNED.0;

/// The two ELF objects that count. Each has all maps and the programs for its hooks; the loader adapts it to the
/// running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Object for tracepoints and fexit, with typed pointers (Linux 5.12 and later).
    Typed,
    /// Object for kprobes, and for fexit on older kernels.
    Plain,
}

#[cfg(feature = "bench")]
static EMPTY_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o")));

/// The ELF object whose programs do nothing on the same hooks, with names in `empty_` instead of `tt_`; used as a
/// baseline in benchmarks.
#[cfg(feature = "bench")]
pub static EMPTY_OBJECT: &[u8] = &EMPTY_ALIGNED.0;

impl Variant {
    /// Returns the bytes of the object.
    pub fn object(self) -> &'static [u8] {
        match self {
            Self::Typed => &TYPED.0,
            Self::Plain => &PLAIN.0,
        }
    }
}

/// Names of the maps in the objects. Mapped ones are shared memory: user space reads and writes them without system
/// calls. LRU ones evict the least recently used entry when they are full.
pub mod maps {
    /// One [`super::layout::Selection`]: global data of the programs.
    pub const SELECTION: &str = ".data.selection";
    /// The programs whose twin (`twin.h`) is attached: bit 0 for sends, bit 1 for receives (`u64`). Global data of the
    /// programs, only in [`super::Variant::Typed`].
    pub const TWINS: &str = ".data.twins";
    /// The sets of the flow table, each with its [`super::layout::Tags`], mapped.
    pub const TAGS: &str = "tt_tags";
    /// The slots of the flow table, [`super::layout::WAYS`] for each set: [`super::layout::Slot`]s, mapped.
    pub const SLOTS: &str = "tt_slots";
    /// [`super::layout::SpillKey`] → number of a slot (`u32`) in the stash, which holds flows without room in their two
    /// sets (`table.h`).
    pub const SPILL: &str = "tt_spill";
    /// Queue of cookies (`u64`) of ended sockets whose slots user space must close: all slots of datagram sockets, and
    /// those of TCP sockets, besides the main one, that may be in the stash.
    pub const ENDED: &str = "tt_ended";
    /// Scratch memory of the programs, with eight cells for each CPU. User space only sets its size.
    pub const CELLS: &str = "tt_cells";
    /// Numbers of the slots that `tt_reconcile` must compare with their sockets (`u64`), mapped.
    pub const WORK: &str = "tt_work";
    /// Counters by [`super::layout::Loss`] (`u64`), mapped.
    pub const LOSSES: &str = "tt_losses";
    /// Number of a session → [`super::layout::Filter`].
    pub const FILTERS: &str = "tt_filters";
    /// Id of a selected cgroup → bits of the sessions that select it.
    pub const CGROUPS: &str = "tt_cgroups";
    /// Id of a selected process → [`super::layout::Process`].
    pub const PROCESSES: &str = "tt_processes";
    /// [`super::layout::OverflowKey`] → [`super::layout::Overflow`].
    pub const OVERFLOW: &str = "tt_overflow";
    /// Cgroup id → [`super::layout::Folder`], the cgroup's name and parent. LRU.
    pub const FOLDERS: &str = "tt_folders";
    /// LRU maps that only the programs use, with the minimum number of entries of each. User space only sets their
    /// sizes.
    pub const KERNELS_OWN: [(&str, u32); 5] = [
        ("tt_directions", 8192),
        ("tt_origins", 2048),
        ("tt_lenders", 1024),
        ("tt_messages", 4096),
        ("tt_calls", 32_768),
    ];
    /// In [`super::HTTP_OBJECT`], the ring buffer of [`super::layout::http::Record`]s.
    pub const HTTP_RING: &str = "tt_http_ring";
    /// In [`super::HTTP_OBJECT`], cgroup id → [`super::layout::http::Lost`].
    pub const HTTP_LOST: &str = "tt_http_lost";
    /// In [`super::HTTP_OBJECT`], cookie of a socket → [`super::layout::http::Pause`]. LRU.
    pub const HTTP_PAUSES: &str = "tt_http_pauses";
    /// In [`super::HTTP_OBJECT`], cookies of sockets that do not speak HTTP (value `u8`). The programs remove entries.
    pub const HTTP_IGNORED: &str = "tt_http_ignored";
    /// In [`super::TLS_OBJECT`], the ring buffer of [`super::layout::http::Record`]s of plain text.
    pub const TLS_RING: &str = "tt_tls_ring";
    /// In [`super::TLS_OBJECT`], the ring buffer of processes that must be inspected: [`super::layout::tls::news`].
    pub const TLS_NEWS: &str = "tt_tls_news";
    /// In [`super::TLS_OBJECT`], cgroup id → [`super::layout::http::Lost`].
    pub const TLS_LOST: &str = "tt_tls_lost";
    /// In [`super::TLS_OBJECT`], the set of selected cgroups by id (value `u8`).
    pub const TLS_CGROUPS: &str = "tt_tls_cgroups";
    /// In [`super::TLS_OBJECT`], [`super::layout::tls::Way`] (one direction of a socket) → number of bytes from the
    /// direction's beginning (`u64`) whose contents are not handed over. LRU.
    pub const TLS_BODIES: &str = "tt_tls_bodies";
    /// Bits of the sessions that want stacks (`u64`): global data of the programs, only in [`super::Variant::Typed`].
    pub const STACKED: &str = ".data.stacked";
    /// In [`super::Variant::Typed`], one note for each CPU: a program that counts an event describes it for the program
    /// of [`super::STACKS_OBJECT`] that runs after it. Only used by the programs.
    pub const STACK_NOTE: &str = "tt_stack_note";
    /// In [`super::STACKS_OBJECT`], an array of maps: its one element is [`STACK_NOTE`].
    pub const STACK_NOTES: &str = "tt_stack_notes";
    /// In [`super::STACKS_OBJECT`], the ring buffer of [`super::layout::stacks::Record`]s.
    pub const STACKS: &str = "tt_stacks";
    /// In [`super::STACKS_OBJECT`], process id → [`super::layout::stacks::Known`], the mode in which its stacks are
    /// taken. LRU.
    pub const STACK_MODES: &str = "tt_stack_modes";
    /// In [`super::STACKS_OBJECT`], [`super::layout::stacks::Options`]: global data of the programs.
    pub const STACK_OPTIONS: &str = ".data.options";
    /// In [`super::STACKS_OBJECT`], the number of records that the ring buffer refused (`u64`): global data.
    pub const STACKS_LOST: &str = ".data.lost";
    /// In [`super::Variant::Plain`], a HASH: address of a socket → its number (`u64`), which stands in for the cookie.
    /// It has as many entries as the table has slots. Only used by the programs.
    pub const IDS: &str = "tt_ids";
}

/// Names of the constants (`.rodata`) that user space sets before it loads an object.
pub mod constants {
    /// Number of the table's main sets minus one (`u32`); the number of sets is a power of two.
    pub const SET_MASK: &str = "set_mask";
    /// Number of the stash's sets (`u32`), which follow the main ones.
    pub const STASH_SETS: &str = "stash_sets";
    /// In the objects with a ring buffer, the number of bytes in it at which user space is woken (`u64`), a power of
    /// two.
    pub const WAKE_AT: &str = "wake_at";
    /// In [`super::STACKS_OBJECT`], the part of a CPU's budget (`stacks_budget.h`) that one stack costs, in nanoseconds
    /// (`u64`). The budget grows by one nanosecond in each nanosecond.
    pub const STACK_PERIOD: &str = "stack_period";
    /// In [`super::STACKS_OBJECT`], the maximum of a CPU's budget, in nanoseconds (`u64`).
    pub const STACK_BUDGET: &str = "stack_budget";
    /// In [`super::Variant::Typed`], 1 if what programs note about the current task (`struct note` in `maps.h`) is kept
    /// in a map by thread id instead of in task storage (`u8`).
    pub const NOTES_BY_THREAD: &str = "notes_by_thread";
}
