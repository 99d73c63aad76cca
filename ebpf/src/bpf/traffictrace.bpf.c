// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs for tracepoints and trampolines, one for each hook; the headers do the work. In addition to those of
 * common.h:
 *
 *  sock_send_length, sock_recv_length   all sends and receives of all sockets, in the caller's context, with the length
 *                                       that the call returned (Linux 6.3)
 *  (name)_twin                          a second program on the hook, if the kernel skips events; see twin.h
 *  cgroup/sendmsg4,6, recvmsg4,6        the peer of a datagram
 *  cgroup/sock_release                  the end of datagram sockets, and of MPTCP's
 *  cgroup_skb/egress                    the receiver of an ICMP message; only while a session wants ICMP
 *  tcp_rcv_space_adjust                 receives that no call reports; only while a session wants stacks
 *
 * Programs for cgroups are attached to the selected cgroups. Where the tracepoints sock_send_length and
 * sock_recv_length are missing, functions are hooked instead: calls.h.
 */
#include "typed.h"

/* Returns the socket of an open file; 0 if the file is something else. */
static __always_inline struct sock *sock_in(struct file *file)
{
	struct socket *socket = bpf_sock_from_file(file);

	return socket ? FIELD(socket, sk) : 0;
}

#include "common.h"
#include "stacks_claim.h"

/* Handles a failed call: removes the note of its message's address, which the next message must not get. */
static __always_inline void forget_call(struct sock *sk)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);

	if (family != AF_INET && family != AF_INET6)
		return;
	if (!is_unwanted(socket_cgroup_id(sk), selection.generation) && protocol_of(sk) != TT_TCP)
		forget_message();
}

static __always_inline int count_send(struct sock *sk, int ret, bool twin)
{
	if (ret >= 0)
		transfer(sk, ret, true, twin, 0);
	else
		forget_call(sk);
	return 0;
}

static __always_inline int count_receive(struct sock *sk, int ret, int flags, bool twin)
{
	/*
	 * A peeked message is read again later, and the error queue returns packets to their sender, so neither counts.
	 */
	if (ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		transfer(sk, ret, false, twin, 0);
	else
		forget_call(sk);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tt_send, struct sock *sk, int ret, int flags)
{
	return count_send(sk, ret, false);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tt_send_twin, struct sock *sk, int ret, int flags)
{
	return count_send(sk, ret, true);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tt_recv, struct sock *sk, int ret, int flags)
{
	return count_receive(sk, ret, flags, false);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tt_recv_twin, struct sock *sk, int ret, int flags)
{
	return count_receive(sk, ret, flags, true);
}

/*
 * Keeps the address of a message for the next event of this task. A note that no event took does no harm, since it
 * names its socket.
 */
static __always_inline int note_message(struct bpf_sock_addr *ctx, __u64 *addr)
{
	struct note *note;

	note = make_task_note();
	if (!note)
		return 1;
	note->addr[0] = addr[0];
	note->addr[1] = addr[1];
	note->port = bpf_ntohs(ctx->user_port);
	note->socket = (__u64)ctx->sk;
	return 1;
}

static __always_inline int note_ipv4(struct bpf_sock_addr *ctx)
{
	__u64 addr[2];

	map_ipv4(addr, ctx->user_ip4);
	return note_message(ctx, addr);
}

static __always_inline int note_ipv6(struct bpf_sock_addr *ctx)
{
	__u64 addr[2];

	((__u32 *)addr)[0] = ctx->user_ip6[0];
	((__u32 *)addr)[1] = ctx->user_ip6[1];
	((__u32 *)addr)[2] = ctx->user_ip6[2];
	((__u32 *)addr)[3] = ctx->user_ip6[3];
	return note_message(ctx, addr);
}

/*
 * An IPv6 socket that sends to an IPv4 address passes sendmsg4, and receives the answer in recvmsg6 as ::ffff:a.b.c.d.
 */
SEC("cgroup/sendmsg4")
int tt_sendmsg4(struct bpf_sock_addr *ctx)
{
	return note_ipv4(ctx);
}

SEC("cgroup/sendmsg6")
int tt_sendmsg6(struct bpf_sock_addr *ctx)
{
	return note_ipv6(ctx);
}

SEC("cgroup/recvmsg4")
int tt_recvmsg4(struct bpf_sock_addr *ctx)
{
	return note_ipv4(ctx);
}

SEC("cgroup/recvmsg6")
int tt_recvmsg6(struct bpf_sock_addr *ctx)
{
	return note_ipv6(ctx);
}

/* Notes the destination of an ICMP packet, which leaves inside the call that sends it. */
static __always_inline void note_sent_icmp(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	bool known = false;
	__u64 addr[2] = {};
	__be32 ipv4;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !is_icmp(sk->protocol) || !may_count(bpf_skb_cgroup_id(skb), &known))
		return;
	/* The packet begins with its IP header. */
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, IPV4_DESTINATION, &ipv4, sizeof(ipv4)))
			return;
		map_ipv4(addr, ipv4);
	} else if (bpf_skb_load_bytes(skb, IPV6_DESTINATION, addr, sizeof(addr))) {
		return;
	}
	note_icmp(bpf_get_socket_cookie(skb), addr, false, known);
}

SEC("cgroup_skb/egress")
int tt_icmp_send(struct __sk_buff *skb)
{
	note_sent_icmp(skb);
	return 1;
}

SEC("cgroup/sock_release")
int tt_release(struct bpf_sock *sk)
{
	/* TCP continues after the application has closed; see destroy(). */
	if (sk->protocol != IPPROTO_TCP && protocol_numbered(sk->protocol))
		release(bpf_get_socket_cookie(sk), sk->protocol);
	return 1;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tt_claim, struct sock *sk)
{
	note_receiver(sk);
	return 0;
}
