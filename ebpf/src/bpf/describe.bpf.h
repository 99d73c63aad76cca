/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A socket's addresses, ports, protocol and direction; and whether a session's filter wants them. */
#ifndef TT_DESCRIBE_H
#define TT_DESCRIBE_H

#include "variant.bpf.h"

struct flow {
	__u64 local_addr[2];
	__u64 remote_addr[2];
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};

static __always_inline void map_ipv4(__u64 *out, __be32 address)
{
	__u32 *words = (__u32 *)out;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

static __always_inline void copy_ipv6(__u64 *out, struct in6_addr *address)
{
	__u32 *words = (__u32 *)out;

	words[0] = FIELD(address, in6_u.u6_addr32[0]);
	words[1] = FIELD(address, in6_u.u6_addr32[1]);
	words[2] = FIELD(address, in6_u.u6_addr32[2]);
	words[3] = FIELD(address, in6_u.u6_addr32[3]);
}

/*
 * Who opened a connection that was established before anybody watched it. An accepted socket keeps the interface that
 * the handshake came in by where others keep the one for multicast (tcp_v4_syn_recv_sock(), tcp_v6_syn_recv_sock()).
 * Nothing else can set it: IP_MULTICAST_IF and IPV6_MULTICAST_IF are refused on stream sockets. Above MPTCP's
 * subflows it is not kept, so there nothing tells.
 */
static __always_inline __u8 guess_direction(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	int interface;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return TT_UNKNOWN;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6)
		interface = BPF_CORE_READ(inet, pinet6, mcast_oif);
	else
		interface = BPF_CORE_READ(inet, mc_index);
	return interface ? TT_INBOUND : TT_OUTBOUND;
}

/* A protocol by its number, as in `enum tt_protocol`; 0: nothing that is counted. */
static __always_inline __u8 protocol_numbered(__u16 number)
{
	switch (number) {
	case IPPROTO_TCP:
	case IPPROTO_MPTCP:
		return TT_TCP;
	case IPPROTO_UDP:
		return TT_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return TT_ICMP;
	}
	return 0;
}

/*
 * What is counted of a socket. Raw sockets get copies of packets that others receive, and of TCP have neither its states
 * nor its end; only for ICMP they are what programs use.
 */
static __always_inline __u8 protocol_of(struct sock *sk)
{
	__u8 protocol = protocol_numbered(FIELD(sk, sk_protocol));

	return protocol != TT_ICMP && FIELD(sk, sk_type) == SOCK_RAW ? 0 : protocol;
}

/* The peer that the socket is connected to; zeroes where it is not. */
static __always_inline void connected_peer(__u64 *addr, __u16 *port, struct sock *sk)
{
	if (FIELD(sk, __sk_common.skc_family) == AF_INET) {
		__be32 peer = FIELD(sk, __sk_common.skc_daddr);

		addr[0] = addr[1] = 0;
		if (peer)
			map_ipv4(addr, peer);
	} else {
		copy_ipv6(addr, &sk->__sk_common.skc_v6_daddr);
	}
	*port = bpf_ntohs(FIELD(sk, __sk_common.skc_dport));
}

/* Segments that a TCP socket has sent again. */
static __always_inline __u32 retransmits_of(struct sock *sk)
{
	return BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
}

/* The local end. */
static __always_inline void describe(struct flow *flow, struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		map_ipv4(flow->local_addr, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		bpf_core_read(flow->local_addr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	/* skc_num is 0 once both ends have closed, while the last bytes are still read. For a raw socket it is no port. */
	if (BPF_CORE_READ(sk, sk_type) != SOCK_RAW)
		flow->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
}

/*
 * The session's bit when its filter wants the flow, else 0. `facts`: see wanted_sessions().
 *
 * Not static: so the verifier checks it once by itself instead of once for each of the 64 sessions, and knows nothing
 * of what it returns, which keeps the number of states in the caller's loop small. Such a function may take a pointer
 * only from Linux 5.12 on.
 */
__noinline __u64 session_wants(__u64 facts, __u64 addr0, __u64 addr1, __u32 session)
{
	struct tt_filter *filter = bpf_map_lookup_elem(&tt_filters, &session);
	__u16 local_port = facts, remote_port = facts >> 16;
	__u8 protocol = facts >> 32, direction = facts >> 40;
	bool found;
	__u32 i;

	if (!filter)
		return 0;
	if (filter->protocols && !(filter->protocols & protocol))
		return 0;
	if (filter->direction && direction && filter->direction != direction)
		return 0;
	found = !filter->ranges;
	for (i = 0; i < TT_RANGES && i < filter->ranges && !found; i++) {
		struct tt_range *range = &filter->range[i];

		found = (local_port >= range->first && local_port <= range->last) ||
			(remote_port >= range->first && remote_port <= range->last);
	}
	if (!found)
		return 0;
	found = !filter->networks;
	for (i = 0; i < TT_NETWORKS && i < filter->networks && !found; i++) {
		struct tt_network *network = &filter->network[i];

		found = (addr0 & network->mask[0]) == network->address[0] &&
			(addr1 & network->mask[1]) == network->address[1];
	}
	return found ? 1ull << (session & (TT_SESSIONS - 1)) : 0;
}

/* Those of `sessions` whose filter lets the flow pass. Not static, see above. */
__noinline __u64 filter_sessions(__u64 facts, __u64 addr0, __u64 addr1, __u64 sessions)
{
	__u64 wanted = 0;
	__u32 i;

	for (i = 0; i < TT_SESSIONS; i++)
		if (sessions >> i & 1)
			wanted |= session_wants(facts, addr0, addr1, i);
	return wanted;
}

/* The sessions of `selected` that want the flow. */
static __always_inline __u64 wanted_sessions(struct flow *flow, __u64 selected, __u64 filtered)
{
	__u64 facts = flow->local_port | (__u64)flow->remote_port << 16 | (__u64)flow->protocol << 32 |
		      (__u64)flow->direction << 40;

	if (!(selected & filtered))
		return selected;
	return (selected & ~filtered) |
	       filter_sessions(facts, flow->remote_addr[0], flow->remote_addr[1], selected & filtered);
}

#endif
