/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes that leave a TCP socket's receive queue without a receive call: splice and TCP_ZEROCOPY_RECEIVE pass by the
 * hook that tells a call's length. tcp_rcv_space_adjust fires for them too, under the socket's lock and in the reader's
 * task, 1 to n times a call after the bytes left the queue, and, where it is a receive call, before its length is told.
 *
 * So the advance of tcp_sock.copied_seq counts, at once and for the process at hand. The length that a receive call
 * returned has then been counted already; it counts only as far as the advance was not known: in the first call on a
 * socket that is older than the selection, or was not selected for a while.
 *
 * socket_state.consumed: generation << 32 | sequence up to which the socket had been read at its last such event.
 * socket_state.ahead: bytes counted by an advance that no receive call has returned yet. Each call adds its advance
 * before it takes its length away, so whatever other calls and threads do in between, a call whose advance was known
 * finds at least its length here. What was spliced stays here for ever. One number for all processes of the socket
 * serves: each byte was counted for its process when it was read, and only the first, unknown part of a call on an
 * older socket could be taken for another's, if they read at the same moment.
 *
 * The kernel can skip an event (see twin.bpf.h). The next advance has it in it; where the call's own length comes first,
 * it counts, and `consumed` goes on by as much, so that no advance counts it again.
 */
#ifndef TT_SPACE_H
#define TT_SPACE_H

#include "select.bpf.h"

/*
 * Whether the advance of copied_seq is what the application read. With kTLS and in a sockmap others read the queue
 * before it does: their receive function replaces the one of TCP. (A socket that an MPTCP listener accepted from a peer
 * without MPTCP has functions of its own too, but receives as TCP does.) MPTCP has no queue of its own.
 */
static __always_inline bool reads_its_queue(struct sock *sk)
{
	struct proto *now = FIELD(sk, __sk_common.skc_prot), *made = FIELD(sk, sk_prot_creator);

	return FIELD(sk, sk_protocol) == IPPROTO_TCP && (now == made || FIELD(now, recvmsg) == FIELD(made, recvmsg));
}

/* The sequence number up to which the socket was read. The FIN has a number too and is no byte. */
static __always_inline __u32 read_sequence(struct sock *sk, struct tcp_sock *tcp)
{
	__u32 sequence = FIELD(tcp, copied_seq);

	if (FIELD(sk, __sk_common.skc_flags) & 1 << SOCK_DONE && sequence == FIELD(tcp, rcv_nxt))
		sequence--;
	return sequence;
}

#ifndef TT_PLAIN

/* How often a call retries when others take from `ahead` at the same moment. */
#define AHEAD_TRIES 8

/*
 * Brings socket_state.consumed up to date; returns how many bytes were read since it last was, 0 where that is not
 * known. Only under the socket's lock, or before the application can have the socket. `gap_free`: whether every read
 * since the generation kept there was seen.
 */
static __always_inline __u32 advance(struct socket_state *state, __u32 generation, __u32 sequence, bool gap_free)
{
	__u64 now = (__u64)generation << 32 | sequence, before;
	__s32 bytes;

	before = __sync_lock_test_and_set(&state->consumed, now);
	if (!(before >> 32) || !gap_free) {
		state->seeded = 1;
		state->ahead = 0;
		return 0;
	}
	bytes = sequence - (__u32)before;
	if (bytes >= 0)
		return bytes;
	/* Lengths of calls were faster, see count_unseen(). */
	__sync_val_compare_and_swap(&state->consumed, now, (__u64)generation << 32 | (__u32)before);
	return 0;
}

/* Of the length that a receive call returned, what was counted already. */
static __always_inline __u64 take_ahead(struct socket_state *state, __u64 length)
{
	__u64 ahead, part;
	int i;

	for (i = 0; i < AHEAD_TRIES; i++) {
		ahead = *(volatile __u64 *)&state->ahead;
		part = ahead < length ? ahead : length;
		if (!part || __sync_val_compare_and_swap(&state->ahead, ahead, ahead - part) == ahead)
			return part;
	}
	/* So much in demand, it must be there; see the invariant. */
	__sync_fetch_and_sub(&state->ahead, length);
	return length;
}

/*
 * A call returned more than was counted of it. In the first call on an older socket the rest was read before its
 * sequence was known. Later, an event was skipped.
 */
static __always_inline void count_unseen(struct socket_state *state, __u64 bytes)
{
	__u64 consumed = state->consumed;

	if (state->seeded)
		state->seeded = 0;
	else if (consumed >> 32)
		__sync_val_compare_and_swap(&state->consumed, consumed,
					    (consumed & ~0xffffffffull) | (__u32)(consumed + bytes));
}

#endif
#endif
