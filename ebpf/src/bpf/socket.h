/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A socket's protocol, addresses, ports and direction. */
#ifndef TT_SOCKET_H
#define TT_SOCKET_H

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
 * Returns the direction of a connection that was established before it was watched. An accepted socket stores the
 * interface of its handshake in a field where others have the one for multicast (tcp_v4_syn_recv_sock(),
 * tcp_v6_syn_recv_sock()). Nothing else can set the field: IP_MULTICAST_IF and IPV6_MULTICAST_IF are refused on stream
 * sockets. An MPTCP socket above its subflows does not have it, so its direction is unknown.
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

/* Returns the `enum tt_protocol` of a protocol number; 0 if it is not counted. */
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
 * Returns the `enum tt_protocol` of a socket; 0 if the socket is not counted. Raw sockets get copies of packets that
 * others receive, and have neither TCP's states nor its end; they are only counted for ICMP, for which programs use
 * them.
 */
static __always_inline __u8 protocol_of(struct sock *sk)
{
	__u8 protocol = protocol_numbered(FIELD(sk, sk_protocol));

	return protocol != TT_ICMP && FIELD(sk, sk_type) == SOCK_RAW ? 0 : protocol;
}

/* Writes the peer that the socket is connected to; zeroes if it is not connected. */
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

static __always_inline __u16 local_port(struct sock *sk)
{
	__u16 port = FIELD(sk, __sk_common.skc_num);

	/* A raw socket has a protocol number instead of a port. */
	if (FIELD(sk, sk_type) == SOCK_RAW)
		return 0;
	/* skc_num is 0 once both ends have closed, while the last bytes are still being read. */
	return port ? port : bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
}

/* Writes both ends of a connection, or only the local end of a datagram socket. */
static __always_inline void describe_ends(struct flow *flow, struct sock *sk)
{
	if (FIELD(sk, __sk_common.skc_family) == AF_INET) {
		map_ipv4(flow->local_addr, FIELD(sk, __sk_common.skc_rcv_saddr));
		if (flow->protocol == TT_TCP)
			map_ipv4(flow->remote_addr, FIELD(sk, __sk_common.skc_daddr));
	} else {
		copy_ipv6(flow->local_addr, &sk->__sk_common.skc_v6_rcv_saddr);
		if (flow->protocol == TT_TCP)
			copy_ipv6(flow->remote_addr, &sk->__sk_common.skc_v6_daddr);
	}
	flow->local_port = local_port(sk);
	if (flow->protocol == TT_TCP)
		flow->remote_port = bpf_ntohs(FIELD(sk, __sk_common.skc_dport));
}

#endif
