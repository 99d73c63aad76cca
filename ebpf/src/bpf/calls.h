/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hooks on the functions that send and receive, for kernels without sock_send_length and sock_recv_length. Every send
 * and receive of an inet socket passes inet_sendmsg(), inet_recvmsg(), their counterparts for IPv6,
 * sock_common_recvmsg() for receives of raw and ping sockets of IPv6, or inet_sendpage() for sendfile before Linux 6.5.
 * Their arguments have been the same since 5.10. For every protocol but TCP, the message in kernel memory has the peer:
 * as the application gave it or, if the application asked for it, as the protocol filled it in.
 */
#ifndef TT_CALLS_H
#define TT_CALLS_H

#include "life.h"

/* Counts a call of the current process that has sent or received `bytes` bytes; `message` may be 0. */
OWN_FUNCTION int count_call(HANDED(struct sock) socket, HANDED(struct msghdr) message, __u64 bytes, __u64 sent)
{
	transfer((struct sock *)socket, bytes, sent, false, (struct msghdr *)message);
	return 0;
}

static __always_inline int sent(struct socket *socket, struct msghdr *msg, int ret)
{
	struct sock *sk = FIELD(socket, sk);

	if (sk && ret >= 0)
		count_call(HAND(sk), HAND(msg), ret, true);
	return 0;
}

static __always_inline int received(struct socket *socket, struct msghdr *msg, int flags, int ret)
{
	struct sock *sk = FIELD(socket, sk);

	if (sk && ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		count_call(HAND(sk), HAND(msg), ret, false);
	return 0;
}

/*
 * Returns whether inet_sendpage() calls the protocol directly. If not, it calls inet_sendmsg(), which is counted
 * itself.
 */
static __always_inline bool sends_pages(struct sock *sk)
{
	struct proto *proto = BPF_CORE_READ(sk, __sk_common.skc_prot);

	return bpf_core_field_exists(proto->sendpage) && BPF_CORE_READ(proto, sendpage);
}

/* Handles a socket that the application has closed. TCP continues after that; see destroy(). */
static __always_inline int released(struct socket *socket)
{
	struct sock *sk = FIELD(socket, sk);
	__u32 protocol;
	__u64 cookie;

	if (!sk)
		return 0;
	protocol = FIELD(sk, sk_protocol);
	if (protocol == IPPROTO_TCP || !protocol_numbered(protocol))
		return 0;
	cookie = known_cookie(sk);
	if (cookie && !is_unwanted(socket_cgroup_id(sk), selection.generation))
		release(cookie, protocol);
	forget_cookie(sk);
	return 0;
}

SEC("fexit/inet_sendmsg")
int BPF_PROG(tt_fx_send, struct socket *socket, struct msghdr *msg, unsigned long size, int ret)
{
	return sent(socket, msg, ret);
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(tt_fx_send6, struct socket *socket, struct msghdr *msg, unsigned long size, int ret)
{
	return sent(socket, msg, ret);
}

SEC("fexit/inet_recvmsg")
int BPF_PROG(tt_fx_recv, struct socket *socket, struct msghdr *msg, unsigned long size, int flags, int ret)
{
	return received(socket, msg, flags, ret);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(tt_fx_recv6, struct socket *socket, struct msghdr *msg, unsigned long size, int flags, int ret)
{
	return received(socket, msg, flags, ret);
}

SEC("fexit/sock_common_recvmsg")
int BPF_PROG(tt_fx_recv_raw6, struct socket *socket, struct msghdr *msg, unsigned long size, int flags, int ret)
{
	return received(socket, msg, flags, ret);
}

SEC("fexit/inet_sendpage")
int BPF_PROG(tt_fx_page, struct socket *socket, void *page, int offset, unsigned long size, int flags, long ret)
{
	struct sock *sk = FIELD(socket, sk);

	return sk && sends_pages(sk) ? sent(socket, 0, ret) : 0;
}

/* Every way of passing an open file to another process calls this function, before the file is installed there. */
SEC("fentry/security_file_receive")
int BPF_PROG(tt_fe_receive, struct file *file)
{
	note_received(file);
	return 0;
}

SEC("fentry/inet_release")
int BPF_PROG(tt_fe_release, struct socket *socket)
{
	return released(socket);
}

#endif
