// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs, one for each hook. Each filters first and leaves the work to the headers. Both variants of the object
 * (see variant.bpf.h) have these:
 *
 *  inet_sock_set_state                  who opens a connection, and whether that fails
 *  tcp_destroy_sock                     the end of a TCP socket: its slots are closed
 *  tcp_retransmit_skb                   keeps the count of retransmitted segments current
 *  cgroup_attach_task                   a process comes into a cgroup with sockets of another one; see lent.bpf.h
 *  sched_process_fork                   the same where it is born there; and children of a process that was selected by
 *                                       its id (`top --pid`)
 *  sched_process_free                   its end, after its files were closed
 *  iter/task_file                       sockets older than their session; runs once for each
 *  consume_skb                          whom an ICMP message came from; only while a session wants ICMP
 *
 * Where functions can be hooked:
 *
 *  security_file_receive                a process is given a socket by another one
 *
 * "Storage" alone:
 *
 *  sock_send_length, sock_recv_length   every send and receive of every inet socket, in the caller's context, with
 *                                       the length that the call returned (Linux 6.3)
 *  tcp_rcv_space_adjust                 bytes that leave a TCP socket's receive queue, also without a receive call
 *  cgroup/sendmsg4,6, recvmsg4,6        the peer of a datagram
 *  cgroup_skb/egress                    whom an ICMP message goes to; only while a session wants ICMP
 *  cgroup/sock_release                  the end of all other sockets
 *  (name)_twin                          a second program on the hook, where the kernel skips events; see twin.bpf.h
 *
 * Where these tracepoints are missing, functions are hooked: calls.bpf.h in both variants, sequence.bpf.h in "plain".
 */
#include "calls.bpf.h"
#include "connect.bpf.h"
#include "icmp.bpf.h"
#include "older.bpf.h"
#include "sequence.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#ifndef TT_PLAIN
static __always_inline int count_send(struct sock *sk, int ret, bool twin)
{
	if (ret >= 0)
		transfer(sk, ret, 0, TT_SENT, twin, 0);
	else
		forget_message(sk);
	return 0;
}

static __always_inline int count_receive(struct sock *sk, int ret, int flags, bool twin)
{
	/* What is peeked at is read later; the error queue gives a sender its own packets back. */
	if (ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		transfer(sk, ret, flags, TT_RECEIVED, twin, 0);
	else
		forget_message(sk);
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

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tt_space, struct sock *sk)
{
	consume(sk);
	return 0;
}
#endif

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tt_state, struct sock *sk, int old_state, int new_state)
{
	sequence_state(sk, new_state);
	change_state(sk, old_state, new_state);
	return 0;
}

/* Doing it twice is as good as once. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tt_state_twin, struct sock *sk, int old_state, int new_state)
{
	sequence_state(sk, new_state);
	change_state(sk, old_state, new_state);
	return 0;
}

static __always_inline int destroy(struct sock *sk)
{
	struct socket_state *state = socket_state(sk);

	if (state) {
		/* Where the peer has reset it, the process closes it only now. */
		if (FIELD(sk, sk_lock.owned))
			close_accepted(sk, state);
		note_tcp(sk, state);
		end_socket(state, socket_id(sk, state));
		drop_socket_state(sk);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tt_destroy, struct sock *sk)
{
	return destroy(sk);
}

/* Likewise. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tt_destroy_twin, struct sock *sk)
{
	return destroy(sk);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tt_retransmit, struct sock *sk)
{
	struct socket_state *state = socket_state(sk);

	if (state)
		note_tcp(sk, state);
	return 0;
}

#ifndef TT_PLAIN
static __always_inline int note_ipv4(struct bpf_sock_addr *ctx)
{
	__u64 addr[2];

	map_ipv4(addr, ctx->user_ip4);
	note_message(ctx, addr);
	return 1;
}

static __always_inline int note_ipv6(struct bpf_sock_addr *ctx)
{
	__u64 addr[2];

	((__u32 *)addr)[0] = ctx->user_ip6[0];
	((__u32 *)addr)[1] = ctx->user_ip6[1];
	((__u32 *)addr)[2] = ctx->user_ip6[2];
	((__u32 *)addr)[3] = ctx->user_ip6[3];
	note_message(ctx, addr);
	return 1;
}

/* An IPv6 socket that sends to an IPv4 address passes sendmsg4, and gets the answer by recvmsg6 as ::ffff:a.b.c.d. */
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

SEC("cgroup_skb/egress")
int tt_icmp_send(struct __sk_buff *skb)
{
	note_sent_icmp(skb);
	return 1;
}

SEC("cgroup/sock_release")
int tt_release(struct bpf_sock *sk)
{
	struct socket_state *state = bpf_sk_storage_get(&tt_sockets, sk, 0, 0);

	/* TCP goes on after the application has closed; see tt_destroy. */
	if (state && sk->protocol != IPPROTO_TCP)
		end_socket(state, bpf_get_socket_cookie(sk));
	return 1;
}
#endif

SEC("tp_btf/consume_skb")
int BPF_PROG(tt_icmp_recv, struct sk_buff *skb)
{
	note_received_icmp(skb);
	return 0;
}

SEC("iter/task_file")
int tt_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = sock_in(file);
	if (sk)
		find_older(sk, task);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(tt_attach, struct cgroup *to, const char *path, struct task_struct *task)
{
	note_arrival(task);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(tt_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_id = FIELD(parent, tgid), child_id = FIELD(child, tgid);
	struct tt_process *process, copy;

	if (parent_id == child_id)
		return 0;
	/* CLONE_INTO_CGROUP. */
	if (BPF_CORE_READ(parent, cgroups, dfl_cgrp) != BPF_CORE_READ(child, cgroups, dfl_cgrp))
		note_arrival(child);
	process = bpf_map_lookup_elem(&tt_processes, &parent_id);
	if (!process || !process->inherit)
		return 0;
	copy = *process;
	copy.sessions &= copy.inherit;
	if (bpf_map_update_elem(&tt_processes, &child_id, &copy, BPF_ANY))
		count_loss(TT_LOSS_PROCESSES, 1);
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(tt_exit, struct task_struct *task)
{
	__u32 id = FIELD(task, tgid);

	/* The first thread is kept for the last one. */
	if (FIELD(task, pid) == (int)id)
		bpf_map_delete_elem(&tt_processes, &id);
	return 0;
}
