/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow way from an event to its slot: the first event of a flow, the first one after the selection changed, and all
 * events of what a socket's storage has no place for.
 */
#ifndef TT_SETTLE_H
#define TT_SETTLE_H

#include "slots.bpf.h"

/* What happened. */
enum event_kind {
	TT_SENT,
	TT_RECEIVED,
	TT_CONSUMED, /* bytes left the receive queue; a receive call may follow */
	TT_CONNECTS, /* a connection is being opened */
	TT_FOUND,    /* an older connection was found open */
	TT_CLOSES,   /* an accepted connection is closed that nothing was sent or received on */
};

/* What an event found out on its way. */
struct event {
	__u64 socket;	  /* address of the struct sock: a number, which the verifier does not follow */
	__u64 cookie;	  /* of the socket; set for settle() */
	__u64 leader;	  /* address of the process's first thread; 0: of the current one */
	__u64 selected;	  /* sessions that select the socket or the process */
	__u64 sessions;	  /* those of them whose filter wants the flow; valid after settling */
	__u64 peer[2];
	__u32 generation; /* of the selection that this event goes by */
	__u32 index;	  /* the slot, or TT_NO_SLOT where nobody wants the flow */
	__u32 tgid;
	__u32 owner;	  /* see owner_of() */
	__u16 peer_port;
	__u8 protocol;
	__u8 kind;
	__u8 named;	  /* whether the message itself told its peer */
	__u8 lent;	  /* selected by the process, see lent.bpf.h */
	__u8 renamed;	  /* the process runs another program than when it took the slot */
	__u8 pad;
};

/* The event is of the current process. */
static __always_inline void identify(struct event *event)
{
#ifdef TT_PLAIN
	event->tgid = bpf_get_current_pid_tgid() >> 32;
#else
	struct task_struct *task = current_task();

	event->tgid = FIELD(task, tgid);
	event->owner = owner_of(task);
#endif
}

/*
 * Functions that are not static are checked by the verifier once for a program, apart from their callers. Before Linux
 * 5.12 they could take no pointers.
 */
#ifdef TT_PLAIN
#define CHECKED_ONCE static __noinline
#else
#define CHECKED_ONCE __noinline
#endif

/*
 * Who began to send between a datagram socket and a peer: the first message tells. A flow has it in its slot; one that
 * every filter refuses has none, and must not be taken for another at its next message.
 */
static __always_inline __u8 datagram_direction(struct event *event)
{
	struct tt_peer_key key = { .cookie = event->cookie, .port = event->peer_port };
	__u8 direction = event->kind == TT_SENT ? TT_OUTBOUND : TT_INBOUND, *known;

	if (!(event->selected & selection.filtered))
		return direction;
	key.addr[0] = event->peer[0];
	key.addr[1] = event->peer[1];
	known = bpf_map_lookup_elem(&tt_directions, &key);
	if (known)
		return *known;
	bpf_map_update_elem(&tt_directions, &key, &direction, BPF_NOEXIST);
	return direction;
}

/*
 * Finds out which sessions want the flow and gives it a slot. A slot belongs to one set of sessions: when `old` counts
 * for that very set it stays; otherwise another one is taken, so that user space never has to split what it read.
 * `counts_socket`: whether this flow stands for its socket.
 *
 * Returns 0 where the event must go to the overflow row. event->index is the slot then to be used, or TT_NO_SLOT.
 */
CHECKED_ONCE int settle_slot(struct socket_state *state, struct event *event, __u32 old, int counts_socket)
{
	struct tt_slot *slot = slot_at(old);
	struct flow flow = {};
	__u64 counted = 0;
	__u32 slot_state;
	struct sock *sk;

	if (!state || !event)
		return false;
	if (state->counted)
		counts_socket = 0;
	sk = (struct sock *)event->socket;

	flow.protocol = event->protocol;
	flow.remote_addr[0] = event->peer[0];
	flow.remote_addr[1] = event->peer[1];
	flow.remote_port = event->peer_port;
	if (slot) {
		counted = slot->sessions;
		flow.direction = slot->state >> 16;
	} else if (event->protocol != TT_TCP) {
		flow.direction = datagram_direction(event);
	} else {
		flow.direction = state->direction ? state->direction : guess_direction(sk);
	}
	describe(&flow, sk);
	event->sessions = wanted_sessions(&flow, event->selected, selection.filtered);
	event->index = old;
	if (counted == event->sessions && !event->renamed)
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
	slot_state = event->kind == TT_CONNECTS ? TT_CONNECTING : TT_OPEN;
	if (counts_socket)
		slot_state |= TT_CONNECTION | (state->direction ? 0 : TT_OLDER);
	/* Each session counts the socket once: at its first process, and not again after a change. */
	fill_process(slot, event->tgid, event->leader);
	slot->cgroup = event->lent ? slot->caller_cgroup : cgroup_id_of(sk);
	fill_slot(slot, &flow, event->sessions, counts_socket ? event->sessions & ~counted : 0, slot_state);
	return true;
}

/* Gives up a slot that another thread was faster to settle. The event at hand still counts in it. */
static __always_inline void give_up(__u32 index)
{
	struct tt_slot *slot = slot_at(index);

	if (slot) {
		slot->connections = 0;
		slot->state &= ~TT_CONNECTION;
		close_slot(index);
	}
}

#ifndef TT_PLAIN
static __always_inline bool same_peer(struct tt_slot *slot, struct event *event)
{
	__u64 *addr = (__u64 *)slot->remote_addr;

	return addr[0] == event->peer[0] && addr[1] == event->peer[1] && slot->remote_port == event->peer_port;
}

/*
 * In a place of the socket's storage, which was found free or the flow's own. Returns -1 where another flow has taken it
 * meanwhile: then what it leads to is not this one's to replace.
 */
static __always_inline int settle_place(struct socket_state *state, struct event *event, __u32 place)
{
	__u64 old = *(volatile __u64 *)&state->place[place], new;

	if (old && old >> 32 != event->owner)
		return -1;
	if (old && event->protocol != TT_TCP) {
		struct tt_slot *slot = slot_at(old);

		if (slot && !same_peer(slot, event))
			return -1;
	}
	if (!settle_slot(state, event, old ? (__u32)old : TT_NO_SLOT, !place && event->protocol == TT_TCP))
		return false;
	new = (__u64)event->owner << 32 | event->index;
	if (new != old) {
		if (__sync_val_compare_and_swap(&state->place[place], old, new) != old) {
			give_up(event->index);
			return true;
		}
		if (old)
			close_slot(old);
		if (!place && event->protocol == TT_TCP)
			state->retransmits_before = retransmits_of((struct sock *)event->socket);
	}
	state->generation[place] = event->generation;
	return true;
}
#endif

/* Whether a flow in the map of peers stands for its socket: where there are no places, the first one. */
static __always_inline bool stands_for_socket(struct socket_state *state, __u32 old)
{
#ifdef TT_PLAIN
	return !state->first || state->first == old + 1;
#else
	return false;
#endif
}

/*
 * A flow's slot is found by the map of peers. When nothing else leads to it, user space must be told the socket's end.
 */
static __always_inline void note_slot(struct socket_state *state, struct event *event, __u32 old)
{
#ifdef TT_PLAIN
	/* Two flows that are new at the same moment can both take themselves for the first. */
	__sync_fetch_and_add(&state->flows, 1);
	if (stands_for_socket(state, old)) {
		if (event->protocol == TT_TCP)
			state->retransmits_before = retransmits_of((struct sock *)event->socket);
		state->first = event->index + 1;
		return;
	}
#endif
	state->shared = 1;
}

/* The map of peers does not lead to the slot any more, so user space must not take the entry out with it. */
static __always_inline void leave_slot(__u32 index)
{
	__u64 *cookie = bpf_map_lookup_elem(&tt_cookies, &index);

	if (cookie)
		*cookie = 0;
	close_slot(index);
}

/* In the map of peers: what the socket's storage has no place for; in the plain variant every flow. */
static __always_inline bool settle_peer(struct socket_state *state, struct event *event)
{
	struct tt_peer_key key = {
		.cookie = event->cookie,
		.tgid = event->tgid,
		.port = event->peer_port,
	};
	struct tt_peer new = { .generation = event->generation, .owner = event->owner }, *known;
	__u32 old = TT_NO_SLOT;
	__u64 *cookie;

	key.addr[0] = event->peer[0];
	key.addr[1] = event->peer[1];
	known = bpf_map_lookup_elem(&tt_peers, &key);
	if (known) {
		old = known->slot;
		event->renamed = known->owner != event->owner;
		if (known->generation == event->generation && !event->renamed) {
			event->index = old;
			return true;
		}
	}
	if (!settle_slot(state, event, old, event->protocol == TT_TCP && stands_for_socket(state, old)))
		return false;
	new.slot = event->index;
	if (known && old == new.slot) {
		known->generation = event->generation;
		return true;
	}
	if (new.slot == TT_NO_SLOT) {
		/* Not kept: user space removes entries with their slot, so one without would stay for ever. */
		if (known)
			bpf_map_delete_elem(&tt_peers, &key);
		leave_slot(old);
		return true;
	}
	cookie = bpf_map_lookup_elem(&tt_cookies, &new.slot);
	if (cookie)
		*cookie = key.cookie;
	if (bpf_map_update_elem(&tt_peers, &key, &new, known ? BPF_ANY : BPF_NOEXIST)) {
		/* What the map leads to is another slot, so user space must not take it out with this one. */
		if (cookie)
			*cookie = 0;
		give_up(event->index);
		/* Another thread was faster; or the map is full, and then the next event will find it full again. */
		if (!bpf_map_lookup_elem(&tt_peers, &key))
			count_loss(TT_LOSS_PEERS_FULL, 1);
		return true;
	}
	note_slot(state, event, old);
	leave_slot(old);
	return true;
}

#ifndef TT_PLAIN
/*
 * Finds event->index by a place of the socket's storage, or, with -1, by the map of peers. Returns 0 where the event
 * must go to the overflow row.
 */
__noinline int settle(struct socket_state *state, struct event *event, int place)
{
	if (!state || !event)
		return 0;
	if (place >= 0) {
		int settled = settle_place(state, event, place & (TT_PLACES - 1));

		if (settled >= 0)
			return settled;
	}
	return settle_peer(state, event);
}
#endif

#endif
