/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP without return values: what a call moved is how far the socket's sequence numbers advanced while the call held
 * the socket's lock. Whoever sends or receives takes it (lock_sock_nested()) and gives it back (release_sock()), also
 * when it waits in between, and for sendfile, splice and zero-copy receive. Two probes at function entries see that;
 * a return probe would not do, since the kernel has few of them for each function and loses the others, and a call
 * that waits for data keeps one busy all the time.
 *
 * write_seq advances by what was sent, and by one for the FIN; copied_seq by what was received, and by one for the
 * peer's FIN. With kTLS or a sockmap they count something else, and MPTCP moves its data through TCP sockets of its
 * own: none of these is counted here, but by the return of the call (calls.bpf.h).
 */
#ifndef TT_SEQUENCE_H
#define TT_SEQUENCE_H

#include "message.bpf.h"

#ifndef TT_PLAIN

static __always_inline void seed_sequence(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp = tcp_of(sk);

	/* With TCP Fast Open the application may have read already. */
	if (tcp && !state->consumed) {
		advance(state, selection.generation, read_sequence(sk, tcp), true);
		state->seeded = 0;
	}
}

static __always_inline void sequence_state(struct sock *sk, int new_state)
{
}

#else

static __always_inline bool counts_by_sequence(struct sock *sk)
{
	if (!tcp_of(sk))
		return false;
	return !FIELD((struct inet_connection_sock *)sk, icsk_ulp_ops) && reads_its_queue(sk);
}

/* From here on everything is counted. */
static __always_inline void seed_sequence(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp = tcp_of(sk);

	if (!tcp)
		return;
	state->tx_seq = FIELD(tcp, write_seq);
	state->rx_seq = read_sequence(sk, tcp);
	state->tx_done = 0;
	state->seeded = 1;
}

/* A FIN is about to be sent, or the connection is over: what advances write_seq from now on is no data. */
static __always_inline void sequence_state(struct sock *sk, int new_state)
{
	struct socket_state *state;

	if (new_state != TCP_FIN_WAIT1 && new_state != TCP_LAST_ACK && new_state != TCP_CLOSE)
		return;
	state = socket_state(sk);
	if (state)
		state->tx_done = 1;
}

/* The current process takes the lock of a socket. */
static __always_inline void lock_taken(struct sock *sk)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	struct socket_state *state;
	__u8 tcp_state;
	bool lent;
	__u64 selected;

	if ((family != AF_INET && family != AF_INET6) || FIELD(sk, sk_protocol) != IPPROTO_TCP)
		return;
	state = socket_state(sk);
	if (state && state->seeded)
		return;
	selected = socket_sessions(sk, selection.generation, &lent);
	if (!selected || !counts_by_sequence(sk))
		return;
	tcp_state = FIELD(sk, __sk_common.skc_state);
	/* Not connected yet, or not any more. */
	if (tcp_state == TCP_SYN_SENT || tcp_state == TCP_SYN_RECV || tcp_state == TCP_CLOSE ||
	    (tcp_state >= TCP_LISTEN && tcp_state != TCP_CLOSING))
		return;
	state = make_socket_state(sk);
	if (!state) {
		count_loss(TT_LOSS_STORAGE, 1);
		return;
	}
	seed_sequence(sk, state);
}

/* The current process is about to give it back. */
static __always_inline void lock_released(struct sock *sk)
{
	struct socket_state *state = socket_state(sk);
	struct tcp_sock *tcp;
	__u32 tx, rx;
	__u8 now;

	if (!state || !state->seeded || !counts_by_sequence(sk))
		return;
	tcp = (struct tcp_sock *)sk;
	tx = FIELD(tcp, write_seq) - state->tx_seq;
	rx = read_sequence(sk, tcp) - state->rx_seq;
	if (!tx && !rx)
		return;
	/* The kernel can have skipped the event that said so. */
	now = FIELD(sk, __sk_common.skc_state);
	if (now != TCP_ESTABLISHED && now != TCP_CLOSE_WAIT && now != TCP_SYN_RECV && now != TCP_SYN_SENT)
		state->tx_done = 1;
	if (tx && state->tx_done) {
		/* One for a FIN; a disconnected socket's numbers jump further and begin anew with its next connection. */
		if (tx > 1) {
			state->seeded = 0;
			return;
		}
		tx = 0;
	}
	state->tx_seq += tx;
	state->rx_seq += rx;
	if (tx)
		count_transfer(ADDRESS(sk), tx, TT_SENT, 0);
	if (rx)
		count_transfer(ADDRESS(sk), rx, TT_RECEIVED, 0);
}

SEC("fentry/lock_sock_nested")
int BPF_PROG(tt_fe_lock, struct sock *sk)
{
	lock_taken((struct sock *)untyped(sk));
	return 0;
}

SEC("fentry/release_sock")
int BPF_PROG(tt_fe_unlock, struct sock *sk)
{
	lock_released((struct sock *)untyped(sk));
	return 0;
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

#endif
#endif
