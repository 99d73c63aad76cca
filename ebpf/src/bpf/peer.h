/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The peers of datagrams. The hooks that count have the socket and the length, but not the address. If the application
 * gives an address or asks for one, cgroup/sendmsg and cgroup/recvmsg see it in the same task just before.
 */
#ifndef TT_PEER_H
#define TT_PEER_H

#include "select.h"
#include "socket.h"

/*
 * Writes the address in a message into a key; returns false if there is none. A receive fills `msg_name` if the
 * application asked for the address; the length is not checked then, since inet_recvmsg() sets it later before Linux 7.
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
		/* For AF_UNSPEC, an IPv4 socket uses the address as well. */
		bpf_probe_read_kernel(&ipv4, sizeof(ipv4), &name->ipv4);
		map_ipv4(key->addr, ipv4);
	}
	key->port = bpf_ntohs(head.port);
	return true;
}

/* Removes the note of a failed call, whose address must not be used for the next message. */
static __always_inline void forget_message(void)
{
	struct note *note = task_note();

	if (note)
		note->socket = 0;
}

/*
 * Removes the note about the message that is being counted; returns whether there was one. `cookie`: of the socket. For
 * ICMP more is compared: the program that saw a message leave only knows the cookie, and a note can be left over from a
 * receive that failed in the end.
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
 * Finds the peer of the message that was just sent or received: the address that the application gave or asked for;
 * otherwise the peer that the socket is connected to. Zeroes if there is neither: a message that an unconnected socket
 * receives can come from anybody, whoever the socket sent to before.
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
