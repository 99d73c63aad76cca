/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whom a datagram goes to or came from. The hooks that count have the socket and the length, not the address. Where
 * the application gives or asks for one, cgroup/sendmsg and cgroup/recvmsg see it in the same task just before.
 */
#ifndef TT_PEER_H
#define TT_PEER_H

#include "describe.bpf.h"
#include "select.bpf.h"

#ifdef TT_PLAIN

/* Where there is no storage of tasks: by the thread's id. */
static __always_inline struct message_peer *message_peer(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&tt_messages, &thread);
}

/* Likewise, made where there is none. */
static __always_inline struct message_peer *make_message_peer(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct message_peer none = {};

	bpf_map_update_elem(&tt_messages, &thread, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tt_messages, &thread);
}

/* Calls are hooked: their messages tell. */
static __always_inline bool notes_messages(__u8 protocol)
{
	return protocol == TT_ICMP;
}

#else

static __always_inline struct message_peer *message_peer(void)
{
	return bpf_task_storage_get(&tt_messages, bpf_get_current_task_btf(), 0, 0);
}

static __always_inline struct message_peer *make_message_peer(void)
{
	return bpf_task_storage_get(&tt_messages, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static __always_inline bool notes_messages(__u8 protocol)
{
	return true;
}

/* Called from cgroup/sendmsg and cgroup/recvmsg; keeps the address for the event that follows in this task. */
static __always_inline void note_message(struct bpf_sock_addr *ctx, __u64 *addr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct message_peer *message;

	/*
	 * A socket that was counted before has storage; at its first message the task's cgroup tells, as far as it is
	 * known that nobody wants it. A note too many does no harm: the address says whose it is.
	 */
	if (is_unwanted(task->cgroups->dfl_cgrp->kn->id, selection.generation) &&
	    !bpf_sk_storage_get(&tt_sockets, ctx->sk, 0, 0))
		return;
	message = make_message_peer();
	if (!message)
		return;
	message->addr[0] = addr[0];
	message->addr[1] = addr[1];
	message->port = bpf_ntohs(ctx->user_port);
	message->socket = (__u64)ctx->sk;
}

/* A call that failed was told its address too; it must not be taken for the next message's. */
static __always_inline void forget_message(struct sock *sk)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	struct message_peer *message;

	if ((family != AF_INET && family != AF_INET6) || protocol_of(sk) == TT_TCP)
		return;
	message = message_peer();
	if (message)
		message->socket = 0;
}

#endif

/* What was noted of the message that is being counted. `received`: whether it was. */
static __always_inline bool take_message(struct sock *sk, struct socket_state *state, __u64 *addr, __u16 *port,
					 __u8 protocol, bool received)
{
	struct message_peer *message = notes_messages(protocol) ? message_peer() : 0;

	if (!message || !message->socket)
		return false;
	/* What saw an ICMP message leave knows the cookie alone. */
	if (message->socket != (__u64)sk && (protocol != TT_ICMP || message->socket != socket_id(sk, state)))
		return false;
	/* Of ICMP a note can be left over: of a receive that failed in the end, or whose message told as well. */
	if (protocol == TT_ICMP && message->received != received)
		return false;
	addr[0] = message->addr[0];
	addr[1] = message->addr[1];
	*port = message->port;
	message->socket = 0;
	return true;
}

/*
 * The peer of the message that was just sent or received: as the application named it or asked for it; else as the
 * socket is connected. Zeroes where neither tells: what a socket that is not connected receives can be from anybody,
 * whomever it sent to before.
 */
static __always_inline void find_peer(struct sock *sk, struct socket_state *state, __u64 *addr, __u16 *port,
				      __u8 protocol, bool received)
{
	if (take_message(sk, state, addr, port, protocol, received))
		return;
	connected_peer(addr, port, sk);
	if (!addr[0] && !addr[1] && protocol == TT_ICMP)
		count_loss(TT_LOSS_ICMP_PEER, 1);
}

#endif
