/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The beginning of a connection: its state, and its protocol, which is detected from the first bytes of each direction.
 */
#ifndef TT_HTTP_BEGIN_H
#define TT_HTTP_BEGIN_H

#include "http_walk.h"

/*
 * Maximum number of packets that are handed over whole while the first message after a connection's early bytes
 * (early() in http.bpf.c) is searched for.
 */
#define EARLY_PACKETS 64

/* The parts of a packet's headers that are needed. */
struct headers {
	__u32 sequence; /* of the first byte */
	__u32 offset;	/* of the first byte in the packet */
	__u32 length;	/* bytes of the stream in the packet */
	__u8 flags;
};

/* The kind of a direction's first bytes. */
enum kind { KIND_OTHER, KIND_REQUEST, KIND_RESPONSE, KIND_PREFACE, KIND_FRAMES, KIND_TLS };

/*
 * Converts a direction's first sequence number to a position. Adding 2^32 leaves room below it for packets that come
 * late.
 */
static __always_inline __u64 position_of(__u32 sequence)
{
	return 1ull << 32 | sequence;
}

/*
 * Creates the state of a socket that was not seen before; returns 0 if that is impossible. The state tells which
 * directions are seen from their first byte.
 */
static __always_inline struct connection *begin(struct __sk_buff *skb, struct bpf_sock *sk, const struct headers *headers,
						bool sent)
{
	bool connecting = sk->state == TCP_SYN_SENT, nothing_in, nothing_out;
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	struct connection *connection;
	struct way *received, *sends;

	if (!tcp)
		return 0;
	nothing_in = tcp->data_segs_in == 0;
	/* bytes_acked includes the SYN, so 1 means that no byte was acknowledged. */
	nothing_out = tcp->bytes_acked <= 1 &&
		      (sent ? connecting || tcp->snd_una == headers->sequence : tcp->data_segs_out == 0);
	connection = bpf_sk_storage_get(&tt_http_sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!connection)
		return 0;
	connection->cookie = bpf_get_socket_cookie(skb);
	received = &connection->ways[0];
	sends = &connection->ways[1];
	connection->joined = !nothing_in || !nothing_out;
	if (nothing_out) {
		connection->known |= TT_HTTP_SENDS;
		connection->first[1] = sent ? headers->sequence : tcp->snd_una;
		sends->seen = sends->end = position_of(connection->first[1]);
		/*
		 * Bytes that came before went to the listening socket: early() in http.bpf.c handed them over, or counted
		 * them as lost.
		 */
		connection->uncounted = !nothing_in;
	}
	if (connection->uncounted) {
		connection->early = EARLY_PACKETS;
		connection->known |= TT_HTTP_RECEIVES;
		connection->first[0] = tcp->rcv_nxt - (__u32)tcp->bytes_received;
	}
	if (nothing_in && nothing_out && !connecting) {
		connection->known |= TT_HTTP_RECEIVES;
		connection->first[0] = tcp->rcv_nxt;
		received->seen = received->end = position_of(tcp->rcv_nxt);
	}
	if (!nothing_out)
		sends->place = PLACE_JOINED;
	if (!nothing_in || !nothing_out)
		received->place = PLACE_JOINED;
	return connection;
}

/*
 * Returns whether the bytes are a word of capital letters and the beginning of a request's target or, without `whole`,
 * can become that.
 */
static __always_inline bool is_request(const __u8 *bytes, __u32 length, bool whole)
{
	bool in_method = true;
	__u32 i;

	for (i = 0; i < PREFACE; i++) {
		__u8 c = bytes[i];

		if (i >= length)
			break;
		if (!in_method)
			return c == '/' || c == '*' || (c | 0x20) == 'h' ||
			       word(bytes) == TEXT8('C', 'O', 'N', 'N', 'E', 'C', 'T', ' ');
		if (c == ' ' && i > 0)
			in_method = false;
		else if ((c < 'A' || c > 'Z') && (i == 0 || (c != '-' && c != '_')))
			return false;
	}
	return !whole && length < PREFACE && length > 0;
}

static __always_inline bool is_response(const __u8 *bytes, __u32 length, bool whole)
{
	const __u64 text = TEXT8('H', 'T', 'T', 'P', '/', '1', '.', 0);
	__u64 first = word(bytes);

	if (length >= 7)
		return (first & MASK7) == text;
	/* One letter is not enough, since it may begin a method. */
	return !whole && length >= 2 && ((first ^ text) << (64 - 8 * length)) == 0;
}

/* Returns whether the bytes can be a frame header; `type` is the required type, or FRAME_TYPES for any. */
static __always_inline bool is_frame(const __u8 *bytes, __u32 length, __u8 type)
{
	/*
	 * A frame has at most 16 KiB unless both ends have agreed on more. SETTINGS have stream 0, and HEADERS of
	 * requests an odd stream.
	 */
	__u32 stream = (bytes[5] & 0x7f) << 24 | bytes[6] << 16 | bytes[7] << 8 | bytes[8];

	if (length < FRAME_HEADER || bytes[0] > 0 || bytes[1] > 0x40 || bytes[5] & 0x80)
		return false;
	if (type == FRAME_TYPES)
		return bytes[3] < FRAME_TYPES;
	return bytes[3] == type && (type == FRAME_SETTINGS ? stream == 0 : stream & 1 && !(bytes[4] & ~0x2d));
}

/* Returns the kind of a direction's first bytes. With `whole`, the cut-off beginning of a message is KIND_OTHER. */
static __always_inline enum kind kind_of(const __u8 *bytes, __u32 length, bool whole)
{
	if (word(bytes) == TEXT8('P', 'R', 'I', ' ', '*', ' ', 'H', 'T'))
		return KIND_PREFACE;
	if (is_response(bytes, length, whole))
		return KIND_RESPONSE;
	if (is_request(bytes, length, whole))
		return KIND_REQUEST;
	/* A TLS record: of a handshake or, with `whole`, of data, since the connection may then be older than this. */
	if (length >= 3 && (bytes[0] == 0x16 || (whole && bytes[0] == 0x17)) && bytes[1] == 3)
		return KIND_TLS;
	return KIND_OTHER;
}

static __always_inline bool first_bytes(struct packet *packet, __u64 from, __u8 *bytes)
{
	__u64 left = packet->last - from;

	return read_bytes(packet, bytes, offset_of(packet, from), left < PREFACE ? left : PREFACE, PREFACE);
}

static __always_inline void begin_preface(struct packet *packet, __u64 from)
{
	struct way *way = packet->way;

	packet->connection->h2 = 1;
	way->is_request = 1;
	begin_frames(way, from + PREFACE);
	if (way->end > packet->last)
		way->copy_to = way->end;
	hand_over(packet, from, packet->last < way->end ? packet->last : way->end, TT_HTTP_STARTS, REFUSED_UNKNOWN);
}

/*
 * Detects from a direction's first bytes what it carries: requests, responses, frames of HTTP/2, TLS, or something
 * else.
 */
static __always_inline void begin_new(struct packet *packet)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way, *other = packet->sent ? &connection->ways[0] : &connection->ways[1];
	__u8 bytes[PREFACE] = {};
	__u64 length = packet->last - way->end;
	enum kind kind;

	if (!first_bytes(packet, way->end, bytes))
		return;
	kind = kind_of(bytes, length, false);
	if (connection->h2 || (kind == KIND_OTHER && is_frame(bytes, length, FRAME_SETTINGS))) {
		connection->h2 = 1;
		begin_frames(way, way->end);
	} else if (kind == KIND_PREFACE) {
		begin_preface(packet, way->end);
	} else if (kind == KIND_REQUEST || kind == KIND_RESPONSE) {
		/* A lone 'H' also passes for a method: if the other direction has requests, this one has responses. */
		way->is_request = kind == KIND_REQUEST && !other->is_request;
		begin_message(way, way->end);
	} else if (connection->begun) {
		/* The other direction is HTTP; user space must judge this one. */
		give_up(packet);
	} else {
		connection->off = 1;
		if (kind == KIND_TLS)
			tell(packet, packet->first, 0, TT_HTTP_TLS);
	}
}

/* Returns whether all bytes before those of the packet have arrived, as far as TCP has processed them. */
static __always_inline bool is_next(struct packet *packet)
{
	struct bpf_sock *sk = packet->skb->sk;
	struct bpf_tcp_sock *tcp;

	if (!sk)
		return false;
	tcp = bpf_tcp_sock(sk);
	return tcp && tcp->rcv_nxt == (__u32)packet->first;
}

/*
 * Finds the first message of a connection whose earlier bytes were not seen, at the beginning of a packet. If user
 * space has those earlier bytes, it also gets all bytes before that message: they may belong to the first message, in
 * any order.
 */
static __always_inline void begin_joined(struct packet *packet)
{
	struct connection *connection = packet->connection;
	bool early = connection->early && !packet->sent;
	struct way *way = packet->way;
	__u8 bytes[PREFACE] = {};
	__u64 length = packet->last - packet->first;
	enum kind kind;

	if (early && !is_next(packet)) {
		connection->early--;
		hand_over_aside(packet, packet->first, packet->last);
		if (packet->last > way->ahead)
			way->ahead = packet->last;
		return;
	}
	if ((packet->last <= way->end && !early) || !first_bytes(packet, packet->first, bytes))
		return;
	way->end = packet->last;
	kind = kind_of(bytes, length, true);
	if (connection->h2 ? is_frame(bytes, length, FRAME_TYPES) :
			     kind == KIND_OTHER && is_frame(bytes, length, FRAME_HEADERS)) {
		connection->h2 = 1;
		begin_frames(way, packet->first);
	} else if (kind == KIND_REQUEST || (kind == KIND_RESPONSE && connection->requests != connection->responses)) {
		way->is_request = kind == KIND_REQUEST;
		begin_message(way, packet->first);
	} else if (kind == KIND_TLS && !connection->begun) {
		connection->off = 1;
		tell(packet, packet->first, 0, TT_HTTP_TLS);
	} else if (early) {
		connection->early--;
		hand_over_aside(packet, packet->first, packet->last);
	}
}
#endif
