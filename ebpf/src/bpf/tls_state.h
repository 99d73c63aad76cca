/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of calls into TLS libraries and of their connections, and the maps. */
#ifndef TT_TLS_STATE_H
#define TT_TLS_STATE_H

#include "http_ring.h"
#include "tls_shared.h"

/* Maximum number of bytes of one call that are handed over: more would fill the ring buffer with bodies. */
#define MOST_COPIED (64 * 1024)
/* Maximum number of nested calls of a thread, as for TLS within TLS. */
#define DEPTH 2

/* The key of a TLS library's connection object, such as OpenSSL's SSL. */
struct object {
	__u64 address;
	__u32 pid;
	__u32 reserved;
};

/* A connection of a library. A process makes only one call at a time in each direction, so the fields need no lock. */
struct channel {
	__u64 id;
	__u64 cookie;  /* of the socket; 0 while it is not known */
	__u64 end[2];  /* bytes received and sent so far */
	__u32 lost[2]; /* by direction: records were refused since the last accepted one */
};

/* A call that is under way. */
struct call {
	__u64 object;
	__u64 buffer;
	__u64 count_at; /* address to which the call writes its number of bytes; 0 if it returns the number */
	__u64 began;
	__u64 stack;	/* stack pointer at the entry of the call */
	__u64 cookie;	/* of the first socket that was used in the call */
	__u64 received; /* of the last socket that received bytes before the call */
};

/* A thread that has called a library. */
struct thread {
	struct call calls[DEPTH];
	__u32 depth;
	__u32 reserved;
	__u64 received; /* cookie of the last socket from which bytes came outside of any call */
};

/* The key of a goroutine. */
struct routine {
	__u64 address;
	__u32 pid;
	__u32 reserved;
};

struct go_call {
	__u64 object;
	__u64 buffer;
	__u64 cookie;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct object);
	__type(value, struct channel);
} tt_tls_channels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} tt_tls_threads SEC(".maps");

/*
 * Current reads of goroutines. If a process ends in a read, nothing removes the entry, so the oldest ones are evicted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct routine);
	__type(value, struct go_call);
} tt_tls_routines SEC(".maps");

/* Ring buffer of the records for user space, which sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} tt_tls_ring SEC(".maps");

/* Processes that user space must inspect. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} tt_tls_news SEC(".maps");

/* Cgroup of the process -> counts of the records that the ring buffer refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct tt_http_lost);
} tt_tls_lost SEC(".maps");

/* Selected cgroups, whose new processes are reported to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} tt_tls_cgroups SEC(".maps");

/*
 * Direction -> position, in bytes of plain text from its beginning, before which no contents are needed, because they
 * are a body's or not HTTP. Set by user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tt_tls_way);
	__type(value, __u64);
} tt_tls_bodies SEC(".maps");

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}
#endif
