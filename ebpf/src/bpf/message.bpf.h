/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counting a call whose message is at hand: it names the peer. */
#ifndef TT_MESSAGE_H
#define TT_MESSAGE_H

#include "flow.bpf.h"

/*
 * The address in a message; returns 0 when it has none. What is received fills `msg_name` wherever the application asked
 * for it; its length is told later, by inet_recvmsg() itself before Linux 7.
 */
static __always_inline struct endpoint *message_peer_of(struct msghdr *msg, struct endpoint *peer, bool sent)
{
	struct socket_address address = {};
	void *name = BPF_CORE_READ(msg, msg_name);

	if (!name || (sent && BPF_CORE_READ(msg, msg_namelen) <= 0))
		return 0;
	bpf_probe_read_kernel(&address, sizeof(address), name);
	if (address.family == AF_INET6) {
		__builtin_memcpy(peer->addr, address.ipv6, 16);
	} else {
		/* An IPv4 socket takes AF_UNSPEC for it too. */
		map_ipv4(peer->addr, address.ipv4);
	}
	peer->port = bpf_ntohs(address.port);
	return peer;
}

/*
 * The current process has sent or received so many bytes by `msg`, which may be 0.
 *
 * Not static in the plain variant, where pointers are numbers: so the verifier looks at it once for each program.
 */
#ifdef TT_PLAIN
#define ADDRESS(pointer) ((__u64)(pointer))

#define untyped(pointer) address_of(pointer)

__noinline int count_transfer(__u64 socket, __u64 bytes, __u64 kind, __u64 message)
{
	struct sock *sk = (struct sock *)socket;
	struct msghdr *msg = (struct msghdr *)message;
#else
#define ADDRESS(pointer) (pointer)
#define untyped(pointer) (pointer)

static __noinline int count_transfer(struct sock *sk, __u64 bytes, __u64 kind, struct msghdr *msg)
{
#endif
	struct endpoint peer = {};

	transfer(sk, bytes, 0, kind, false, msg ? message_peer_of(msg, &peer, kind == TT_SENT) : 0);
	return 0;
}

#endif
