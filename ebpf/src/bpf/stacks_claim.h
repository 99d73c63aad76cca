/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes that a thread receives without a call that reports them: by splice(), and by getsockopt(TCP_ZEROCOPY_RECEIVE).
 * The number of bytes is known from the socket's counters only. The note that note_receiver() leaves makes stacks.bpf.c
 * record the thread's stack as a claim (TT_STACK_CLAIM), to which user space assigns these bytes. Bytes that a thread
 * sends by splice() pass a send that is counted like any other.
 */
#ifndef TT_STACKS_CLAIM_H
#define TT_STACKS_CLAIM_H

#include "count.h"

/* Numbers of system calls, from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. */
#if defined(__TARGET_ARCH_x86)
enum { CALL_GETSOCKOPT = 55, CALL_SPLICE = 275 };
#define SYSTEM_CALL(registers) (registers)->orig_ax
#elif defined(__TARGET_ARCH_arm64)
enum { CALL_GETSOCKOPT = 209, CALL_SPLICE = 76 };
#define SYSTEM_CALL(registers) (registers)->syscallno
#endif

/*
 * Leaves a note that the current thread receives bytes of a TCP socket by splice() or getsockopt(), if a session wants
 * its stack.
 */
static __always_inline void note_receiver(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs___kernel *registers = (struct pt_regs___kernel *)bpf_task_pt_regs(task);
	__u16 family = FIELD(sk, __sk_common.skc_family);
	long number = SYSTEM_CALL(registers);
	struct tt_key key = {};
	struct tt_slot *slot;
	__u32 handle;

	if ((number != CALL_SPLICE && number != CALL_GETSOCKOPT) || (family != AF_INET && family != AF_INET6) || !stacked)
		return;
	key.cookie = known_cookie(sk);
	key.owner = owner_of(task);
	if (!key.cookie)
		return;
	slot = find_slot(&key, hash_of(&key), &handle);
	if (!slot)
		slot = find_main(key.cookie, &handle);
	if (slot)
		note_for_stack(sk, slot, handle);
}

#endif
