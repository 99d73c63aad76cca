/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which sessions select a socket: by its cgroup or one of that cgroup's ancestors, or by the calling process. */
#ifndef TT_SELECT_H
#define TT_SELECT_H

#include "variant.bpf.h"

/* Deeper than any runtime nests; the kernel's own limit is INT_MAX. */
#define MAX_DEPTH 32
#define CACHE_SIZE 256

/*
 * The answer for a cgroup, positive or negative, so that a socket which nobody selects costs no look-up in a hash.
 * CPUs write entries without a lock. `check` ties the three words together: an entry that two writers tore apart
 * does not match and is a miss. It contains the generation, so that a change of the selection empties the cache.
 */
struct cached {
	__u64 id;
	__u64 sessions;
	__u64 check;
};

struct cached cgroup_cache[CACHE_SIZE];

static __always_inline __u64 checksum(__u64 id, __u64 sessions, __u32 generation)
{
	return (id + generation) * 0x9e3779b97f4a7c15ull ^ (sessions + 1) * 0xc2b2ae3d27d4eb4full;
}

static __always_inline __u64 id_of(struct cgroup *cgroup)
{
	struct kernfs_node *kn = FIELD(cgroup, kn);

	return FIELD(kn, id);
}

/* The cgroup of its creator, or, of an accepted socket, of its listener. */
static __always_inline struct cgroup *socket_cgroup(struct sock *sk)
{
	return FIELD(sk, sk_cgrp_data.cgroup);
}

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *parent = FIELD(cgroup, self.parent);

	return parent ? FIELD(parent, cgroup) : 0;
}

/* The slow way: every ancestor. Runs once for a cgroup and generation. */
static __noinline __u64 look_up_sessions(struct cgroup *cgroup)
{
	__u64 sessions = 0;
	int i;

	for (i = 0; i < MAX_DEPTH && cgroup; i++) {
		__u64 id = id_of(cgroup);
		__u64 *found = bpf_map_lookup_elem(&tt_cgroups, &id);

		if (found)
			sessions |= *found;
		cgroup = parent_of(cgroup);
	}
	return sessions;
}

/*
 * Keeps name and parent of a selected socket's cgroup and of all above it. All, because a loop that ended at the
 * selected one would multiply the states that the verifier has to walk through (seconds instead of milliseconds).
 */
static __noinline int remember_folders(struct cgroup *cgroup)
{
	int i;

	for (i = 0; i < MAX_DEPTH && cgroup; i++) {
		struct cgroup *parent = parent_of(cgroup);
		struct kernfs_node *kn = FIELD(cgroup, kn);
		struct tt_folder folder = {};
		__u64 id = FIELD(kn, id);

		if (bpf_map_lookup_elem(&tt_folders, &id))
			break;
		if (parent)
			folder.parent = id_of(parent);
		bpf_probe_read_kernel_str(folder.name, sizeof(folder.name), FIELD(kn, name));
		if (bpf_map_update_elem(&tt_folders, &id, &folder, BPF_ANY))
			count_loss(TT_LOSS_FOLDERS, 1);
		cgroup = parent;
	}
	return 0;
}

/* Whether the cache knows the cgroup; if so, the sessions that select it. */
static __always_inline bool cached_sessions(__u64 id, __u32 generation, __u64 *sessions)
{
	struct cached *entry = &cgroup_cache[id % CACHE_SIZE];

	*sessions = *(volatile __u64 *)&entry->sessions;
	return entry->id == id && entry->check == checksum(id, *sessions, generation);
}

static __always_inline __u64 cgroup_sessions(struct cgroup *cgroup, __u32 generation)
{
	struct cached *entry;
	__u64 id, sessions;

	if (!cgroup)
		return 0;
	id = id_of(cgroup);
	if (cached_sessions(id, generation, &sessions))
		return sessions;
	sessions = look_up_sessions(cgroup);
	if (sessions)
		remember_folders(cgroup);
	entry = &cgroup_cache[id % CACHE_SIZE];
	entry->id = id;
	entry->sessions = sessions;
	entry->check = checksum(id, sessions, generation);
	return sessions;
}

static __always_inline __u64 process_sessions(__u32 tgid)
{
	struct tt_process *process = bpf_map_lookup_elem(&tt_processes, &tgid);

	return process ? process->sessions : 0;
}

#endif
