/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events that the kernel skips, and a second program that sees them.
 *
 * The kernel does not run a tracing program on a CPU that is in the middle of the same program: it counts that in the
 * program's recursion_misses, and the event is lost. This happens when a softirq runs on top of a task and, from Linux
 * 7.0 on, with any other task, because programs on tracepoints can be preempted there. The own counters of a TCP socket
 * make up for that. The bytes of a datagram are only known from its event, and so are those of MPTCP and kernel TLS.
 * For these, a twin is attached after the program that was skipped: the first one marks the task when it has counted an
 * event, and the twin removes the mark or, if there is none, counts. An event is lost only if both are skipped.
 */
#ifndef TT_TWIN_H
#define TT_TWIN_H

/*
 * The programs that have twins: bit 0 for sends, bit 1 for receives. Written by user space before twins are attached.
 */
volatile __u64 twins SEC(".data.twins");

/*
 * Returns whether the other program of the pair counts the current event; if not, the caller is about to count it.
 * `twin`: the caller is the twin. `bit`: the bit of the pair in `twins`. `rescued`: counter of the events that the
 * first program missed.
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

/*
 * Removes the mark of the current event, whose socket turned out to be compared with its own counters: on such sockets,
 * the twin counts nothing and would leave the mark to another event.
 */
static __always_inline void take_mark(void)
{
	struct note *note = task_note();

	if (note)
		note->counted = 0;
}

#endif
