/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map, with who writes it. Names stay within the 15 bytes that the kernel shows. */
#ifndef TT_MAPS_H
#define TT_MAPS_H

#include "kernel.h"
#include "shared.h"

/* Marks a process that uses the socket but whose flow no session wants. */
#define TT_NO_SLOT 0xffffffffu

/* What is remembered of a selected socket. */
struct socket_state {
#ifdef TT_PLAIN
	__u64 id;	   /* a number that no other socket ever has */
	__u32 first;	   /* slot of its first flow, plus one; 0: none yet */
	__u32 tx_seq;	   /* sequence numbers up to which bytes are counted; see sequence.bpf.h */
	__u32 rx_seq;
	__u32 flows;	   /* slots that were taken for it */
#else
	/* Which slot each of its processes counts in, as (owner << 32 | slot); see owner_of(). */
	__u64 place[TT_PLACES];
	__u32 generation[TT_PLACES]; /* of the selection that the place was settled for */
	__u64 consumed;		     /* how far a TCP socket was read; see space.bpf.h */
	__u64 ahead;		     /* likewise */
#endif
	__u32 retransmits_before; /* segments retransmitted before its first slot was taken */
	__u8 direction;	      /* of a connection whose opening was seen; else TT_UNKNOWN */
	__u8 shared;	      /* whether `tt_peers` has entries of this socket that nothing else leads to */
	__u8 seeded;	      /* of `consumed`, see space.bpf.h; in the plain variant see sequence.bpf.h */
	__u8 tx_done;	      /* likewise */
	__u8 counted;	      /* its connection was counted at its close; MPTCP, which can go on after that */
	__u8 pad[7];
};

/* Whom the message of the current task goes to or came from, told just before the message is counted. */
struct message_peer {
	__u64 socket;	/* its address, or its cookie where the hook cannot have the former; 0: none */
	__u64 addr[2];
	__u16 port;
	__u8 counted;	/* the first of two twin programs has counted the task's event; see twin.bpf.h */
	__u8 received;	/* whether the message was received; ICMP alone */
	__u8 pad[4];
};

/* Global data: no look-up at all. A section of its own, so that user space can write it as a whole. */
volatile struct tt_selection selection SEC(".data.selection");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tt_ring);
} tt_ring SEC(".maps");

/* The flow table. Sized by user space; mapped there, so that reading it costs no system call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct tt_slot);
} tt_slots SEC(".maps");

#ifdef TT_PLAIN
/* Free slots. User space fills it; tt_ring.head counts what was taken. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__type(value, __u64);
} tt_free SEC(".maps");
#else
/* Ring of free slots: the kernel takes at tt_ring.head, user space gives back at tt_ring.tail. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} tt_free SEC(".maps");
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TT_LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} tt_losses SEC(".maps");

/* Session -> filter. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TT_SESSIONS);
	__type(key, __u32);
	__type(value, struct tt_filter);
} tt_filters SEC(".maps");

/* Selected cgroup -> sessions. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct tt_cgroup);
} tt_cgroups SEC(".maps");

/* Selected process -> sessions. Written by user space, and by the fork and exit programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct tt_process);
} tt_processes SEC(".maps");

/*
 * Cgroup -> parent and name, for the cgroups of selected sockets: user space can name a container that is gone. Those
 * not asked for the longest make room.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tt_folder);
} tt_folders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tt_overflow_key);
	__type(value, struct tt_overflow);
} tt_overflow SEC(".maps");

/*
 * Flow -> slot. Sized like the slots. Where sockets have storage it is nearly always almost empty; elsewhere it has
 * every flow, and kprobes may not allocate. Entries are removed by user space with their slot.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
#ifndef TT_PLAIN
	__uint(map_flags, BPF_F_NO_PREALLOC);
#endif
	__uint(max_entries, 1024);
	__type(key, struct tt_peer_key);
	__type(value, struct tt_peer);
} tt_peers SEC(".maps");

/* Flow of datagrams -> its enum tt_direction, where sessions have filters. Those not seen for longest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tt_peer_key);
	__type(value, __u8);
} tt_directions SEC(".maps");

/* Slot -> cookie of its socket, where `tt_peers` leads to the slot; else 0. Mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} tt_cookies SEC(".maps");

/* Cookies of sockets that have ended and had entries in `tt_peers`. User space takes them. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16384);
	__type(value, __u64);
} tt_ended SEC(".maps");

#ifdef TT_PLAIN
/* A call that a thread is in: by the thread's id. Least recently used ones make room; threads end in the middle. */
struct call {
	struct sock *sk;
	struct msghdr *msg;
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct call);
} tt_calls SEC(".maps");

/* Whom a thread's ICMP message came from, by the thread's id. Likewise. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct message_peer);
} tt_messages SEC(".maps");

/* Address of a socket -> what is remembered of it. Removed at its end. Sized like the slots. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct socket_state);
} tt_sockets SEC(".maps");
#else
/* Freed by the kernel with its task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct message_peer);
} tt_messages SEC(".maps");

/* How far a socket had been read when it was found, see seeds.bpf.h. */
struct seed {
	__u64 consumed; /* as in socket_state */
	__u32 first;	/* sequence number at which the connection began */
	__u32 pad;
};

/* By the socket's address. Those not asked for the longest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct seed);
} tt_seeds SEC(".maps");

/* Freed by the kernel with its socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_state);
} tt_sockets SEC(".maps");
#endif

/* A cgroup whose sockets selected processes hold, or a port of it that they listen on; see lent.bpf.h. */
struct lender {
	__u64 cgroup;
	__u64 port; /* 0: the cgroup itself */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct lender);
	__type(value, __u32);
} tt_lenders SEC(".maps");

static __always_inline void count_loss(__u32 reason, __u64 amount)
{
	__u64 *counter = bpf_map_lookup_elem(&tt_losses, &reason);

	if (counter)
		__sync_fetch_and_add(counter, amount);
}

#endif
