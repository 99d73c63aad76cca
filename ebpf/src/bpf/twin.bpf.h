/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events that the kernel skips, and the way out.
 *
 * The kernel does not run a tracing program on a CPU that is in the middle of the same program: it counts that in the
 * program's recursion_misses, and the event is gone. A softirq on top of a task can do that, and from Linux 7.0 on any
 * other task: there programs on tracepoints can be preempted (the tracepoints are guarded by SRCU). So, where this can
 * happen, a twin stands behind each program that counts. The first one marks the task when it has counted its event. The
 * twin takes the mark away, or, where there is none, counts. An event is lost only if both are skipped.
 */
#ifndef TT_TWIN_H
#define TT_TWIN_H

#include "maps.bpf.h"

#ifdef TT_PLAIN

/* No program counts by a tracepoint there. */
static __always_inline bool counted_by_twin(bool twin, __u32 rescued)
{
	return false;
}

#else

/* Whether there are twins. Written by user space before they are attached. */
volatile __u64 twins SEC(".data.twins");

/*
 * Whether the first program has counted the event at hand; what calls it is about to count it if not. Only for events
 * of selected sockets. `rescued`: counter of those that the first one missed.
 */
static __always_inline bool counted_by_twin(bool twin, __u32 rescued)
{
	struct message_peer *task;

	if (!twin && !twins)
		return false;
	task = bpf_task_storage_get(&tt_messages, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!task)
		return twin;
	if (twin && task->counted) {
		task->counted = 0;
		return true;
	}
	if (twin)
		count_loss(rescued, 1);
	else
		task->counted = 1;
	return false;
}

#endif
#endif
