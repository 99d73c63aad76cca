/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What was found out of a TCP socket that could not be given a slot at that moment: which process will use a connection that
 * is accepted while sessions select processes is not known, and of what a process brings along into a cgroup, or of what
 * waits in a listener's queue, the address alone. So the bases of its counters are kept by its address until it is used;
 * splice as the first thing that is done with the socket is then counted to the byte. An address can be another socket's by
 * then, whose stream has another beginning.
 */
#ifndef TT_ORIGINS_H
#define TT_ORIGINS_H

#include "counters.h"
#include "select.h"

/* Connections in a listener's queue that are looked at. */
#define QUEUE_MAX 1024

/* Whether any origin was ever kept. */
volatile __u64 origins;

/* Keeps the direction of a connection that was just made. With `based`, nothing of it was counted yet. */
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

/* Keeps how far the socket at an address was used. Not static, as the address comes from anywhere. */
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
	/* What is known of its beginning stays. */
	bpf_map_update_elem(&tt_origins, &address, &origin, BPF_NOEXIST);
	origins = 1;
	return 0;
}

/* Keeps this of each connection that waits to be accepted. */
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

/* Finds what was kept of the socket at an address, if that is of the connection whose counters are given. */
static __always_inline struct origin *find_origin(const __u64 *address, const struct counters *counters)
{
	struct origin *kept = origins ? bpf_map_lookup_elem(&tt_origins, address) : 0;

	if (!kept || !counters)
		return kept;
	return kept->based && kept->rx_first == received_first(counters) && kept->tx_first == sent_first(counters) ? kept : 0;
}

/* What was kept of the socket at an address is in its slot now. */
static __always_inline void forget_origin(__u64 address)
{
	if (origins)
		bpf_map_delete_elem(&tt_origins, &address);
}

#endif
