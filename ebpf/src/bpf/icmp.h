/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The peers of messages on ping and raw sockets, for which cgroup/sendmsg and recvmsg are not run. Their packets are
 * seen in the caller's task nevertheless: sent ones at the egress of their cgroup, inside the call; received ones when
 * the call frees them, before their length is reported. Both hooks see every packet of the machine, so they are
 * attached only while a session wants ICMP and there is some.
 */
#ifndef TT_ICMP_H
#define TT_ICMP_H

#include "peer.h"

static __always_inline bool is_icmp(__u32 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/*
 * Keeps the address for the next event of this task. The kernel's own replies pass here too, in a softirq on top of the
 * task that is sending, and must not replace the note: only a message of a socket that is known to be selected replaces
 * another socket's note.
 */
static __always_inline void note_icmp(__u64 socket, __u64 *addr, bool received, bool known)
{
	struct note *note = make_task_note();

	if (!note || (note->socket && note->socket != socket && !known))
		return;
	note->addr[0] = addr[0];
	note->addr[1] = addr[1];
	note->port = 0;
	note->received = received;
	note->socket = socket;
}

/*
 * Returns whether a session may want the sockets of a cgroup in the current task; sets `known` if a session certainly
 * does.
 */
static __always_inline bool may_count(__u64 cgroup, bool *known)
{
	__u64 sessions = 0;

	if (!cached_sessions(cgroup, selection.generation, &sessions))
		return true;
	*known = sessions;
	if (!sessions && selection.by_process)
		*known = process_sessions(bpf_get_current_pid_tgid() >> 32);
	return *known;
}

static __always_inline void note_received_icmp(struct sk_buff *skb)
{
	struct sock *sk = FIELD(skb, sk);
	unsigned char *header, state;
	bool known = false;
	__u64 addr[2] = {};
	__be32 ipv4;

	/* A packet that is being sent has its socket, too, but no interface from which it came in. */
	if (!sk || !FIELD(skb, skb_iif))
		return;
	/* Objects in other states may be no full sockets, and lack the fields that are read below. */
	state = FIELD(sk, __sk_common.skc_state);
	if ((state != TCP_CLOSE && state != TCP_ESTABLISHED) || !is_icmp(FIELD(sk, sk_protocol)))
		return;
	if (!may_count(id_of(socket_cgroup(sk)), &known))
		return;
	header = FIELD(skb, head) + FIELD(skb, network_header);
	if (FIELD(sk, __sk_common.skc_family) == AF_INET) {
		if (bpf_probe_read_kernel(&ipv4, sizeof(ipv4), header + IPV4_SOURCE))
			return;
		map_ipv4(addr, ipv4);
	} else if (bpf_probe_read_kernel(addr, sizeof(addr), header + IPV6_SOURCE)) {
		return;
	}
	note_icmp((__u64)sk, addr, true, known);
}

#endif
