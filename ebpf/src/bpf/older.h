/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that are older than their session, found by going through the open files of all visible processes: open
 * connections get rows and owners at once, their next bytes are counted exactly, and sockets from other cgroups are
 * found (lend.h).
 */
#ifndef TT_OLDER_H
#define TT_OLDER_H

#include "count.h"

/* Context of a program on iter/task_file, which the kernel runs for each open file of each process. */
struct bpf_iter__task_file {
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

static __always_inline void find_older(struct sock *sk, struct task_struct *task)
{
	__u64 cgroup = socket_cgroup_id(sk), caller = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id), selected;
	__u16 family = FIELD(sk, __sk_common.skc_family);
	bool itself = counts_itself(sk), lent = false;
	__u32 generation = selection.generation, cell;
	__u8 protocol = protocol_of(sk);
	struct event *event;

	if ((family != AF_INET && family != AF_INET6) || !protocol)
		return;
	selected = cgroup_sessions_of(sk, cgroup, generation);
	if (!selected) {
		selected = task_sessions(task, generation);
		lent = selected;
		if (lent)
			lend(address_of(sk));
	}
	if (selection.by_process)
		selected |= process_sessions(FIELD(task, tgid));
	if (!selected || protocol != TT_TCP)
		return;
	switch (FIELD(sk, __sk_common.skc_state)) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_CLOSE:
		return;
	case TCP_LISTEN:
		remember_queue(address_of(sk));
		return;
	}
	cell = take_cell() - 1;
	event = event_at(cell);
	if (!event)
		return;
	event->kind = TT_FOUND;
	event->generation = generation;
	event->cgroup = lent ? caller : cgroup;
	event->lent = lent;
	event->caller_cgroup = caller;
	event->selected = selected;
	event->counts_itself = itself;
	event->socket = address_of(sk);
	event->flow.protocol = protocol;
	event->key.cookie = cookie_of(sk);
	event->key.owner = owner_of(task);
	describe_ends(&event->flow, sk);
	describe_process(event, task);
	describe_connection(cell);
	if (settle(cell) == OVERFLOW)
		count_overflow(event);
	give_cell_back(cell);
}

#endif
