/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that are older than their session, found by going through the open files of all processes that can be seen:
 * open connections have their rows and owners at once, what they read next is known to the byte (space.bpf.h), and
 * sockets from elsewhere are marked (lent.bpf.h).
 */
#ifndef TT_OLDER_H
#define TT_OLDER_H

#include "flow.bpf.h"

#ifndef TT_PLAIN

/* What a program on iter/task_file is given. */
struct bpf_iter__task_file {
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

/* Gives an open connection its slot, in the name of the process that holds it. */
static __always_inline void settle_older(struct sock *sk, struct task_struct *task, struct event *event)
{
	struct socket_state *state = make_socket_state(sk);
	int place;

	if (!state)
		return;
	/* A call that is under way may have read a part; whoever is faster here knows at least as much. */
	if (reads_its_queue(sk)) {
		__u64 sequence = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);

		if (!__sync_val_compare_and_swap(&state->consumed, 0, (__u64)event->generation << 32 | sequence))
			state->seeded = 1;
	}
	place = find_place(state, event->tgid);
	if (place < 0)
		place = find_place(state, 0);
	if (place < 0)
		return;
	connected_peer(event->peer, &event->peer_port, sk);
	event->socket = (__u64)sk;
	event->leader = (__u64)FIELD(task, group_leader);
	settle(state, event, place);
}

static __always_inline void find_older(struct sock *sk, struct task_struct *task)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	struct event event = {
		.generation = selection.generation,
		.index = TT_NO_SLOT,
		.kind = TT_FOUND,
		.tgid = FIELD(task, tgid),
		.protocol = protocol_of(sk),
	};
	__u64 *lent;

	if ((family != AF_INET && family != AF_INET6) || !event.protocol)
		return;
	event.selected = cgroup_sessions(sk, event.generation);
	if (!event.selected) {
		event.selected = task_sessions(task, event.generation);
		if (event.selected) {
			lent = bpf_sk_storage_get(&tt_lent, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
			if (!lent)
				return;
			any_lent = 1;
			event.lent = 1;
		}
	}
	if (selection.by_process)
		event.selected |= process_sessions(event.tgid);
	if (!event.selected || event.protocol != TT_TCP)
		return;
	switch (FIELD(sk, __sk_common.skc_state)) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
	case TCP_CLOSE:
	case TCP_LISTEN:
		return;
	}
	settle_older(sk, task, &event);
}

#endif
#endif
