/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whom a datagram goes to or came from. The hooks that count have the socket and the length, not the address. If the
 * application gives or asks for one, cgroup/sendmsg and cgroup/recvmsg see it in the same task just before.
 */
#ifndef TT_PEER_H
#define TT_PEER_H

#include "select.h"
#include "socket.h"

/*
 * Writes the address in a message into a key; returns false if it has none. What is received fills `msg_name` wherever the
 * application asked for it; its length is told later, by inet_recvmsg() itself before Linux 7.
 */
static __always_inline bool named_peer(struct msghdr *msg, struct tt_key *key, bool sent)
{
	struct socket_address *name = BPF_CORE_READ(msg, msg_name);
	struct {
		__u16 family;
		__be16 port;
	} head = {};
	__be32 ipv4 = 0;

	if (!name || (sent && BPF_CORE_READ(msg, msg_namelen) <= 0))
		return false;
	bpf_probe_read_kernel(&head, sizeof(head), name);
	if (head.family == AF_INET6) {
		bpf_probe_read_kernel(key->addr, sizeof(key->addr), name->ipv6);
	} else {
		/* An IPv4 socket takes AF_UNSPEC for it too. */
		bpf_probe_read_kernel(&ipv4, sizeof(ipv4), &name->ipv4);
		map_ipv4(key->addr, ipv4);
	}
	key->port = bpf_ntohs(head.port);
	return true;
}

/* A call that failed was told its address too; it must not be taken for the next message's. */
static __always_inline void forget_message(void)
{
	struct note *note = task_note();

	if (note)
		note->socket = 0;
}

/*
 * Takes what was noted of the message that is being counted; returns whether there was anything. `cookie`: of the socket.
 * ICMP's notes have more to compare: the program that saw a message leave knows the cookie alone, and a note can be left
 * over from a receive that failed in the end.
 */
static __always_inline bool take_message(struct sock *sk, __u64 cookie, __u64 *addr, __u16 *port, __u8 protocol,
					 bool received)
{
	struct note *note = task_note();

	if (!note || !note->socket)
		return false;
	if (note->socket != (__u64)sk && (protocol != TT_ICMP || note->socket != cookie))
		return false;
	if (protocol == TT_ICMP && note->received != received)
		return false;
	addr[0] = note->addr[0];
	addr[1] = note->addr[1];
	*port = note->port;
	note->socket = 0;
	return true;
}

/*
 * Finds the peer of the message that was just sent or received: as the application named it or asked for it; else as the
 * socket is connected. Zeroes if neither tells: what a socket that is not connected receives can be from anybody, whomever
 * it sent to before.
 */
static __always_inline void find_peer(struct sock *sk, struct tt_key *key, __u8 protocol, bool received)
{
	if (take_message(sk, key->cookie, key->addr, &key->port, protocol, received))
		return;
	connected_peer(key->addr, &key->port, sk);
	if (!key->addr[0] && !key->addr[1] && protocol == TT_ICMP)
		count_loss(TT_LOSS_ICMP_PEER, 1);
}

#endif
