/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types and fields that the programs read. The offsets here mean nothing: `preserve_access_index` makes the
 * loader take them from the running kernel's BTF (CO-RE). Only names and types must match.
 */
#ifndef TT_KERNEL_H
#define TT_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

/* From include/uapi/linux/bpf.h. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1024 };
enum { BPF_F_USER_STACK = 256 };	     /* of bpf_get_stack(); its lowest byte is the number of frames to skip */
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 }; /* for the storage of tasks and of sockets */
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

/* The socket that programs on cgroups get; the verifier checks each access. */
struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port; /* host order */
	__u32 dst_port; /* network order, in the first two bytes */
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
};
_Static_assert(__builtin_offsetof(struct bpf_sock, state) == 72, "include/uapi/linux/bpf.h");

/* The TCP fields of a socket, as bpf_tcp_sock() returns them. */
struct bpf_tcp_sock {
	__u32 not_used[4];
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 not_used_either[8];
	__u32 data_segs_in;
	__u32 segs_out;
	__u32 data_segs_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u64 bytes_received;
	__u64 bytes_acked;
};
_Static_assert(__builtin_offsetof(struct bpf_tcp_sock, data_segs_in) == 60, "include/uapi/linux/bpf.h");
_Static_assert(__builtin_offsetof(struct bpf_tcp_sock, bytes_acked) == 88, "include/uapi/linux/bpf.h");

/* Context of cgroup_skb programs. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 not_used[14];
	__u32 data;
	__u32 data_end;
	__u32 not_used_either[21];
	struct bpf_sock *sk;
};
_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "include/uapi/linux/bpf.h");
_Static_assert(__builtin_offsetof(struct __sk_buff, sk) == 168, "include/uapi/linux/bpf.h");

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk;
};
/* From include/linux/socket.h and include/uapi/linux/in.h. */
enum { AF_INET = 2, AF_INET6 = 10 };
enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58, IPPROTO_MPTCP = 262 };
enum { SOCK_STREAM = 1, SOCK_RAW = 3 };
enum { MSG_PEEK = 2, MSG_ERRQUEUE = 0x2000 };
/* From include/uapi/linux/magic.h: the file system of socket files. */
#define SOCKFS_MAGIC 0x534f434b
/* From include/net/sock.h: bits of skc_flags, which are set by a received FIN of TCP, and by SO_OOBINLINE. */
enum { SOCK_DONE = 1, SOCK_URGINLINE = 2 };
/* From include/net/tcp_states.h. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};
/* Context of a kprobe: arch/x86/include/uapi/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	unsigned long rax, rcx, rdx, rsi, rdi, orig_rax;
	unsigned long rip, cs, eflags, rsp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs;
#endif
/* From include/uapi/linux/if_ether.h, and the offsets of addresses in an IP header (RFC 791, RFC 8200). */
enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd };
enum { IPV4_SOURCE = 12, IPV4_DESTINATION = 16, IPV6_SOURCE = 8, IPV6_DESTINATION = 24 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/*
 * The user-mode registers that the kernel has saved. The loader ignores three underscores in a type's name, and what
 * follows them.
 */
#if defined(__TARGET_ARCH_x86)
struct pt_regs___kernel {
	unsigned long bp, orig_ax, ip, sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs___kernel {
	struct user_pt_regs user_regs;
	int syscallno;
};
#endif

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* Complete, since the distance between members of numbers[] is the size of this struct and is not relocated. */
struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct mm_struct {
	unsigned long start_stack; /* end of the first thread's stack, where the arguments begin */
};

struct task_struct {
	struct mm_struct *mm; /* 0 for a kernel thread */
	int pid;
	int tgid;
	__u64 self_exec_id;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct css_set *cgroups;
	struct files_struct *files;
	char comm[16];
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct proto {
	int (*recvmsg)(void);
	int (*sendpage)(void); /* until Linux 6.5 */
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct proto *skc_prot;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	refcount_t skc_refcnt;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	struct proto *sk_prot_creator;
	socket_lock_t sk_lock;
	int sk_write_pending; /* tasks that wait for room to send */
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct ipv6_pinfo {
	int mcast_oif;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	__be16 inet_sport;
	int mc_index;
};

struct sk_buff {
	struct sock *sk;
	int skb_iif;
	__u16 network_header;
	unsigned char *head;
};

struct tcp_ulp_ops;

struct request_sock {
	struct request_sock *dl_next;
	struct sock *sk;
};

struct request_sock_queue {
	struct request_sock *rskq_accept_head;
};

struct inet_connection_sock {
	struct request_sock_queue icsk_accept_queue;
	const struct tcp_ulp_ops *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 write_seq;
	__u32 snd_una;
	__u32 urg_seq; /* of the last urgent byte; 0: there was none */
	__u32 srtt_us;
	__u64 bytes_sent; /* bytes in segments, including retransmits */
	__u64 bytes_retrans;
	__u32 total_retrans;
	__u64 bytes_received;
	__u64 bytes_acked;
};

#pragma clang attribute pop

/*
 * sockaddr_in and sockaddr_in6 in one, from include/uapi/linux/in.h and in6.h. Not relocated, because they never
 * change.
 */
struct socket_address {
	__u16 family;
	__be16 port;
	__be32 ipv4; /* with AF_INET6, the flow label */
	__be32 ipv6[4];
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#endif
