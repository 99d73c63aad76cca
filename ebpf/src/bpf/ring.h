/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ring buffers of records: when user space is woken. */
#ifndef TT_RING_H
#define TT_RING_H

#include "kernel.h"

/* Bytes of the ring buffer's own before each record. */
#define RING_HEADER 8

/* Bytes in the ring at which user space is woken; below, it reads by its own clock. Set by user space, a power of two. */
const volatile __u64 wake_at = 256 * 1024;

/* Bytes that a record with `size` takes in the ring buffer. */
static __always_inline __u64 ring_bytes(__u64 size)
{
	return (size + RING_HEADER + 7) & ~7ull;
}

/*
 * Whether user space is to be woken: what waits reaches a further multiple of wake_at by this record. `before`: waited before
 * it. Of two CPUs one can take the other's bytes for its own, so the first multiple alone is not enough.
 */
static __always_inline __u64 wake_up(__u64 before, __u64 bytes)
{
	return (before ^ (before + bytes)) & -wake_at ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Submits a record with `size`, which is reserved already, to a ring buffer. */
static __always_inline void submit_to(void *ring, void *record, __u64 size)
{
	__u64 bytes = ring_bytes(size);

	bpf_ringbuf_submit(record, wake_up(bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) - bytes, bytes));
}

#endif
