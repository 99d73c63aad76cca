/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The filters of sessions: protocol, direction, ports, networks of peers. */
#ifndef TT_FILTER_H
#define TT_FILTER_H

#include "socket.h"

/*
 * Returns the session's bit if its filter accepts the flow, else 0. `facts`: see wanted_sessions().
 *
 * Since the function is not static, the verifier checks it once by itself instead of once for each of the 64 sessions,
 * and assumes nothing about its result, which keeps the number of states in the caller's loop small. Such a function
 * may take a pointer only from Linux 5.12 on.
 */
__noinline __u64 session_wants(__u64 facts, __u64 addr0, __u64 addr1, __u32 session)
{
	struct tt_filter *filter = bpf_map_lookup_elem(&tt_filters, &session);
	__u16 local_port = facts, remote_port = facts >> 16;
	__u8 protocol = facts >> 32, direction = facts >> 40;
	bool found;
	__u32 i;

	if (!filter)
		return 0;
	if (filter->protocols && !(filter->protocols & protocol))
		return 0;
	if (filter->direction && direction && filter->direction != direction)
		return 0;
	found = !filter->ranges;
	for (i = 0; i < TT_RANGES && i < filter->ranges && !found; i++) {
		struct tt_range *range = &filter->range[i];

		found = (local_port >= range->first && local_port <= range->last) ||
			(remote_port >= range->first && remote_port <= range->last);
	}
	if (!found)
		return 0;
	found = !filter->networks;
	for (i = 0; i < TT_NETWORKS && i < filter->networks && !found; i++) {
		struct tt_network *network = &filter->network[i];

		found = (addr0 & network->mask[0]) == network->address[0] &&
			(addr1 & network->mask[1]) == network->address[1];
	}
	return found ? 1ull << (session & (TT_SESSIONS - 1)) : 0;
}

/* Returns those of `sessions` whose filter accepts the flow. Not static, for the same reason as session_wants(). */
__noinline __u64 filter_sessions(__u64 facts, __u64 addr0, __u64 addr1, __u64 sessions)
{
	__u64 wanted = 0;
	__u32 i;

	for (i = 0; i < TT_SESSIONS && sessions >> i; i++)
		if (sessions >> i & 1)
			wanted |= session_wants(facts, addr0, addr1, i);
	return wanted;
}

/* Returns the sessions of `selected` that want the flow. */
static __always_inline __u64 wanted_sessions(const struct flow *flow, __u64 selected)
{
	__u64 filtered = selection.filtered;
	__u64 facts = flow->local_port | (__u64)flow->remote_port << 16 | (__u64)flow->protocol << 32 |
		      (__u64)flow->direction << 40;

	if (!(selected & filtered))
		return selected;
	return (selected & ~filtered) |
	       filter_sessions(facts, flow->remote_addr[0], flow->remote_addr[1], selected & filtered);
}

#endif
