/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The data that the programs that take stacks share with user space. `ebpf/src/layout/stacks.rs` mirrors every struct;
 * the asserts at the end and the ones there fail the build if the two differ.
 */
#ifndef TT_STACKS_SHARED_H
#define TT_STACKS_SHARED_H

/* Maximum number of addresses of a user stack, and of a kernel stack. */
#define TT_STACK_ADDRESSES 127
#define TT_STACK_KERNEL 48

/*
 * The modes in which the user stacks of a process are taken: a copy of the top, or addresses found by frame pointers.
 */
enum tt_stack_mode {
	TT_STACK_COPY_8 = 0, /* at most 8 KiB of the top are copied; also for processes without an entry */
	TT_STACK_COPY_16,
	TT_STACK_COPY_32,
	TT_STACK_COPY_64,
	TT_STACK_FRAME_POINTERS,
};

enum tt_stack_flag {
	TT_STACK_SENT = 1 << 0,	     /* the call sent; else it received */
	TT_STACK_CLAIM = 1 << 1,     /* no call: the thread receives bytes without one, as splice() does */
	TT_STACK_COPIED = 1 << 2,    /* a copy of the top of the user stack follows */
	TT_STACK_ADDRESSED = 1 << 3, /* addresses of the user stack follow */
	TT_STACK_CUT = 1 << 4,	     /* with COPIED: the stack is longer than the copy */
};

/* A value of `tt_stack_modes`. */
struct tt_stack_known {
	__u32 mode;    /* enum tt_stack_mode */
	__u32 program; /* number of the program that the process executes, as in struct tt_stack */
};

/* A note of the programs that count for those that take stacks, on one CPU and within one event. */
struct tt_stack_note {
	__u64 thread;	/* as bpf_get_current_pid_tgid() returns it; 0: the note was removed */
	__u64 socket;	/* address of the socket */
	__u64 sessions; /* those that count the call and want stacks */
	__u32 slot;	/* number of the slot in which the call was counted */
	__u32 epoch;	/* of the slot */
};

/*
 * The record of one call, or of a claim (TT_STACK_CLAIM). `instruction` to `link` are user-mode registers. `length`
 * bytes of the user stack follow.
 */
struct tt_stack {
	__u32 slot;
	__u32 epoch;
	__u32 bytes;  /* number of bytes that the call moved */
	__u32 chance; /* probability of this call's stack to be taken, as a fraction of 2^32; 0: certain */
	__u32 pid;    /* process id on the host */
	__u32 tid;
	char comm[16]; /* name of the thread */
	__u64 instruction;
	__u64 stack;
	__u64 frame;
	__u64 link;
	__u64 sessions;	    /* sessions for which the stack was taken */
	__u32 flags;	    /* enum tt_stack_flag, ored */
	__u32 length;	    /* length of the user stack's part that follows, in bytes */
	__u32 kernel_count; /* number of addresses of the kernel stack */
	__u32 program;	    /* differs for each program that the process has executed */
	__u64 kernel[TT_STACK_KERNEL];
};

/* The options of sessions, one bit each. Written by user space. */
struct tt_stack_options {
	__u64 every_call; /* those that want the stack of each call */
	__u64 kernel;	  /* those that want the kernel stack beside the user stack */
};

_Static_assert(sizeof(struct tt_stack_note) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_stack) == 96 + 8 * TT_STACK_KERNEL, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_stack, comm) == 24, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_stack, instruction) == 40, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_stack, flags) == 80, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_stack, kernel) == 96, "shared with Rust");
_Static_assert(sizeof(struct tt_stack_known) == 8, "shared with Rust");
_Static_assert(__builtin_offsetof(struct tt_stack, program) == 92, "shared with Rust");
_Static_assert(sizeof(struct tt_stack_options) == 16, "shared with Rust");
#endif
