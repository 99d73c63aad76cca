/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Taking, filling and closing slots of the flow table. */
#ifndef TT_SLOTS_H
#define TT_SLOTS_H

#include "describe.bpf.h"

/* How often a taker retries when others take free slots at the same moment. */
#define TAKE_TRIES 16

static __always_inline struct tt_slot *slot_at(__u32 index)
{
	return bpf_map_lookup_elem(&tt_slots, &index);
}

#ifdef TT_PLAIN
static __always_inline __u32 take_free_slot(void)
{
	__u32 zero = 0;
	struct tt_ring *ring = bpf_map_lookup_elem(&tt_ring, &zero);
	__u64 index;

	if (!ring || bpf_map_pop_elem(&tt_free, &index))
		return TT_NO_SLOT;
	__sync_fetch_and_add(&ring->head, 1);
	return index;
}
#else
static __always_inline __u32 take_free_slot(void)
{
	__u32 zero = 0;
	struct tt_ring *ring = bpf_map_lookup_elem(&tt_ring, &zero);
	int i;

	if (!ring)
		return TT_NO_SLOT;
	for (i = 0; i < TAKE_TRIES; i++) {
		__u64 head = *(volatile __u64 *)&ring->head;
		__u32 position = head & ring->mask;
		__u64 *entry;
		__u64 index;

		if (head >= *(volatile __u64 *)&ring->tail)
			break;
		entry = bpf_map_lookup_elem(&tt_free, &position);
		if (!entry)
			break;
		index = *(volatile __u64 *)entry;
		/* Its position is part of it: a CPU may have read it before the tail that says it is filled. */
		if ((__u32)(index >> 32) != (__u32)head)
			continue;
		if (__sync_val_compare_and_swap(&ring->head, head, head + 1) == head)
			return index;
	}
	return TT_NO_SLOT;
}
#endif

/*
 * Off the fast path. Following typed pointers instead costs the verifier a search through all types of the kernel for
 * each step, which took a fifth of the time to load the programs.
 */
static __always_inline __u64 cgroup_id_of(struct sock *sk)
{
	return BPF_CORE_READ((struct cgroup *)socket_cgroup_address(sk), kn, id);
}

/* `address`: of the process's first thread, or 0 for the current process. */
static __always_inline void fill_process(struct tt_slot *slot, __u32 tgid, __u64 address)
{
	struct task_struct *leader = (struct task_struct *)address;
	struct upid number = {};
	struct pid *pid;
	__u32 level;

	if (!leader)
		leader = BPF_CORE_READ(current_task(), group_leader);
	pid = BPF_CORE_READ(leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
	/* numbers[] has one entry for each namespace; the last one is what the process itself sees. */
	bpf_core_read(&number, sizeof(number), &pid->numbers[level & 31]);
	slot->ns_tgid = number.nr;
	slot->tgid = tgid;
	bpf_core_read(slot->comm, sizeof(slot->comm), &leader->comm);
	slot->caller_cgroup = BPF_CORE_READ(leader, cgroups, dfl_cgrp, kn, id);
}

/* After process and cgroup. `state`: TT_OPEN or TT_CONNECTING, and flags. */
static __always_inline void fill_slot(struct tt_slot *slot, struct flow *flow, __u64 sessions, __u64 connections,
				      __u32 state)
{
	__builtin_memcpy(slot->local_addr, flow->local_addr, 16);
	__builtin_memcpy(slot->remote_addr, flow->remote_addr, 16);
	slot->local_port = flow->local_port;
	slot->remote_port = flow->remote_port;
	slot->sessions = sessions;
	slot->retransmits = 0;
	slot->srtt_us = 0;
	slot->connections = connections;
	/* Who sees TT_OPEN sees all of the above. */
	publish(&slot->state, TT_STATE(state, flow->protocol, flow->direction));
}

static __always_inline void close_slot(__u32 index)
{
	struct tt_slot *slot = slot_at(index);

	if (slot)
		publish(&slot->state, (slot->state & ~TT_STATE_MASK) | TT_CLOSED);
}

#endif
