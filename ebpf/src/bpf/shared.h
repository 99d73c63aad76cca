/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The data that the kernel programs and user space share. `ebpf/src/layout.rs` mirrors every struct; the asserts at the
 * end and the ones there fail the build if the two differ.
 *
 * All addresses are 16 bytes in network order; IPv4 is written as ::ffff:a.b.c.d. Ports are in host order.
 */
#ifndef TT_SHARED_H
#define TT_SHARED_H

/*
 * Maximum number of sessions (traces) on one node, with one bit each in a 64-bit word. SESSIONS in layout.rs is the
 * same.
 */
#define TT_SESSIONS 64
/* Maximum number of port ranges, and of peer networks, in one session's filter. */
#define TT_RANGES 16
#define TT_NETWORKS 16
/* Number of slots in a set of the flow table (table.h), whose tags fill half a cache line. */
#define TT_WAYS 8
/* Maximum length of a cgroup folder's name that is kept; "cri-containerd-<64 hex>.scope" has 85 bytes. */
#define TT_FOLDER 128
/* Maximum number of slots that one run of the program `tt_reconcile` checks. */
#define TT_WORK 256
/* Sentinel that ends the list of slot numbers in `tt_work`. */
#define TT_NO_SLOT 0xffffffffu

/*
 * A slot's state. A pending slot belongs to a connection that is being opened, or that no process has used yet; user
 * space shows nothing of it.
 */
enum tt_slot_state { TT_FREE = 0, TT_OPEN = 1, TT_CLOSED = 2, TT_PENDING = 3 };
/* State, protocol, direction and flags of a slot share a word, so that one store publishes or closes the slot. */
#define TT_STATE(state, protocol, direction) ((state) | (protocol) << 8 | (direction) << 16)
#define TT_STATE_MASK 0xffu
#define TT_CONNECTION (1u << 24) /* the main slot of its TCP connection, which is counted here */
#define TT_FAILED (1u << 25)	 /* the connection could not be opened */
#define TT_OLDER (1u << 26)	 /* the connection was open before a session selected it */
#define TT_LENT (1u << 27)	 /* selected by the cgroup of the process, not the socket's; see lend.h */

enum tt_direction { TT_UNKNOWN = 0, TT_INBOUND = 1, TT_OUTBOUND = 2 };
enum tt_protocol { TT_TCP = 1, TT_UDP = 2, TT_ICMP = 4 };

/*
 * Indexes of `tt_losses`: the reasons why something could not be counted where it belongs, and counts that are no
 * losses.
 */
enum tt_loss {
	TT_LOSS_TABLE_FULL = 0, /* events of flows that found no slot; their bytes are in `tt_overflow` */
	TT_LOSS_RX_BYTES,	/* bytes that not even `tt_overflow` took */
	TT_LOSS_TX_BYTES,
	TT_LOSS_FOLDERS,       /* cgroups whose name and parent could not be kept */
	TT_LOSS_PROCESSES,     /* processes that could not be followed, or some of whose open files could not be checked */
	TT_LOSS_ENDED,	       /* sockets for which `tt_ended` had no room; slots of datagrams are freed when idle */
	TT_LOSS_ICMP_PEER,     /* ICMP messages without a known peer; user space then attaches programs that see it */
	TT_LOSS_RESCUED_SENDS, /* no losses: messages that only a twin counted, see twin.h */
	TT_LOSS_RESCUED_RECEIVES,
	TT_LOSS_LENDERS, /* no losses: number of times that a lender was noted, see lend.h */
	TT_LOSS_UNOWNED, /* no losses: bytes of an unknown process were found, so user space runs tt_files */
	TT_LOSSES = 16,
};

/*
 * The counters of one flow: one socket, process, peer and set of sessions. The three cache lines of 64 bytes hold the
 * fields that an event changes, the names of the flow, and the rest. Fields marked "main slot" are used only in the one
 * slot of a TCP socket that represents its connection (table.h). The kernel takes a slot by setting its tag, fills it,
 * and publishes it by writing `state`. Only user space frees slots: it clears the slot, then the tag.
 */
struct tt_slot {
	__u64 cookie;	  /* of the socket; 0: not filled yet */
	__u32 owner;	  /* process and program, see owner_of(); 0: not known yet */
	__u32 generation; /* of the selection for which the slot was settled last */
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u32 rx_calls;
	__u32 tx_calls;
	__u32 state;	/* TT_STATE(), written last */
	__u32 last;	/* main slot: handle of the slot whose process used the socket last; 0: this */
	__u64 sessions; /* those that the slot counts for; user space removes those that end */
	__u8 based;	/* main slot: the four bases below are valid */
	__u8 sent_all;	/* main slot: nothing more can be sent; see `sent_final` */
	__u8 ahead;	/* main slot: a credit may have counted bytes before their call reports them, see counters.h */
	__u8 shared;	/* main slot: further processes have used the socket */
	__u32 epoch;	/* grows when user space frees the slot; with the slot's number, identifies the flow */

	__u8 local_addr[16];
	__u8 remote_addr[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 ns_tgid; /* process id as the process sees itself */
	char comm[16]; /* name of the thread group leader */
	__u64 socket;  /* address of the socket */

	__u64 cgroup;	     /* of the socket: kernfs id */
	__u64 caller_cgroup; /* of the process */
	__u64 connections;   /* main slot: those of `sessions` that count the connection here; 0 in other slots */
	__u64 rx_base;	     /* bytes that the socket's counter of received bytes has and this slot does not count */
	__u64 tx_base;
	__u32 rx_first; /* sequence number at which the connection's stream begins, by the counters */
	__u32 tx_first;
	__u32 retransmits; /* number of segments retransmitted since the slot was taken */
	__u32 retransmits_base;
	__u32 srtt_us;
	__u32 sent_final; /* with `sent_all`: lower 32 bits of what tx_base + tx_bytes must reach */
};

/* The tags of a set, one for each of its slots; 0: the slot is free. */
struct tt_tags {
	__u32 tag[TT_WAYS];
};

/*
 * A summary of what sessions select, which every event reads. User space writes it by a system call and changes the
 * generation last, in another call, so that whoever sees the new generation also sees the rest of the selection and of
 * the maps.
 */
struct tt_selection {
	__u64 generation; /* another one after each change of the selection; never 0 */
	__u64 filtered;	  /* sessions that have a filter, one bit each */
	__u64 by_process; /* sessions that select processes instead of cgroups */
};

struct tt_range {
	__u16 first;
	__u16 last;
};

struct tt_network {
	__u64 address[2]; /* network order, already masked */
	__u64 mask[2];
};

/* The filter of a session for the sockets of its cgroups; zeroes mean everything. */
struct tt_filter {
	__u32 protocols; /* enum tt_protocol, ored; 0: all */
	__u32 direction; /* enum tt_direction; 0: both. Unknown passes. */
	__u32 ranges;
	__u32 networks;
	struct tt_range range[TT_RANGES];
	struct tt_network network[TT_NETWORKS];
};

/* Parent and name of a cgroup on the path from a selected socket up to the cgroup that a session named. */
struct tt_folder {
	__u64 parent;
	char name[TT_FOLDER];
};

/* Key of the sums of events that found no slot. The sums are exact, but have no process and no peer. */
struct tt_overflow_key {
	__u64 cgroup;
	__u64 sessions;
	__u64 protocol;
};

struct tt_overflow {
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u64 rx_calls;
	__u64 tx_calls;
};

/* The key by which a flow's slot is found: socket, process and, for datagrams, peer. */
struct tt_key {
	__u64 cookie;
	__u64 addr[2]; /* datagrams: the peer's, 0 if it is not known */
	__u32 owner;
	__u16 port;
	__u16 datagram; /* 0: TCP, whose peer is no part of the key */
};

/* A process that sessions have selected by its id; its children are selected too by the sessions in `inherit`. */
struct tt_process {
	__u64 sessions;
	__u64 inherit;
};

_Static_assert(sizeof(struct tt_slot) == 192, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, state) == 40, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, sessions) == 48, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, epoch) == 60, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, local_addr) == 64, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, socket) == 120, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, cgroup) == 128, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, srtt_us) == 184, "shared with Rust");
_Static_assert(sizeof(struct tt_tags) == 4 * TT_WAYS, "shared with Rust");
_Static_assert(sizeof(struct tt_selection) == 24, "shared with Rust");
_Static_assert(sizeof(struct tt_filter) == 16 + 4 * TT_RANGES + 32 * TT_NETWORKS, "shared with Rust");
_Static_assert(sizeof(struct tt_folder) == 8 + TT_FOLDER, "shared with Rust");
_Static_assert(sizeof(struct tt_overflow_key) == 24, "shared with Rust");
_Static_assert(sizeof(struct tt_overflow) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_key) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_process) == 16, "shared with Rust");
#endif
