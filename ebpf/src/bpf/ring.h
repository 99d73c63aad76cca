/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ring buffers of records, and the moments at which user space is woken. */
#ifndef TT_RING_H
#define TT_RING_H

#include "kernel.h"

/* Number of bytes that the ring buffer itself needs before each record. */
#define RING_HEADER 8

/*
 * Number of bytes in the ring buffer at which user space is woken, a power of two. User space sets it; it also reads
 * the ring buffer at intervals of its own.
 */
const volatile __u64 wake_at = 256 * 1024;

/* Returns the number of bytes that a record of `size` bytes takes in the ring buffer. */
static __always_inline __u64 ring_bytes(__u64 size)
{
	return (size + RING_HEADER + 7) & ~7ull;
}

/*
 * Returns the flag that wakes user space if the waiting bytes reach another multiple of wake_at with this record.
 * `before`: bytes that waited before. If two CPUs submit at the same moment, each can take the other's bytes for bytes
 * that waited before, so that both miss a multiple. The next multiple then wakes user space.
 */
static __always_inline __u64 wake_up(__u64 before, __u64 bytes)
{
	return (before ^ (before + bytes)) & -wake_at ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Submits a record of `size` bytes, which is already reserved, to a ring buffer. */
static __always_inline void submit_to(void *ring, void *record, __u64 size)
{
	__u64 bytes = ring_bytes(size);

	bpf_ringbuf_submit(record, wake_up(bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) - bytes, bytes));
}

#endif
