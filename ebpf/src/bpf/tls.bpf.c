// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The plain text of TLS connections, taken at the calls into the libraries. This object is loaded while a session asks
 * for it. The probes are only in the selected processes.
 *
 *  uprobe, uretprobe                    SSL_read, SSL_write, their _ex forms, SSL_sendfile and SSL_free of OpenSSL:
 *                                       tls_openssl.h; (*Conn).Read and Write of Go's crypto/tls: tls_go.h
 *  sock_send_length, sock_recv_length   the socket that a thread uses within a call, or used last before it
 *  sched_process_exec, _fork            processes in selected cgroups, which user space must inspect
 */
#include "tls_openssl.h"
#include "tls_go.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Number of cgroup levels at which a selected one is looked for. */
#define LEVELS 24

static __always_inline __u64 tcp_cookie(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	__u64 cookie;

	if ((family != AF_INET && family != AF_INET6) || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	cookie = sk->__sk_common.skc_cookie.counter;
	return cookie ? cookie : bpf_get_socket_cookie(sk);
}

/* Notes the socket of the current library call of a thread; returns false if no call is under way. */
static __always_inline bool note_in_call(struct thread *thread, struct sock *sk)
{
	__u32 depth = thread->depth;
	struct call *call;

	if (depth == 0 || depth > DEPTH)
		return false;
	call = &thread->calls[(depth - 1) & (DEPTH - 1)];
	if (!call->cookie)
		call->cookie = tcp_cookie(sk);
	return true;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tt_tls_send, struct sock *sk, int ret, int flags)
{
	struct thread *thread = bpf_task_storage_get(&tt_tls_threads, bpf_get_current_task_btf(), 0, 0);

	if (thread)
		note_in_call(thread, sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tt_tls_recv, struct sock *sk, int ret, int flags)
{
	struct thread *thread = bpf_task_storage_get(&tt_tls_threads, bpf_get_current_task_btf(), 0, 0);

	if (thread && !note_in_call(thread, sk) && ret > 0 && !(flags & MSG_PEEK))
		thread->received = tcp_cookie(sk);
	return 0;
}

static long ancestor_turn(__u32 level, bool *selected)
{
	__u64 cgroup = bpf_get_current_ancestor_cgroup_id(level);

	if (!cgroup)
		return 1;
	*selected = bpf_map_lookup_elem(&tt_tls_cgroups, &cgroup) != 0;
	return *selected;
}

static __always_inline void tell_process(__u32 pid)
{
	struct tt_tls_news *news;
	bool selected = false;

	bpf_loop(LEVELS, ancestor_turn, &selected, 0);
	if (!selected)
		return;
	/*
	 * If the ring buffer is full, nothing is lost: user space finds the process when it next lists the processes of
	 * the cgroups.
	 */
	news = bpf_ringbuf_reserve(&tt_tls_news, sizeof(*news), 0);
	if (!news)
		return;
	news->pid = pid;
	news->reserved = 0;
	bpf_ringbuf_submit(news, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(tt_tls_exec, struct task_struct *task)
{
	tell_process(task->tgid);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(tt_tls_fork, struct task_struct *parent, struct task_struct *child)
{
	if (child->tgid == child->pid)
		tell_process(child->tgid);
	return 0;
}
