/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps that are in both objects that count, and who writes to them. Names have at most 15 bytes, since the kernel
 * shows no more.
 */
#ifndef TT_MAPS_H
#define TT_MAPS_H

#include "kernel.h"
#include "shared.h"

/*
 * The selection is global data, which programs read without a look-up. Its own section lets user space write it as a
 * whole.
 */
volatile struct tt_selection selection SEC(".data.selection");

/*
 * The flow table, see table.h. User space sets its size and maps it, so that reading it costs no system call: it scans
 * the tags and reads the slots that are in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct tt_tags);
} tt_tags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct tt_slot);
} tt_slots SEC(".maps");

/*
 * Flow -> slot in the stash, for flows without room in their two sets. User space removes an entry before it frees the
 * slot.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct tt_key);
	__type(value, __u32);
} tt_spill SEC(".maps");

/*
 * Sums of the events that found no slot, by cgroup, sessions and protocol. User space removes those of ended sessions.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tt_overflow_key);
	__type(value, struct tt_overflow);
} tt_overflow SEC(".maps");

/* Counters, indexed by `enum tt_loss`. Mapped by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TT_LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} tt_losses SEC(".maps");

/*
 * Cookies of ended sockets whose slots user space must close: slots of datagrams lie in many sets, and slots beside the
 * main slot of a TCP socket can be in the stash.
 */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 65536);
	__type(value, __u64);
} tt_ended SEC(".maps");

/* Numbers of the slots that `tt_reconcile` must check. Mapped; written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TT_WORK);
	__type(key, __u32);
	__type(value, __u64);
} tt_work SEC(".maps");

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
	__type(value, __u64);
} tt_cgroups SEC(".maps");

/* Selected process -> sessions. Written by user space, and by the fork and exit programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct tt_process);
} tt_processes SEC(".maps");

/*
 * The maps below evict the least recently used entries when they are full. User space sizes them by the number of CPUs,
 * since the kernel keeps 128 free entries ready for each.
 */

/*
 * Cgroup -> parent and name, for the cgroups of selected sockets, so that user space can name a container that is gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tt_folder);
} tt_folders SEC(".maps");

/* Flow of datagrams -> its enum tt_direction, while sessions have filters; see datagram_direction(). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tt_key);
	__type(value, __u8);
} tt_directions SEC(".maps");

/*
 * A lender (lend.h): a cgroup some of whose sockets are held by selected processes of other cgroups. With a port: one
 * of these sockets listens on that port.
 */
struct lender {
	__u64 cgroup;
	__u64 port; /* 0: the cgroup itself */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct lender);
	__type(value, __u32);
} tt_lenders SEC(".maps");

/* Facts about a TCP socket from the time before it could get a slot, kept by the socket's address; see origins.h. */
struct origin {
	__u64 rx_base; /* as in struct tt_slot */
	__u64 tx_base;
	__u32 rx_first;
	__u32 tx_first;
	__u8 direction; /* TT_UNKNOWN: the connection is older than its selection */
	__u8 based;	/* the four above are valid */
	__u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct origin);
} tt_origins SEC(".maps");

/*
 * A note that a program leaves about the current task, for the task's next event: the peer of a message (peer.h), or
 * the mark that the event is counted (twin.h).
 */
struct note {
	__u64 socket;  /* of a message: its socket's address, or cookie if the hook has no address; 0: none */
	__u64 addr[2]; /* address of the message's peer */
	__u16 port;
	__u8 received; /* the message was received, not sent; used for ICMP only */
	__u8 counted;  /* the first of two twin programs has counted the event */
	__u8 pad[4];
};

/* Notes (struct note) by thread id, where programs cannot keep them in task storage: see typed.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct note);
} tt_messages SEC(".maps");

static __always_inline struct note *thread_note(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&tt_messages, &thread);
}

/* Returns the note of the thread, which is created if there is none. */
static __always_inline struct note *make_thread_note(void)
{
	struct note *known = thread_note(), none = {};
	__u64 thread = bpf_get_current_pid_tgid();

	if (known)
		return known;
	bpf_map_update_elem(&tt_messages, &thread, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tt_messages, &thread);
}

static __always_inline void count_loss(__u32 reason, __u64 amount)
{
	__u64 *counter = bpf_map_lookup_elem(&tt_losses, &reason);

	if (counter)
		__sync_fetch_and_add(counter, amount);
}

#endif
