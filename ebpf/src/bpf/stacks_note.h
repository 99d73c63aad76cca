/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Notes for the object of stacks (stacks.bpf.c). Its programs are attached after those that count, on the same hooks.
 * The program that counts an event leaves a note, one for each CPU, and the program that takes the stack reads the note
 * in the same event.
 */
#ifndef TT_STACKS_NOTE_H
#define TT_STACKS_NOTE_H

#include "kernel.h"
#include "shared.h"
#include "stacks_shared.h"

/* Sessions that want stacks. Written by user space. */
volatile __u64 stacked SEC(".data.stacked");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tt_stack_note);
} tt_stack_note SEC(".maps");

/* Notes the call of the current thread that was just counted in a slot, if a session wants its stack. */
static __always_inline void note_for_stack(struct sock *sk, struct tt_slot *slot, __u32 handle)
{
	__u64 sessions = slot->sessions & stacked;
	struct tt_stack_note *note;
	__u32 zero = 0;

	if (!sessions)
		return;
	note = bpf_map_lookup_elem(&tt_stack_note, &zero);
	if (!note)
		return;
	note->socket = (__u64)sk;
	note->sessions = sessions;
	note->slot = handle - 1;
	note->epoch = slot->epoch;
	note->thread = bpf_get_current_pid_tgid();
}

#endif
