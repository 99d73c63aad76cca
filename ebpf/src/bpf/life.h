/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of a TCP connection, apart from its calls: its opening process, failed attempts, connections on which
 * nothing was ever sent, and bytes that no call reported.
 *
 * connect() goes from CLOSE to SYN_SENT in the calling task; what follows can run in any task. So the slot is taken at
 * that change, as pending, and is opened when the connection is established, or closed when it has failed. The slot of
 * an accepted connection is taken when it is established, and is pending until a process uses the connection; if none
 * does, the connection counts for the process that closes it.
 */
#ifndef TT_LIFE_H
#define TT_LIFE_H

#include "count.h"

/* Handles the result of a connect(). */
static __noinline void end_connecting(struct sock *sk, struct tt_slot *slot, bool established)
{
	__u32 word = slot->state & ~TT_STATE_MASK;
	struct tcp_sock *tcp = tcp_of(sk);
	struct counters counters;
	struct flow flow = {};

	if (established && slot->generation != (__u32)selection.generation) {
		/*
		 * The selection has changed meanwhile. The next call on the connection finds the sessions that want it
		 * now.
		 */
		drop_slot(slot);
		remember_opening(sk, TT_OUTBOUND);
		return;
	}
	flow.protocol = TT_TCP;
	flow.direction = TT_OUTBOUND;
	describe_ends(&flow, sk);
	__builtin_memcpy(slot->local_addr, flow.local_addr, 16);
	slot->local_port = flow.local_port;
	/* The ports are known now, so the filters can be applied. */
	slot->sessions = wanted_sessions(&flow, slot->sessions);
	slot->connections = established ? slot->sessions : 0;
	if (tcp)
		note_health(slot, FIELD(tcp, total_retrans), FIELD(tcp, srtt_us));
	if (!slot->sessions || !established) {
		publish(&slot->state, (word & ~TT_CONNECTION) | TT_FAILED | TT_CLOSED);
		return;
	}
	if (tcp) {
		READ_COUNTERS(FIELD, &counters, sk, tcp);
		slot->rx_first = received_first(&counters);
		slot->tx_first = sent_first(&counters);
		/*
		 * The SYN takes a sequence number, which is no byte. It is added to the base and does not replace it, since
		 * what other processes send is added there too (count_beside()).
		 */
		__sync_fetch_and_add(&slot->tx_base, 1);
		slot->based = 1;
	}
	publish(&slot->state, word | TT_OPEN);
}

/* Returns whether the result of a connect() is still unknown. */
static __always_inline bool is_connecting(struct tt_slot *main)
{
	return state_of(main) == TT_PENDING && main->owner && direction_of(main) == TT_OUTBOUND;
}

/*
 * Returns whether a session may want a connection whose process is not known yet: while processes are selected, any
 * connection on the machine. Connections that these processes open themselves have a slot since SYN_SENT, except MPTCP.
 */
static __always_inline bool may_be_wanted(struct sock *sk, __u8 direction)
{
	if (selection.by_process && (direction == TT_INBOUND || FIELD(sk, sk_protocol) != IPPROTO_TCP))
		return true;
	return direction == TT_INBOUND && is_accepted_by_lent(sk);
}

/*
 * Returns whether origins.h has kept something of a socket that must be counted now: that its connection was opened, or
 * counters below the present ones, so that bytes have passed which no call reported.
 */
static __always_inline bool has_origin(struct sock *sk)
{
	struct tcp_sock *tcp = tcp_of(sk);
	__u64 address = address_of(sk);
	struct counters counters;
	struct origin *origin;

	if (!origins)
		return false;
	if (!tcp) {
		origin = find_origin(&address, 0);
		return origin && origin->direction;
	}
	READ_COUNTERS(FIELD, &counters, sk, tcp);
	origin = find_origin(&address, &counters);
	if (!origin)
		return false;
	if (origin->direction)
		return true;
	return sent_of(&counters) != origin->tx_base || received_of(&counters) != origin->rx_base;
}

/*
 * Returns whether the process that closes an accepted connection, or its side of it, is the first to use it: the
 * connection then belongs to this process. `main`: its main slot, or 0.
 */
static __always_inline bool is_unused(struct sock *sk, struct tt_slot *main)
{
	if (main)
		return !main->owner;
	return has_origin(sk);
}

/*
 * Handles the end of a connection, or of one side of it: nothing more can be sent. Calls may still be under way, so
 * missing bytes are credited only when the socket is destroyed. With `begins_anew` they are credited now, since a
 * process may use the socket for another connection, whose counters begin at 0. `itself`: see counts_itself(). `fin`: a
 * FIN was sent before, and the kernel skipped its event.
 */
static __always_inline void finish(struct sock *sk, struct tt_slot *main, bool itself, bool begins_anew, bool fin)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct counters counters;

	if (!tcp)
		return;
	note_health(main, FIELD(tcp, total_retrans), FIELD(tcp, srtt_us));
	if (!itself) {
		/*
		 * With an upper layer, or in a sockmap, the counters do not count the application's bytes (counters.h).
		 */
		main->based = 0;
		return;
	}
	READ_COUNTERS(FIELD, &counters, sk, tcp);
	finish_sending(main, &counters, fin);
	if (!begins_anew)
		return;
	if (main->sent_all)
		credit_sent(main, &counters, 0);
	credit_received(main, &counters, 0);
}

/* Credits the bytes of a destroyed socket that no call reported. */
static __always_inline void finish_last(struct sock *sk, struct tt_slot *main, bool itself)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct counters counters;

	if (!tcp)
		return;
	note_health(main, FIELD(tcp, total_retrans), FIELD(tcp, srtt_us));
	if (!itself)
		return;
	READ_COUNTERS(FIELD, &counters, sk, tcp);
	finish_unseen(main, &counters, FIELD(tcp, bytes_sent) - FIELD(tcp, bytes_retrans));
	/*
	 * The program `tt_reconcile` may credit at the same moment, and fewer bytes, so a failed credit is tried again.
	 */
	if (!credit(main, &counters, 0, true))
		credit(main, &counters, 0, true);
	if (!credit(main, &counters, 0, false))
		credit(main, &counters, 0, false);
}

/* Returns whether change_state() handles a change to this state. */
static __always_inline bool matters(int state)
{
	return 1u << (state & 31) &
	       (1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_FIN_WAIT1 | 1u << TCP_CLOSE | 1u << TCP_LAST_ACK);
}

static __always_inline void change_state(struct sock *sk, int before, int now)
{
	struct tt_key key = {};
	bool opens = false, ends = false, owned = false, fails, itself;
	struct tt_slot *main;
	__u32 what = 0;
	__u64 cgroup;
	__u8 direction;

	if (!matters(now))
		return;
	cgroup = socket_cgroup_id(sk);
	if (is_unwanted(cgroup, selection.generation))
		return;
	itself = counts_itself(sk);
	key.cookie = known_cookie(sk);
	main = key.cookie ? main_slot(key.cookie) : 0;
	/*
	 * If the event for the end of a connect() was skipped, the next change of the state tells: closing out of SYN_SENT
	 * or SYN_RECV means that the connect() failed, anything else that the connection was established.
	 */
	if (main && now != TCP_SYN_SENT && is_connecting(main)) {
		fails = now == TCP_CLOSE && (before == TCP_SYN_SENT || before == TCP_SYN_RECV);
		end_connecting(sk, main, !fails);
		if (fails)
			return;
	}
	switch (now) {
	case TCP_SYN_SENT:
		/*
		 * The MPTCP socket itself does not know its peer yet: connect() passes the address only to the first
		 * subflow.
		 */
		if (!itself)
			break;
		/*
		 * A socket can be used again after it failed or was disconnected, so the slot of its earlier connection
		 * is closed.
		 */
		if (main)
			close_socket(main);
		opens = true;
		what = WHAT(TT_CONNECTS, TT_TCP);
		break;
	case TCP_ESTABLISHED:
		/*
		 * TCP_SYN_RECV: the connection was accepted, or both ends called connect() at the same moment.
		 * TCP_LISTEN: MPTCP accepted a socket.
		 */
		if (before != TCP_SYN_SENT && before != TCP_SYN_RECV && before != TCP_LISTEN)
			break;
		direction = before == TCP_SYN_SENT ? TT_OUTBOUND : TT_INBOUND;
		if (!main && cgroup_sessions_of(sk, cgroup, selection.generation)) {
			opens = itself || FIELD(sk, sk_protocol) != IPPROTO_TCP;
			what = WHAT(TT_ESTABLISHED, TT_TCP) | WHAT_DIRECTION(direction);
		} else if (!main && may_be_wanted(sk, direction)) {
			remember_opening(sk, direction);
		}
		break;
	case TCP_CLOSE:
		/*
		 * The connection ends at once, for example because it was closed with unread data. If a process closes
		 * it, that process owns the socket's lock.
		 */
		owned = FIELD(sk, sk_lock.owned);
		/*
		 * If a FIN was sent, the end was handled then, and missing received bytes are credited when the socket
		 * is destroyed. But a process that owns the lock may use the socket again, so the end is handled now.
		 */
		ends = before != TCP_LISTEN && (owned || !main || !main->sent_all);
		opens = ends && owned && is_unused(sk, main);
		what = WHAT(TT_CLOSES, TT_TCP);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		ends = true;
		opens = is_unused(sk, main);
		what = WHAT(TT_CLOSES, TT_TCP);
		break;
	}
	if (opens) {
		key.cookie = cookie_of(sk);
		if (now != TCP_ESTABLISHED)
			key.owner = owner_of(current_task());
		main = 0;
		open_slot(sk, &key, 0, any(itself ? what | WHAT_COUNTS_ITSELF : what), cgroup);
		main = main_slot(key.cookie);
	}
	if (ends && main)
		finish(sk, main, itself, owned, now == TCP_CLOSE && is_after_fin(before));
}

/* Handles the destruction of a TCP socket: credits its last bytes and closes its slots. */
static __always_inline void destroy(struct sock *sk)
{
	struct tt_key key = { .cookie = known_cookie(sk), .owner = owner_of(current_task()) };
	__u64 cgroup = socket_cgroup_id(sk);
	struct tcp_sock *tcp = tcp_of(sk);
	struct tt_slot *main;
	bool itself;

	if (is_unwanted(cgroup, selection.generation)) {
		forget_cookie(sk);
		return;
	}
	itself = counts_itself(sk);
	main = key.cookie ? main_slot(key.cookie) : 0;
	/* If the peer has reset the connection, the process closes it only now. */
	if (FIELD(sk, sk_lock.owned) && is_unused(sk, main)) {
		key.cookie = cookie_of(sk);
		open_slot(sk, &key, 0, any(WHAT(TT_CLOSES, TT_TCP) | (itself ? WHAT_COUNTS_ITSELF : 0)), cgroup);
		main = main_slot(key.cookie);
	}
	if (main) {
		/* No event reported the result of the connect(). If the SYN was answered, bytes_acked includes it. */
		if (tcp && is_connecting(main))
			end_connecting(sk, main, FIELD(tcp, bytes_acked));
		finish_last(sk, main, itself);
		/*
		 * A pending slot has bytes only if the kernel skipped an event. Such bytes are shown without a process.
		 */
		if (state_of(main) == TT_PENDING && !main->rx_bytes && !main->tx_bytes)
			drop_slot(main);
		close_socket(main);
	}
	forget_cookie(sk);
}

/* Handles the release of a datagram or MPTCP socket, on which nothing can be sent or received any more. */
static __always_inline void release(__u64 cookie, __u32 protocol)
{
	struct tt_slot *main;

	if (protocol_numbered(protocol) != TT_TCP) {
		if (datagrams && bpf_map_push_elem(&tt_ended, &cookie, 0))
			count_loss(TT_LOSS_ENDED, 1);
		return;
	}
	main = main_slot(cookie);
	if (!main)
		return;
	/* An accepted connection that nobody has used belongs to this process. */
	if (!main->owner && claim(&main->owner, owner_of(current_task()))) {
		__u32 cell = take_cell() - 1;
		struct event *event = event_at(cell);

		if (event) {
			event->cgroup = main->cgroup;
			describe_caller(cell);
			fill_process(main, event);
			give_cell_back(cell);
		}
	} else if (state_of(main) == TT_PENDING) {
		drop_slot(main);
	}
	close_socket(main);
}

#endif
