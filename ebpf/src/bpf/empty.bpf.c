// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Programs that do nothing, on the hooks of the programs that count; a benchmark compares the two. */
#include "kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EMPTY(name, hook, answer)   \
	SEC(hook)                   \
	int empty_##name(void *ctx) \
	{                           \
		return answer;      \
	}

EMPTY(send, "tp_btf/sock_send_length", 0)
EMPTY(recv, "tp_btf/sock_recv_length", 0)
EMPTY(state, "tp_btf/inet_sock_set_state", 0)
EMPTY(destroy, "tp_btf/tcp_destroy_sock", 0)
EMPTY(sendmsg4, "cgroup/sendmsg4", 1)
EMPTY(recvmsg4, "cgroup/recvmsg4", 1)
EMPTY(release, "cgroup/sock_release", 1)
