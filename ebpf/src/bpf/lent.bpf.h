/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that a selected process holds although they belong to a cgroup that nobody selected: handed over at its start
 * (socket activation), or made before the process was moved. The search for older sockets marks them (older.bpf.h), and
 * what they accept inherits the mark. They are selected by the cgroup of the process that calls.
 */
#ifndef TT_LENT_H
#define TT_LENT_H

#include "select.bpf.h"

#ifdef TT_PLAIN

/* Without storage of sockets there are no marks. */
static __always_inline bool is_lent(struct sock *sk)
{
	return false;
}

static __always_inline __u64 lent_sessions(struct sock *sk, __u32 generation)
{
	return 0;
}

#else

/* Whether any socket was ever marked: without, sockets that nobody selected are not looked up. */
volatile __u64 any_lent SEC(".data.lent");

static __always_inline bool is_lent(struct sock *sk)
{
	return any_lent && bpf_sk_storage_get(&tt_lent, sk, 0, 0);
}

/* The sessions that select a marked socket in the current task. */
static __always_inline __u64 lent_sessions(struct sock *sk, __u32 generation)
{
	return is_lent(sk) ? task_sessions(current_task(), generation) : 0;
}

#endif
#endif
