/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs that are in both objects, that of traffictrace.bpf.c and that of plain.bpf.c:
 *
 *  inet_sock_set_state    the opening of a connection, its failure, and its bytes when one side ends
 *  tcp_destroy_sock       the end of a TCP socket: counts its last bytes and closes its slots
 *  cgroup_attach_task     a process that comes into a cgroup with sockets of another one, see lend.h
 *  sched_process_fork     the same for a process that is created there; children of selected processes
 *  sched_process_free     the end of a process, after its files were closed; only while a session selects processes
 *  iter/task_file         sockets older than their session; runs once for each
 *  consume_skb            the sender of an ICMP message; only while a session wants ICMP
 *  tt_reconcile           on no hook: user space runs it for open connections
 */
#ifndef TT_COMMON_H
#define TT_COMMON_H

#include "calls.h"
#include "icmp.h"
#include "older.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tt_state, struct sock *sk, int before, int now)
{
	change_state(sk, before, now);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tt_destroy, struct sock *sk)
{
	destroy(sk);
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
	/*
	 * The child was created in another cgroup than its parent's, by CLONE_INTO_CGROUP, and has the parent's
	 * sockets.
	 */
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

	/* The task of the first thread is freed after those of all other threads, so the process has ended then. */
	if (FIELD(task, pid) == (int)id)
		bpf_map_delete_elem(&tt_processes, &id);
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

SEC("tp_btf/consume_skb")
int BPF_PROG(tt_icmp_recv, struct sk_buff *skb)
{
	note_received_icmp(skb);
	return 0;
}

/*
 * Compares a connection, given by the number of its main slot, with its socket's counters, and credits the bytes that
 * are missing. Every send is a call that is counted: if sent bytes are missing and no call is under way, the kernel has
 * skipped an event (twin.h).
 */
__noinline int look_at(__u32 number)
{
	struct tt_slot *main = slot_at(number);
	struct tcp_sock *tcp;
	struct counters counters = {};
	struct proto *now, *made;
	struct sock *sk;
	__u64 cookie;
	bool gone;

	if (!main || !is_main(main) || !is_live(main))
		return 0;
	cookie = main->cookie;
	/*
	 * The memory of a TCP socket is only ever reused for other TCP sockets. If another one is there, or none, the
	 * event for the end of this one was skipped.
	 */
	if (cookie_at(main->socket) != cookie) {
		/* Once a FIN was sent, `sent_final` has the number of sent bytes, and the socket is not needed. */
		if (main->sent_all)
			credit_sent(main, &counters, 0);
		if (state_of(main) == TT_PENDING)
			drop_slot(main);
		close_socket(main);
		return 0;
	}
	sk = (struct sock *)main->socket;
	tcp = (struct tcp_sock *)sk;
	READ_COUNTERS(BPF_CORE_READ, &counters, sk, tcp);
	gone = !BPF_CORE_READ(sk, __sk_common.skc_refcnt.refs.counter);
	if (!main->based && !gone)
		return 0;
	/* While the counters were read, the memory may have become another socket's. */
	if (cookie_at(main->socket) != cookie)
		return 0;
	if (sent_first(&counters) == main->tx_first)
		note_health(main, BPF_CORE_READ(tcp, total_retrans), BPF_CORE_READ(tcp, srtt_us));
	if (gone) {
		/* The memory still has the socket's last values: the event for its end was skipped. */
		finish_unseen(main, &counters, BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans));
		credit_sent(main, &counters, 0);
		credit_received(main, &counters, 0);
		if (state_of(main) == TT_PENDING && !main->rx_bytes && !main->tx_bytes)
			drop_slot(main);
		close_socket(main);
		return 0;
	}
	now = BPF_CORE_READ(sk, __sk_common.skc_prot);
	made = BPF_CORE_READ(sk, sk_prot_creator);
	if (BPF_CORE_READ(tcp, inet_conn.icsk_ulp_ops) || BPF_CORE_READ(now, recvmsg) != BPF_CORE_READ(made, recvmsg)) {
		/* The socket got an upper layer, such as kernel TLS, or is in a sockmap: see counts_itself(). */
		main->based = 0;
		return 0;
	}
	credit_received(main, &counters, 0);
	/*
	 * The bytes of this accepted connection were all spliced, so no call has named its process. This count makes
	 * user space run tt_files, which finds a process that has the connection open.
	 */
	if (!main->owner && main->rx_bytes)
		count_loss(TT_LOSS_UNOWNED, 1);
	if (!main->sent_all && is_after_fin(BPF_CORE_READ(sk, __sk_common.skc_state)))
		return 0;
	if (!main->shared && !BPF_CORE_READ(sk, sk_write_pending) && !BPF_CORE_READ(sk, sk_lock.owned))
		credit_sent(main, &counters, 0);
	return 0;
}

SEC("raw_tp/tt_reconcile")
int tt_reconcile(void *ctx)
{
	__u64 *number;
	__u32 i, at;

	for (i = 0; i < TT_WORK; i++) {
		at = i;
		number = bpf_map_lookup_elem(&tt_work, &at);
		if (!number || *number >= TT_NO_SLOT)
			break;
		look_at(*number);
	}
	return 0;
}

#endif
