/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How far a TCP socket had been read when it was found, for those that cannot be given storage at that moment: what a
 * process brings along into a cgroup, and what waits in a listener's queue to be accepted. Only their addresses are known
 * there. The first bytes that leave their queue would not be counted otherwise, unless a receive call told of them (see
 * space.bpf.h).
 */
#ifndef TT_SEEDS_H
#define TT_SEEDS_H

#include "space.bpf.h"

/* Connections of a listener's queue that are looked at. */
#define SEED_QUEUE 1024

#ifdef TT_PLAIN

/* There each call looks at the numbers before and after. */
static __always_inline void seed_socket(__u64 address)
{
}

static __always_inline void seed_queue(__u64 address)
{
}

#else

/* Whether any was ever kept. */
volatile __u64 seeds SEC(".data.lent");

/* The sequence number at which the connection began. An address can be another socket's by now, and that has another. */
#define FIRST_SEQUENCE(read, tcp) (read(tcp, rcv_nxt) - (__u32)read(tcp, bytes_received))

/* Not static, as its address comes from anywhere: the verifier looks at it once. */
__noinline int seed_socket(__u64 address)
{
	struct tcp_sock *tcp = (struct tcp_sock *)address;
	struct sock *sk = (struct sock *)address;
	struct seed seed = {};
	__u32 sequence;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || BPF_CORE_READ(sk, sk_type) != SOCK_STREAM)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		return 0;
	sequence = BPF_CORE_READ(tcp, copied_seq);
	if (BPF_CORE_READ(sk, __sk_common.skc_flags) & 1 << SOCK_DONE && sequence == BPF_CORE_READ(tcp, rcv_nxt))
		sequence--;
	seed.consumed = selection.generation << 32 | sequence;
	seed.first = FIRST_SEQUENCE(BPF_CORE_READ, tcp);
	bpf_map_update_elem(&tt_seeds, &address, &seed, BPF_ANY);
	seeds = 1;
	return 0;
}

/* Those that wait to be accepted. */
__noinline int seed_queue(__u64 address)
{
	struct inet_connection_sock *listener = (struct inet_connection_sock *)address;
	struct request_sock *request = BPF_CORE_READ(listener, icsk_accept_queue.rskq_accept_head);
	int i;

	for (i = 0; i < SEED_QUEUE && request; i++) {
		seed_socket((__u64)BPF_CORE_READ(request, sk));
		request = BPF_CORE_READ(request, dl_next);
	}
	return 0;
}

/* Takes what was kept of the socket, where nothing is known of it. Under the socket's lock. */
static __always_inline void adopt_seed(struct sock *sk, struct tcp_sock *tcp, struct socket_state *state)
{
	__u64 address = (__u64)sk;
	struct seed *seed;

	if (!seeds || state->consumed)
		return;
	seed = bpf_map_lookup_elem(&tt_seeds, &address);
	if (!seed)
		return;
	if (seed->first == FIRST_SEQUENCE(FIELD, tcp))
		__sync_val_compare_and_swap(&state->consumed, 0, seed->consumed);
	bpf_map_delete_elem(&tt_seeds, &address);
}

/* Somebody has read the socket for whom nothing is counted. */
static __always_inline void forget_seed(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (seeds && bpf_map_lookup_elem(&tt_seeds, &address))
		bpf_map_delete_elem(&tt_seeds, &address);
}

#endif
#endif
