/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The steps through a packet, from the end of one message, chunk or frame to the next. */
#ifndef TT_HTTP_WALK_H
#define TT_HTTP_WALK_H

#include "http_head.h"

/*
 * Maximum number of heads, parts of heads, chunks and frames that are examined in one packet; the rest is left to user
 * space. A packet of 64 KiB that is all one head takes no more, in slices of SLICE bytes.
 */
#define STEPS 160
/* Number of bytes of the line with a chunk's size that are read at once. */
#define CHUNK_LINE 16
/* Number of bytes of a head that are read at once; most heads fit. */
#define SLICE (TT_HTTP_SMALL - KEPT)
/*
 * Maximum number of bytes of a head that are handed over: somewhat more than user space's parser accepts, so that the
 * parser counts the head as too large.
 */
#define HEAD_MOST (68 << 10)
#define FRAME_HEADER 9
#define PREFACE 24

enum frame_type { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_SETTINGS = 4, FRAME_TYPES = 10 };

/* Gives up the direction's position: it is unknown where messages begin, so user space gets everything. */
static __always_inline void give_up(struct packet *packet)
{
	packet->way->place = PLACE_RAW;
	if (packet->way->is_request)
		packet->connection->uncounted = 1;
}

static __always_inline void begin_message(struct way *way, __u64 end)
{
	way->end = end;
	way->place = PLACE_MESSAGE;
	way->said = 0;
	way->kept = 0;
	way->within = 0;
	way->head_lost = 0;
	way->head = 0;
	way->length = 0;
	way->status = 0;
}

static __always_inline void begin_frames(struct way *way, __u64 end)
{
	way->end = end;
	way->place = PLACE_FRAME;
	way->kept = 0;
	way->length = 0;
}

static __always_inline void begin_chunks(struct way *way, __u64 end)
{
	way->end = end;
	way->place = PLACE_CHUNK;
	way->length = 0;
	way->kept = 0;
	way->digits = 0;
	way->within = 0;
}

/* Handles the end of a request's head, at position `end`. */
static __always_inline void end_request_head(struct packet *packet, __u64 end)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way;
	__u32 number = connection->requests;
	__u64 bit = 1ull << (number % OUTSTANDING);

	if (number - connection->responses >= OUTSTANDING) {
		give_up(packet);
		return;
	}
	connection->heads = way->said & SAID_METHOD_HEAD ? connection->heads | bit : connection->heads & ~bit;
	connection->connects = way->said & SAID_METHOD_CONNECT ? connection->connects | bit : connection->connects & ~bit;
	connection->requests = number + 1;
	if (way->said & SAID_CHUNKED) {
		begin_chunks(way, end);
	} else {
		begin_message(way, end + (way->said & SAID_LENGTH ? way->length : 0));
	}
}

/* Handles the end of a response's head, at position `end`. */
static __always_inline void end_response_head(struct packet *packet, __u64 end)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way;
	__u16 status = way->status;
	__u32 number = connection->responses;
	__u64 bit = 1ull << (number % OUTSTANDING);
	bool head = false;

	if (status >= 100 && status < 200 && status != 101) {
		begin_message(way, end);
		return;
	}
	if (number != connection->requests) {
		head = connection->heads & bit;
		if (connection->connects & bit && status >= 200 && status < 300)
			connection->off = 1;
		connection->responses = number + 1;
	} else if (connection->uncounted) {
		give_up(packet);
		return;
	}
	if (status == 101) {
		if (!(way->said & SAID_H2C)) {
			connection->off = 1;
			return;
		}
		connection->h2 = 1;
		begin_frames(way, end);
	} else if (head || status == 204 || status == 304) {
		begin_message(way, end);
	} else if (way->said & SAID_CHUNKED) {
		begin_chunks(way, end);
	} else if (way->said & SAID_LENGTH) {
		begin_message(way, end + way->length);
	} else {
		/* The body lasts until the connection ends, so no message begins after it. */
		begin_message(way, NEVER);
	}
}

/* Handles the end of a head, at position `end`. */
static __always_inline void end_head(struct packet *packet, __u64 end)
{
	struct way *way = packet->way;

	if (way->place == PLACE_TRAILER)
		begin_message(way, end);
	else if (way->is_request)
		end_request_head(packet, end);
	else
		end_response_head(packet, end);
}

/*
 * Reads a slice of a head into a scratch buffer, scans it and hands it over, for tt_http_head(). Returns false if the
 * packet's bytes cannot be read.
 */
static __always_inline bool read_head(struct packet *packet, struct scratch *scratch)
{
	struct way *way = packet->way;
	__u32 kept = way->kept < KEPT ? way->kept : KEPT, place = way->place, length, result;
	__u64 from = way->end, left = packet->last - from, copied, passed;
	bool beyond = way->head >= HEAD_MOST;
	__u8 *data = scratch->data;

	length = left < SLICE ? left : SLICE;
	if (kept) {
		((__u64 *)data)[0] = ((__u64 *)way->line)[0];
		((__u64 *)data)[1] = ((__u64 *)way->line)[1];
		((__u64 *)data)[2] = ((__u64 *)way->line)[2];
		((__u64 *)data)[3] = ((__u64 *)way->line)[3];
	}
	/*
	 * The verifier may have forgotten the bounds of `kept`, which is on the stack. The mask gives it bounds again,
	 * and the buffer has room for every value that passes the mask.
	 */
	asm volatile("" : "+r"(kept));
	kept &= 2 * KEPT - 1;
	if (!read_bytes(packet, data + kept, offset_of(packet, from), length, SLICE))
		return false;
	if (way->place == PLACE_MESSAGE)
		way->place = PLACE_HEAD;
	way->end = from + length;
	way->head += length;
	result = scan(way, data, kept + length);
	copied = passed = length;
	if (result == SCAN_DOUBT) {
		give_up(packet);
	} else if (result != SCAN_MORE) {
		/* `result` is a position in `data`, which begins with the kept bytes of earlier packets. */
		end_head(packet, from + result - kept);
		if (way->place == PLACE_MESSAGE) {
			/* The part of the body in this packet is reported with the head, but not copied. */
			copied = result - kept;
			passed = (packet->last < way->end ? packet->last : way->end) - from;
			way->awaited = packet->last < way->end;
		}
	}
	if (way->handed < from + copied)
		way->handed = from + copied;
	if (beyond)
		return true;
	fill(packet, &scratch->record, from, passed, copied, place == PLACE_MESSAGE ? TT_HTTP_STARTS : 0);
	scratch->record.skip = kept;
	if (!submit_scratch(packet, scratch, kept + copied))
		refuse(packet, place == PLACE_TRAILER ? REFUSED_KNOWN : REFUSED_HEAD);
	return true;
}

/*
 * Reads a slice of a head, or of the lines after the last chunk, from `end` on, and hands it over. While the ring
 * buffer is full, the slice is read nevertheless, so that the direction's position is known when there is room again.
 */
__noinline int tt_http_head(struct __sk_buff *skb, struct connection *connection, __u64 first, __u64 last, __u32 where)
{
	struct scratches *scratches;
	struct packet packet;
	__u32 key = 0, index;
	__u64 taken, free;

	if (!is_packet(&packet, skb, connection, first, last, where))
		return 0;
	scratches = bpf_map_lookup_elem(&tt_http_scratch, &key);
	if (!scratches)
		return 0;
	taken = *(volatile __u64 *)&scratches->taken;
	free = ~taken & (taken + 1);
	/* Turns 1, 2, 4, 8 into 0, 1, 2, 3 without branches, since the verifier would follow each value. */
	index = (free >> 1) - (free >> 3);
	/* All buffers are in use, or an interrupting program took this one in between. Both are very rare. */
	if (index >= SCRATCHES || __sync_val_compare_and_swap(&scratches->taken, taken, taken | free) != taken) {
		give_up(&packet);
		return 0;
	}
	if (!read_head(&packet, &scratches->each[index]))
		give_up(&packet);
	__sync_fetch_and_and(&scratches->taken, ~free);
	return 0;
}

/* Parses one byte of the line with a chunk's size. Returns whether the line has ended. */
static __always_inline bool chunk_byte(struct way *way, __u8 c)
{
	/* The line end after the previous chunk's bytes comes before the digits, and does not end this line. */
	if (c == '\n')
		return way->digits > 0;
	if (c == '\r' && way->digits == 0)
		return false;
	/* Everything after the digits is an extension, up to the end of the line. */
	if (way->within || c == '\r' || c == ';' || c == ' ' || c == '\t') {
		way->within = 1;
		return false;
	}
	if (c >= '0' && c <= '9')
		c -= '0';
	else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		c = (c | 0x20) - 'a' + 10;
	else
		way->said |= SAID_DOUBT;
	way->length = way->length << 4 | (c & 15);
	way->digits++;
	return false;
}

/* Reads the line with a chunk's size, or the packet's part of it, and skips the chunk. */
__noinline int tt_http_chunk(struct __sk_buff *skb, struct connection *connection, __u64 first, __u64 last, __u32 where)
{
	struct packet packet;
	__u8 line[CHUNK_LINE] = {};
	bool ended = false;
	__u32 length, i;
	struct way *way;
	__u64 from;

	if (!is_packet(&packet, skb, connection, first, last, where))
		return 0;
	way = packet.way;
	from = way->end;
	length = last - from < CHUNK_LINE ? last - from : CHUNK_LINE;
	if (!read_bytes(&packet, line, offset_of(&packet, from), length, CHUNK_LINE)) {
		give_up(&packet);
		return 0;
	}
	for (i = 0; i < CHUNK_LINE && i < length && !ended; i++)
		ended = chunk_byte(way, line[i]);
	if (way->said & SAID_DOUBT || way->digits > 12) {
		give_up(&packet);
		return 0;
	}
	way->end = from + i;
	if (way->handed < way->end)
		hand_over(&packet, from, way->end, 0, REFUSED_KNOWN);
	if (!ended)
		return 0;
	way->digits = 0;
	way->within = 0;
	if (way->length == 0) {
		way->place = PLACE_TRAILER;
		way->said = SAID_START;
	} else {
		way->end += way->length;
		way->length = 0;
	}
	return 0;
}

/* Reads a frame header. All frames but DATA are handed over. The rest of a frame is skipped, or copied as it passes. */
__noinline int tt_http_frame(struct __sk_buff *skb, struct connection *connection, __u64 first, __u64 last, __u32 where)
{
	__u8 header[FRAME_HEADER] = {};
	struct packet packet;
	struct way *way;
	__u64 from, to;
	__u32 starts;

	if (!is_packet(&packet, skb, connection, first, last, where))
		return 0;
	way = packet.way;
	from = way->end;
	starts = way->kept ? 0 : TT_HTTP_STARTS;
	/* What is left of a small packet is handed over in one record, which costs less than one for each frame. */
	if (last - from <= TT_HTTP_SMALL && way->handed < last)
		hand_over(&packet, from, last, starts, REFUSED_UNKNOWN);
	if (way->kept || last - from < FRAME_HEADER) {
		/* A header in pieces is read byte by byte; `length` holds its first four bytes. */
		__u8 byte = 0;

		if (!read_bytes(&packet, &byte, offset_of(&packet, from), 1, 1)) {
			give_up(&packet);
			return 0;
		}
		if (way->handed < from + 1)
			hand_over(&packet, from, from + 1, starts, REFUSED_UNKNOWN);
		starts = 0;
		if (way->kept < 4)
			way->length = way->length << 8 | byte;
		way->end = from + 1;
		if (++way->kept < FRAME_HEADER)
			return 0;
		header[0] = way->length >> 24;
		header[1] = way->length >> 16;
		header[2] = way->length >> 8;
		header[3] = way->length;
		way->kept = 0;
		way->length = 0;
		from = way->end;
	} else {
		if (!read_bytes(&packet, header, offset_of(&packet, from), FRAME_HEADER, FRAME_HEADER)) {
			give_up(&packet);
			return 0;
		}
		way->end = from + FRAME_HEADER;
	}
	to = way->end;
	way->end += header[0] << 16 | header[1] << 8 | header[2];
	if (header[3] == FRAME_DATA) {
		way->awaited = way->end > last;
	} else if (way->end > last) {
		to = last;
		way->copy_to = way->end;
	} else {
		to = way->end;
	}
	if (way->handed < to)
		hand_over(&packet, from, to, starts, REFUSED_UNKNOWN);
	return 0;
}
#endif
