/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's own counters of a TCP socket, which are exact and have 64 bits:
 *
 *	sent by the application      bytes_acked + (write_seq - snd_una), less one for the SYN at the end that connected
 *	received by the application  bytes_received - (rcv_nxt - copied_seq), less one for a FIN that was consumed
 *
 * Calls on a socket show who moved bytes, and how often. The difference between these counters and what is counted
 * shows the bytes that calls leave out: splice and zero-copy receives are no such calls, and the kernel can skip an
 * event. The difference is credited to the process that used the socket last, when the socket ends and from time to
 * time while it lives. Bytes of a call that is still under way are missing too. The kernel shows that a task waits for
 * room to send, but a receive that waits for more bytes can be credited early. A call that comes after a credit
 * therefore counts only as many bytes as the counters have beyond what is counted.
 *
 * The bases of the main slot are the values of the counters for bytes that are not counted in this slot. The start of
 * the stream is snd_una - bytes_acked and rcv_nxt - bytes_received, which are both constant as long as the connection
 * lives. By the start, the counters are distinguished from those of another connection, and from a pair that was read
 * while it changed.
 *
 * With an upper layer (kernel TLS, and MPTCP below its own socket) and in a sockmap, others use the socket's queues, so
 * only the calls count. The same holds for received bytes once there was an urgent byte: that byte has a sequence
 * number, and the stream can skip it without anybody receiving it.
 */
#ifndef TT_COUNTERS_H
#define TT_COUNTERS_H

#include "socket.h"
#include "table.h"

struct counters {
	__u64 acked;
	__u64 got;
	__u32 unacked; /* first sequence number that is not acknowledged */
	__u32 written;
	__u32 next;
	__u32 copied;
	bool fin;
	bool urgent;
};

/* Reads the counters of a socket. `read` reads a field: FIELD, or BPF_CORE_READ if the pointers are not typed. */
#define READ_COUNTERS(read, counters, sk, tcp)                                                                       \
	do {                                                                                                         \
		(counters)->acked = read(tcp, bytes_acked);                                                          \
		(counters)->unacked = read(tcp, snd_una);                                                            \
		(counters)->written = read(tcp, write_seq);                                                          \
		(counters)->got = read(tcp, bytes_received);                                                         \
		(counters)->next = read(tcp, rcv_nxt);                                                               \
		(counters)->copied = read(tcp, copied_seq);                                                          \
		(counters)->fin = read(sk, __sk_common.skc_flags) >> SOCK_DONE & 1;                                  \
		(counters)->urgent = read(tcp, urg_seq) && !(read(sk, __sk_common.skc_flags) >> SOCK_URGINLINE & 1); \
	} while (0)

static __always_inline __u32 sent_first(const struct counters *counters)
{
	return counters->unacked - (__u32)counters->acked;
}

static __always_inline __u32 received_first(const struct counters *counters)
{
	return counters->next - (__u32)counters->got;
}

static __always_inline __u64 sent_of(const struct counters *counters)
{
	return counters->acked + (__u32)(counters->written - counters->unacked);
}

static __always_inline __u64 received_of(const struct counters *counters)
{
	/* The FIN takes a sequence number, but is no byte. */
	return counters->got - (__s32)(counters->next - counters->copied) -
	       (counters->fin && counters->copied == counters->next);
}

/*
 * Returns whether a socket's counters count the bytes of its application: see the top of this file. To be called early
 * in a program, while the verifier has few states: it searches all types of the kernel for each of these pointers. (A
 * socket that an MPTCP listener accepted from a peer without MPTCP has functions of its own, but receives as TCP does.)
 */
static __always_inline bool counts_itself(struct sock *sk)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct proto *now, *made;

	if (!tcp || FIELD(tcp, inet_conn.icsk_ulp_ops))
		return false;
	now = FIELD(sk, __sk_common.skc_prot);
	made = FIELD(sk, sk_prot_creator);
	return now == made || FIELD(now, recvmsg) == FIELD(made, recvmsg);
}

/* Returns the slot of the process that used a socket last. */
static __always_inline struct tt_slot *last_slot(struct tt_slot *main)
{
	__u32 number = main->last;
	struct tt_slot *last = number ? slot_at(number - 1) : 0;

	return last && last->cookie == main->cookie && is_live(last) ? last : main;
}

/*
 * Returns the number of bytes that a socket sent beyond what is counted; 0 if unknown, negative if too many are
 * counted.
 */
static __always_inline __s64 missing_sent(struct tt_slot *main, const struct counters *counters, __u64 counted)
{
	if (main->sent_all)
		/* While `sent_final` is 0, its value is not visible to this CPU yet. */
		return main->sent_final ? (__s32)(main->sent_final - (__u32)counted) : 0;
	return main->based && sent_first(counters) == main->tx_first ? sent_of(counters) - counted : 0;
}

/* Returns the number of bytes that a socket received beyond what is counted, like missing_sent(). */
static __always_inline __s64 missing_received(struct tt_slot *main, const struct counters *counters, __u64 counted)
{
	if (counters->urgent)
		return 0;
	return main->based && received_first(counters) == main->rx_first ? received_of(counters) - counted : 0;
}

/*
 * Credits the bytes sent, or received, beyond what is counted, except `bytes`, which the current call is about to
 * count. Returns false if another call counts at the same moment, so that nothing is credited.
 */
static __always_inline bool credit(struct tt_slot *main, const struct counters *counters, __u64 bytes, bool sent)
{
	__u64 *base = sent ? &main->tx_base : &main->rx_base, *own = sent ? &main->tx_bytes : &main->rx_bytes;
	__u64 beside = *(volatile __u64 *)base, counted = *(volatile __u64 *)own;
	struct tt_slot *slot = last_slot(main);
	__s64 missing;

	missing = sent ? missing_sent(main, counters, beside + counted) : missing_received(main, counters, beside + counted);
	missing -= bytes;
	if (missing <= 0)
		return true;
	main->ahead = 1;
	if (slot == main)
		return add_if_unchanged(own, counted, missing);
	if (!add_if_unchanged(base, beside, missing))
		return false;
	__sync_fetch_and_add(sent ? &slot->tx_bytes : &slot->rx_bytes, missing);
	return true;
}

static __always_inline void credit_sent(struct tt_slot *main, const struct counters *counters, __u64 bytes)
{
	credit(main, counters, bytes, true);
}

static __always_inline void credit_received(struct tt_slot *main, const struct counters *counters, __u64 bytes)
{
	credit(main, counters, bytes, false);
}

/*
 * Notes that nothing more can be sent: the connection has ended, or is about to send a FIN. `fin`: the FIN was sent
 * before, so the counters include its sequence number.
 */
static __always_inline void finish_sending(struct tt_slot *main, const struct counters *counters, bool fin)
{
	if (!main->based || main->sent_all || sent_first(counters) != main->tx_first)
		return;
	main->sent_final = (__u32)sent_of(counters) - fin;
	barrier();
	main->sent_all = 1;
}

/*
 * Does the same as finish_sending() for a socket that is gone and whose change of state was not seen. A FIN takes a
 * sequence number, so it was sent if the counters have more than `segments`, the number of bytes in segments without
 * retransmits, SYN and FIN, and the SYN of the end that connected.
 */
static __always_inline void finish_unseen(struct tt_slot *main, const struct counters *counters, __u64 segments)
{
	if (!main->sent_all)
		finish_sending(main, counters, segments + (direction_of(main) == TT_OUTBOUND) != sent_of(counters));
}

/*
 * Returns whether a TCP socket in this state may have sent a FIN, so that its counters may include the FIN's sequence
 * number.
 */
static __always_inline bool is_after_fin(int state)
{
	return state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_SYN_RECV && state != TCP_SYN_SENT;
}

/* Maximum number of attempts of a call to count its bytes while others count in the same slot. */
#define COUNT_TRIES 8

/*
 * Returns how many of a call's `bytes` were credited before the call reported them. `counted`: number of the socket's
 * bytes that are counted so far.
 */
static __noinline __u64 credited_before(struct sock *sk, struct tt_slot *main, __u64 counted, __u64 bytes, bool sent)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct counters counters;
	__s64 missing;

	/* Without valid counters there is nothing to compare with, so the call counts all its bytes. */
	if (!tcp || !counts_itself(sk))
		return 0;
	READ_COUNTERS(FIELD, &counters, sk, tcp);
	if (sent ? (main->sent_all ? !main->sent_final : sent_first(&counters) != main->tx_first) :
		   counters.urgent || received_first(&counters) != main->rx_first)
		return 0;
	missing = sent ? missing_sent(main, &counters, counted) : missing_received(main, &counters, counted);
	if (missing >= (__s64)bytes)
		return 0;
	return missing <= 0 ? bytes : bytes - missing;
}

/* Returns whether bytes may have been credited before `counted` was read. The CPU reads the flag after that value. */
static __always_inline bool is_ahead(struct tt_slot *main, __u64 counted)
{
	/* The address depends on the value that was read before, so arm64 reads in that order without a barrier. */
	asm volatile("%0 &= 0" : "+r"(counted));
	return *((volatile __u8 *)&main->ahead + counted);
}

/*
 * Counts the bytes of a call, except those that were credited before. Bytes that are counted beside the main slot are
 * in its base too, which is updated first. A credit sets `ahead` first, and adds only to the value that it has read: if
 * the credit comes first, the call sees `ahead`; if the call comes first, the credit fails.
 */
static __always_inline void count_bytes(struct sock *sk, struct tt_slot *main, struct tt_slot *slot, __u64 bytes, bool sent)
{
	__u64 *word = sent ? &slot->tx_bytes : &slot->rx_bytes, *other = 0, counted, more;
	int i;

	if (main) {
		other = sent ? &main->tx_base : &main->rx_base;
		if (slot != main) {
			word = other;
			other = sent ? &main->tx_bytes : &main->rx_bytes;
		}
	}
	for (i = 0; i < COUNT_TRIES; i++) {
		counted = *(volatile __u64 *)word;
		more = bytes;
		if (main && is_ahead(main, counted))
			more -= credited_before(sk, main, counted + *(volatile __u64 *)other, bytes, sent);
		if (!more || add_if_unchanged(word, counted, more))
			break;
	}
	if (i == COUNT_TRIES)
		__sync_fetch_and_add(word, more);
	if (main && slot != main)
		__sync_fetch_and_add(sent ? &slot->tx_bytes : &slot->rx_bytes, more);
}

/* Stores the kernel's figures of a connection: the number of retransmitted segments, and the round-trip time. */
static __always_inline void note_health(struct tt_slot *main, __u32 retransmits, __u32 srtt)
{
	retransmits -= main->retransmits_base;
	/* tcp_disconnect(), also by a close with SO_LINGER 0, resets total_retrans: the largest value is kept. */
	if ((__s32)retransmits > (__s32)main->retransmits)
		main->retransmits = retransmits;
	main->srtt_us = srtt >> 3;
}

#endif
