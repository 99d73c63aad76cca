/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events that the kernel skips, and the way out.
 *
 * The kernel does not run a tracing program on a CPU that is in the middle of the same program: it counts that in the
 * program's recursion_misses, and the event is gone. A softirq on top of a task can do that, and from Linux 7.0 on any
 * other task: there programs on tracepoints can be preempted. A TCP socket's own counters make up for that. What a datagram
 * moved is told by its event alone, and so are the bytes of MPTCP and kernel TLS. For these a twin stands behind the program
 * that was skipped: the first one marks the task when it has counted an event, and the twin takes the mark away or, if there
 * is none, counts. An event is lost only if both are skipped.
 */
#ifndef TT_TWIN_H
#define TT_TWIN_H

/* Which programs have twins: bit 0 what counts sends, bit 1 receives. Written by user space before they are attached. */
volatile __u64 twins SEC(".data.twins");

/*
 * Whether the first program has counted the event at hand; if not, the caller is about to count it. `bit`: the pair's in
 * `twins`. `rescued`: counter of the events that the first one missed.
 */
static __always_inline bool counted_by_twin(bool twin, __u64 bit, __u32 rescued)
{
	struct note *note;

	if (!twin && !(twins & bit))
		return false;
	note = make_task_note();
	/* A first program that cannot leave a mark leaves the event to its twin. */
	if (!note)
		return !twin;
	if (twin && note->counted) {
		note->counted = 0;
		return true;
	}
	if (twin)
		count_loss(rescued, 1);
	else
		note->counted = 1;
	return false;
}

/* Takes the mark away of an event of which the twin will see by itself that it is counted. */
static __always_inline void take_mark(void)
{
	struct note *note = task_note();

	if (note)
		note->counted = 0;
}

#endif
