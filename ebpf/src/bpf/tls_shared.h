/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The data that the TLS programs share with user space. `ebpf/src/layout/tls.rs` mirrors every struct; the asserts at
 * the end and the ones there fail the build if the two differ.
 */
#ifndef TT_TLS_SHARED_H
#define TT_TLS_SHARED_H

#include "http_shared.h"

/*
 * Flag of records with plain text. They have the form of HTTP's: each struct tt_http_record is followed by a struct
 * tt_tls_origin, and that by the bytes. `cookie` is 0 while the socket is not known; `sequence` counts the bytes of the
 * channel's direction from 0 on, and wraps around.
 */
#define TT_TLS_PLAIN (1 << 11)

/* The origin of plain text. */
struct tt_tls_origin {
	__u64 channel; /* number of the library's connection, unique while the programs are loaded */
	__u32 pid;     /* process id on the host */
	__u32 reserved;
};

/* A process has come into a selected cgroup, or has executed another program. */
struct tt_tls_news {
	__u32 pid;
	__u32 reserved;
};

/* One direction of a socket's plain text. */
struct tt_tls_way {
	__u64 cookie;
	__u64 sent; /* 1: bytes that the socket sends; 0: bytes that it receives */
};

/*
 * Value of `tt_tls_bodies` for a body that ends with its connection: only lengths are reported. With ~0ull, nothing is
 * reported.
 */
#define TT_TLS_ENDLESS (~0ull - 1)

_Static_assert(sizeof(struct tt_tls_origin) == 16, "shared with Rust");
_Static_assert(sizeof(struct tt_tls_news) == 8, "shared with Rust");
_Static_assert(sizeof(struct tt_tls_way) == 16, "shared with Rust");
#endif
