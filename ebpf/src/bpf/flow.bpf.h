/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From an event on a socket to the slot that counts it. */
#ifndef TT_FLOW_H
#define TT_FLOW_H

#include "lent.bpf.h"
#include "peer.bpf.h"
#include "settle.bpf.h"
#include "space.bpf.h"
#include "twin.bpf.h"

/* An address that a message was sent to or came from. */
struct endpoint {
	__u64 addr[2];
	__u16 port;
	__u8 pad[6];
};

/* The slot of the socket's first process. */
static __always_inline struct tt_slot *first_slot(struct socket_state *state)
{
#ifdef TT_PLAIN
	__u32 index = state->first - 1;
	__u64 *owner = bpf_map_lookup_elem(&tt_cookies, &index);

	/* User space may have given it to another flow. */
	return owner && *owner == state->id ? slot_at(index) : 0;
#else
	/* No place taken is 0, and 0 is a slot of another socket too. */
	return state->place[0] ? slot_at(state->place[0]) : 0;
#endif
}

/* What the kernel itself knows of the connection goes into the slot of the socket's first process. */
static __always_inline void note_tcp(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct tt_slot *slot = first_slot(state);
	__u32 retransmits;

	if (!tcp || !slot)
		return;
	retransmits = FIELD(tcp, total_retrans) - state->retransmits_before;
	/* A socket that is disconnected, or closed without lingering, begins at 0 again. */
	if ((__s32)retransmits > (__s32)slot->retransmits)
		slot->retransmits = retransmits;
	slot->srtt_us = FIELD(tcp, srtt_us) >> 3;
}

#ifdef TT_PLAIN

/* Returns false where the event must go to the overflow row. */
static __always_inline bool find_slot(struct sock *sk, struct socket_state *state, struct event *event)
{
	if (event->protocol == TT_TCP)
		connected_peer(event->peer, &event->peer_port, sk);
	else if (!event->named)
		find_peer(sk, state, event->peer, &event->peer_port, event->protocol, event->kind != TT_SENT);
	event->socket = (__u64)sk;
	event->cookie = state->id;
	return settle_peer(state, event);
}

#else

static __always_inline int find_place(struct socket_state *state, __u32 owner)
{
	int i;

#pragma unroll
	for (i = 0; i < TT_PLACES; i++)
		if (state->place[i] >> 32 == owner)
			return i;
	return -1;
}

/* Returns false where the event must go to the overflow row. */
static __always_inline bool find_slot(struct sock *sk, struct socket_state *state, struct event *event)
{
	int place = find_place(state, event->owner);

	if (event->protocol != TT_TCP) {
		if (!event->named)
			find_peer(sk, state, event->peer, &event->peer_port, event->protocol, event->kind != TT_SENT);
		if (place >= 0) {
			struct tt_slot *slot = slot_at(state->place[place & (TT_PLACES - 1)]);

			/* A flow that nobody wants has no slot to compare with, so its place cannot speak for another peer. */
			if (!slot || !same_peer(slot, event))
				goto beside;
		}
	}
	if (place >= 0 && state->generation[place & (TT_PLACES - 1)] == event->generation) {
		event->index = state->place[place & (TT_PLACES - 1)];
		return true;
	}
	if (event->protocol == TT_TCP)
		connected_peer(event->peer, &event->peer_port, sk);
	if (place < 0)
		place = find_place(state, 0);
	if (0)
	beside:
		place = -1;
	event->socket = (__u64)sk;
	event->cookie = socket_id(sk, state);
	return settle(state, event, place);
}

#endif

/* A function of its own for the sake of the stack. */
static __noinline void count_overflow(struct sock *sk, struct event *event, __u64 bytes)
{
	struct tt_overflow_key key = { .sessions = event->sessions, .protocol = event->protocol };
	struct tt_overflow zero = {}, *sum;

	key.cgroup = event->lent ? BPF_CORE_READ(current_task(), cgroups, dfl_cgrp, kn, id) : cgroup_id_of(sk);
	sum = bpf_map_lookup_elem(&tt_overflow, &key);
	if (!sum) {
		bpf_map_update_elem(&tt_overflow, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&tt_overflow, &key);
	}
	if (!sum) {
		count_loss(event->kind == TT_SENT ? TT_LOSS_TX_BYTES : TT_LOSS_RX_BYTES, bytes);
	} else if (event->kind == TT_SENT) {
		__sync_fetch_and_add(&sum->tx_bytes, bytes);
		__sync_fetch_and_add(&sum->tx_calls, 1);
	} else {
		__sync_fetch_and_add(&sum->rx_bytes, bytes);
		if (event->kind == TT_RECEIVED)
			__sync_fetch_and_add(&sum->rx_calls, 1);
	}
}

/* Adds the bytes of an event to its slot. */
static __always_inline void count(struct sock *sk, struct socket_state *state, struct event *event, __u64 bytes)
{
	struct tt_slot *slot;
	__u32 calls;

	if (!find_slot(sk, state, event)) {
		count_overflow(sk, event, bytes);
		return;
	}
	slot = slot_at(event->index);
	if (!slot)
		return;
	if (event->kind != TT_SENT) {
		if (bytes)
			__sync_fetch_and_add(&slot->rx_bytes, bytes);
		if (event->kind == TT_RECEIVED)
			__sync_fetch_and_add(&slot->rx_calls, 1);
		return;
	}
	__sync_fetch_and_add(&slot->tx_bytes, bytes);
	__sync_fetch_and_add(&slot->tx_calls, 1);
	/* The round-trip time is read now and then: at the 1st, 2nd, 4th, 8th ... and at every 64th send. */
	calls = slot->tx_calls;
	if (event->protocol == TT_TCP && (!(calls & (calls - 1)) || !(calls & 63)))
		note_tcp(sk, state);
}

/* What is left of transfer() for a socket that somebody may want. */
static __always_inline void transfer_wanted(struct sock *sk, __u64 bytes, int flags, enum event_kind kind, bool twin,
					    struct endpoint *named, __u64 cgroup, __u32 generation)
{
	struct socket_state *state;
	struct event event = {};
	__u64 selected;
	bool lent;

	selected = socket_sessions_of(sk, cgroup, generation, &lent);
	if (!selected ||
	    counted_by_twin(twin, kind == TT_SENT ? TT_LOSS_RESCUED_SENDS : TT_LOSS_RESCUED_RECEIVES))
		return;
	event.selected = selected;
	event.lent = lent;
	event.generation = generation;
	event.index = TT_NO_SLOT;
	event.kind = kind;
	if (named) {
		event.peer[0] = named->addr[0];
		event.peer[1] = named->addr[1];
		event.peer_port = named->port;
		event.named = 1;
	}
	identify(&event);
	event.protocol = protocol_of(sk);
	if (!event.protocol)
		return;
	/* An empty datagram is a call; a stream that has ended is not. */
	if (!bytes && event.protocol == TT_TCP)
		return;
	state = make_socket_state(sk);
	if (!state) {
		count_loss(TT_LOSS_STORAGE, 1);
		event.sessions = event.selected;
		count_overflow(sk, &event, bytes);
		return;
	}
#ifndef TT_PLAIN
	if (kind == TT_RECEIVED && event.protocol == TT_TCP && !reads_its_queue(sk)) {
		/* Its queue may be read by others meanwhile, who tell how much; after that nothing is known. */
		state->consumed = 0;
		state->ahead = 0;
	} else if (kind == TT_RECEIVED && reads_its_queue(sk)) {
		/* The urgent byte has its number in the sequence, by which it is counted. */
		if (flags & MSG_OOB)
			return;
		bytes -= take_ahead(state, bytes);
		if (bytes)
			count_unseen(state, bytes);
	}
#endif
	count(sk, state, &event, bytes);
}

/*
 * One call of the current process that sent or received so many bytes. `flags`: of a receive. `twin`: whether this is
 * the second program on the hook. `named`: the message's peer where the caller knows it, else 0.
 */
static __always_inline void transfer(struct sock *sk, __u64 bytes, int flags, enum event_kind kind, bool twin,
				     struct endpoint *named)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	__u32 generation = selection.generation;
	__u64 cgroup;

	if (family != AF_INET && family != AF_INET6)
		return;
	cgroup = socket_cgroup_id(sk);
	if (!is_unwanted(cgroup, generation))
		transfer_wanted(sk, bytes, flags, kind, twin, named, cgroup, generation);
}

#ifndef TT_PLAIN
/*
 * Bytes left the receive queue of a TCP socket, by the current task or, in softirq, by the kernel for itself; only the
 * former holds the lock as its owner.
 */
static __always_inline void consume_wanted(struct sock *sk, __u64 cgroup, __u32 generation)
{
	struct socket_state *state;
	struct event event = {};
	bool gap_free = true, lent;
	struct tcp_sock *tcp;
	__u64 selected;
	__u32 bytes;

	selected = socket_sessions_of(sk, cgroup, generation, &lent);
	event.lent = lent;
	if (!selected && !lent && !selection.by_process)
		return;
	tcp = tcp_of(sk);
	if (!tcp || !FIELD(sk, sk_lock.owned) || !reads_its_queue(sk))
		return;
	/* What processes that nobody selected read of a socket that they share must not be taken for another's. */
	state = selected ? make_socket_state(sk) : socket_state(sk);
	if (!state) {
		forget_seed(sk);
		return;
	}
	adopt_seed(sk, tcp, state);
	if (state->consumed >> 32 != generation && !selection.by_process && !lent)
		gap_free = state->consumed >> 32 >= selected_since(socket_cgroup_address(sk));
	bytes = advance(state, generation, read_sequence(sk, tcp), gap_free);
	if (!bytes || !selected)
		return;
	__sync_fetch_and_add(&state->ahead, bytes);
	event.selected = selected;
	event.generation = generation;
	event.index = TT_NO_SLOT;
	event.kind = TT_CONSUMED;
	identify(&event);
	event.protocol = TT_TCP;
	count(sk, state, &event, bytes);
}

static __always_inline void consume(struct sock *sk)
{
	__u32 generation = selection.generation;
	__u64 cgroup = socket_cgroup_id(sk);

	if (!is_unwanted(cgroup, generation))
		consume_wanted(sk, cgroup, generation);
}

#endif

static __always_inline void close_places(struct socket_state *state)
{
#ifdef TT_PLAIN
	if (first_slot(state))
		close_slot(state->first - 1);
#else
	int i;

#pragma unroll
	for (i = 0; i < TT_PLACES; i++)
		if (state->place[i] && (__u32)state->place[i] != TT_NO_SLOT)
			close_slot(state->place[i]);
#endif
}

/* A socket is gone: so are its flows. */
static __always_inline void end_socket(struct socket_state *state, __u64 cookie)
{
	close_places(state);
#ifdef TT_PLAIN
	if (state->flows > 1)
		state->shared = 1;
#endif
	if (state->shared && bpf_map_push_elem(&tt_ended, &cookie, 0))
		count_loss(TT_LOSS_ENDED, 1);
}

#endif
