/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel itself counts of a TCP socket, in 64 bits and exactly:
 *
 *	sent by the application      bytes_acked + (write_seq - snd_una), less one for the SYN at the end that connected
 *	received by the application  bytes_received - (rcv_nxt - copied_seq), less one for a FIN that was consumed
 *
 * The calls on a socket tell who moved bytes, and how often. What they leave out, since splice and zero-copy receives are
 * no calls of that kind and the kernel can skip an event, is the difference between these counters and what is counted. It
 * is credited to the process that used the socket last: when nothing more can be sent, when the socket ends, and now and
 * then while it lives. Such a credit can be early, for a call that is still under way. So a call that comes after one takes
 * back what was counted beyond the counters.
 *
 * The main slot's bases are what the counters said of bytes that are not counted in this slot. The stream's beginning, by
 * which the counters are told from those of another connection, and from a pair that was read while it changed, is
 * snd_una - bytes_acked and rcv_nxt - bytes_received: both are constant as long as the connection lives.
 *
 * With an upper layer (kernel TLS, and MPTCP below its own socket) and in a sockmap, others use the socket's queues: there
 * the calls alone count.
 */
#ifndef TT_COUNTERS_H
#define TT_COUNTERS_H

#include "socket.h"
#include "table.h"

/* How often counters are read again that were changing. */
#define READ_TRIES 3

struct counters {
	__u64 acked;
	__u64 got;
	__u32 unacked; /* first sequence number that is not acknowledged */
	__u32 written;
	__u32 next;
	__u32 copied;
	bool fin;
};

/* Reads the counters of a socket whose memory `read` can follow. */
#define READ_COUNTERS(read, counters, sk, tcp)                                            \
	do {                                                                              \
		(counters)->acked = read(tcp, bytes_acked);                               \
		(counters)->unacked = read(tcp, snd_una);                                 \
		(counters)->written = read(tcp, write_seq);                               \
		(counters)->got = read(tcp, bytes_received);                              \
		(counters)->next = read(tcp, rcv_nxt);                                    \
		(counters)->copied = read(tcp, copied_seq);                               \
		(counters)->fin = read(sk, __sk_common.skc_flags) >> SOCK_DONE & 1;       \
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
	/* The FIN has a number in the sequence and is no byte. */
	return counters->got - (__s32)(counters->next - counters->copied) -
	       (counters->fin && counters->copied == counters->next);
}

/*
 * Whether a socket's counters are its application's bytes. To be asked early in a program, where the verifier has few states:
 * it searches through all types of the kernel for each of these pointers. (A socket that an MPTCP listener accepted from a peer without
 * MPTCP has functions of its own, but receives as TCP does.)
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

/* The slot whose process has used a socket last. */
static __always_inline struct tt_slot *last_slot(struct tt_slot *main)
{
	__u32 number = main->last;
	struct tt_slot *last = number ? slot_at(number - 1) : 0;

	return last && last->cookie == main->cookie && is_live(last) ? last : main;
}

/* Bytes that a socket sent, or received, and that are not counted; 0 if that cannot be told, negative if too many are. */
static __always_inline __s64 missing_sent(struct tt_slot *main, const struct counters *counters, __u64 counted)
{
	if (!main->based || main->sent_all || sent_first(counters) != main->tx_first)
		return 0;
	return sent_of(counters) - *(volatile __u64 *)&main->tx_base - counted;
}

static __always_inline __s64 missing_received(struct tt_slot *main, const struct counters *counters, __u64 counted)
{
	if (!main->based || received_first(counters) != main->rx_first)
		return 0;
	return received_of(counters) - *(volatile __u64 *)&main->rx_base - counted;
}

/*
 * Credits what was sent and received beyond what is counted, except `sent` and `received` bytes that the call at hand is
 * about to count. An addition fails if a call counts at that very moment; then a later look credits.
 */
static __always_inline void credit(struct tt_slot *main, const struct counters *counters, __u64 sent, __u64 received)
{
	struct tt_slot *slot = last_slot(main);
	__u64 tx = *(volatile __u64 *)&main->tx_bytes, rx = *(volatile __u64 *)&main->rx_bytes;
	__s64 tx_missing = missing_sent(main, counters, tx) - sent;
	__s64 rx_missing = missing_received(main, counters, rx) - received;

	if (tx_missing <= 0 && rx_missing <= 0)
		return;
	main->ahead = 1;
	if (tx_missing > 0 && slot == main) {
		add_if_unchanged(&main->tx_bytes, tx, tx_missing);
	} else if (tx_missing > 0) {
		__sync_fetch_and_add(&main->tx_base, tx_missing);
		__sync_fetch_and_add(&slot->tx_bytes, tx_missing);
	}
	if (rx_missing > 0 && slot == main) {
		add_if_unchanged(&main->rx_bytes, rx, rx_missing);
	} else if (rx_missing > 0) {
		__sync_fetch_and_add(&main->rx_base, rx_missing);
		__sync_fetch_and_add(&slot->rx_bytes, rx_missing);
	}
}

/* Nothing more can be sent: a FIN is about to take its number, or the connection is over. Under the socket's lock. */
static __always_inline void finish_sending(struct tt_slot *main, const struct counters *counters)
{
	if (!main->based || main->sent_all || sent_first(counters) != main->tx_first)
		return;
	main->sent_final = (__u32)sent_of(counters);
	barrier();
	main->sent_all = 1;
}

/* Bytes that are counted of a socket beyond its counters; 0 if these cannot be told. */
static __always_inline __u64 excess_of(struct tt_slot *main, const struct counters *counters, bool sent)
{
	__u64 counted = sent ? *(volatile __u64 *)&main->tx_base + *(volatile __u64 *)&main->tx_bytes :
			       *(volatile __u64 *)&main->rx_base + *(volatile __u64 *)&main->rx_bytes;
	__s64 excess = 0;

	if (sent && main->sent_all)
		excess = (__s32)((__u32)counted - main->sent_final);
	else if (sent && sent_first(counters) == main->tx_first)
		excess = counted - sent_of(counters);
	else if (!sent && received_first(counters) == main->rx_first)
		excess = counted - received_of(counters);
	return excess > 0 ? excess : 0;
}

/* Takes what the call at hand has counted, which was credited before, out of its slot again. */
static __noinline int take_back(struct sock *sk, struct tt_slot *main, struct tt_slot *slot, __u64 bytes, bool sent)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct counters counters;
	__u64 excess = 0;

	if (!tcp)
		return 0;
	READ_COUNTERS(FIELD, &counters, sk, tcp);
	excess = excess_of(main, &counters, sent);
	if (excess > bytes)
		excess = bytes;
	if (!excess)
		return 0;
	__sync_fetch_and_add(sent ? &slot->tx_bytes : &slot->rx_bytes, -excess);
	if (slot != main)
		__sync_fetch_and_add(sent ? &main->tx_base : &main->rx_base, -excess);
	return 0;
}

/* Keeps what the kernel knows of a connection: segments sent again, and the round-trip time. */
static __always_inline void note_health(struct tt_slot *main, __u32 retransmits, __u32 srtt)
{
	retransmits -= main->retransmits_base;
	/* A socket that is disconnected, or closed without lingering, begins at 0 again. */
	if ((__s32)retransmits > (__s32)main->retransmits)
		main->retransmits = retransmits;
	main->srtt_us = srtt >> 3;
}

#endif
