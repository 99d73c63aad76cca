/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls into OpenSSL. An SSL object is used by one thread at a time, so its bytes are handed over at the return of a
 * call, when their number and the socket are known. Bytes are stamped with the time when a read returns, or when a
 * write is entered.
 */
#ifndef TT_TLS_OPENSSL_H
#define TT_TLS_OPENSSL_H

#include "tls_copy.h"

/*
 * Number of bytes by which a return raises the stack pointer above that at the entry: on x86, it pops the return
 * address.
 */
#if defined(__TARGET_ARCH_x86)
#define RETURN_POPS 8
#else
#define RETURN_POPS 0
#endif

static __always_inline void enter(struct pt_regs *ctx, __u64 ssl, __u64 buffer, __u64 count_at, bool reads)
{
	struct call call = { .object = ssl, .buffer = buffer, .count_at = count_at };
	struct thread *thread;
	__u32 depth;

	thread = bpf_task_storage_get(&tt_tls_threads, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread)
		return;
	call.stack = PT_REGS_SP(ctx);
	call.began = bpf_ktime_get_ns();
	if (reads) {
		/* This call decrypts the bytes that the thread received last, so a later call must not claim them. */
		call.received = thread->received;
		thread->received = 0;
	}
	depth = thread->depth;
	/* A kept call at or below the stack pointer was left by longjmp() or an exception. */
	if (depth >= 2 && thread->calls[1].stack <= call.stack)
		depth = 1;
	if (depth == 1 && thread->calls[0].stack <= call.stack)
		depth = 0;
	if (depth == 0)
		thread->calls[0] = call;
	else if (depth == 1)
		thread->calls[1] = call;
	thread->depth = depth + 1;
}

/* Returns the channel of an object whose current call has used the socket with this cookie; 0 if it has used none. */
static __always_inline struct channel *channel_of(const struct object *object, __u64 cookie)
{
	struct channel *channel = bpf_map_lookup_elem(&tt_tls_channels, object), fresh = {};

	/* Another socket: the object's memory was used by an earlier connection, whose channel is removed. */
	if (channel && cookie && channel->cookie && channel->cookie != cookie) {
		bpf_map_delete_elem(&tt_tls_channels, object);
		channel = 0;
	}
	if (!channel) {
		fresh.id = bpf_ktime_get_ns();
		fresh.cookie = cookie;
		bpf_map_update_elem(&tt_tls_channels, object, &fresh, BPF_NOEXIST);
		return bpf_map_lookup_elem(&tt_tls_channels, object);
	}
	if (cookie && !channel->cookie)
		channel->cookie = cookie;
	return channel;
}

/* Handles the end of a call. `counts`: the call returns a number of bytes; otherwise it returns success or failure. */
static __always_inline int leave(struct pt_regs *ctx, bool sent, bool counts)
{
	struct thread *thread = bpf_task_storage_get(&tt_tls_threads, bpf_get_current_task_btf(), 0, 0);
	struct object object = { .pid = current_pid() };
	long result = PT_REGS_RC(ctx);
	__u64 length = 0, stack = PT_REGS_SP(ctx) - RETURN_POPS;
	struct channel *channel;
	struct call call;
	__u32 depth;

	if (!thread || thread->depth == 0)
		return 0;
	depth = thread->depth;
	if (depth > DEPTH) {
		/* A call that was nested too deeply to be kept has a lower stack pointer than the kept ones. */
		if (stack < thread->calls[1].stack) {
			thread->depth = depth - 1;
			return 0;
		}
		depth = DEPTH;
	}
	/* A kept call with a lower stack pointer than the one that returns was left by longjmp() or an exception. */
	if (depth == 2 && thread->calls[1].stack < stack)
		depth = 1;
	call = thread->calls[(depth - 1) & (DEPTH - 1)];
	/* The call that returns is not the one on top: its entry was not seen. */
	if (call.stack != stack)
		return 0;
	thread->depth = depth - 1;
	/*
	 * If a function calls another one for the same object, as LibreSSL's SSL_read_ex does, the outer one hands the
	 * bytes over.
	 */
	if (depth == 2 && thread->calls[0].object == call.object) {
		if (!thread->calls[0].cookie)
			thread->calls[0].cookie = call.cookie;
		return 0;
	}
	object.address = call.object;
	if (call.count_at) {
		if ((int)result != 1 || bpf_probe_read_user(&length, sizeof(length), (void *)call.count_at))
			return 0;
	} else if (counts && result > 0) {
		length = result;
	} else if ((int)result > 0) {
		length = (int)result;
	}
	if (length == 0)
		return 0;
	channel = channel_of(&object, call.cookie);
	if (!channel)
		return 0;
	/*
	 * If no call of the library has used a socket, the process reads the socket itself and passes the bytes to the
	 * library: the plain text is that of the socket that it read just before.
	 */
	if (!channel->cookie && !sent)
		channel->cookie = call.received;
	hand_over(channel, sent, call.buffer, length, sent ? call.began : bpf_ktime_get_ns());
	return 0;
}

SEC("uprobe")
int tt_tls_read(struct pt_regs *ctx)
{
	enter(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0, true);
	return 0;
}

SEC("uprobe")
int tt_tls_write(struct pt_regs *ctx)
{
	enter(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), 0, false);
	return 0;
}

SEC("uprobe")
int tt_tls_read_ex(struct pt_regs *ctx)
{
	enter(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx), true);
	return 0;
}

SEC("uprobe")
int tt_tls_write_ex(struct pt_regs *ctx)
{
	enter(ctx, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx), false);
	return 0;
}

SEC("uprobe")
int tt_tls_sendfile(struct pt_regs *ctx)
{
	enter(ctx, PT_REGS_PARM1(ctx), 0, 0, false);
	return 0;
}

SEC("uretprobe.s")
int tt_tls_read_ret(struct pt_regs *ctx)
{
	return leave(ctx, false, false);
}

SEC("uretprobe.s")
int tt_tls_write_ret(struct pt_regs *ctx)
{
	return leave(ctx, true, false);
}

SEC("uretprobe.s")
int tt_tls_sendfile_ret(struct pt_regs *ctx)
{
	return leave(ctx, true, true);
}

/* Forgets the connection of an SSL object that is freed, since its memory may become another connection's. */
SEC("uprobe")
int tt_tls_free(struct pt_regs *ctx)
{
	struct object object = { .address = PT_REGS_PARM1(ctx), .pid = current_pid() };

	bpf_map_delete_elem(&tt_tls_channels, &object);
	return 0;
}
#endif
