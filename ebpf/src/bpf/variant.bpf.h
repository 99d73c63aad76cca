/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the two variants of the object do differently. "Storage" needs typed pointers, storage of sockets and atomic
 * exchanges in tracing programs (Linux 5.12 and later). Everything else is written once, on top of these names.
 */
#ifndef TT_VARIANT_H
#define TT_VARIANT_H

#include "maps.bpf.h"

/* A field of a kernel struct, behind one pointer. Chains of pointers off the fast path use BPF_CORE_READ(). */
#define FIELD(pointer, field) ((pointer)->field)

/* What is remembered of a socket; 0 when it was never selected. */
static __always_inline struct socket_state *socket_state(struct sock *sk)
{
	return bpf_sk_storage_get(&tt_sockets, sk, 0, 0);
}

/* Likewise, made when there is none; 0 when the kernel refuses. */
static __always_inline struct socket_state *make_socket_state(struct sock *sk)
{
	return bpf_sk_storage_get(&tt_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/* A number that no other socket ever has. */
static __always_inline __u64 socket_id(struct sock *sk)
{
	return bpf_get_socket_cookie(sk);
}

/* The socket's TCP part; 0 when it is none. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

/* Stores a slot's state after everything that was written before. */
static __always_inline void publish(__u32 *word, __u32 state)
{
	/* An exchange is a full barrier. */
	__sync_lock_test_and_set(word, state);
}

#endif
