/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets of one cgroup that a process of another cgroup uses: a service gets the listener that its manager made
 * (socket activation), a process that moves takes its sockets along, a message carries a socket (SCM_RIGHTS). A socket
 * always belongs to the cgroup of its creator, and so do the sockets that a listener accepts.
 *
 * Looking at the caller's cgroup at each event of an unselected socket would cost too much. Instead, arrivals are
 * watched: of a process in a selected cgroup, by cgroup_attach_task or, if it is created there, sched_process_fork; of
 * a socket in a process, by security_file_receive() if functions can be hooked. Sockets that are older than their
 * session are searched for (older.h). If a selected process is found to hold a socket of an unselected cgroup, that
 * cgroup is noted as a lender. From then on, its sockets are selected by the cgroup of the calling process.
 */
#ifndef TT_LEND_H
#define TT_LEND_H

#include "origins.h"

/* Maximum number of open files of an arriving process that are checked: LENT_GROUPS groups of LENT_GROUP. */
#define LENT_GROUPS 64
#define LENT_GROUP 64

/* Returns whether a connection that was just accepted came to a listener that selected processes may hold. */
static __always_inline bool is_accepted_by_lent(struct sock *sk)
{
	return lenders && is_lender(socket_cgroup_id(sk), bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport)));
}

/*
 * Returns the sessions that select a socket in the current task: by the socket's cgroup, which is `id`; by the task's
 * cgroup if `id` is a lender, which sets `lent`; and by the process itself.
 */
static __always_inline __u64 socket_sessions_of(struct sock *sk, __u64 id, __u32 generation, bool *lent)
{
	__u64 selected = cgroup_sessions_of(sk, id, generation);

	*lent = !selected && is_lender(id, 0);
	if (*lent)
		selected = task_sessions(current_task(), generation);
	if (selection.by_process)
		selected |= process_sessions(bpf_get_current_pid_tgid() >> 32);
	return selected;
}

static __always_inline void note_lender(__u64 id, __u16 port)
{
	struct lender key = { .cgroup = id, .port = port };
	__u32 is = 1;

	if (bpf_map_update_elem(&tt_lenders, &key, &is, BPF_ANY)) {
		count_loss(TT_LOSS_PROCESSES, 1);
		return;
	}
	lender_marks[id % LENDER_MARKS] = 1;
	__sync_fetch_and_add(&lenders, 1);
	forget_unwanted(id);
	count_loss(TT_LOSS_LENDERS, 1);
}

/* Notes the cgroup of the socket at this address, which a selected process holds, as a lender if it is not selected. */
static __always_inline void lend(__u64 socket)
{
	struct sock *sk = (struct sock *)socket;
	__u64 cgroup = socket_cgroup_address(sk), id;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if ((family != AF_INET && family != AF_INET6) || !protocol_numbered(BPF_CORE_READ(sk, sk_protocol)))
		return;
	if (!cgroup || sessions_at(cgroup, selection.generation))
		return;
	id = BPF_CORE_READ((struct cgroup *)cgroup, kn, id);
	note_lender(id, 0);
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		note_lender(id, bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport)));
}

/* Returns the socket of an open file; 0 if the file is something else. */
static __always_inline struct sock *sock_of_file(struct file *file)
{
	struct socket *socket;

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/*
 * Handles an open file of a selected process: if it is a socket, keeps the socket's counters (origins.h) and notes its
 * cgroup as a lender. Not static, so that the verifier checks the function once.
 */
__noinline int lend_file(__u64 address)
{
	struct sock *sk = sock_of_file((struct file *)address);

	if (sk) {
		remember_brought((__u64)sk);
		lend((__u64)sk);
	}
	return 0;
}

/*
 * Handles LENT_GROUP open files of a selected process, from this address in its table of files on. This loop is nested
 * in that of note_arrival(). Since the function is not static, the verifier checks it once by itself: it goes through
 * 64 rounds of each loop, not through 64 * 64.
 */
__noinline int lend_files(__u64 address)
{
	int i;

	for (i = 0; i < LENT_GROUP; i++) {
		__u64 file = 0;

		bpf_probe_read_kernel(&file, sizeof(file), (struct file **)address + i);
		if (file)
			lend_file(file);
	}
	return 0;
}

/* Handles a process that has come into a cgroup, with its open files. */
static __always_inline void note_arrival(struct task_struct *task)
{
	struct fdtable *table;
	struct file **files;
	__u32 groups;
	int i;

	if (!task_sessions(task, selection.generation))
		return;
	table = BPF_CORE_READ(task, files, fdt);
	files = BPF_CORE_READ(table, fd);
	/* The size of a table is a multiple of the bits of a word (fs/file.c), so this division leaves out no file. */
	groups = BPF_CORE_READ(table, max_fds) / LENT_GROUP;
	for (i = 0; i < LENT_GROUPS && groups; i++) {
		lend_files((__u64)files);
		files += LENT_GROUP;
		groups--;
		/*
		 * The verifier of Linux 5.10 rejects a loop that ends when two numbers are equal, which clang would
		 * make of this.
		 */
		barrier_var(groups);
	}
	if (groups)
		count_loss(TT_LOSS_PROCESSES, 1);
}

/* Handles an open file that another process passes to the current one. */
static __always_inline void note_received(struct file *file)
{
	if (task_sessions(current_task(), selection.generation))
		lend_file(address_of(file));
}

#endif
