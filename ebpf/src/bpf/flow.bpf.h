/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From an event on a socket to the slot that counts it. */
#ifndef TT_FLOW_H
#define TT_FLOW_H

#include "peer.bpf.h"
#include "select.bpf.h"
#include "slots.bpf.h"

/* What an event found out on its way. */
struct event {
	__u64 selected;	  /* sessions that select the socket or the process */
	__u64 sessions;	  /* those of them whose filter wants the flow; valid after settling */
	__u64 peer[2];
	__u32 generation; /* of the selection that this event goes by */
	__u32 index;	  /* the slot, or TT_NO_SLOT where nobody wants the flow */
	__u32 tgid;
	__u16 peer_port;
	__u8 protocol;
	__u8 sent;
};

/* What the kernel itself knows of the connection goes into the slot of the socket's first process. */
static __always_inline void note_tcp(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct tt_slot *slot = slot_at(state->place[0]);

	if (!tcp || !slot)
		return;
	slot->retransmits = FIELD(tcp, total_retrans) - state->retransmits_before;
	slot->srtt_us = FIELD(tcp, srtt_us) >> 3;
}

static __always_inline int find_place(struct socket_state *state, __u32 tgid)
{
	int i;

#pragma unroll
	for (i = 0; i < TT_PLACES; i++)
		if (state->place[i] >> 32 == tgid)
			return i;
	return -1;
}

static __always_inline bool same_peer(struct tt_slot *slot, struct event *event)
{
	__u64 *addr = (__u64 *)slot->remote_addr;

	return addr[0] == event->peer[0] && addr[1] == event->peer[1] && slot->remote_port == event->peer_port;
}

/*
 * Finds out which sessions want the flow and gives it a slot. A slot belongs to one set of sessions: when `old` counts
 * for that very set it stays; otherwise another one is taken, so that user space never has to split what it read.
 * `counts_socket`: whether this flow stands for its socket.
 *
 * Returns false where the event must go to the overflow row. event->index is the slot then to be used, or TT_NO_SLOT.
 */
static __noinline bool settle_slot(struct sock *sk, struct socket_state *state, struct event *event, __u32 old,
				   bool counts_socket)
{
	struct tt_slot *slot = slot_at(old);
	struct flow flow = {};
	__u64 counted = 0;

	flow.protocol = event->protocol;
	flow.remote_addr[0] = event->peer[0];
	flow.remote_addr[1] = event->peer[1];
	flow.remote_port = event->peer_port;
	if (slot) {
		counted = slot->sessions;
		flow.direction = slot->state >> 16;
	} else if (event->protocol != TT_TCP) {
		/* The first datagram between socket and peer. */
		flow.direction = event->sent ? TT_OUTBOUND : TT_INBOUND;
	} else {
		flow.direction = state->direction ? state->direction : guess_direction(sk);
	}
	describe(&flow, sk);
	event->sessions = wanted_sessions(&flow, event->selected, selection.filtered);
	event->index = old;
	if (counted == event->sessions)
		return true;
	event->index = TT_NO_SLOT;
	if (!event->sessions)
		return true;
	event->index = take_free_slot();
	slot = slot_at(event->index);
	if (!slot) {
		count_loss(TT_LOSS_TABLE_FULL, 1);
		return false;
	}
	/* Each session counts the socket once: at its first process, and not again after a change. */
	fill_slot(slot, &flow, sk, event->sessions, event->tgid, counts_socket ? event->sessions & ~counted : 0);
	return true;
}

/* Gives up a slot that another thread was faster to settle. The event at hand still counts in it. */
static __always_inline void give_up(__u32 index)
{
	struct tt_slot *slot = slot_at(index);

	if (slot) {
		slot->connections = 0;
		close_slot(index);
	}
}

/*
 * The first event of a process on a socket, or the first one after the selection changed: in a place of the socket's
 * storage. Returns false where the event must go to the overflow row.
 */
static __noinline bool settle_place(struct sock *sk, struct socket_state *state, struct event *event, __u32 at)
{
	__u32 place = at & (TT_PLACES - 1);
	__u64 old = state->place[place], new;
	struct tcp_sock *tcp;

	if (!settle_slot(sk, state, event, old ? (__u32)old : TT_NO_SLOT,
			 !place && event->protocol == TT_TCP))
		return false;
	new = (__u64)event->tgid << 32 | event->index;
	if (new != old) {
		if (__sync_val_compare_and_swap(&state->place[place], old, new) != old) {
			give_up(event->index);
			return true;
		}
		if (old)
			close_slot(old);
		if (!place) {
			tcp = tcp_of(sk);
			if (tcp)
				state->retransmits_before = FIELD(tcp, total_retrans);
		}
	}
	state->generation[place] = event->generation;
	return true;
}

/* Likewise, for what the storage has no place for: further processes of a socket, and further peers of a datagram socket. */
static __noinline bool settle_peer(struct sock *sk, struct socket_state *state, struct event *event)
{
	struct tt_peer_key key = {
		.cookie = socket_id(sk),
		.tgid = event->tgid,
		.port = event->peer_port,
	};
	struct tt_peer new = { .generation = event->generation }, *known;
	__u32 old = TT_NO_SLOT;
	__u64 *cookie;

	key.addr[0] = event->peer[0];
	key.addr[1] = event->peer[1];
	known = bpf_map_lookup_elem(&tt_peers, &key);
	if (known) {
		old = known->slot;
		if (known->generation == event->generation) {
			event->index = old;
			return true;
		}
	}
	if (!settle_slot(sk, state, event, old, false))
		return false;
	new.slot = event->index;
	if (known && old == new.slot) {
		known->generation = event->generation;
		return true;
	}
	if (new.slot != TT_NO_SLOT) {
		cookie = bpf_map_lookup_elem(&tt_cookies, &new.slot);
		if (cookie)
			*cookie = key.cookie;
	}
	state->shared = 1;
	if (bpf_map_update_elem(&tt_peers, &key, &new, known ? BPF_ANY : BPF_NOEXIST)) {
		give_up(event->index);
		/* Another thread was faster; or the map is full, and then the next event will find it full again. */
		if (!bpf_map_lookup_elem(&tt_peers, &key))
			count_loss(TT_LOSS_PEERS_FULL, 1);
		return true;
	}
	if (old != TT_NO_SLOT)
		close_slot(old);
	return true;
}

/* Returns false where the event must go to the overflow row. */
static __always_inline bool find_slot(struct sock *sk, struct socket_state *state, struct event *event)
{
	int place = find_place(state, event->tgid);
	struct tt_slot *slot;

	if (event->protocol != TT_TCP) {
		find_peer(sk, state, event->peer, &event->peer_port, event->sent);
		if (place < 0) {
			place = find_place(state, 0);
		} else {
			slot = slot_at(state->place[place & (TT_PLACES - 1)]);
			if (slot && !same_peer(slot, event))
				return settle_peer(sk, state, event);
			/* A flow that nobody wants has no slot to compare with, so its place cannot speak for another peer. */
			if (!slot)
				return settle_peer(sk, state, event);
		}
	}
	if (place >= 0 && state->generation[place & (TT_PLACES - 1)] == event->generation &&
	    state->place[place & (TT_PLACES - 1)]) {
		event->index = state->place[place & (TT_PLACES - 1)];
		return true;
	}
	if (event->protocol == TT_TCP) {
		connected_peer(event->peer, &event->peer_port, sk);
		if (place < 0)
			place = find_place(state, 0);
	}
	if (place < 0)
		return settle_peer(sk, state, event);
	return settle_place(sk, state, event, place);
}

static __always_inline void count_overflow(struct sock *sk, struct event *event, __u64 rx, __u64 tx)
{
	struct tt_overflow_key key = { .sessions = event->sessions, .protocol = event->protocol };
	struct tt_overflow zero = {}, *sum;

	key.cgroup = cgroup_id_of(sk);
	sum = bpf_map_lookup_elem(&tt_overflow, &key);
	if (!sum) {
		bpf_map_update_elem(&tt_overflow, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&tt_overflow, &key);
	}
	if (!sum) {
		count_loss(TT_LOSS_RX_BYTES, rx);
		count_loss(TT_LOSS_TX_BYTES, tx);
		return;
	}
	if (event->sent) {
		__sync_fetch_and_add(&sum->tx_bytes, tx);
		__sync_fetch_and_add(&sum->tx_calls, 1);
	} else {
		__sync_fetch_and_add(&sum->rx_bytes, rx);
		__sync_fetch_and_add(&sum->rx_calls, 1);
	}
}

/* One receive (`rx` bytes) or send (`tx` bytes) of the current process; the other one is 0. */
static __always_inline void transfer(struct sock *sk, __u64 rx, __u64 tx, bool sent)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	__u32 generation = selection.generation, calls;
	struct socket_state *state;
	struct event event = {};
	struct tt_slot *slot;
	__u64 selected;

	if (family != AF_INET && family != AF_INET6)
		return;
	selected = cgroup_sessions(socket_cgroup(sk), generation);
	if (selection.by_process)
		selected |= process_sessions(bpf_get_current_pid_tgid() >> 32);
	/* Nothing above this line that sockets which nobody selected would pay for. */
	if (!selected)
		return;
	event.selected = selected;
	event.generation = generation;
	event.index = TT_NO_SLOT;
	event.sent = sent;
	event.tgid = bpf_get_current_pid_tgid() >> 32;
	event.protocol = protocol_of(sk);
	if (!event.protocol)
		return;
	/* An empty datagram is a call; a stream that has ended is not. */
	if (!rx && !tx && event.protocol == TT_TCP)
		return;
	state = make_socket_state(sk);
	if (!state) {
		count_loss(TT_LOSS_STORAGE, 1);
		event.sessions = event.selected;
		count_overflow(sk, &event, rx, tx);
		return;
	}
	if (!find_slot(sk, state, &event)) {
		count_overflow(sk, &event, rx, tx);
		return;
	}
	slot = slot_at(event.index);
	if (!slot)
		return;
	if (!sent) {
		__sync_fetch_and_add(&slot->rx_bytes, rx);
		__sync_fetch_and_add(&slot->rx_calls, 1);
		return;
	}
	__sync_fetch_and_add(&slot->tx_bytes, tx);
	__sync_fetch_and_add(&slot->tx_calls, 1);
	/* The round-trip time is read now and then: at the 1st, 2nd, 4th, 8th ... and at every 64th send. */
	calls = slot->tx_calls;
	if (event.protocol == TT_TCP && (!(calls & (calls - 1)) || !(calls & 63)))
		note_tcp(sk, state);
}

/* A socket is gone: so are its flows. */
static __always_inline void end_socket(struct socket_state *state, __u64 cookie)
{
	int i;

#pragma unroll
	for (i = 0; i < TT_PLACES; i++)
		if (state->place[i] && (__u32)state->place[i] != TT_NO_SLOT)
			close_slot(state->place[i]);
	if (state->shared && bpf_map_push_elem(&tt_ended, &cookie, 0))
		count_loss(TT_LOSS_ENDED, 1);
}

#endif
