/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel programs and user space both read and write. `ebpf/src/layout.rs` mirrors every struct; the
 * asserts at the end and the ones there fail the build when the two part ways.
 *
 * All addresses are 16 bytes in network order; IPv4 is written as ::ffff:a.b.c.d. Ports are in host order.
 */
#ifndef TT_SHARED_H
#define TT_SHARED_H

/* Sessions (traces) that one node can serve at once: one bit each in a 64-bit word. */
#define TT_SESSIONS 64
/* Port ranges and peer networks of one session's filter. */
#define TT_RANGES 16
#define TT_NETWORKS 16
/*
 * Processes, each with the program that it runs, whose slot a socket's storage knows; further ones, and further peers,
 * are found by `tt_peers`.
 */
#define TT_PLACES 4
/* Longest cgroup folder name kept; "cri-containerd-<64 hex>.scope" has 85 bytes. */
#define TT_FOLDER 128

/* TT_CONNECTING: filled, but nothing to user space until the connection is there or has failed. */
enum tt_slot_state { TT_FREE = 0, TT_OPEN = 1, TT_CLOSED = 2, TT_CONNECTING = 3 };
/* A slot's state, protocol, direction and flags share a word, so that one exchange publishes or closes it. */
#define TT_STATE(state, protocol, direction) ((state) | (protocol) << 8 | (direction) << 16)
#define TT_STATE_MASK 0xffu
#define TT_CONNECTION (1u << 24) /* stands for its connection: the slot of a TCP socket's first process */
#define TT_FAILED (1u << 25)	 /* the connection could not be opened */
#define TT_OLDER (1u << 26)	 /* the connection is older than its selection */

enum tt_direction { TT_UNKNOWN = 0, TT_INBOUND = 1, TT_OUTBOUND = 2 };
enum tt_protocol { TT_TCP = 1, TT_UDP = 2, TT_ICMP = 4 };

/* Why something could not be counted where it belongs; indexes of `losses`. */
enum tt_loss {
	TT_LOSS_TABLE_FULL = 0,	 /* flows that found no free slot; their bytes are in `overflow` */
	TT_LOSS_PEERS_FULL,	 /* flows that `tt_peers` did not take; bytes are in `overflow` */
	TT_LOSS_STORAGE,	 /* sockets that were refused storage; bytes are in `overflow` */
	TT_LOSS_RX_BYTES,	 /* bytes that not even `overflow` took */
	TT_LOSS_TX_BYTES,
	TT_LOSS_FOLDERS,	 /* cgroups whose name and parent could not be kept */
	TT_LOSS_PROCESSES,	 /* processes that could not be followed, or not all of whose files could be looked at */
	TT_LOSS_ENDED,		 /* sockets whose end was not told; their slots are freed when idle */
	TT_LOSS_ICMP_PEER,	 /* ICMP messages whose peer nothing told; tells user space to attach what does */
	TT_LOSS_RESCUED_SENDS,	 /* no losses: events that only a twin counted, see twin.bpf.h */
	TT_LOSS_RESCUED_RECEIVES,
	TT_LOSSES = 16,
};

/*
 * The counters of one socket, process and set of sessions. The first 64 bytes are what an event or a drain touches.
 * Written by the kernel while TT_OPEN; freed by user space alone, one drain after it was seen TT_CLOSED.
 */
struct tt_slot {
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u32 rx_calls;
	__u32 tx_calls;
	__u32 retransmits;	/* segments of the socket, kept on its first process */
	__u32 srtt_us;
	__u32 state;		/* TT_STATE(), written last */
	__u32 tgid;		/* as the host sees it */
	__u64 sessions;
	char comm[16];		/* name of the thread group leader */

	__u64 cgroup;		/* of the socket: kernfs id */
	__u64 caller_cgroup;	/* of the process that called */
	__u8 local_addr[16];
	__u8 remote_addr[16];
	__u64 connections;	/* those of `sessions` that count this socket here; its other slots have 0 */
	__u32 ns_tgid;		/* as the process sees itself */
	__u16 local_port;
	__u16 remote_port;
};

/*
 * What is selected, as every event needs it. User space writes it by system call and raises the generation last, in a
 * call of its own, so that whoever sees the new generation sees the rest of it and of the maps.
 */
struct tt_selection {
	__u64 generation;	/* another one after every change of what is selected; never 0 */
	__u64 filtered;		/* sessions that have any filter at all */
	__u64 by_process;	/* sessions that select processes instead of cgroups */
};

/* Positions in the ring of free slots, which only grow; one element of a mapped array. Each line has one writer. */
struct tt_ring {
	__u64 head;		/* kernel: next entry to take */
	__u8 pad0[56];
	__u64 tail;		/* user space: first entry not filled yet */
	__u64 mask;		/* user space: entries of the ring, minus one */
	__u8 pad1[48];
};

struct tt_range {
	__u16 first;
	__u16 last;
};

struct tt_network {
	__u64 address[2];	/* network order, already masked */
	__u64 mask[2];
};

/* What a session wants of the sockets of its cgroups; zeroes mean everything. */
struct tt_filter {
	__u32 protocols;	/* enum tt_protocol, ored; 0: all */
	__u32 direction;	/* enum tt_direction; 0: both. Unknown passes. */
	__u32 ranges;
	__u32 networks;
	struct tt_range range[TT_RANGES];
	struct tt_network network[TT_NETWORKS];
};

/* What selects a cgroup. */
struct tt_cgroup {
	__u64 sessions;		/* one bit each */
	__u64 since;		/* generation since which there is any without a gap */
};

/* A cgroup on the way from a selected socket up to the cgroup that a session named. */
struct tt_folder {
	__u64 parent;
	char name[TT_FOLDER];
};

/* Where bytes go that found no slot: exact in sum, without process and peer. */
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

/* A flow that its socket's storage has no place for: another process, or another peer of a datagram socket. */
struct tt_peer_key {
	__u64 cookie;		/* of the socket */
	__u64 addr[2];		/* 0 where the peer is not known */
	__u32 tgid;
	__u16 port;
	__u16 pad;
};

struct tt_peer {
	__u32 slot;
	__u32 generation;
	__u32 owner;		/* process and program, where the kernel tells */
	__u32 pad;
};

/* A process that sessions selected by itself; its children follow when `inherit` is set. */
struct tt_process {
	__u64 sessions;
	__u64 inherit;
};

_Static_assert(sizeof(struct tt_slot) == 128, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, state) == 32, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, sessions) == 40, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, comm) == 48, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, cgroup) == 64, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, local_addr) == 80, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, connections) == 112, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_slot, remote_port) == 126, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_ring, tail) == 64, "shared with Rust");
_Static_assert(sizeof(struct tt_ring) == 128, "shared with Rust");
_Static_assert(sizeof(struct tt_selection) == 24, "shared with Rust");
_Static_assert(sizeof(struct tt_filter) == 16 + 4 * TT_RANGES + 32 * TT_NETWORKS, "shared with Rust");
_Static_assert(sizeof(struct tt_cgroup) == 16, "shared with Rust");
_Static_assert(sizeof(struct tt_folder) == 8 + TT_FOLDER, "shared with Rust");
_Static_assert(sizeof(struct tt_overflow_key) == 24, "shared with Rust");
_Static_assert(sizeof(struct tt_overflow) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_peer_key) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_peer) == 16, "shared with Rust");
_Static_assert(sizeof(struct tt_process) == 16, "shared with Rust");
#endif
