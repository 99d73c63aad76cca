/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The choice of the calls whose stacks are taken. Each CPU has a budget: as long as it lasts, the stack of every call
 * is taken. When it is used up, stacks are taken by chance, at the rate at which the budget grows, until half of the
 * budget is there again.
 */
#ifndef TT_STACKS_BUDGET_H
#define TT_STACKS_BUDGET_H

#include "kernel.h"

/* Time in ns in which a CPU's budget grows by one stack, and the maximum of the budget in ns. Set by user space. */
const volatile __u64 stack_period = 1000000;
const volatile __u64 stack_budget = 1000000000;

/* Time in ns after which the chance is computed anew. */
#define WINDOW 100000000ull
/* The chance is computed earlier if this many times more stacks were taken than the budget's growth allows. */
#define TOO_MANY 4

/* The budget of a CPU. Times are in nanoseconds of the monotonic clock. */
struct budget {
	__u64 left;	/* what is left of the budget, in nanoseconds; grows with time */
	__u64 grown_at; /* time at which it grew last */
	__u64 window;	/* time at which the window (WINDOW) began */
	__u32 calls;	/* number of calls in the window */
	__u32 taken;	/* number of stacks taken by chance in the window */
	__u32 chance;	/* of a call's stack to be taken, as a fraction of 2^32; 0: certain */
	__u32 by_chance;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} tt_stack_budget SEC(".maps");

/* Computes the chance from the calls in the window, and starts the next one. */
static __always_inline void renew(struct budget *budget, __u64 now)
{
	__u64 elapsed = now - budget->window, fits, calls = budget->calls;

	/* A long window with few calls would make the chance too large for a burst of calls that begins now. */
	if (elapsed > 10 * WINDOW)
		elapsed = 10 * WINDOW;
	fits = elapsed / stack_period + 1;
	budget->chance = fits < calls ? (fits << 32) / calls : 0;
	budget->window = now;
	budget->calls = 0;
	budget->taken = 0;
}

/*
 * Returns whether the current call's stack is taken; sets its chance, as a fraction of 2^32, or 0 if it is taken
 * surely.
 */
static __always_inline bool is_taken(__u32 *chance)
{
	__u64 now = bpf_ktime_get_ns(), left;
	struct budget *budget;
	__u32 zero = 0;

	*chance = 0;
	budget = bpf_map_lookup_elem(&tt_stack_budget, &zero);
	if (!budget)
		return false;
	left = budget->left + (now - budget->grown_at);
	budget->grown_at = now;
	budget->left = left = left < stack_budget ? left : stack_budget;
	if (now - budget->window >= WINDOW || budget->taken > TOO_MANY * WINDOW / stack_period)
		renew(budget, now);
	budget->calls++;
	if (budget->by_chance && left >= stack_budget / 2)
		budget->by_chance = 0;
	if (!budget->by_chance) {
		if (left >= stack_period) {
			budget->left = left - stack_period;
			return true;
		}
		budget->by_chance = 1;
		renew(budget, now);
	}
	if (budget->chance && bpf_get_prandom_u32() >= budget->chance)
		return false;
	*chance = budget->chance;
	budget->taken++;
	budget->left = left > stack_period ? left - stack_period : 0;
	return true;
}

#endif
