// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The stacks of calls that move bytes. This object is loaded while a session asks for stacks. Its programs are attached
 * after those that count, and read their notes (stacks_note.h):
 *
 *  sock_send_length, sock_recv_length   the stack of a call that was counted
 *  tcp_rcv_space_adjust                 the stack of a thread that receives without such a call
 */
#include "stacks_budget.h"
#include "stacks_shared.h"
#include "ring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Number of frames at the top of a kernel stack that are left out, because they are the hook's own: the program, its
 * caller, and the tracepoint.
 */
#define OWN_FRAMES 3
/* A copy that reaches the end of the stack's memory stops at most this many bytes before it: see copy_stack(). */
#define LEAST_STEP 256

volatile struct tt_stack_options options SEC(".data.options");

/* Number of records that found no room in the ring buffer. Read by user space. */
volatile __u64 lost SEC(".data.lost");

/* One element, set by user space: the map `tt_stack_note` of the object that counts. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
			__uint(max_entries, 1);
			/* Sizes are given instead of types, since the compiler omits types that are only named here. */
			__uint(key_size, sizeof(__u32));
			__uint(value_size, sizeof(struct tt_stack_note));
		});
} tt_stack_notes SEC(".maps");

/*
 * Process -> mode in which its stacks are taken. The first stack of a program adds an entry; user space changes the
 * mode.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct tt_stack_known);
} tt_stack_modes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} tt_stacks SEC(".maps");

/* A call whose stack is being taken. */
struct taken {
	struct tt_stack_note note;
	__u64 instruction;
	__u64 stack;
	__u64 frame;
	__u64 link;
	__u64 left; /* upper bound of the bytes on the user stack */
	__u32 bytes;
	__u32 chance;
	__u32 flags;
	__u32 program;
	bool fresh; /* the first stack of its program */
};

/* Moves the note of the current event to `taken`; returns false if there is none. */
static __always_inline bool take_note(struct sock *sk, struct tt_stack_note *taken)
{
	struct tt_stack_note *note;
	__u32 zero = 0;
	void *notes;

	notes = bpf_map_lookup_elem(&tt_stack_notes, &zero);
	if (!notes)
		return false;
	note = bpf_map_lookup_elem(notes, &zero);
	if (!note || !note->thread)
		return false;
	*taken = *note;
	note->thread = 0;
	/* A note of another event was left over, because the kernel skipped the program that should have removed it. */
	return taken->thread == bpf_get_current_pid_tgid() && taken->socket == (__u64)sk;
}

/*
 * Copies the top of a stack, up to `wanted` bytes and at most `size`. If the memory ends before that, the copy stops up
 * to LEAST_STEP bytes before its end. Returns the number of copied bytes.
 */
static __always_inline __u32 copy_stack(__u8 *to, const __u32 size, __u64 from, __u64 wanted)
{
	__u32 at = 0, step, length = wanted < size ? wanted : size;

	/*
	 * Repeats the comparison for the verifier, which cannot follow the one above through the compiler's registers.
	 */
	barrier_var(length);
	if (length > size)
		return 0;
	if (!bpf_probe_read_user(to, length, (void *)from))
		return length;
#pragma unroll
	for (step = size / 2; step >= LEAST_STEP; step /= 2) {
		if (at <= size - step && !bpf_probe_read_user(to + at, step, (void *)(from + at)))
			at += step;
		/* Keeps the verifier from checking each sum of steps by itself. */
		barrier_var(at);
	}
	return at;
}

/* Hands over a record with room for `size` bytes of the user stack. The verifier needs a constant size in each call. */
static __always_inline int hand_over(void *ctx, struct taken *taken, const __u32 size)
{
	struct tt_stack *stack;
	__u64 thread = taken->note.thread;
	__u32 flags = taken->flags;
	long length = 0;
	__u8 *body;

	stack = bpf_ringbuf_reserve(&tt_stacks, sizeof(*stack) + size, 0);
	if (!stack) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	body = (__u8 *)(stack + 1);
	stack->slot = taken->note.slot;
	stack->epoch = taken->note.epoch;
	stack->bytes = taken->bytes;
	stack->chance = taken->chance;
	stack->pid = thread >> 32;
	stack->tid = thread;
	bpf_get_current_comm(stack->comm, sizeof(stack->comm));
	stack->instruction = taken->instruction;
	stack->stack = taken->stack;
	stack->frame = taken->frame;
	stack->link = taken->link;
	stack->sessions = taken->note.sessions;
	stack->kernel_count = 0;
	stack->program = taken->program;
	if (flags & TT_STACK_COPIED) {
		length = copy_stack(body, size, taken->stack, taken->left);
		if (length == size && taken->left > size)
			flags |= TT_STACK_CUT;
	} else if (flags & TT_STACK_ADDRESSED) {
		length = bpf_get_stack(ctx, body, size, BPF_F_USER_STACK);
		if (length < 0)
			length = 0;
	}
	stack->flags = flags;
	stack->length = length;
	if (!(flags & (TT_STACK_COPIED | TT_STACK_ADDRESSED)) || taken->note.sessions & options.kernel) {
		length = bpf_get_stack(ctx, stack->kernel, sizeof(stack->kernel), OWN_FRAMES);
		if (length > 0)
			stack->kernel_count = length / sizeof(__u64);
	}
	/* User space can inspect a process only while it lives, so it is woken at once. */
	if (taken->fresh)
		bpf_ringbuf_submit(stack, BPF_RB_FORCE_WAKEUP);
	else
		submit_to(&tt_stacks, stack, sizeof(*stack) + size);
	return 0;
}

/* Reads the user-mode registers of a thread, which kernel threads do not have. Returns whether it has a user stack. */
static __always_inline bool read_registers(struct task_struct *task, struct taken *taken)
{
	struct pt_regs___kernel *registers;
	struct mm_struct *mm = task->mm;
	__u64 begin;

	if (!mm)
		return false;
	registers = (struct pt_regs___kernel *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_x86)
	taken->instruction = registers->ip;
	taken->stack = registers->sp;
	taken->frame = registers->bp;
#elif defined(__TARGET_ARCH_arm64)
	taken->instruction = registers->user_regs.pc;
	taken->stack = registers->user_regs.sp;
	taken->frame = registers->user_regs.regs[29];
	taken->link = registers->user_regs.regs[30];
#endif
	/*
	 * The first thread's stack ends at start_stack, where the arguments begin. Stacks of other threads, and of
	 * runtimes such as Go's, lie elsewhere: `left` is then only an upper bound.
	 */
	begin = mm->start_stack;
	taken->left = begin > taken->stack ? begin - taken->stack : ~0ull;
	/* Workers of io_uring have the memory of their process, but no user stack: their stack pointer is 0. */
	return taken->stack != 0;
}

static __always_inline int take(void *ctx, struct sock *sk, int ret, __u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct taken taken = { .bytes = ret, .flags = flags };
	struct tt_stack_known *known, first = { .mode = TT_STACK_COPY_8 };
	__u32 mode = TT_STACK_COPY_8, pid;

	if (!take_note(sk, &taken.note))
		return 0;
	if (!(taken.note.sessions & options.every_call) && !is_taken(&taken.chance))
		return 0;
	if (!read_registers(task, &taken))
		return hand_over(ctx, &taken, 0);
	pid = taken.note.thread >> 32;
	known = bpf_map_lookup_elem(&tt_stack_modes, &pid);
	/* The number of the program grows with each exec. All threads of a process have the same one. */
	taken.program = task->self_exec_id;
	if (known && known->program == taken.program) {
		mode = known->mode;
	} else {
		first.program = taken.program;
		bpf_map_update_elem(&tt_stack_modes, &pid, &first, BPF_ANY);
		taken.fresh = true;
	}
	if (mode == TT_STACK_FRAME_POINTERS) {
		taken.flags |= TT_STACK_ADDRESSED;
		return hand_over(ctx, &taken, TT_STACK_ADDRESSES * sizeof(__u64));
	}
	taken.flags |= TT_STACK_COPIED;
	if (taken.left <= 2 << 10)
		return hand_over(ctx, &taken, 2 << 10);
	if (mode == TT_STACK_COPY_8 || taken.left <= 8 << 10)
		return hand_over(ctx, &taken, 8 << 10);
	if (mode == TT_STACK_COPY_16 || taken.left <= 16 << 10)
		return hand_over(ctx, &taken, 16 << 10);
	if (mode == TT_STACK_COPY_32 || taken.left <= 32 << 10)
		return hand_over(ctx, &taken, 32 << 10);
	return hand_over(ctx, &taken, 64 << 10);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(tt_stack_send, struct sock *sk, int ret, int flags)
{
	return take(ctx, sk, ret, TT_STACK_SENT);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tt_stack_recv, struct sock *sk, int ret, int flags)
{
	return take(ctx, sk, ret, 0);
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tt_stack_claim, struct sock *sk)
{
	return take(ctx, sk, 0, TT_STACK_CLAIM);
}
