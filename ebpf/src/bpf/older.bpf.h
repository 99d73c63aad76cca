/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that are older than their session, found by going through the open files of all processes that can be seen:
 * open connections have their rows and owners at once, what they move next is known to the byte (space.bpf.h,
 * sequence.bpf.h), and sockets from elsewhere are found (lent.bpf.h).
 */
#ifndef TT_OLDER_H
#define TT_OLDER_H

#include "flow.bpf.h"
#include "sequence.bpf.h"

/* What a program on iter/task_file is given. */
struct bpf_iter__task_file {
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#ifdef TT_PLAIN

/* The socket that an open file is; 0 where it is something else. */
static __always_inline struct sock *sock_in(struct file *file)
{
	return sock_of_file(file);
}

/* Gives an open connection its slot, in the name of the process that holds it. */
static __always_inline void settle_older(struct sock *sk, struct event *event)
{
	struct socket_state *state, new = { .id = new_socket_id() };
	__u64 address = (__u64)sk;

	/* In one piece: a call that is under way may be about to do the same. */
	if (counts_by_sequence(sk))
		seed_sequence(sk, &new);
	bpf_map_update_elem(&tt_sockets, &address, &new, BPF_NOEXIST);
	state = socket_state(sk);
	if (!state) {
		count_loss(TT_LOSS_STORAGE, 1);
		return;
	}
	event->cookie = state->id;
	settle_peer(state, event);
}

#else

/* Likewise; with its type. */
static __always_inline struct sock *sock_in(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);

	return socket ? FIELD(socket, sk) : 0;
}

/* Likewise. */
static __always_inline void settle_older(struct sock *sk, struct event *event)
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
	place = find_place(state, event->owner);
	/* Who only holds a connection whose beginning was seen has moved nothing. */
	if (place < 0 && !(state->direction && state->place[0]))
		place = find_place(state, 0);
	if (place >= 0)
		settle(state, event, place);
}

#endif

static __always_inline void find_older(struct sock *sk, struct task_struct *task)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	struct event event = {
		.socket = (__u64)sk,
		.leader = (__u64)FIELD(task, group_leader),
		.generation = selection.generation,
		.index = TT_NO_SLOT,
		.kind = TT_FOUND,
		.tgid = FIELD(task, tgid),
		.owner = owner_of(task),
		.protocol = protocol_of(sk),
	};

	if ((family != AF_INET && family != AF_INET6) || !event.protocol)
		return;
	event.selected = cgroup_sessions(sk, event.generation);
	if (!event.selected) {
		event.selected = task_sessions(task, event.generation);
		if (event.selected) {
			lend(address_of(sk));
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
		return;
	case TCP_LISTEN:
		seed_queue(address_of(sk));
		return;
	}
	connected_peer(event.peer, &event.peer_port, sk);
	settle_older(sk, &event);
}

#endif
