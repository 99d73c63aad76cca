/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Facts about TCP sockets that cannot be given a slot yet. If a connection is accepted while sessions select processes,
 * the process that will use it is unknown; of a socket that a process brings into a cgroup, or that waits in a
 * listener's queue, only the address is known. The bases of such a socket's counters are kept by its address until it
 * is used, so that splice as the first operation on the socket is counted exactly. By then, the address can be that of
 * another socket, which find_origin() recognizes by its stream's first sequence numbers.
 */
#ifndef TT_ORIGINS_H
#define TT_ORIGINS_H

#include "counters.h"
#include "select.h"

/* Maximum number of connections in a listener's queue that are checked. */
#define QUEUE_MAX 1024

/* Set once an origin was kept. Until then, no look-up is needed. */
volatile __u64 origins;

/* Keeps the direction of a connection that was just made, and bases that leave all its bytes to be counted. */
static __always_inline void remember_opening(struct sock *sk, __u8 direction)
{
	struct tcp_sock *tcp = tcp_of(sk);
	struct origin origin = { .direction = direction };
	__u64 address = address_of(sk);
	struct counters counters;

	if (tcp) {
		READ_COUNTERS(FIELD, &counters, sk, tcp);
		origin.tx_base = direction == TT_OUTBOUND;
		origin.rx_first = received_first(&counters);
		origin.tx_first = sent_first(&counters);
		origin.based = 1;
	}
	bpf_map_update_elem(&tt_origins, &address, &origin, BPF_ANY);
	origins = 1;
}

/*
 * Keeps the counters of the socket at an address as its bases, so that only later bytes are counted. Takes a number,
 * since no typed pointer to such a socket exists; not static, so that the verifier checks the function once.
 */
__noinline int remember_brought(__u64 address)
{
	struct tcp_sock *tcp = (struct tcp_sock *)address;
	struct sock *sk = (struct sock *)address;
	struct origin origin = { .based = 1 };
	struct counters counters;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		return 0;
	READ_COUNTERS(BPF_CORE_READ, &counters, sk, tcp);
	origin.rx_base = received_of(&counters);
	origin.tx_base = sent_of(&counters);
	origin.rx_first = received_first(&counters);
	origin.tx_first = sent_first(&counters);
	/* An earlier entry stays, since it is closer to the connection's beginning. */
	bpf_map_update_elem(&tt_origins, &address, &origin, BPF_NOEXIST);
	origins = 1;
	return 0;
}

/* Keeps the counters of each connection that waits in the queue of the listener at this address. */
__noinline int remember_queue(__u64 address)
{
	struct inet_connection_sock *listener = (struct inet_connection_sock *)address;
	struct request_sock *request = BPF_CORE_READ(listener, icsk_accept_queue.rskq_accept_head);
	int i;

	for (i = 0; i < QUEUE_MAX && request; i++) {
		remember_brought((__u64)BPF_CORE_READ(request, sk));
		request = BPF_CORE_READ(request, dl_next);
	}
	return 0;
}

/* Returns what was kept for the socket at an address, if it belongs to the connection with these counters. */
static __always_inline struct origin *find_origin(const __u64 *address, const struct counters *counters)
{
	struct origin *kept = origins ? bpf_map_lookup_elem(&tt_origins, address) : 0;

	if (!kept || !counters)
		return kept;
	return kept->based && kept->rx_first == received_first(counters) && kept->tx_first == sent_first(counters) ? kept :
														     0;
}

/* Removes what was kept for the socket at an address, because it is in the slot now. */
static __always_inline void forget_origin(__u64 address)
{
	if (origins)
		bpf_map_delete_elem(&tt_origins, &address);
}

#endif
