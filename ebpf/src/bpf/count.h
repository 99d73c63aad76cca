/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The path of every send and receive to its slot: transfer() is the fast path, open_slot() is the slow one. */
#ifndef TT_COUNT_H
#define TT_COUNT_H

#include "open.h"
#include "peer.h"
#include "twin.h"

/* Counts an event that found no slot in `tt_overflow`, by cgroup, sessions and protocol. */
static __noinline int count_overflow(struct event *event)
{
	struct tt_overflow_key key = {
		.cgroup = event->cgroup,
		.sessions = event->sessions,
		.protocol = event->flow.protocol,
	};
	struct tt_overflow zero = {}, *sum;
	bool sent = event->kind == TT_SENT;

	sum = bpf_map_lookup_elem(&tt_overflow, &key);
	if (!sum) {
		bpf_map_update_elem(&tt_overflow, &key, &zero, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&tt_overflow, &key);
	}
	if (!sum) {
		count_loss(sent ? TT_LOSS_TX_BYTES : TT_LOSS_RX_BYTES, event->bytes);
		return 0;
	}
	__sync_fetch_and_add(sent ? &sum->tx_bytes : &sum->rx_bytes, event->bytes);
	if (sent || event->kind == TT_RECEIVED)
		__sync_fetch_and_add(sent ? &sum->tx_calls : &sum->rx_calls, 1);
	return 0;
}

/*
 * Records bytes of a TCP socket that are counted outside its main slot, or not at all, so that they are not credited to
 * the main slot.
 */
static __always_inline void count_beside(struct tt_slot *main, __u64 bytes, bool sent)
{
	__sync_fetch_and_add(sent ? &main->tx_base : &main->rx_base, bytes);
}

/* Calls count_beside() for the TCP flow with this key, if its socket has a main slot. */
static __always_inline void count_beside_main(struct tt_key *key, __u64 bytes, bool sent)
{
	struct tt_slot *main = key->datagram || !bytes ? 0 : main_slot(key->cookie);

	if (main)
		count_beside(main, bytes, sent);
}

/* Describes the process of a task, except its cgroup. */
static __always_inline void describe_process(struct event *event, struct task_struct *task)
{
	struct task_struct *leader = FIELD(task, group_leader);
	struct pid *pid = FIELD(leader, thread_pid);
	__u32 level = FIELD(pid, level);
	struct upid number = {};

	event->ns_tgid = FIELD(task, tgid);
	if (level) {
		/* numbers[] has one entry for each namespace; the last one is the id that the process itself sees. */
		bpf_core_read(&number, sizeof(number), &pid->numbers[level & 31]);
		event->ns_tgid = number.nr;
	}
	bpf_core_read(event->comm, sizeof(event->comm), &leader->comm);
}

CHECKED_ONCE int describe_caller(__u32 cell)
{
	struct event *event = event_at(cell);

	if (!event)
		return 0;
	describe_process(event, current_task());
	event->caller_cgroup = bpf_get_current_cgroup_id();
	if (event->lent)
		event->cgroup = event->caller_cgroup;
	return 0;
}

/*
 * Describes a connection that was just established and of which nothing is counted, so that its bases (counters.h)
 * leave all bytes to be counted. At the end that connected, the counter of sent bytes includes the SYN.
 */
static __always_inline void describe_new(struct event *event, struct sock *sk)
{
	struct tcp_sock *tcp = tcp_of(sk);

	if (!event->counts_itself || !tcp)
		return;
	event->rx_first = FIELD(tcp, rcv_nxt) - (__u32)FIELD(tcp, bytes_received);
	event->tx_first = FIELD(tcp, snd_una) - (__u32)FIELD(tcp, bytes_acked);
	event->tx_base = event->flow.direction == TT_OUTBOUND;
	event->based = 1;
}

/*
 * Finds the direction and the bases (counters.h) of a connection: the values of its counters before this event. If its
 * main slot has valid bases, credits the bytes that calls had left out until then.
 */
CHECKED_ONCE int describe_connection(__u32 cell)
{
	struct event *event = event_at(cell);
	struct counters counters;
	struct origin *origin;
	struct tcp_sock *tcp;
	struct tt_slot *main;
	bool fresh;
	struct sock *sk;
	__u64 tx, rx;
	__u8 state;

	if (!event)
		return 0;
	sk = (struct sock *)event->socket;
	tcp = (struct tcp_sock *)sk;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	main = main_slot(event->key.cookie);
	fresh = state == TCP_SYN_RECV || (main && state_of(main) == TT_PENDING);
	event->opening = state == TCP_SYN_SENT;
	if (fresh && main && main->based)
		return 0;
	event->flow.direction = main ? direction_of(main) : guess_direction(sk);
	event->older = !fresh;
	READ_COUNTERS(BPF_CORE_READ, &counters, sk, tcp);
	origin = main ? 0 : find_origin(&event->socket, event->counts_itself ? &counters : 0);
	if (origin && origin->direction) {
		event->flow.direction = origin->direction;
		event->older = false;
	}
	if (!event->counts_itself)
		return 0;
	event->rx_first = received_first(&counters);
	event->tx_first = sent_first(&counters);
	event->based = 1;
	if (main && main->based && event->rx_first == main->rx_first && event->tx_first == main->tx_first) {
		if (main->generation != event->generation) {
			credit_received(main, &counters, event->kind == TT_RECEIVED ? event->bytes : 0);
			if (!BPF_CORE_READ(sk, sk_write_pending))
				credit_sent(main, &counters, event->kind == TT_SENT ? event->bytes : 0);
		}
		/*
		 * If another slot replaces the main slot, it begins where the main slot ends, even if a credit is ahead
		 * of the calls.
		 */
		event->rx_base = main->rx_base + main->rx_bytes;
		event->tx_base = main->tx_base + main->tx_bytes;
		event->retransmits = main->retransmits_base + main->retransmits;
		event->ahead = main->ahead;
		return 0;
	}
	if (fresh) {
		event->tx_base = event->flow.direction == TT_OUTBOUND;
		return 0;
	}
	event->retransmits = BPF_CORE_READ(tcp, total_retrans);
	if (origin) {
		event->rx_base = origin->rx_base;
		event->tx_base = origin->tx_base;
		return 0;
	}
	tx = event->kind == TT_SENT ? event->bytes : 0;
	rx = event->kind == TT_RECEIVED ? event->bytes : 0;
	event->rx_base = received_of(&counters) - rx;
	event->tx_base = sent_of(&counters) - tx;
	return 0;
}

/*
 * The slow path of an event. Returns the slot's handle, or 0 if no session wants the event or it was counted as
 * overflow. `what`: see WHAT(). A connection that was just established has no process yet; all other events belong to
 * the current process.
 */
static __noinline __u32 open_slot(struct sock *sk, struct tt_key *key, __u64 bytes, __u32 what, __u64 cgroup)
{
	__u32 generation = selection.generation, kind = what & 0xff, cell, handle = NOBODY;
	__u64 hash = hash_of(key), selected;
	struct event *event;
	bool lent = false;

	if (selection.filtered && unwanted_flows[hash % UNWANTED_FLOWS] == unwanted_flow(key, hash, generation)) {
		if (kind != TT_CONNECTS)
			return NOBODY;
		/* Forgets the flow, because the socket's next connection has another peer. */
		unwanted_flows[hash % UNWANTED_FLOWS] = 0;
	}
	if (key->owner)
		selected = socket_sessions_of(sk, cgroup, generation, &lent);
	else
		selected = cgroup_sessions_of(sk, cgroup, generation);
	if (!selected) {
		/* Bytes that unselected processes move over a shared socket must not be credited to another process. */
		count_beside_main(key, bytes, kind == TT_SENT);
		return NOBODY;
	}
	cell = take_cell() - 1;
	event = event_at(cell);
	if (!event) {
		count_loss(kind == TT_SENT ? TT_LOSS_TX_BYTES : TT_LOSS_RX_BYTES, bytes);
		return NOBODY;
	}
	event->key = *key;
	event->bytes = bytes;
	event->kind = kind;
	event->generation = generation;
	event->cgroup = cgroup;
	event->selected = selected;
	event->lent = lent;
	event->socket = address_of(sk);
	event->flow.protocol = what >> 8;
	event->flow.direction = kind == TT_CONNECTS ? TT_OUTBOUND : what >> 16;
	event->counts_itself = !!(what & WHAT_COUNTS_ITSELF);
	event->new = kind == TT_CONNECTS || kind == TT_ESTABLISHED;
	event->opening = kind == TT_CONNECTS;
	if (key->datagram) {
		event->flow.remote_addr[0] = key->addr[0];
		event->flow.remote_addr[1] = key->addr[1];
		event->flow.remote_port = key->port;
	}
	describe_ends(&event->flow, sk);
	if (kind == TT_ESTABLISHED)
		describe_new(event, sk);
	else
		describe_caller(cell);
	if (!key->datagram && !event->new)
		describe_connection(cell);
	handle = settle(cell);
	if (!key->datagram)
		forget_origin(event->socket);
	if (handle == OVERFLOW && bytes)
		count_overflow(event);
	if (handle == OVERFLOW || handle == NOBODY) {
		handle = NOBODY;
		count_beside_main(key, bytes, kind == TT_SENT);
	}
	give_cell_back(cell);
	return handle;
}

/* Counts a call on a TCP socket in a slot. */
static __always_inline void count(struct sock *sk, struct tt_slot *slot, __u32 handle, __u64 bytes, bool sent)
{
	struct tt_slot *main = slot;
	struct tcp_sock *tcp;
	__u32 calls;

	if (!is_main(slot)) {
		main = main_slot(slot->cookie);
		if (main) {
			main->last = handle;
			main->shared = 1;
		}
	} else if (main->last) {
		main->last = 0;
	}
	count_bytes(sk, main, slot, bytes, sent);
	__sync_fetch_and_add(sent ? &slot->tx_calls : &slot->rx_calls, 1);
	/* The round-trip time is read only sometimes: at the 1st, 2nd, 4th, 8th ... and at every 64th send. */
	calls = slot->tx_calls;
	if (main && sent && (!(calls & (calls - 1)) || !(calls & 63))) {
		tcp = tcp_of(sk);
		if (tcp)
			note_health(main, FIELD(tcp, total_retrans), FIELD(tcp, srtt_us));
	}
}

/* Counts a datagram in a slot. */
static __always_inline void count_message(struct tt_slot *slot, __u64 bytes, bool sent)
{
	if (sent) {
		__sync_fetch_and_add(&slot->tx_bytes, bytes);
		__sync_fetch_and_add(&slot->tx_calls, 1);
	} else {
		__sync_fetch_and_add(&slot->rx_bytes, bytes);
		__sync_fetch_and_add(&slot->rx_calls, 1);
	}
}

/*
 * Returns whether the bytes of a slot's TCP socket are compared with the socket's own counters, so that none can be
 * missed.
 */
static __always_inline bool is_compared(struct tt_slot *slot)
{
	struct tt_slot *main = is_main(slot) ? slot : main_slot(slot->cookie);

	return main && main->based;
}

/*
 * Returns whether the current process may count in the slot that was found for it, provided that the selection has not
 * changed since.
 */
static __always_inline bool is_settled(struct tt_slot *slot)
{
	__u32 state = *(volatile __u32 *)&slot->state & (TT_STATE_MASK | TT_LENT);

	/* With TT_LENT, the process was selected by its cgroup, which it may have left. */
	return state == TT_OPEN || (state == (TT_OPEN | TT_LENT) && slot->caller_cgroup == bpf_get_current_cgroup_id());
}

/*
 * Counts one call of the current process that sent or received `bytes` bytes. `twin`: this is the second program on the
 * hook (twin.h). `msg`: the message, which may name its peer, or 0.
 */
static __always_inline void transfer(struct sock *sk, __u64 bytes, bool sent, bool twin, struct msghdr *msg)
{
	__u32 rescued = sent ? TT_LOSS_RESCUED_SENDS : TT_LOSS_RESCUED_RECEIVES, bit = sent ? 1 : 2, handle;
	__u16 family = FIELD(sk, __sk_common.skc_family);
	__u32 generation = selection.generation;
	bool asked = !twin && !(twins & bit);
	struct tt_key key = {};
	struct tt_slot *slot;
	__u64 cgroup, hash;
	__u8 protocol;

	if (family != AF_INET && family != AF_INET6)
		return;
	cgroup = socket_cgroup_id(sk);
	if (is_unwanted(cgroup, generation))
		return;
	protocol = protocol_of(sk);
	/* An empty datagram counts as a call; a receive at the end of a stream does not. */
	if (!protocol || (protocol == TT_TCP && !bytes))
		return;
	key.cookie = cookie_of(sk);
	key.owner = owner_of(current_task());
	if (protocol != TT_TCP) {
		if (counted_by_twin(twin, bit, rescued))
			return;
		key.datagram = 1;
		if (!msg || !named_peer(msg, &key, sent))
			find_peer(sk, &key, protocol, !sent);
	}
	hash = hash_of(&key);
	slot = find_slot(&key, hash, &handle);
	if (!slot || slot->generation != generation || !is_settled(slot)) {
		__u32 what = WHAT(sent ? TT_SENT : TT_RECEIVED, protocol);

		/* open_slot() may count the event as overflow, which only one of a program and its twin may do. */
		if (!key.datagram && !asked) {
			asked = true;
			if (counted_by_twin(twin, bit, rescued))
				return;
		}
		if (counts_itself(sk))
			what |= WHAT_COUNTS_ITSELF;
		handle = open_slot(sk, &key, bytes, any(what), cgroup);
		slot = handle ? slot_at(handle - 1) : 0;
		if (!slot)
			return;
		if (!key.datagram && !twin && twins & bit && what & WHAT_COUNTS_ITSELF && is_compared(slot))
			take_mark();
	}
	if (key.datagram) {
		count_message(slot, bytes, sent);
		note_for_stack(sk, slot, handle);
		return;
	}
	if (!asked && (is_compared(slot) && counts_itself(sk) ? twin : counted_by_twin(twin, bit, rescued)))
		return;
	count(sk, slot, handle, bytes, sent);
	note_for_stack(sk, slot, handle);
}

#endif
