/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls of Go's crypto/tls, in Go 1.17 and later, whose functions take their arguments in registers. Goroutines move
 * between threads, so a call is identified by its goroutine. Their stacks move too, so probes are not attached to
 * returns, but to the return instructions. Bytes that are written are handed over at the entry, because another
 * goroutine can read the answer before the call returns.
 */
#ifndef TT_TLS_GO_H
#define TT_TLS_GO_H

#include "tls_copy.h"

#if defined(__TARGET_ARCH_x86)
#define GO_RECEIVER(ctx) ((ctx)->rax)
#define GO_BUFFER(ctx) ((ctx)->rbx)
#define GO_LENGTH(ctx) ((ctx)->rcx)
#define GO_RESULT(ctx) ((ctx)->rax)
#define GO_ROUTINE(ctx) ((ctx)->r14)
#elif defined(__TARGET_ARCH_arm64)
#define GO_RECEIVER(ctx) (((const struct user_pt_regs *)(ctx))->regs[0])
#define GO_BUFFER(ctx) (((const struct user_pt_regs *)(ctx))->regs[1])
#define GO_LENGTH(ctx) (((const struct user_pt_regs *)(ctx))->regs[2])
#define GO_RESULT(ctx) (((const struct user_pt_regs *)(ctx))->regs[0])
#define GO_ROUTINE(ctx) (((const struct user_pt_regs *)(ctx))->regs[28])
#endif

/* Offset of Sysfd in internal/poll.FD, after the fdMutex. FD is the first field of net.netFD. */
#define SYSFD 16

static __always_inline __u64 user_word(__u64 address)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

/*
 * Returns the cookie of the TCP socket that is open as `fd` in the current process; 0 if there is none, or no cookie.
 */
static __always_inline __u64 cookie_of_descriptor(__u64 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = 0;
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

/*
 * Returns the cookie of a tls.Conn's socket. The first field of a tls.Conn is a net.Conn: the table of a type's
 * methods, and a value. Only a *net.TCPConn is followed, recognized by the address of its table, which is the attach
 * cookie of the probe.
 */
static __always_inline __u64 cookie_of_connection(struct pt_regs *ctx, __u64 connection)
{
	__u64 table = user_word(connection), value = user_word(connection + 8);

	if (!table || table != bpf_get_attach_cookie(ctx))
		return 0;
	return cookie_of_descriptor(user_word(user_word(value) + SYSFD));
}

/*
 * Returns the channel of a connection, which is made anew if the socket is another one: no probe sees the end of a
 * connection, so its memory may belong to another connection by now.
 */
static __always_inline struct channel *go_channel(__u64 connection, __u64 cookie)
{
	struct object object = { .address = connection, .pid = current_pid() };
	struct channel *channel = bpf_map_lookup_elem(&tt_tls_channels, &object), fresh = {};

	if (channel && channel->cookie == cookie)
		return channel;
	fresh.id = bpf_ktime_get_ns();
	fresh.cookie = cookie;
	bpf_map_update_elem(&tt_tls_channels, &object, &fresh, channel ? BPF_ANY : BPF_NOEXIST);
	return bpf_map_lookup_elem(&tt_tls_channels, &object);
}

SEC("uprobe.s")
int tt_tls_go_write(struct pt_regs *ctx)
{
	__u64 connection = GO_RECEIVER(ctx), length = GO_LENGTH(ctx);
	struct channel *channel;

	/* No slice has 2^48 bytes: the register holds something else. */
	if (length == 0 || length >> 48)
		return 0;
	channel = go_channel(connection, cookie_of_connection(ctx, connection));
	if (channel)
		hand_over(channel, 1, GO_BUFFER(ctx), length, bpf_ktime_get_ns());
	return 0;
}

SEC("uprobe")
int tt_tls_go_read(struct pt_regs *ctx)
{
	struct routine routine = { .address = GO_ROUTINE(ctx), .pid = current_pid() };
	struct go_call call = { .object = GO_RECEIVER(ctx), .buffer = GO_BUFFER(ctx) };

	call.cookie = cookie_of_connection(ctx, call.object);
	bpf_map_update_elem(&tt_tls_routines, &routine, &call, BPF_ANY);
	return 0;
}

/* Runs at each return instruction of Read. */
SEC("uprobe.s")
int tt_tls_go_read_ret(struct pt_regs *ctx)
{
	struct routine routine = { .address = GO_ROUTINE(ctx), .pid = current_pid() };
	struct go_call call, *found = bpf_map_lookup_elem(&tt_tls_routines, &routine);
	struct channel *channel;
	long result = GO_RESULT(ctx);

	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&tt_tls_routines, &routine);
	if (result <= 0 || result >> 48)
		return 0;
	channel = go_channel(call.object, call.cookie);
	if (channel)
		hand_over(channel, 0, call.buffer, result, bpf_ktime_get_ns());
	return 0;
}
#endif
