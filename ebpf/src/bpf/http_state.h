/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is kept of each socket, and the maps. */
#ifndef TT_HTTP_STATE_H
#define TT_HTTP_STATE_H

#include "http_ring.h"

/* Bytes of an incomplete line that are kept for the next packet, at most. */
#define KEPT 32
/* Bytes behind those of a head that may be read, whatever is there. */
#define SLACK 48
/* Requests that can be outstanding; one bit each. */
#define OUTSTANDING 64
/* An end that never comes. */
#define NEVER (~0ull)

/* What the byte at a way's `end` is. */
enum place {
	PLACE_NEW = 0,	 /* the connection's first */
	PLACE_JOINED,	 /* unknown, since bytes had passed before: each packet may begin a message */
	PLACE_MESSAGE,	 /* the first of a message */
	PLACE_HEAD,	 /* within a head */
	PLACE_CHUNK,	 /* within the line that gives a chunk's size */
	PLACE_TRAILER,	 /* within the lines after the last chunk */
	PLACE_FRAME,	 /* the first of an HTTP/2 frame, or within its header */
	PLACE_RAW,	 /* nobody can tell: everything is handed over */
};

/* What a head has said so far. */
enum said {
	SAID_LENGTH = 1 << 0,
	SAID_CHUNKED = 1 << 1,
	SAID_H2C = 1 << 2,
	SAID_DOUBT = 1 << 3, /* something that user space shall judge */
	SAID_METHOD_HEAD = 1 << 4,
	SAID_METHOD_CONNECT = 1 << 5,
	SAID_START = 1 << 6, /* the start line was read */
};

/*
 * One way of a connection. Positions are sequence numbers extended to 64 bits. Its packets nearly always pass one after the
 * other; when two CPUs receive some at once, `entered` and `left` tell, and only one of them changes the state.
 */
struct way {
	__u64 end;	 /* where the next thing begins that is to be looked at; what lies before is done with, or a body */
	__u64 seen;	 /* the highest position that passed */
	__u64 handed;	 /* bytes before this position were handed over, if they lie at or after `end` */
	__u64 copy_to;	 /* bytes before this position are handed over as they pass */
	__u64 length;	 /* of the body, or of the chunk */
	__u64 ahead;	 /* end of the bytes that passed out of order */
	__u64 raced;	 /* end of the bytes that passed while another CPU was here */
	__u32 entered;	 /* packets */
	__u32 left;
	__u8 place;
	__u8 said;
	__u8 is_request; /* this way carries requests */
	__u8 kept;	 /* bytes of `line` in use */
	__u8 within;	 /* the byte at `end` is within a line of no interest */
	__u8 lost;	 /* records were refused since the last accepted one */
	__u8 head_lost;	 /* the head at hand is counted as lost */
	__u8 awaited;	 /* the end of a body is to be told */
	__u16 status;
	__u8 has_hole; /* with PLACE_RAW: something that passed out of order may still come */
	__u8 reserved;
	__u8 line[KEPT];
	/*
	 * Where scan() is, and what it has found: its turns pass it on here. The verifier knows no value of what lies in a map, so
	 * that it looks at one turn for all; volatile keeps the compiler from passing values by registers.
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
	__u64 heads;	    /* bit by request: its method is HEAD */
	__u64 connects;	    /* likewise, CONNECT */
	__u32 requests;	    /* heads of requests that passed; written by their way alone */
	__u32 responses;    /* final responses that passed; likewise */
	__u8 off;	    /* not HTTP, or no longer */
	__u8 begun;	    /* user space knows it */
	__u8 joined;
	__u8 h2;
	__u8 uncounted;	    /* requests may have passed that `requests` lacks */
	__u8 early;	    /* packets to hand over still: bytes came before the socket was there, which user space has */
	__u8 resumes;	    /* the requests' way has found its place again, and the other one is to do so */
	__u8 reserved;
	__u32 known;	    /* TT_HTTP_RECEIVES, TT_HTTP_SENDS */
	__u32 reserved_too;
	__u64 resume_at;    /* with `resumes`: where the responses' way was then */
	__u64 cookie;
	__u32 first[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} tt_http_sockets SEC(".maps");

/* Records for user space, which sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} tt_http_ring SEC(".maps");

/* Cgroup of the socket -> what was refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct tt_http_lost);
} tt_http_lost SEC(".maps");

/* Cookie of a socket -> where its messages begin next, as user space saw it last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tt_http_pause);
} tt_http_pauses SEC(".maps");

/* Cookies of sockets that user space has found to speak no HTTP. An entry goes when the programs have seen it, or is old. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} tt_http_ignored SEC(".maps");

/*
 * Where a head is read, and its record made, so that the ring buffer gets no byte more than it must: its memory is in no
 * cache, and each line of it that is written costs more than a copy.
 */
struct scratch {
	struct tt_http_record record;
	__u8 data[TT_HTTP_SMALL + SLACK];
};

/* Packets that one CPU can be in the middle of: a program can be interrupted, and on some kernels preempted. */
#define SCRATCHES 4

/* The scratches of a CPU, and which of them are in use, bit by bit. */
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
 * A packet at hand. What takes many steps to verify is a function of its own with global linkage, which the verifier looks
 * at once and not at each call; such functions can be given the context, numbers, and pointers to memory whose size the
 * type tells, five arguments in all, so they make this anew.
 */
struct packet {
	struct __sk_buff *skb;
	struct connection *connection;
	struct way *way;
	__u64 first; /* position of its first byte */
	__u64 last;  /* position behind its last byte */
	__u64 time;  /* 0 until it is asked for */
	__u32 offset; /* of the first byte in the packet */
	__u32 sent;   /* 0 or 1 */
};

/* Offset and direction as one number. */
#define WHERE(packet) ((packet)->offset << 1 | (packet)->sent)

/* Makes a packet of the arguments of a function with global linkage. Such functions must expect a null pointer. */
static __always_inline bool is_packet(struct packet *packet, struct __sk_buff *skb, struct connection *connection,
				      __u64 first, __u64 last, __u32 where)
{
	__u32 index = where & 1;

	if (!connection)
		return false;
	/* Without a branch, or the verifier would follow each way from here. */
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

/* When the packet passed. */
static __always_inline __u64 time_of(struct packet *packet)
{
	if (!packet->time)
		packet->time = bpf_ktime_get_ns();
	return packet->time;
}
#endif
