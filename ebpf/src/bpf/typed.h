/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Access to the kernel for programs on tracepoints and trampolines, Linux 5.12 and later: typed pointers, which a
 * program follows without a helper, cookies of sockets, and atomic exchanges. probed.h has the same names for kernels
 * and hooks without these; the headers of both objects only use these names.
 */
#ifndef TT_ACCESS_H
#define TT_ACCESS_H

#include "maps.h"
#include "stacks_note.h"

/*
 * A field of a kernel struct, through one pointer. Code off the fast path follows pointers by BPF_CORE_READ(): for each
 * pointer that a program loads, the verifier searches all types of the kernel, which takes some 0.1 ms.
 */
#define FIELD(pointer, field) ((pointer)->field)

/*
 * Marks a function that the verifier checks once for each program, and not again at each call: one that is not static
 * and takes only numbers.
 */
#define CHECKED_ONCE __noinline

/*
 * Marks a function that is not inlined and takes typed pointers, which only a static function may. HANDED() is the type
 * of such a parameter, and HAND() the argument; in probed.h both are numbers.
 */
#define OWN_FUNCTION static __noinline
#define HANDED(type) type *
#define HAND(pointer) (pointer)

/* Returns a typed pointer as a number, which functions that are checked once can take. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

/*
 * Returns a number for a process and the program that it runs: the process's id, which is below 2^22 (PID_MAX_LIMIT),
 * and the lower bits of its number of executed programs (self_exec_id, the same for all threads). After exec() a
 * process is another owner, so its bytes are not shown under the earlier program's name.
 */
static __always_inline __u32 owner_of(struct task_struct *task)
{
	return FIELD(task, tgid) | (__u32)FIELD(task, self_exec_id) << 22;
}

/*
 * Returns a socket's cookie, a number that is unique until the machine restarts. The kernel assigns it when it is first
 * asked for.
 */
static __always_inline __u64 cookie_of(struct sock *sk)
{
	__u64 cookie = FIELD(sk, __sk_common.skc_cookie.counter);

	return cookie ? cookie : bpf_get_socket_cookie(sk);
}

/* Returns a socket's cookie, or 0 if the kernel has not assigned one: the socket then has no slots. */
static __always_inline __u64 known_cookie(struct sock *sk)
{
	return FIELD(sk, __sk_common.skc_cookie.counter);
}

/* Does nothing, since the cookie disappears with its socket. */
static __always_inline void forget_cookie(struct sock *sk)
{
}

/* Returns the cookie in the socket memory at this address, which may be freed or reused by now; 0 if it has none. */
static __always_inline __u64 cookie_at(__u64 socket)
{
	return BPF_CORE_READ((struct sock *)socket, __sk_common.skc_cookie.counter);
}

/* Returns the socket as a TCP socket; 0 if it is none. */
static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

/* Returns the cgroup of the socket's creator or, of an accepted socket, of its listener; 0 if the kernel has none. */
static __always_inline struct cgroup *socket_cgroup(struct sock *sk)
{
	return FIELD(sk, sk_cgrp_data.cgroup);
}

/* Returns the address of the socket's cgroup, as socket_cgroup() does. */
static __always_inline __u64 socket_cgroup_address(struct sock *sk)
{
	return (__u64)BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
}

/* Sets a word from 0 to a value, atomically; returns false if it was not 0. */
static __always_inline bool claim(__u32 *word, __u32 value)
{
	return !*(volatile __u32 *)word && !__sync_val_compare_and_swap(word, 0, value);
}

/* Sets a word that claim() has set back to 0. */
static __always_inline void unclaim(__u32 *word, __u32 value)
{
	*(volatile __u32 *)word = 0;
}

/* Stores a word after everything that was written before: an exchange is a full barrier. */
static __always_inline void publish(__u32 *word, __u32 value)
{
	__sync_lock_test_and_set(word, value);
}

/* Adds to a word if its value is still `old`, atomically; returns whether it was. */
static __always_inline bool add_if_unchanged(__u64 *word, __u64 old, __u64 amount)
{
	return __sync_val_compare_and_swap(word, old, old + amount) == old;
}

/* Stores a word so that other CPUs can see it before this CPU reads anything else. */
static __always_inline void store_first(volatile __u64 *word, __u64 value)
{
	__sync_lock_test_and_set(word, value);
}

/*
 * Notes about the current task (struct note) are kept in task storage, which the kernel frees with the task. Until
 * Linux 6.12, programs on cgroups have no task storage: user space then sets this constant, and notes are kept by
 * thread id. The verifier ignores the branch that the constant rules out.
 */
const volatile __u8 notes_by_thread;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct note);
} tt_notes SEC(".maps");

static __always_inline struct note *task_note(void)
{
	if (notes_by_thread)
		return thread_note();
	return bpf_task_storage_get(&tt_notes, bpf_get_current_task_btf(), 0, 0);
}

static __always_inline struct note *make_task_note(void)
{
	if (notes_by_thread)
		return make_thread_note();
	return bpf_task_storage_get(&tt_notes, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

#endif
