/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of a TCP connection, apart from its bytes: who opens it, whether that fails, and connections on which nothing
 * was ever sent.
 *
 * connect() goes from CLOSE to SYN_SENT in the task that calls it; what follows can run in any task. So the slot is
 * taken and filled there, and becomes visible when the connection is established or has failed. The process of an
 * accepted connection is known at its first call; without any, when it closes the connection.
 */
#ifndef TT_CONNECT_H
#define TT_CONNECT_H

#include "flow.bpf.h"
#include "sequence.bpf.h"

/* Subflows of MPTCP are sockets of the kernel's own; only they have an upper layer this early. */
static __always_inline bool is_subflow(struct sock *sk)
{
	struct tcp_sock *tcp = tcp_of(sk);

	return tcp && FIELD(tcp, inet_conn.icsk_ulp_ops);
}

#ifdef TT_PLAIN

static __always_inline bool has_first(struct socket_state *state)
{
	return first_slot(state) != 0;
}

/* The entry that leads to the socket's first slot. */
static __always_inline struct tt_peer *first_peer(struct socket_state *state, struct tt_peer_key *key)
{
	struct tt_slot *slot = first_slot(state);
	__u64 *addr;

	if (!slot)
		return 0;
	addr = (__u64 *)slot->remote_addr;
	key->cookie = state->id;
	key->addr[0] = addr[0];
	key->addr[1] = addr[1];
	key->tgid = slot->tgid;
	key->port = slot->remote_port;
	return bpf_map_lookup_elem(&tt_peers, key);
}

/* The generation that the first slot was settled for; 0 where there is none. */
static __always_inline __u32 first_generation(struct socket_state *state)
{
	struct tt_peer_key key = {};
	struct tt_peer *peer = first_peer(state, &key);

	return peer ? peer->generation : 0;
}

/* The next event settles it again. */
static __always_inline void unsettle_first(struct socket_state *state)
{
	struct tt_peer_key key = {};
	struct tt_peer *peer = first_peer(state, &key);

	if (peer)
		peer->generation = 0;
}

/* Nothing leads to the first slot any more. */
static __always_inline void drop_first(struct socket_state *state)
{
	struct tt_peer_key key = {};
	__u32 index = state->first - 1;
	__u64 *cookie;

	if (first_peer(state, &key))
		bpf_map_delete_elem(&tt_peers, &key);
	cookie = bpf_map_lookup_elem(&tt_cookies, &index);
	if (cookie && *cookie == state->id)
		*cookie = 0;
	state->first = 0;
}

/* The socket is used for another connection. */
static __always_inline void begin_anew(struct socket_state *state)
{
	if (has_first(state)) {
		close_places(state);
		drop_first(state);
	}
	state->seeded = 0;
}

#else

static __always_inline bool has_first(struct socket_state *state)
{
	return state->place[0];
}

static __always_inline __u32 first_generation(struct socket_state *state)
{
	return state->generation[0];
}

static __always_inline void unsettle_first(struct socket_state *state)
{
	state->generation[0] = 0;
}

static __always_inline void drop_first(struct socket_state *state)
{
	state->place[0] = 0;
}

static __always_inline void begin_anew(struct socket_state *state)
{
	int i;

	close_places(state);
#pragma unroll
	for (i = 0; i < TT_PLACES; i++) {
		state->place[i] = 0;
		state->generation[i] = 0;
	}
	state->consumed = 0;
	state->ahead = 0;
}

#endif

/* Settles the current process as the socket's first one. */
static __always_inline void settle_first(struct sock *sk, struct socket_state *state, __u64 selected, bool lent,
					 enum event_kind kind)
{
	struct event event = {
		.socket = (__u64)sk,
		.selected = selected,
		.generation = selection.generation,
		.index = TT_NO_SLOT,
		.kind = kind,
		.protocol = TT_TCP,
		.lent = lent,
	};

	identify(&event);
	connected_peer(event.peer, &event.peer_port, sk);
	event.cookie = socket_id(sk, state);
#ifdef TT_PLAIN
	settle_peer(state, &event);
#else
	settle(state, &event, 0);
#endif
}

/* connect() has begun. The local port is not known yet. */
static __always_inline void begin_connecting(struct sock *sk)
{
	struct socket_state *state;
	struct tt_slot *slot;
	__u64 selected;
	bool lent;

	selected = socket_sessions(sk, selection.generation, &lent);
	/* MPTCP tells its peer to the first subflow alone. */
	if (!selected || FIELD(sk, sk_protocol) != IPPROTO_TCP || is_subflow(sk))
		return;
	state = make_socket_state(sk);
	if (!state)
		return;
	/* The twin of this program was here. */
	slot = first_slot(state);
	if (slot && (slot->state & TT_STATE_MASK) == TT_CONNECTING)
		return;
	/* A socket can be used again after it failed or was disconnected. */
	begin_anew(state);
	state->direction = TT_OUTBOUND;
	settle_first(sk, state, selected, lent, TT_CONNECTS);
}

/* connect() has succeeded or failed. */
static __always_inline void end_connecting(struct sock *sk, struct socket_state *state, bool established)
{
	bool stale = first_generation(state) != (__u32)selection.generation;
	struct tt_slot *slot = first_slot(state);
	__u32 word;

	/* With a filter by ports, sessions may want it now that the local one is known. */
	if (established && selection.filtered)
		unsettle_first(state);
	if (!slot || (slot->state & TT_STATE_MASK) != TT_CONNECTING)
		return;
	word = slot->state & ~TT_STATE_MASK;
	slot->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	note_tcp(sk, state);
	if (established && !stale) {
		publish(&slot->state, word | TT_OPEN);
		return;
	}
	/* Where the selection has changed meanwhile, the slot is nobody's: the first bytes find out who wants them now. */
	if (stale)
		slot->sessions = 0;
	slot->connections = 0;
	drop_first(state);
	publish(&slot->state, (word & ~TT_CONNECTION) | (established ? 0 : TT_FAILED) | TT_CLOSED);
}

/*
 * Whether somebody may want a connection whose process is not known yet: any of the machine, while processes are
 * selected. What they open themselves is known from begin_connecting() on, but for MPTCP. Without storage of sockets
 * there is no room for all of them, and the numbers of a socket are looked at before each call anyway.
 */
static __always_inline bool may_be_wanted(struct sock *sk, __u8 direction)
{
	if (cgroup_sessions(sk, selection.generation))
		return true;
#ifndef TT_PLAIN
	if (selection.by_process && (direction == TT_INBOUND || FIELD(sk, sk_protocol) != IPPROTO_TCP))
		return true;
#endif
	return direction == TT_INBOUND && is_accepted_by_lent(sk);
}

/* The connection is there. `both`: maybe because both ends have called connect() at the same moment. */
static __always_inline void establish(struct sock *sk, __u8 direction, bool both)
{
	struct socket_state *state;

	state = may_be_wanted(sk, direction) ? make_socket_state(sk) : socket_state(sk);
	if (!state)
		return;
	/* A socket that was accepted is new and has no direction yet. */
	if (both && state->direction == TT_OUTBOUND)
		direction = TT_OUTBOUND;
	state->direction = direction;
	seed_sequence(sk, state);
	if (direction == TT_OUTBOUND)
		end_connecting(sk, state, true);
}

/* A connection ends in the hands of a process. If it was accepted and never used, that is the one that accepted it. */
static __always_inline void close_accepted(struct sock *sk, struct socket_state *state)
{
	__u64 selected;
	bool lent;

	if (!state || state->direction != TT_INBOUND || state->counted || has_first(state) || is_subflow(sk))
		return;
	selected = socket_sessions(sk, selection.generation, &lent);
	if (!selected)
		return;
	settle_first(sk, state, selected, lent, TT_CLOSES);
	/* Of MPTCP this can come after the socket's release, and nothing would close the slot; or the socket goes on. */
	if (FIELD(sk, sk_protocol) != IPPROTO_TCP) {
		close_places(state);
		drop_first(state);
		state->counted = 1;
	}
}

static __always_inline void change_state(struct sock *sk, int before, int now)
{
	struct socket_state *state;

	switch (now) {
	case TCP_SYN_SENT:
		begin_connecting(sk);
		break;
	case TCP_ESTABLISHED:
		/* What an MPTCP listener is about to accept comes from TCP_LISTEN. */
		if (before == TCP_SYN_SENT || before == TCP_SYN_RECV || before == TCP_LISTEN)
			establish(sk, before == TCP_SYN_SENT ? TT_OUTBOUND : TT_INBOUND, before == TCP_SYN_RECV);
		break;
	case TCP_CLOSE:
		state = socket_state(sk);
		if (state && (before == TCP_SYN_SENT || before == TCP_SYN_RECV))
			end_connecting(sk, state, false);
		/* Closed at once, as with data that nobody read. Only a process that uses the socket owns its lock. */
		else if (FIELD(sk, sk_lock.owned))
			close_accepted(sk, state);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		close_accepted(sk, socket_state(sk));
		break;
	}
}

#endif
