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

/*
 * The slow ways below climb to the root of the tree, each step in a function that is not static and gets the address of
 * the cgroup as a number, in memory: so the verifier checks a step once for a program instead of MAX_DEPTH times at
 * each call, and without a search through the types of the kernel for each pointer that is followed.
 */
struct climb {
	__u64 address;	/* of the next cgroup, 0 above the root */
	__u64 sessions;	/* that select one of the cgroups so far */
	__u64 since;	/* generation since which some session has, without a gap; the largest number where none does */
};

__noinline int climb_selected(struct climb *climb)
{
	struct cgroup *cgroup;
	struct tt_cgroup *found;
	__u64 id;

	if (!climb || !climb->address)
		return 0;
	cgroup = (struct cgroup *)climb->address;
	id = BPF_CORE_READ(cgroup, kn, id);
	found = bpf_map_lookup_elem(&tt_cgroups, &id);
	if (found) {
		climb->sessions |= found->sessions;
		if (found->since < climb->since)
			climb->since = found->since;
	}
	climb->address = (__u64)BPF_CORE_READ(cgroup, self.parent, cgroup);
	return 1;
}

/* The sessions that select a cgroup or one of its ancestors. Runs once for a cgroup and generation. */
static __noinline __u64 look_up_sessions(__u64 address)
{
	struct climb climb = { .address = address, .since = ~0ull };
	int i;

	for (i = 0; i < MAX_DEPTH && climb_selected(&climb); i++)
		;
	return climb.sessions;
}

/* The generation since which sessions have selected the cgroup without a gap. */
static __noinline __u64 selected_since(__u64 address)
{
	struct climb climb = { .address = address, .since = ~0ull };
	int i;

	for (i = 0; i < MAX_DEPTH && climb_selected(&climb); i++)
		;
	return climb.since;
}

/* Keeps name and parent of a cgroup. Returns 0 where it is known, and so is all above it. */
__noinline int remember_folder(struct climb *climb)
{
	struct cgroup *cgroup, *parent;
	struct tt_folder folder = {};
	struct kernfs_node *kn;
	__u64 id;

	if (!climb || !climb->address)
		return 0;
	cgroup = (struct cgroup *)climb->address;
	parent = BPF_CORE_READ(cgroup, self.parent, cgroup);
	kn = BPF_CORE_READ(cgroup, kn);
	id = BPF_CORE_READ(kn, id);
	if (bpf_map_lookup_elem(&tt_folders, &id))
		return 0;
	if (parent)
		folder.parent = BPF_CORE_READ(parent, kn, id);
	bpf_probe_read_kernel_str(folder.name, sizeof(folder.name), BPF_CORE_READ(kn, name));
	if (bpf_map_update_elem(&tt_folders, &id, &folder, BPF_ANY))
		count_loss(TT_LOSS_FOLDERS, 1);
	climb->address = (__u64)parent;
	return 1;
}

static __noinline int remember_folders(__u64 address)
{
	struct climb climb = { .address = address };
	int i;

	for (i = 0; i < MAX_DEPTH && remember_folder(&climb); i++)
		;
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
	__u64 id, sessions;
	struct cached *entry;

	if (!cgroup)
		return 0;
	id = id_of(cgroup);
	if (cached_sessions(id, generation, &sessions))
		return sessions;
	sessions = look_up_sessions((__u64)cgroup);
	if (sessions)
		remember_folders((__u64)cgroup);
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
