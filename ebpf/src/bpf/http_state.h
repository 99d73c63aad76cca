/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of each socket, and the maps. */
#ifndef TT_HTTP_STATE_H
#define TT_HTTP_STATE_H

#include "http_ring.h"

/* Maximum number of bytes of an incomplete line that are kept for the next packet. */
#define KEPT 32
/*
 * Number of bytes that can be read after a head in its buffer, so that eight bytes can be read anywhere. Their contents
 * are arbitrary.
 */
#define SLACK 48
/* Maximum number of outstanding requests, with one bit each. */
#define OUTSTANDING 64
/* A position that no byte reaches: the end of a body that lasts until the connection ends. */
#define NEVER (~0ull)

/* The meaning of the byte at the `end` of a direction. */
enum place {
	PLACE_NEW = 0, /* the connection's first */
	PLACE_JOINED,  /* unknown, since bytes had passed before: each packet may begin a message */
	PLACE_MESSAGE, /* the first of a message */
	PLACE_HEAD,    /* within a head */
	PLACE_CHUNK,   /* within the line that gives a chunk's size */
	PLACE_TRAILER, /* within the lines after the last chunk */
	PLACE_FRAME,   /* the first of an HTTP/2 frame, or within its header */
	PLACE_RAW,     /* unknown: everything is handed over */
};

/* Facts that a head has given so far. */
enum said {
	SAID_LENGTH = 1 << 0,
	SAID_CHUNKED = 1 << 1,
	SAID_H2C = 1 << 2,
	SAID_DOUBT = 1 << 3, /* something that user space must judge */
	SAID_METHOD_HEAD = 1 << 4,
	SAID_METHOD_CONNECT = 1 << 5,
	SAID_START = 1 << 6, /* the start line was read */
};

/*
 * One direction of a connection. Positions are sequence numbers extended to 64 bits. The packets of a direction nearly
 * always pass one after the other. If two CPUs handle some at once, `entered` and `left` show it, and at most one of
 * the CPUs changes the other fields.
 */
struct way {
	__u64 end;     /* position of the next head, line or frame; bytes before it are done, or a body's */
	__u64 seen;    /* the highest position that passed */
	__u64 handed;  /* bytes before this position were handed over, if they lie at or after `end` */
	__u64 copy_to; /* bytes before this position are handed over as they pass */
	__u64 length;  /* of the body, or of the chunk */
	__u64 ahead;   /* end of the bytes that passed out of order */
	__u64 raced;   /* end of the bytes that passed while another CPU handled this direction */
	__u32 entered; /* number of packets whose handling began */
	__u32 left;
	__u8 place;
	__u8 said;
	__u8 is_request; /* this direction carries requests */
	__u8 kept;	 /* bytes of `line` in use */
	__u8 within;	 /* the byte at `end` is within a line of no interest */
	__u8 lost;	 /* records were refused since the last accepted one */
	__u8 head_lost;	 /* the head at hand is counted as lost */
	__u8 awaited;	 /* the end of a body is to be reported */
	__u16 status;
	__u8 has_hole; /* with PLACE_RAW: something that passed out of order may still come */
	__u8 reserved;
	__u8 line[KEPT];
	/*
	 * The state of scan(), which each turn of its loop leaves here for the next one. The verifier knows no value in
	 * a map, so it checks one turn for all; volatile keeps the compiler from passing values in registers.
	 */
	volatile __u32 have;
	volatile __u32 at;
	volatile __u32 start;
	volatile __u32 result;
	volatile __u32 digits; /* of a chunk's size */
	__u32 head;	       /* bytes of the head so far, as far as they were handed over or refused */
};

struct connection {
	struct way ways[2]; /* received, sent */
	__u64 heads;	    /* a bit for each outstanding request: its method is HEAD */
	__u64 connects;	    /* a bit for each outstanding request: its method is CONNECT */
	__u32 requests;	    /* heads of requests that passed; written only by their direction */
	__u32 responses;    /* final responses that passed; written only by their direction */
	__u8 off;	    /* not HTTP, or no longer */
	__u8 begun;	    /* user space knows the connection */
	__u8 joined;
	__u8 h2;
	__u8 uncounted; /* requests may have passed that are not in `requests` */
	__u8 early;	/* packets still to be handed over: user space has bytes from before the socket existed */
	__u8 resumes;	/* the requests' direction knows its position again, and the other one must find it */
	__u8 reserved;
	__u32 known; /* TT_HTTP_RECEIVES, TT_HTTP_SENDS */
	__u32 reserved_too;
	__u64 resume_at; /* with `resumes`: position of the responses' direction at that time */
	__u64 cookie;
	__u32 first[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} tt_http_sockets SEC(".maps");

/* Ring buffer of the records for user space, which sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} tt_http_ring SEC(".maps");

/* Cgroup of the socket -> counts of the records that the ring buffer refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct tt_http_lost);
} tt_http_lost SEC(".maps");

/* Cookie of a socket -> its latest pause that user space has reported: see struct tt_http_pause. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tt_http_pause);
} tt_http_pauses SEC(".maps");

/*
 * Cookies of sockets that do not speak HTTP, as user space has found. The programs remove an entry when they stop
 * handing over the bytes of its socket.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} tt_http_ignored SEC(".maps");

/*
 * A buffer in which a head is read and its record is built, so that the ring buffer is written to as little as
 * possible: the ring buffer's memory is in no cache, and each cache line that is written there costs more than a copy.
 */
struct scratch {
	struct tt_http_record record;
	__u8 data[TT_HTTP_SMALL + SLACK];
};

/*
 * Number of packets that one CPU can be handling at a time: a program can be interrupted and, on some kernels,
 * preempted.
 */
#define SCRATCHES 4

/* The scratch buffers of a CPU, and a bit mask of those in use. */
struct scratches {
	struct scratch each[SCRATCHES];
	__u64 taken;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratches);
} tt_http_scratch SEC(".maps");

/*
 * A packet that is being handled. Code that takes many steps to verify is a function with global linkage, which the
 * verifier checks once and not at each call. Such functions can only have five arguments: the context, numbers, and
 * pointers to memory whose size the type gives. So each of them makes this struct anew.
 */
struct packet {
	struct __sk_buff *skb;
	struct connection *connection;
	struct way *way;
	__u64 first;  /* position of its first byte */
	__u64 last;   /* position after its last byte */
	__u64 time;   /* monotonic, in nanoseconds; 0 until it is needed */
	__u32 offset; /* of the first byte in the packet */
	__u32 sent;   /* 1 if the traced socket sends it, else 0 */
};

/* Offset and direction, packed into one number. */
#define WHERE(packet) ((packet)->offset << 1 | (packet)->sent)

/*
 * Fills a packet from the arguments of a function with global linkage. Returns false if the connection is null, since
 * the verifier makes such functions expect null pointers.
 */
static __always_inline bool is_packet(struct packet *packet, struct __sk_buff *skb, struct connection *connection,
				      __u64 first, __u64 last, __u32 where)
{
	__u32 index = where & 1;

	if (!connection)
		return false;
	/* Without a branch, because the verifier would check everything after it once for each direction. */
	asm volatile("" : "+r"(index));
	packet->connection = connection;
	packet->way = &connection->ways[index];
	packet->skb = skb;
	packet->sent = index;
	packet->first = first;
	packet->last = last;
	packet->offset = where >> 1;
	packet->time = 0;
	return true;
}

/* Returns the time at which the packet passes, read at the first call. */
static __always_inline __u64 time_of(struct packet *packet)
{
	if (!packet->time)
		packet->time = bpf_ktime_get_ns();
	return packet->time;
}
#endif
