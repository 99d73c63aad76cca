/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sends and receives as the calls of functions, for kernels without sock_send_length and sock_recv_length. Every send
 * and receive of an inet socket passes inet_sendmsg(), inet_recvmsg(), their twins for IPv6, for receives of raw and
 * ping sockets of IPv6 sock_common_recvmsg(), and for sendfile before Linux 6.5 inet_sendpage(). Their arguments have been the same since 5.10. The message names the peer, in kernel
 * memory, of each protocol but TCP: as the application gave it, or, where it asked, as the protocol filled it in.
 *
 * fexit sees arguments and result. Return probes see the result alone, so the arguments are kept in `tt_calls`; and
 * they are few for each function, so they are put on those that seldom wait long.
 */
#ifndef TT_CALLS_H
#define TT_CALLS_H

#include "message.bpf.h"
#include "sequence.bpf.h"

/* Whether the return of the call says what the socket moved. */
static __always_inline bool counts_by_return(struct sock *sk)
{
#ifdef TT_PLAIN
	return !counts_by_sequence(sk);
#else
	return true;
#endif
}

static __always_inline int sent(struct socket *socket, struct msghdr *msg, int ret)
{
	struct sock *sk = FIELD(socket, sk);

	if (sk && ret >= 0 && counts_by_return(sk))
		count_transfer(ADDRESS(sk), ret, TT_SENT, untyped(msg));
	return 0;
}

static __always_inline int received(struct socket *socket, struct msghdr *msg, int flags, int ret)
{
	struct sock *sk = FIELD(socket, sk);

	if (sk && ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) && counts_by_return(sk))
		count_transfer(ADDRESS(sk), ret, TT_RECEIVED, untyped(msg));
	return 0;
}

/* Whether inet_sendpage() goes to the protocol; where not, it goes through inet_sendmsg(), which counts it. */
static __always_inline bool sends_pages(struct sock *sk)
{
	struct proto *proto = BPF_CORE_READ(sk, __sk_common.skc_prot);

	return bpf_core_field_exists(proto->sendpage) && BPF_CORE_READ(proto, sendpage);
}

/* The application has closed it. TCP goes on after that; see tt_destroy. */
static __always_inline int released(struct socket *socket)
{
	struct sock *sk = FIELD(socket, sk);
	struct socket_state *state;

	if (!sk || FIELD(sk, sk_protocol) == IPPROTO_TCP)
		return 0;
	state = socket_state(sk);
	if (state) {
		end_socket(state, socket_id(sk, state));
		drop_socket_state(sk);
	}
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

/* Each way by which a process is given another one's open file passes it, before the file is there. */
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

#ifdef TT_PLAIN

/* Keeps what the return probe of the same call will need. */
static __always_inline int note_call(struct socket *socket, struct msghdr *msg, bool sent, bool counts)
{
	struct sock *sk = FIELD(socket, sk);
	__u64 thread = bpf_get_current_pid_tgid();
	struct call call = { .sk = sk, .msg = msg, .sent = sent };
	__u64 selected;
	bool lent;

	if (!sk || !counts_by_return(sk))
		return 0;
	selected = socket_sessions(sk, selection.generation, &lent);
	if (selected && counts)
		bpf_map_update_elem(&tt_calls, &thread, &call, BPF_ANY);
	else
		bpf_map_delete_elem(&tt_calls, &thread);
	return 0;
}

SEC("kprobe/inet_sendmsg")
int BPF_KPROBE(tt_kp_send, struct socket *socket, struct msghdr *msg)
{
	return note_call(socket, msg, true, true);
}

SEC("kprobe/inet_sendpage")
int BPF_KPROBE(tt_kp_page, struct socket *socket)
{
	struct sock *sk = FIELD(socket, sk);

	return sk && sends_pages(sk) ? note_call(socket, 0, true, true) : 0;
}

SEC("kprobe/inet_recvmsg")
int BPF_KPROBE(tt_kp_recv, struct socket *socket, struct msghdr *msg, unsigned long size, int flags)
{
	return note_call(socket, msg, false, !(flags & (MSG_PEEK | MSG_ERRQUEUE)));
}

/* udp_recvmsg() waits; but it ends with this, told how much it copied. */
SEC("kprobe/skb_consume_udp")
int BPF_KPROBE(tt_kp_udp, struct sock *sk, void *skb, int len)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&tt_calls, &thread);
	struct msghdr *msg;

	if (!call || call->sent || call->sk != sk || len < 0)
		return 0;
	msg = call->msg;
	bpf_map_delete_elem(&tt_calls, &thread);
	count_transfer(ADDRESS(sk), len, TT_RECEIVED, ADDRESS(msg));
	return 0;
}

/* A protocol's function for sending. IPv6's may call IPv4's, which then returns first and takes the call. */
SEC("kretprobe/udp_sendmsg")
int BPF_KRETPROBE(tt_kr_send, int ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *known = bpf_map_lookup_elem(&tt_calls, &thread), call;

	if (!known || !known->sent)
		return 0;
	call = *known;
	bpf_map_delete_elem(&tt_calls, &thread);
	if (ret >= 0)
		count_transfer(ADDRESS(call.sk), ret, TT_SENT, ADDRESS(call.msg));
	return 0;
}

SEC("kretprobe/raw_recvmsg")
int BPF_KRETPROBE(tt_kr_recv, int ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call *known = bpf_map_lookup_elem(&tt_calls, &thread), call;

	if (!known || known->sent)
		return 0;
	call = *known;
	bpf_map_delete_elem(&tt_calls, &thread);
	if (ret >= 0)
		count_transfer(ADDRESS(call.sk), ret, TT_RECEIVED, ADDRESS(call.msg));
	return 0;
}

SEC("kprobe/security_file_receive")
int BPF_KPROBE(tt_kp_receive, struct file *file)
{
	note_received(file);
	return 0;
}

SEC("kprobe/inet_release")
int BPF_KPROBE(tt_kp_release, struct socket *socket)
{
	return released(socket);
}

#endif
#endif
