/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path from an event to its slot, for the first event of a flow and the first one after the selection changed.
 * The event describes its socket and process; settle() then applies the filters and takes a slot.
 */
#ifndef TT_OPEN_H
#define TT_OPEN_H

#include "counters.h"
#include "filter.h"
#include "lend.h"

/* The kind of an event. */
enum event_kind {
	TT_SENT,
	TT_RECEIVED,
	TT_CONNECTS,	/* a connection is being opened */
	TT_ESTABLISHED, /* a connection is established, and no process is known to use it yet */
	TT_FOUND,	/* an older connection was found open */
	TT_CLOSES,	/* an accepted connection is closed on which nothing was sent or received */
};

struct event {
	struct tt_key key;
	struct flow flow;
	__u64 socket;	/* address of the socket */
	__u64 cgroup;	/* cgroup that the flow belongs to */
	__u64 selected; /* sessions that select the socket or the process */
	__u64 sessions; /* those of them whose filter wants the flow; valid after settling */
	__u64 bytes;
	__u64 rx_base; /* as in struct tt_slot */
	__u64 tx_base;
	__u32 rx_first;
	__u32 tx_first;
	__u32 retransmits;
	__u32 generation; /* of the selection that this event uses */
	__u8 kind;
	__u8 based;	    /* the bases are valid */
	__u8 older;	    /* the connection is older than its selection */
	__u8 opening;	    /* connect() is under way */
	__u8 new;	    /* the connection is new: it has no slot, and no other process can have it yet */
	__u8 counts_itself; /* see counts_itself() */
	__u8 lent;	    /* selected by the cgroup of the process */
	__u8 ahead;	    /* as in struct tt_slot */
	__u64 caller_cgroup;
	char comm[16];
	__u32 ns_tgid;
	__u32 pad2;
};

static __always_inline struct event *event_at(__u32 cell)
{
	return cell_at(cell);
}

_Static_assert(sizeof(struct event) <= CELL_SIZE, "an event fits a cell");

/*
 * The argument `what` of open_slot(): kind of event, protocol, direction of a connection that was just established, and
 * whether the socket's counters count its application's bytes (counts_itself()).
 */
#define WHAT(kind, protocol) ((kind) | (protocol) << 8)
#define WHAT_DIRECTION(direction) ((direction) << 16)
#define WHAT_COUNTS_ITSELF (1u << 24)

/* Results of settle() other than a slot's handle. */
#define NOBODY 0	     /* no session wants the flow */
#define OVERFLOW 0xffffffffu /* the table is full */

/* Maximum number of attempts to make a main slot while another process does the same. */
#define RIVAL_TRIES 3

/*
 * Hashes of flows that no session wants, so that their later events need no filters. Hashes have 64 bits, so two flows
 * practically never share one.
 */
#define UNWANTED_FLOWS 4096
volatile __u64 unwanted_flows[UNWANTED_FLOWS];

static __always_inline __u64 unwanted_flow(const struct tt_key *key, __u64 hash, __u32 generation)
{
	return hash ^ ((__u64)key->owner << 32 | generation) * 0x9e3779b97f4a7c15ull;
}

/*
 * Set once a datagram flow was settled (settle()); until then, no datagram socket has a slot, and ends are not
 * reported.
 */
volatile __u64 datagrams;

/*
 * Finds the direction of the flow between a datagram socket and a peer, which is that of the first message. A flow
 * keeps it in its slot; a flow that every filter rejects has no slot, and must still have the same direction at its
 * next message.
 */
static __always_inline __u8 datagram_direction(struct event *event)
{
	__u8 direction = event->kind == TT_SENT ? TT_OUTBOUND : TT_INBOUND, *known;
	struct tt_key key = event->key;

	if (!(event->selected & selection.filtered))
		return direction;
	key.owner = 0;
	known = bpf_map_lookup_elem(&tt_directions, &key);
	if (known)
		return *known;
	bpf_map_update_elem(&tt_directions, &key, &direction, BPF_NOEXIST);
	return direction;
}

static __always_inline void fill_process(struct tt_slot *slot, struct event *event)
{
	__builtin_memcpy(slot->comm, event->comm, sizeof(slot->comm));
	slot->ns_tgid = event->ns_tgid;
	slot->caller_cgroup = event->caller_cgroup;
	slot->cgroup = event->cgroup;
}

static __always_inline void fill_ends(struct tt_slot *slot, struct event *event)
{
	__builtin_memcpy(slot->local_addr, event->flow.local_addr, 16);
	__builtin_memcpy(slot->remote_addr, event->flow.remote_addr, 16);
	slot->local_port = event->flow.local_port;
	slot->remote_port = event->flow.remote_port;
}

/* Fills a slot that was just taken, except its state. */
static __always_inline void fill_slot(struct tt_slot *slot, struct event *event, __u64 connections)
{
	fill_process(slot, event);
	fill_ends(slot, event);
	slot->socket = event->socket;
	slot->sessions = event->sessions;
	slot->connections = connections;
	slot->owner = event->key.owner;
	slot->generation = event->generation;
	slot->cookie = event->key.cookie;
}

static __always_inline void fill_bases(struct tt_slot *slot, struct event *event)
{
	slot->rx_base = event->rx_base;
	slot->tx_base = event->tx_base;
	slot->rx_first = event->rx_first;
	slot->tx_first = event->tx_first;
	slot->retransmits_base = event->retransmits;
	slot->ahead = event->ahead;
	slot->based = event->based;
}

/*
 * Opens a pending slot that gets a process, or whose connection is established: it is now known who wants the
 * connection, and user space may show it. Returns as settle() does.
 */
static __always_inline __u32 open_pending(struct tt_slot *slot, struct event *event, __u32 handle)
{
	slot->sessions = event->sessions;
	slot->connections = event->sessions;
	slot->generation = event->generation;
	if (!event->sessions) {
		drop_slot(slot);
		return NOBODY;
	}
	if (!slot->based) {
		fill_bases(slot, event);
		/* An MPTCP socket has no bases, and knows its peer only now. */
		fill_ends(slot, event);
	}
	publish(&slot->state, (slot->state & ~TT_STATE_MASK) | TT_OPEN);
	return handle;
}

/*
 * Finds the sessions that want the flow of an event and gives the flow a slot. A slot belongs to one set of sessions:
 * if the flow's slot has exactly that set, it stays; otherwise another one is taken, so that user space never has to
 * split what it read.
 *
 * Returns the slot's handle, NOBODY or OVERFLOW.
 */
CHECKED_ONCE __u64 settle(__u32 cell)
{
	struct event *event = event_at(cell);
	__u64 hash, counted = 0, connections = 0;
	struct tt_slot *slot = 0, *main = 0, *new;
	__u32 handle = 0, state, beside, i;
	bool adopted = false;
	__u8 shared = 0;

	if (!event)
		return NOBODY;
	/* A socket has no cookie if `tt_ids` (probed.h) is full. */
	if (!event->key.cookie) {
		event->sessions = event->selected;
		count_loss(TT_LOSS_TABLE_FULL, 1);
		return OVERFLOW;
	}
	hash = hash_of(&event->key);
	if (event->key.datagram) {
		datagrams = 1;
		slot = find_slot(&event->key, hash, &handle);
		event->flow.direction = slot ? direction_of(slot) : datagram_direction(event);
	} else if (!event->new) {
		main = find_main(event->key.cookie, &handle);
		if (main)
			event->flow.direction = direction_of(main);
		if (main && main->owner == event->key.owner) {
			slot = main;
		} else if (main && !main->owner && claim(&main->owner, event->key.owner)) {
			/* An accepted connection belongs to the process that uses it first. */
			slot = main;
			fill_process(slot, event);
			adopted = true;
		} else if (main && event->kind == TT_FOUND) {
			/* A process that only holds a connection has moved nothing yet, so it gets no slot. */
			return NOBODY;
		} else if (main) {
			slot = find_slot(&event->key, hash, &handle);
		}
	}
	event->sessions = event->opening ? event->selected : wanted_sessions(&event->flow, event->selected);
	if (slot && state_of(slot) == TT_PENDING) {
		/* If another process has claimed the accepted connection, that process opens the slot. */
		if (event->opening || (!adopted && event->flow.direction == TT_INBOUND))
			return handle;
		return open_pending(slot, event, handle);
	}
	if (slot && slot->sessions == event->sessions) {
		slot->generation = event->generation;
		return handle;
	}
	if (slot) {
		counted = slot->sessions;
		shared = slot->shared;
		close_slot(slot);
	}
	if (!event->sessions) {
		/* Without their main slot, the slots of other processes would not be found at the socket's end. */
		if (shared)
			close_all(event->key.cookie);
		if (!main || slot == main)
			unwanted_flows[hash % UNWANTED_FLOWS] = unwanted_flow(&event->key, hash, event->generation);
		return NOBODY;
	}
	/* A socket has one main slot; its other slots are beside that one. */
	beside = event->key.datagram;
	if (main && slot != main)
		beside = 1;
	handle = 0;
	for (i = 0; i < RIVAL_TRIES; i++) {
		/* Keeps the compiler from computing these numbers from pointers. */
		barrier_var(beside);
		/* The key of a main slot has no owner, since other processes find the main slot by it too. */
		handle = take_slot(event->key.cookie, event->key.addr[0], event->key.addr[1],
				   beside ? rest_of(&event->key) : 0, !beside && !event->new);
		if (handle != CONTESTED)
			break;
		/* The other main slot exists by now, or its maker has given way too, and this one tries again. */
		handle = 0;
		main = main_slot(event->key.cookie);
		if (main)
			beside = 1;
	}
	/*
	 * The process that makes the main slot was interrupted. Bytes of this process must not wait for it, so they get
	 * a slot that is not the main one.
	 */
	if (i == RIVAL_TRIES) {
		beside = 1;
		handle = take_slot(event->key.cookie, 0, 0, rest_of(&event->key), false);
	}
	new = handle ? slot_at(handle - 1) : 0;
	if (!new) {
		count_loss(TT_LOSS_TABLE_FULL, 1);
		return OVERFLOW;
	}
	state = event->opening || !event->key.owner ? TT_PENDING : TT_OPEN;
	if (event->lent)
		state |= TT_LENT;
	barrier_var(beside);
	if (!beside) {
		/*
		 * Each session counts the connection once, and not again in the slot that follows a change of the
		 * selection.
		 */
		connections = event->sessions & ~counted;
		state |= TT_CONNECTION | (event->older ? TT_OLDER : 0);
		fill_bases(new, event);
		new->shared = shared;
	} else if (main) {
		main->shared = 1;
	}
	fill_slot(new, event, connections);
	/* A reader that sees the state also sees everything above. */
	publish(&new->state, TT_STATE(state, event->flow.protocol, event->flow.direction));
	return handle;
}

#endif
