/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that are older than their session, found by going through the open files of all processes that can be seen: open
 * connections have their rows and owners at once, what they move next is known to the byte, and sockets from elsewhere are
 * found (lend.h).
 */
#ifndef TT_OLDER_H
#define TT_OLDER_H

#include "count.h"

/* What a program on iter/task_file is given. */
struct bpf_iter__task_file {
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

static __always_inline void find_older(struct sock *sk, struct task_struct *task)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	struct event event = {
		.generation = selection.generation,
		.kind = TT_FOUND,
		.cgroup = socket_cgroup_id(sk),
	};
	__u32 number;

	event.counts_itself = counts_itself(sk);
	event.flow.protocol = protocol_of(sk);
	if ((family != AF_INET && family != AF_INET6) || !event.flow.protocol)
		return;
	event.selected = cgroup_sessions_of(sk, event.cgroup, event.generation);
	describe_process(&event, task);
	event.caller_cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (!event.selected) {
		event.selected = task_sessions(task, event.generation);
		if (event.selected) {
			lend(address_of(sk));
			event.lent = 1;
			event.cgroup = event.caller_cgroup;
		}
	}
	if (selection.by_process)
		event.selected |= process_sessions(FIELD(task, tgid));
	if (!event.selected || event.flow.protocol != TT_TCP)
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
	event.key.cookie = cookie_of(sk, TT_TCP);
	event.key.owner = owner_of(task);
	event.socket = (__u64)sk;
	describe_ends(&event.flow, sk);
	FORGET(&event);
	describe_connection(&event);
	FORGET(&event);
	number = settle(&event);
	if (number == OVERFLOW)
		count_overflow(&event);
}

#endif
