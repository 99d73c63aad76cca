/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The data that the HTTP programs share with user space. `ebpf/src/layout/http.rs` mirrors every struct; the asserts at
 * the end and the ones there fail the build if the two differ.
 */
#ifndef TT_HTTP_SHARED_H
#define TT_HTTP_SHARED_H

/* The two sizes of a record's room for bytes; most heads fit into the small one. */
#define TT_HTTP_SMALL 480
#define TT_HTTP_LARGE 4096

enum tt_http_flag {
	TT_HTTP_SENT = 1 << 0,	      /* the traced socket sent the bytes; else it received them */
	TT_HTTP_STARTS = 1 << 1,      /* the first byte begins a message or a frame, as far as the programs can tell */
	TT_HTTP_LOST_BEFORE = 1 << 2, /* records of this direction were refused since the last accepted one */
	TT_HTTP_FIN = 1 << 3,	      /* the direction has ended: no byte comes at or after `sequence` */
	TT_HTTP_RESET = 1 << 4,	      /* the connection was reset */
	TT_HTTP_BEGIN = 1 << 5,	      /* the connection's first record, which names its owner */
	TT_HTTP_JOINED = 1 << 6,      /* with BEGIN: bytes had passed before the programs saw the connection */
	TT_HTTP_RECEIVES = 1 << 7,    /* with BEGIN: `first_received` is known */
	TT_HTTP_SENDS = 1 << 8,	      /* with BEGIN: `first_sent` is known */
	TT_HTTP_TLS = 1 << 9,	      /* the connection speaks TLS: only its ends are still reported */
	TT_HTTP_EARLY = 1 << 10, /* bytes that a listening socket received, of a connection that is not accepted yet: both a
					 connection, whose cookie is 0, and the bytes follow */
	TT_HTTP_RAW = 1 << 12,	 /* all bytes of this direction are handed over: see struct tt_http_pause */
};

/* The owner of a connection. Addresses and ports are those of the socket, in the forms of shared.h. */
struct tt_http_connection {
	__u64 cgroup;
	__u32 first_received; /* sequence numbers of the first bytes */
	__u32 first_sent;
	__u8 local_addr[16];
	__u8 remote_addr[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 reserved;
};

/* Bytes of a connection, which follow the struct. With TT_HTTP_BEGIN, only a struct tt_http_connection follows. */
struct tt_http_record {
	__u64 cookie; /* of the socket */
	__u64 time;   /* time of the packet, monotonic, in nanoseconds */
	__u32 sequence;
	__u32 length; /* bytes that passed from `sequence` on, of which `copied` follow here */
	__u16 copied;
	__u16 skip;  /* bytes between this struct and the copied ones, to be ignored */
	__u32 flags; /* enum tt_http_flag */
};

/*
 * A pause of a connection, when no message (HTTP/2: no frame) is being transferred: the sequence number of the next
 * byte in each direction. User space, which parses everything, reports pauses of connections with TT_HTTP_RAW. If the
 * next bytes begin there, the programs know again where messages begin.
 */
struct tt_http_pause {
	__u32 received;
	__u32 sent;
};

/* Number of items that the ring buffer refused, by cgroup of the sockets. */
struct tt_http_lost {
	__u64 records;
	__u64 requests;	 /* request heads of which a part was refused */
	__u64 responses; /* response heads of which a part was refused */
	__u64 unknown;	 /* records with an unknown number of messages */
};

_Static_assert(sizeof(struct tt_http_connection) == 56, "shared with Rust");
_Static_assert(sizeof(struct tt_http_record) == 32, "shared with Rust");
_Static_assert(sizeof(struct tt_http_pause) == 8, "shared with Rust");
_Static_assert(sizeof(struct tt_http_lost) == 32, "shared with Rust");
#endif
