/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sessions that select a socket: by its cgroup or one of that cgroup's ancestors, or by the calling process. */
#ifndef TT_SELECT_H
#define TT_SELECT_H

#include "cells.h"

/* Maximum depth of cgroups, deeper than any runtime nests; the kernel's own limit is INT_MAX. */
#define MAX_DEPTH 32
#define CACHE_SIZE 256
#define LENDER_MARKS 256

/*
 * The sessions that select a cgroup, possibly none, so that a socket costs no hash look-up. CPUs write entries without
 * a lock. `check` ties the three words together: an entry that two writers have torn does not match, and is a miss. It
 * includes the generation, so a change of the selection empties the cache.
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

/* Number of times that a lender was noted, and marks by cgroup id, so that most other cgroups need no look-up. */
volatile __u64 lenders SEC(".data.lent");
volatile __u8 lender_marks[LENDER_MARKS];

/* Returns whether a cgroup, or one of its ports, was noted as a lender; see lend.h. */
static __always_inline bool is_lender(__u64 id, __u16 port)
{
	struct lender key = { .cgroup = id, .port = port };

	return lenders && lender_marks[id % LENDER_MARKS] && bpf_map_lookup_elem(&tt_lenders, &key);
}

/*
 * Ids of cgroups whose sockets no session wants, whichever process uses them, each in one word with the generation, so
 * that the events of most sockets on a machine end after one comparison. The lower half of an id is never 0, so an
 * unused word matches no cgroup.
 */
volatile __u64 unwanted[CACHE_SIZE];

static __always_inline __u64 unwanted_word(__u64 id, __u32 generation)
{
	return id ^ (__u64)generation << 32;
}

static __always_inline bool is_unwanted(__u64 id, __u32 generation)
{
	return unwanted[id % CACHE_SIZE] == unwanted_word(id, generation);
}

/*
 * Notes that no session wants a cgroup. `lenders_before`: value of `lenders` before the cgroup's sessions were looked
 * up.
 */
static __always_inline void note_unwanted(__u64 id, __u32 generation, __u64 lenders_before)
{
	if (selection.by_process || is_lender(id, 0))
		return;
	/*
	 * A CPU in note_lender() first increases `lenders`, and then clears the word. One of the two CPUs sees the
	 * other.
	 */
	store_first(&unwanted[id % CACHE_SIZE], unwanted_word(id, generation));
	if (lenders != lenders_before)
		unwanted[id % CACHE_SIZE] = 0;
}

static __always_inline void forget_unwanted(__u64 id)
{
	unwanted[id % CACHE_SIZE] = 0;
}

/*
 * The slow path, once for a cgroup and generation. Cgroups are addresses here and functions are not static, so that the
 * verifier checks each function once by itself. With typed pointers, it would walk through every round of the loops
 * again for each program, which took most of the time of loading.
 */

__noinline __u64 cgroup_parent(__u64 cgroup)
{
	return (__u64)BPF_CORE_READ((struct cgroup *)cgroup, self.parent, cgroup);
}

/* Returns the sessions that select exactly this cgroup. */
__noinline __u64 sessions_of(__u64 cgroup)
{
	__u64 id = BPF_CORE_READ((struct cgroup *)cgroup, kn, id);
	__u64 *found = bpf_map_lookup_elem(&tt_cgroups, &id);

	return found ? *found : 0;
}

/* Keeps the name and parent of a cgroup. Returns whether they were already known. */
__noinline int remember_folder(__u64 cgroup)
{
	struct kernfs_node *kn = BPF_CORE_READ((struct cgroup *)cgroup, kn);
	__u64 id = BPF_CORE_READ(kn, id), parent;
	struct tt_folder *folder;
	__u32 cell;

	if (bpf_map_lookup_elem(&tt_folders, &id))
		return 1;
	cell = take_cell() - 1;
	folder = cell_at(cell);
	if (!folder) {
		count_loss(TT_LOSS_FOLDERS, 1);
		return 0;
	}
	parent = cgroup_parent(cgroup);
	folder->parent = parent ? BPF_CORE_READ((struct cgroup *)parent, kn, id) : 0;
	bpf_probe_read_kernel_str(folder->name, sizeof(folder->name), BPF_CORE_READ(kn, name));
	if (bpf_map_update_elem(&tt_folders, &id, folder, BPF_ANY))
		count_loss(TT_LOSS_FOLDERS, 1);
	give_cell_back(cell);
	return 0;
}

/* Finds the sessions that select the cgroup or one of its ancestors, and caches them. */
__noinline __u64 learn_sessions(__u64 cgroup, __u64 id, __u32 generation)
{
	struct cached *entry = &cgroup_cache[id % CACHE_SIZE];
	__u64 sessions = 0, at = cgroup, lenders_before = lenders;
	int i;

	for (i = 0; i < MAX_DEPTH && at; i++) {
		sessions |= sessions_of(at);
		at = cgroup_parent(at);
	}
	at = sessions ? cgroup : 0;
	for (i = 0; i < MAX_DEPTH && at; i++) {
		if (remember_folder(at))
			break;
		at = cgroup_parent(at);
	}
	entry->id = id;
	entry->sessions = sessions;
	entry->check = checksum(id, sessions, generation);
	if (!sessions)
		note_unwanted(id, generation, lenders_before);
	return sessions;
}

/* Returns whether the cache has the cgroup; if so, sets `sessions` to those that select it. */
static __always_inline bool cached_sessions(__u64 id, __u32 generation, __u64 *sessions)
{
	struct cached *entry = &cgroup_cache[id % CACHE_SIZE];

	*sessions = *(volatile __u64 *)&entry->sessions;
	return entry->id == id && entry->check == checksum(id, *sessions, generation);
}

/* Returns the id of the socket's cgroup; 0 if the kernel does not know it. */
static __always_inline __u64 socket_cgroup_id(struct sock *sk)
{
	struct cgroup *cgroup = socket_cgroup(sk);

	return cgroup ? id_of(cgroup) : 0;
}

/* Returns the sessions that select a socket by its cgroup, which has this id. */
static __always_inline __u64 cgroup_sessions_of(struct sock *sk, __u64 id, __u32 generation)
{
	__u64 sessions;

	if (!id)
		return 0;
	if (cached_sessions(id, generation, &sessions))
		return sessions;
	return learn_sessions(socket_cgroup_address(sk), id, generation);
}

/* Returns the sessions that select the cgroup at an address. */
static __always_inline __u64 sessions_at(__u64 cgroup, __u32 generation)
{
	__u64 id = BPF_CORE_READ((struct cgroup *)cgroup, kn, id), sessions;

	if (cached_sessions(id, generation, &sessions))
		return sessions;
	return learn_sessions(cgroup, id, generation);
}

/* Returns the sessions that select the cgroup of a task. */
static __always_inline __u64 task_sessions(struct task_struct *task, __u32 generation)
{
	return sessions_at((__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp), generation);
}

static __always_inline __u64 process_sessions(__u32 tgid)
{
	struct tt_process *process = bpf_map_lookup_elem(&tt_processes, &tgid);

	/*
	 * A fork can copy a session's bit after the session has ended, so only the bits of sessions that select
	 * processes now are returned.
	 */
	return process ? process->sessions & selection.by_process : 0;
}

#endif
