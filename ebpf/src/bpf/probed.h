/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Access to the kernel for kprobes, and for Linux 5.10: pointers are numbers that a helper reads through, programs
 * cannot get a socket's cookie, and the only atomic instruction is addition (the only one on arm64 until about 5.17).
 * typed.h has the same names for kernels and hooks that can do more.
 */
#ifndef TT_ACCESS_H
#define TT_ACCESS_H

#include "maps.h"

/* Reads a field of a kernel struct through one pointer. */
#define FIELD(pointer, field) BPF_CORE_READ(pointer, field)

/*
 * Marks a function that the verifier checks once for each program, and not again at each call: one that is not static
 * and takes only numbers.
 */
#define CHECKED_ONCE __noinline

/* Pointers are numbers here, so a function that takes them can also be checked once. */
#define OWN_FUNCTION __noinline
#define HANDED(type) __u64
#define HAND(pointer) address_of(pointer)

static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* Returns a number for a process and the program that it runs; see typed.h. */
static __always_inline __u32 owner_of(struct task_struct *task)
{
	return FIELD(task, tgid) | (__u32)FIELD(task, self_exec_id) << 22;
}

/*
 * Socket address -> number of the socket, for each socket that was counted, until the socket ends. The address alone
 * would not be enough: the kernel reuses it at once, while user space still has the slots of earlier sockets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} tt_ids SEC(".maps");

/* Returns the number of the socket at an address; 0 if there is none. */
static __always_inline __u64 cookie_at(__u64 socket)
{
	__u64 *id = bpf_map_lookup_elem(&tt_ids, &socket);

	return id ? *id : 0;
}

static __always_inline __u64 known_cookie(struct sock *sk)
{
	return cookie_at(address_of(sk));
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	__u64 address = address_of(sk), known = cookie_at(address), id;

	if (known)
		return known;
	id = bpf_ktime_get_ns() << 8 | (bpf_get_smp_processor_id() & 0xff);
	bpf_map_update_elem(&tt_ids, &address, &id, BPF_NOEXIST);
	/*
	 * The number is looked up, since another CPU may have added one first. If the map is full, the result is 0, and
	 * the socket's flows get no slots.
	 */
	return cookie_at(address);
}

static __always_inline void forget_cookie(struct sock *sk)
{
	__u64 address = address_of(sk);

	bpf_map_delete_elem(&tt_ids, &address);
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
	 * Reads the first member, whatever its name: before Linux 5.15 it has none. If net_cls or net_prio is in use,
	 * which its lowest bits show, the kernel keeps their numbers there instead.
	 */
	bpf_core_read(&value, sizeof(value), &sk->sk_cgrp_data);
	return value & 3 ? 0 : (struct cgroup *)value;
}

static __always_inline __u64 socket_cgroup_address(struct sock *sk)
{
	return (__u64)socket_cgroup(sk);
}

#if defined(__TARGET_ARCH_x86)
__u64 fences;

/* A full barrier: on x86 every atomic addition is one. */
static __always_inline void fence(void)
{
	__sync_fetch_and_add(&fences, 1);
}
#else
/* A map that is written to because the kernel then takes and releases a lock. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tt_fence SEC(".maps");

/* Key and value of the map, in global data because the call chains have no room left on the stack. */
__u32 fence_word;

/*
 * A full barrier made of two spin locks: earlier writes are visible when the first lock is released, and later accesses
 * come after the second one was taken (acquire), which is after the first was released.
 */
static __always_inline void fence(void)
{
	bpf_map_update_elem(&tt_fence, &fence_word, &fence_word, BPF_ANY);
	bpf_map_update_elem(&tt_fence, &fence_word, &fence_word, BPF_ANY);
}
#endif

/*
 * Sets a word from 0 to a value. A CPU whose own addition is the only one has claimed the word; all others take theirs
 * back. So at most one claims it, and of two at the same moment possibly none.
 */
static __always_inline bool claim(__u32 *word, __u32 value)
{
	if (*(volatile __u32 *)word)
		return false;
	__sync_fetch_and_add(word, value);
	fence();
	if (*(volatile __u32 *)word == value)
		return true;
	__sync_fetch_and_add(word, -value);
	return false;
}

static __always_inline void unclaim(__u32 *word, __u32 value)
{
	__sync_fetch_and_add(word, -value);
}

static __always_inline void publish(__u32 *word, __u32 value)
{
	fence();
	*(volatile __u32 *)word = value;
}

/*
 * Adds to a word unless a change by somebody else is seen; a change between the check and the addition is not noticed.
 */
static __always_inline bool add_if_unchanged(__u64 *word, __u64 old, __u64 amount)
{
	if (*(volatile __u64 *)word != old)
		return false;
	__sync_fetch_and_add(word, amount);
	return true;
}

static __always_inline void store_first(volatile __u64 *word, __u64 value)
{
	*word = value;
	fence();
}

static __always_inline struct note *task_note(void)
{
	return thread_note();
}

static __always_inline struct note *make_task_note(void)
{
	return make_thread_note();
}

/* Stacks are only taken at tracepoints, with the object that uses typed.h. */
static __always_inline void note_for_stack(struct sock *sk, struct tt_slot *slot, __u32 handle)
{
}

#endif
