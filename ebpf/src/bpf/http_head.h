/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the heads of HTTP/1 messages as far as needed to know where a message ends. User space parses the same bytes
 * again, and its result counts; in any doubt it gets all bytes.
 */
#ifndef TT_HTTP_HEAD_H
#define TT_HTTP_HEAD_H

#include "http_copy.h"

/* Eight characters as the number that word() reads from them: the first one is the lowest byte. */
#define TEXT8(a, b, c, d, e, f, g, h)                                                                               \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define LOWER 0x2020202020202020ull
#define ZEROS 0x3030303030303030ull
#define SIXES 0x0606060606060606ull
#define HIGH_HALVES 0xf0f0f0f0f0f0f0f0ull
#define MASK3 0xffffffull
#define MASK5 0xffffffffffull
#define MASK7 0xffffffffffffffull
/* Results of scan() other than a position; see there. */
#define SCAN_MORE 0u
#define SCAN_DOUBT 0xffffffffu
/* Maximum number of turns of the loop in scan(): each consumes at least one byte. */
#define TURNS TT_HTTP_SMALL

static __always_inline __u64 word(const __u8 *at)
{
	return *(const __u64 *)at;
}

/* Number of bytes in which scan() looks for a line feed in one turn. */
#define STRIDE 32

/*
 * Marks line feeds in eight bytes: the lowest set bit of the result is the highest bit of the first line feed's byte.
 */
static __always_inline __u64 line_feeds(__u64 bytes)
{
	__u64 x = bytes ^ 0x0a0a0a0a0a0a0a0aull;

	return (x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull;
}

/* Returns the index of the first line feed within STRIDE bytes; STRIDE if there is none. */
static __always_inline __u32 line_feed(const __u8 *bytes)
{
	__u64 found;
	__u32 i;

#pragma unroll
	for (i = 0; i < STRIDE; i += 8) {
		found = line_feeds(word(bytes + i));
		/*
		 * Only the lowest bit is kept and shifted to the bottom of its byte. The multiplication then puts the
		 * number of that byte into the highest byte.
		 */
		if (found)
			return i + ((((found & -found) >> 7) * 0x0001020304050607ull) >> 56);
	}
	return STRIDE;
}

static __always_inline bool is_token_start(__u8 c)
{
	return c >= 'A' && c <= 'Z';
}

/*
 * Reads the start line of a message from its first 16 bytes: sets `status`, or the flag for HEAD or CONNECT, or
 * SAID_DOUBT.
 */
static __always_inline void read_start(struct way *way, __u64 first, __u64 second)
{
	way->said |= SAID_START;
	if (way->is_request) {
		if ((first & MASK5) == TEXT8('H', 'E', 'A', 'D', ' ', 0, 0, 0))
			way->said |= SAID_METHOD_HEAD;
		else if (first == TEXT8('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
			way->said |= SAID_METHOD_CONNECT;
		else if (!is_token_start(first))
			way->said |= SAID_DOUBT;
	} else {
		/* The line is like "HTTP/1.1 200 OK": the digits of the status are bytes 9 to 11. */
		__u32 a = (second >> 8 & 0xff) - '0', b = (second >> 16 & 0xff) - '0', c = (second >> 24 & 0xff) - '0';

		if ((first & MASK7) != TEXT8('H', 'T', 'T', 'P', '/', '1', '.', 0) || a > 9 || b > 9 || c > 9)
			way->said |= SAID_DOUBT;
		else
			way->status = a * 100 + b * 10 + c;
	}
}

/* Sets the body's length to the number in `digits` decimal digits at `text`, eight at a time and without a loop. */
static __always_inline void read_digits(struct way *way, const __u8 *text, __u32 digits)
{
	__u64 number;

	if (digits == 0 || digits > 8) {
		way->said |= SAID_DOUBT;
		return;
	}
	/* Fills up to eight digits with leading zeros ('0'). The beginning of the text is the low end of the number. */
	number = word(text) << (64 - 8 * digits) | (ZEROS >> (8 * digits - 1)) >> 1;
	if ((number & HIGH_HALVES) != ZEROS || ((number + SIXES) & HIGH_HALVES) != ZEROS)
		way->said |= SAID_DOUBT;
	number -= ZEROS;
	/* Combines digits to pairs, pairs to fours, and fours to the number. */
	number = number * 10 + (number >> 8);
	number = ((number & 0x000000ff000000ffull) * 0x000f424000000064ull +
		  (number >> 16 & 0x000000ff000000ffull) * 0x0000271000000001ull) >>
		 32;
	way->length = way->length * 100000000 + (__u32)number;
}

/* Reads the value of Content-Length: up to 16 digits, possibly with a space before and a carriage return after them. */
static __always_inline void read_length(struct way *way, const __u8 *text, __u32 length)
{
	/* If Content-Length occurs twice, user space decides what that means. */
	if (way->said & SAID_LENGTH || length < 2) {
		way->said |= SAID_DOUBT;
		return;
	}
	way->said |= SAID_LENGTH;
	way->length = 0;
	if (text[0] == ' ') {
		text++;
		length--;
	}
	if (text[(length - 1) & 31] == '\r')
		length--;
	if (length > 8) {
		read_digits(way, text, length - 8);
		text += (length - 8) & 7;
		length = 8;
	}
	read_digits(way, text, length);
}

/*
 * Reads a complete line of a head: notes what it says about the message's end. At least 40 bytes from the line's first
 * one on can be read, even if the line is shorter.
 */
static __always_inline void read_line(struct way *way, const __u8 *line, __u32 at, __u32 length)
{
	const __u8 *data = line + at;
	__u64 first = word(data), name = first | LOWER, next;

	if (!(way->said & SAID_START)) {
		read_start(way, first, word(data + 8));
		return;
	}
	next = word(data + 8) | LOWER;
	if ((first & 0xff) == ' ' || (first & 0xff) == '\t') {
		/* A folded line, which continues the previous one. */
		way->said |= SAID_DOUBT;
	} else if (name == TEXT8('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
		if ((next & MASK7) == TEXT8('l', 'e', 'n', 'g', 't', 'h', ':', 0) && length > 15)
			read_length(way, data + 15, length - 15);
	} else if (name == TEXT8('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
		   next == TEXT8('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n')) {
		__u64 coding = word(data + 18 + (data[18] == ' ')) | LOWER;

		if (coding == TEXT8('c', 'h', 'u', 'n', 'k', 'e', 'd', '\r' | 0x20) ||
		    coding == TEXT8('c', 'h', 'u', 'n', 'k', 'e', 'd', '\n' | 0x20))
			way->said |= SAID_CHUNKED;
		else
			way->said |= SAID_DOUBT;
	} else if (name == TEXT8('u', 'p', 'g', 'r', 'a', 'd', 'e', ':')) {
		__u64 protocol = word(data + 8 + (data[8] == ' ')) | LOWER;

		if ((protocol & MASK3) == TEXT8('h', '2', 'c', 0, 0, 0, 0, 0))
			way->said |= SAID_H2C;
	}
}

/*
 * Keeps the beginning of a line whose end is in a later packet, or reads it if it is longer than KEPT bytes. Returns
 * false if such a long line may tell where the message ends.
 */
static __always_inline bool keep(struct way *way, const __u8 *data, __u32 length)
{
	__u64 name = word(data) | LOWER;

	if (length <= KEPT) {
		((__u64 *)way->line)[0] = word(data);
		((__u64 *)way->line)[1] = word(data + 8);
		((__u64 *)way->line)[2] = word(data + 16);
		((__u64 *)way->line)[3] = word(data + 24);
		way->kept = length;
		way->within = 0;
		return true;
	}
	if (!(way->said & SAID_START))
		read_start(way, word(data), word(data + 8));
	else if (name == TEXT8('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') ||
		 (name == TEXT8('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
		  (word(data + 8) | LOWER) << 8 == TEXT8(0, 'l', 'e', 'n', 'g', 't', 'h', ':')))
		return false;
	way->kept = 0;
	way->within = 1;
	return true;
}

/* The argument of scan_turn(): a head that is being scanned. */
struct scanning {
	struct way *way;
	const __u8 *data;
};

/*
 * Continues to the next line feed, but at most STRIDE bytes, as a turn of bpf_loop(). Returns 1 if this was the last
 * turn.
 */
static long scan_turn(__u32 turn, struct scanning *scanning)
{
	struct way *way = scanning->way;
	const __u8 *data = scanning->data;
	__u32 at = way->at, start = way->start, found;
	bool empty;

	if (at >= way->have || at > TT_HTTP_SMALL || start > TT_HTTP_SMALL)
		return 1;
	found = line_feed(data + at);
	at += found;
	way->at = at;
	if (found == STRIDE || at >= way->have)
		return 0;
	/* A line ends here. */
	way->at = way->start = at + 1;
	if (way->within) {
		way->within = 0;
		return 0;
	}
	empty = at == start || (at == start + 1 && data[start] == '\r');
	if (empty && way->said & SAID_START) {
		way->result = at + 1;
		return 1;
	}
	/* Empty lines may precede a start line, and are skipped. */
	if (!empty)
		read_line(way, data, start, at - start);
	return way->said & SAID_DOUBT ? 1 : 0;
}

/*
 * Reads `have` bytes of a head, line by line. Returns the position after the head's end; SCAN_MORE if the end has not
 * passed, after keeping the bytes that the next packet needs; SCAN_DOUBT if the end cannot be determined. `data` has
 * room for TT_HTTP_SMALL bytes and SLACK, with arbitrary contents after the head.
 */
static __always_inline __u32 scan(struct way *way, const __u8 *data, __u32 have)
{
	struct scanning scanning = { .way = way, .data = data };
	__u32 start;

	way->have = have;
	way->at = way->start = 0;
	way->result = SCAN_MORE;
	bpf_loop(TURNS, scan_turn, &scanning, 0);
	start = way->start;
	if (way->said & SAID_DOUBT)
		return SCAN_DOUBT;
	if (way->result != SCAN_MORE)
		return way->result;
	if (way->at < way->have || start > TT_HTTP_SMALL)
		return SCAN_DOUBT;
	if (way->within) {
		way->kept = 0;
		return SCAN_MORE;
	}
	return keep(way, data + start, way->have - start) ? SCAN_MORE : SCAN_DOUBT;
}
#endif
