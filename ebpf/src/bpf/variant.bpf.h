/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the two variants of the object do differently; everything else is written once, on top of these names.
 *
 * "Storage" needs typed pointers, storage of sockets and atomic exchanges in tracing programs (Linux 5.12 and later).
 * "Plain" (TT_PLAIN) does without: for kprobes, which never have the first two, and for older kernels.
 */
#ifndef TT_VARIANT_H
#define TT_VARIANT_H

#include "maps.bpf.h"

/*
 * A typed pointer as a number. The verifier hands no typed pointer to a function that it checks by itself and that
 * takes a number.
 */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

#ifdef TT_PLAIN

/* There a flow keeps the name that its process had at first. */
static __always_inline __u32 owner_of(struct task_struct *task)
{
	return 0;
}

/* A field of a kernel struct, behind one pointer. */
#define FIELD(pointer, field) BPF_CORE_READ(pointer, field)

/* What is remembered of a socket; 0 when it was never selected. */
static __always_inline struct socket_state *socket_state(struct sock *sk)
{
	__u64 address = (__u64)sk;

	return bpf_map_lookup_elem(&tt_sockets, &address);
}

/* A number that no other socket has: addresses are used again, also while user space has slots of the one before. */
static __always_inline __u64 new_socket_id(void)
{
	return bpf_ktime_get_ns() << 8 | (bpf_get_smp_processor_id() & 0xff);
}

/* Likewise, made when there is none; 0 when there are too many. */
static __noinline struct socket_state *make_socket_state(struct sock *sk)
{
	struct socket_state *state = socket_state(sk), new = {};
	__u64 address = (__u64)sk;

	if (state)
		return state;
	new.id = new_socket_id();
	bpf_map_update_elem(&tt_sockets, &address, &new, BPF_NOEXIST);
	return socket_state(sk);
}

/* At a socket's end. */
static __always_inline void drop_socket_state(struct sock *sk)
{
	__u64 address = (__u64)sk;

	bpf_map_delete_elem(&tt_sockets, &address);
}

static __always_inline __u64 socket_id(struct sock *sk, struct socket_state *state)
{
	return state->id;
}

static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	if (FIELD(sk, sk_protocol) != IPPROTO_TCP || FIELD(sk, sk_type) != SOCK_STREAM)
		return 0;
	return (struct tcp_sock *)sk;
}

static __always_inline struct cgroup *socket_cgroup(struct sock *sk)
{
	__u64 value = 0;

	/*
	 * The first member, whatever it is called. Before Linux 5.15 it has no name of its own, and with net_cls or
	 * net_prio in use, which its lowest bits tell, the kernel keeps their numbers there instead.
	 */
	bpf_core_read(&value, sizeof(value), &sk->sk_cgrp_data);
	return value & 3 ? 0 : (struct cgroup *)value;
}

static __always_inline __u64 socket_cgroup_address(struct sock *sk)
{
	return (__u64)socket_cgroup(sk);
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline void publish(__u32 *word, __u32 state)
{
#ifdef __TARGET_ARCH_x86
	/* Stores are seen in their order; the compiler must keep it too. */
	barrier();
	*(volatile __u32 *)word = state;
#else
	__sync_lock_test_and_set(word, state);
#endif
}

#else

/* A field of a kernel struct, behind one pointer. Chains of pointers off the fast path use BPF_CORE_READ(). */
#define FIELD(pointer, field) ((pointer)->field)

/*
 * A process and the program that it runs, as places of a socket name them: the process's id, which is below 2^22
 * (PID_MAX_LIMIT), and the lower bits of how often it has begun another program. After exec() it is another owner, so
 * that what it moves then is not shown under the name of the program before.
 */
static __always_inline __u32 owner_of(struct task_struct *task)
{
	return FIELD(task, tgid) | (__u32)FIELD(task, self_exec_id) << 22;
}

/* What is remembered of a socket; 0 when it was never selected. */
static __always_inline struct socket_state *socket_state(struct sock *sk)
{
	return bpf_sk_storage_get(&tt_sockets, sk, 0, 0);
}

/* Likewise, made when there is none; 0 when the kernel refuses. */
static __always_inline struct socket_state *make_socket_state(struct sock *sk)
{
	struct socket_state *state = bpf_sk_storage_get(&tt_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	/* It is refused too where another CPU has just made storage for the socket, here or of other programs. */
	return state ? state : bpf_sk_storage_get(&tt_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/* The kernel does that itself. */
static __always_inline void drop_socket_state(struct sock *sk)
{
}

/* A number that no other socket ever has. */
static __always_inline __u64 socket_id(struct sock *sk, struct socket_state *state)
{
	return bpf_get_socket_cookie(sk);
}

/* The socket's TCP part; 0 when it is none. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

/* The cgroup of its creator, or, of an accepted socket, of its listener; 0 where the kernel does not say. */
static __always_inline struct cgroup *socket_cgroup(struct sock *sk)
{
	return FIELD(sk, sk_cgrp_data.cgroup);
}

/* Likewise, as a number. */
static __always_inline __u64 socket_cgroup_address(struct sock *sk)
{
	return (__u64)BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
}

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

/* Stores a slot's state after everything that was written before. */
static __always_inline void publish(__u32 *word, __u32 state)
{
	/* An exchange is a full barrier. */
	__sync_lock_test_and_set(word, state);
}

#endif
#endif
