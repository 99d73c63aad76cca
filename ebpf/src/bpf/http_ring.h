/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts of the records of HTTP and TLS that a ring buffer refuses. */
#ifndef TT_HTTP_RING_H
#define TT_HTTP_RING_H

#include "ring.h"
#include "http_shared.h"

/*
 * Counts a record of a cgroup as lost. Returns the cgroup's counts, to which the caller adds the other kinds of losses;
 * 0 if the map is full.
 */
static __always_inline struct tt_http_lost *lose(void *map, __u64 cgroup)
{
	struct tt_http_lost none = {}, *lost = bpf_map_lookup_elem(map, &cgroup);

	if (!lost) {
		bpf_map_update_elem(map, &cgroup, &none, BPF_NOEXIST);
		lost = bpf_map_lookup_elem(map, &cgroup);
		if (!lost)
			return 0;
	}
	__sync_fetch_and_add(&lost->records, 1);
	return lost;
}
#endif
