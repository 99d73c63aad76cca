// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs for Linux 5.10 and for kprobes, with the same table. In addition to those of common.h and calls.h:
 *
 * A kretprobe has few instances (twice the number of CPUs, at least 10; before Linux 5.17 without preemption, the
 * number of CPUs), and a call that waits occupies one: return probes on receiving functions would lose events. TCP is
 * therefore only counted by its own counters, each time that a process releases the socket's lock (release_sock()). A
 * process that sends, splices or receives without a copy has taken the lock before (lock_sock_nested()), and so has a
 * call that waits. Received UDP is counted in skb_consume_udp(), which gets the length; everything else by return
 * probes on functions that seldom wait.
 */
#include "probed.h"

/*
 * The current call of a thread, by the thread's id. Threads can end in the middle of calls, so the oldest are evicted.
 */
struct call {
	struct sock *sk;
	struct msghdr *msg;
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct call);
} tt_calls SEC(".maps");

static __always_inline struct sock *sock_of_file(struct file *file);

/* Returns the socket of an open file; 0 if the file is something else. */
static __always_inline struct sock *sock_in(struct file *file)
{
	return sock_of_file(file);
}

#include "common.h"

static __always_inline bool counts_by_lock(struct sock *sk)
{
	return counts_itself(sk);
}

static __always_inline bool is_connected(struct sock *sk)
{
	__u8 state = FIELD(sk, __sk_common.skc_state);

	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_SYN_RECV;
}

static __always_inline bool may_be_selected(struct sock *sk, __u64 cgroup)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && FIELD(sk, sk_protocol) == IPPROTO_TCP &&
	       !is_unwanted(cgroup, selection.generation);
}

/* Returns the main slot of the socket at this address in the kernel's memory; 0 if it has none. */
static __always_inline struct tt_slot *main_at(__u64 address)
{
	__u64 cookie = cookie_at(address);

	return cookie ? main_slot(cookie) : 0;
}

/* Handles a process that takes the lock of a socket: if the socket has no slot yet, keeps its present counters. */
static __always_inline void lock_taken(struct sock *sk)
{
	__u64 cgroup = socket_cgroup_id(sk);
	bool lent;

	if (!may_be_selected(sk, cgroup) || main_at((__u64)sk))
		return;
	if (!socket_sessions_of(sk, cgroup, selection.generation, &lent) || !counts_by_lock(sk) || !is_connected(sk))
		return;
	remember_brought((__u64)sk);
}

/*
 * Returns the number of bytes that the counters of the socket at an address have beyond what is counted; 0 if unknown.
 */
CHECKED_ONCE __u64 missing_at(__u64 address, __u32 sent)
{
	struct sock *sk = (struct sock *)address;
	struct tt_slot *main = main_at(address);
	struct counters counters;
	struct origin *origin;

	READ_COUNTERS(FIELD, &counters, sk, (struct tcp_sock *)sk);
	/* No call reports an urgent byte to these programs: it counts when the stream passes it. */
	counters.urgent = false;
	if (sent && is_after_fin(FIELD(sk, __sk_common.skc_state)) && (!main || !main->sent_all))
		return 0;
	if (main)
		return sent ? missing_sent(main, &counters, main->tx_base + main->tx_bytes) :
			      missing_received(main, &counters, main->rx_base + main->rx_bytes);
	if (!is_connected(sk))
		return 0;
	origin = find_origin(&address, &counters);
	if (!origin)
		return 0;
	return sent ? sent_of(&counters) - origin->tx_base : received_of(&counters) - origin->rx_base;
}

/* Handles a process that is about to release the lock: counts the bytes beyond what is counted for this process. */
static __always_inline void lock_released(struct sock *sk)
{
	__u64 address = (__u64)sk;
	__s64 sent, received;

	if (!may_be_selected(sk, socket_cgroup_id(sk)) || !counts_by_lock(sk))
		return;
	sent = missing_at(address, true);
	if (sent > 0)
		count_call(address, 0, sent, true);
	received = missing_at(address, false);
	if (received > 0)
		count_call(address, 0, received, false);
	/*
	 * If no slot was opened, no session wanted these bytes. They must not be counted once a session wants the
	 * socket.
	 */
	if ((sent > 0 || received > 0) && !main_at(address))
		forget_origin(address);
}

SEC("kprobe/lock_sock_nested")
int BPF_KPROBE(tt_kp_lock, struct sock *sk)
{
	lock_taken(sk);
	return 0;
}

SEC("kprobe/release_sock")
int BPF_KPROBE(tt_kp_unlock, struct sock *sk)
{
	lock_released(sk);
	return 0;
}

/* Keeps the socket and message of a call for the return probe of the same call. `counts`: the call moves bytes. */
static __always_inline int note_call(struct socket *socket, struct msghdr *msg, bool sent, bool counts)
{
	struct sock *sk = FIELD(socket, sk);
	__u64 thread = bpf_get_current_pid_tgid(), selected;
	struct call call = { .sk = sk, .msg = msg, .sent = sent };
	bool lent;

	if (!sk || counts_by_lock(sk))
		return 0;
	selected = socket_sessions_of(sk, socket_cgroup_id(sk), selection.generation, &lent);
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

/* udp_recvmsg() can wait, but it ends with this function, which gets the number of copied bytes. */
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
	count_call((__u64)sk, (__u64)msg, len, false);
	return 0;
}

/*
 * Handles the return of a protocol's sending function. IPv6's function may call IPv4's, which returns first: the call
 * is then counted there, and once.
 */
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
		count_call((__u64)call.sk, (__u64)call.msg, ret, true);
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
		count_call((__u64)call.sk, (__u64)call.msg, ret, false);
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
