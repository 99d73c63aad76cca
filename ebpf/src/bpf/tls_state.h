/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of calls into TLS libraries and of their connections, and the maps. */
#ifndef TT_TLS_STATE_H
#define TT_TLS_STATE_H

#include "http_ring.h"
#include "tls_shared.h"

/* Bytes of one call that are handed over at most: more would fill the ring buffer with bodies. */
#define MOST_COPIED (64 * 1024)
/* Calls of a thread that can be under way inside each other: TLS within TLS. */
#define DEPTH 2

/* Names a library's connection object. */
struct object {
	__u64 address;
	__u32 pid;
	__u32 reserved;
};

/* A library's connection. Of each way only one call is under way at a time. */
struct channel {
	__u64 id;
	__u64 cookie; /* of the socket; 0 while it is not known */
	__u64 end[2]; /* bytes received and sent so far */
	__u32 lost[2]; /* records of the way were refused since the last accepted one */
};

/* A call that is under way. */
struct call {
	__u64 object;
	__u64 buffer;
	__u64 count_at; /* where the call writes the number of bytes; 0: it returns that */
	__u64 began;
	__u64 stack; /* the stack pointer at its entry */
	__u64 cookie; /* of the first socket that was used in it */
	__u64 received; /* of the last socket that was received from before it */
};

/* A thread that has called a library. */
struct thread {
	struct call calls[DEPTH];
	__u32 depth;
	__u32 reserved;
	__u64 received; /* cookie of the last socket from which bytes came outside of any call */
};

/* A goroutine. */
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

/* Reads of goroutines that are under way. Those of processes that ended are never removed, so the oldest go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct routine);
	__type(value, struct go_call);
} tt_tls_routines SEC(".maps");

/* Records for user space, which sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} tt_tls_ring SEC(".maps");

/* Processes to be looked at. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} tt_tls_news SEC(".maps");

/* Cgroup of the process -> what was refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct tt_http_lost);
} tt_tls_lost SEC(".maps");

/* Selected cgroups. User space makes the table as large as it needs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} tt_tls_cgroups SEC(".maps");

/* Ways that carry a body, or nothing of interest, up to this count of bytes. Set by user space. */
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
