/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records for user space: reserved in the ring buffer, filled, and submitted, or counted as refused. */
#ifndef TT_HTTP_COPY_H
#define TT_HTTP_COPY_H

#include "http_state.h"

/* Maximum number of records that one packet needs: BIG TCP makes packets of up to 512 KiB. */
#define SLICES 130

/*
 * The kind of bytes that the ring buffer refused: a part of a head, bytes that begin no message, or bytes with an
 * unknown number of messages.
 */
enum refused { REFUSED_HEAD, REFUSED_KNOWN, REFUSED_UNKNOWN };

static __noinline void refuse(struct packet *packet, enum refused what)
{
	struct way *way = packet->way;
	struct tt_http_lost *lost = lose(&tt_http_lost, bpf_skb_cgroup_id(packet->skb));

	way->lost = 1;
	if (!lost)
		return;
	if (what == REFUSED_UNKNOWN) {
		__sync_fetch_and_add(&lost->unknown, 1);
	} else if (what == REFUSED_HEAD && !way->head_lost) {
		way->head_lost = 1;
		__sync_fetch_and_add(way->is_request ? &lost->requests : &lost->responses, 1);
	}
}

static __always_inline void copy_address(__u8 *to, bool is_ipv4, __u32 ipv4, const __u32 *ipv6)
{
	__u32 *words = (__u32 *)to;

	words[0] = is_ipv4 ? 0 : ipv6[0];
	words[1] = is_ipv4 ? 0 : ipv6[1];
	words[2] = is_ipv4 ? bpf_htonl(0xffff) : ipv6[2];
	words[3] = is_ipv4 ? ipv4 : ipv6[3];
}

static __always_inline void fill(struct packet *packet, struct tt_http_record *record, __u64 position, __u32 length,
				 __u32 copied, __u32 flags)
{
	record->cookie = packet->connection->cookie;
	record->time = time_of(packet);
	record->sequence = position;
	record->length = length;
	record->copied = copied;
	record->skip = 0;
	/* Flags are multiplied instead of branched for, because the verifier would follow each branch. */
	record->flags = flags | packet->sent * TT_HTTP_SENT | (packet->way->lost & 1) * TT_HTTP_LOST_BEFORE;
}

/* Submits a record that lies in the ring buffer. */
static __always_inline void submit(struct packet *packet, struct tt_http_record *record, __u32 size)
{
	packet->way->lost = 0;
	submit_to(&tt_http_ring, record, size);
}

/* Reports the owner of a connection to user space. Returns false if the ring buffer has no room for that. */
__noinline int tt_http_introduce(struct __sk_buff *skb, struct connection *connection, __u32 where)
{
	struct tt_http_connection *to;
	struct tt_http_record *record;
	__u32 local[4], remote[4];
	struct packet packet;
	struct bpf_sock *sk;
	bool is_ipv4;

	if (!is_packet(&packet, skb, connection, 0, 0, where))
		return 0;
	sk = skb->sk;
	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	record = bpf_ringbuf_reserve(&tt_http_ring, sizeof(*record) + sizeof(*to), 0);
	if (!record)
		return 0;
	to = (struct tt_http_connection *)(record + 1);
	fill(&packet, record, 0, 0, 0,
	     TT_HTTP_BEGIN | (packet.connection->joined ? TT_HTTP_JOINED : 0) | packet.connection->known);
	to->cgroup = bpf_skb_cgroup_id(skb);
	to->first_received = packet.connection->first[0];
	to->first_sent = packet.connection->first[1];
	to->reserved = 0;
	is_ipv4 = sk->family == AF_INET;
	local[0] = sk->src_ip6[0];
	local[1] = sk->src_ip6[1];
	local[2] = sk->src_ip6[2];
	local[3] = sk->src_ip6[3];
	remote[0] = sk->dst_ip6[0];
	remote[1] = sk->dst_ip6[1];
	remote[2] = sk->dst_ip6[2];
	remote[3] = sk->dst_ip6[3];
	copy_address(to->local_addr, is_ipv4, sk->src_ip4, local);
	copy_address(to->remote_addr, is_ipv4, sk->dst_ip4, remote);
	to->local_port = sk->src_port;
	to->remote_port = bpf_ntohs((__u16)sk->dst_port);
	packet.connection->begun = 1;
	submit(&packet, record, sizeof(*record) + sizeof(*to));
	return 1;
}

/* Returns whether user space knows the owner of the connection, which is reported if needed. */
static __always_inline bool is_known(struct packet *packet)
{
	return packet->connection->begun || tt_http_introduce(packet->skb, packet->connection, WHERE(packet));
}

/* Reserves room in the ring buffer, once user space knows the owner of the connection. */
static __always_inline struct tt_http_record *reserve(struct packet *packet, const __u32 size)
{
	return is_known(packet) ? bpf_ringbuf_reserve(&tt_http_ring, size, 0) : 0;
}

/* Submits a record from a scratch buffer, with `length` bytes of data. Returns false if the ring buffer refuses it. */
static __always_inline bool submit_scratch(struct packet *packet, struct scratch *scratch, __u64 length)
{
	__u64 size = sizeof(scratch->record) + length, bytes = ring_bytes(size);

	asm volatile("" : "+r"(size));
	if (size > sizeof(scratch->record) + TT_HTTP_SMALL || !is_known(packet) ||
	    bpf_ringbuf_output(&tt_http_ring, scratch, size,
			       wake_up(bpf_ringbuf_query(&tt_http_ring, BPF_RB_AVAIL_DATA), bytes)))
		return false;
	packet->way->lost = 0;
	return true;
}

/*
 * Reads bytes of a packet; `most` is the size of the buffer. The length is computed from `last`, the index of the last
 * byte, after `last` was compared, and the compiler must not undo that: before Linux 6.10, the verifier does not learn
 * the bounds of the length from a comparison of the index, nor the other way round.
 */
static __always_inline bool load(struct __sk_buff *skb, void *to, __u32 offset, __u64 length, const __u64 most)
{
	__u64 last = length - 1;

	asm volatile("" : "+r"(last));
	if (last >= most)
		return false;
	asm volatile("" : "+r"(last));
	return bpf_skb_load_bytes(skb, offset, to, last + 1) == 0;
}

static __always_inline bool read_bytes(struct packet *packet, void *to, __u32 offset, __u32 length, const __u64 most)
{
	return load(packet->skb, to, offset, length, most);
}

static __always_inline __u32 offset_of(struct packet *packet, __u64 position)
{
	return packet->offset + (__u32)(position - packet->first);
}

/*
 * Reports bytes that passed and are not handed over, or the end of a direction. `what` has their length in its lower 32
 * bits, and flags above.
 */
__noinline int tt_http_tell(struct __sk_buff *skb, struct connection *connection, __u64 position, __u64 what, __u32 where)
{
	__u32 length = what;
	struct tt_http_record *record;
	struct packet packet;

	if (!is_packet(&packet, skb, connection, position, position + length, where))
		return 0;
	record = reserve(&packet, sizeof(*record));
	if (!record) {
		refuse(&packet, REFUSED_KNOWN);
		return 0;
	}
	fill(&packet, record, position, length, 0, what >> 32);
	submit(&packet, record, sizeof(*record));
	return 0;
}

static __always_inline void tell(struct packet *packet, __u64 position, __u32 length, __u32 flags)
{
	tt_http_tell(packet->skb, packet->connection, position, (__u64)flags << 32 | length, WHERE(packet));
}

static __always_inline bool copy_slice(struct packet *packet, __u64 from, __u32 length, __u32 flags, const __u32 most)
{
	struct tt_http_record *record = reserve(packet, sizeof(*record) + most);

	if (!record)
		return false;
	if (!read_bytes(packet, record + 1, offset_of(packet, from), length, most)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return false;
	}
	fill(packet, record, from, length, length, flags);
	submit(packet, record, sizeof(*record) + most);
	return true;
}

/* The argument of copy_turn(): the bytes that are still to be handed over. */
struct copying {
	struct packet packet;
	__u64 from;
	__u32 length;
	__u32 flags;
};

/*
 * Hands over one record, as a turn of bpf_loop(). Returns 1 if that was impossible, or if nothing is left: the last
 * turn.
 */
static long copy_turn(__u32 turn, struct copying *copying)
{
	__u32 length = copying->length, slice = length < TT_HTTP_LARGE ? length : TT_HTTP_LARGE;
	bool taken;

	if (length == 0)
		return 1;
	taken = slice <= TT_HTTP_SMALL ? copy_slice(&copying->packet, copying->from, slice, copying->flags, TT_HTTP_SMALL) :
					 copy_slice(&copying->packet, copying->from, slice, copying->flags, TT_HTTP_LARGE);
	if (!taken)
		return 1;
	copying->flags &= ~TT_HTTP_STARTS;
	copying->from += slice;
	copying->length -= slice;
	return 0;
}

/*
 * Hands over the bytes from position `from` on, in as many records as needed. `what`: bits 0 to 31
 * the number of bytes, 32 to 47 flags, 48 to 63 the `enum refused` to count if a record is refused.
 */
__noinline int tt_http_copy(struct __sk_buff *skb, struct connection *connection, __u64 from, __u64 what, __u32 where)
{
	struct copying copying = { .from = from, .length = what, .flags = what >> 32 & 0xffff };

	if (!is_packet(&copying.packet, skb, connection, from, from + copying.length, where))
		return 0;
	bpf_loop(SLICES, copy_turn, &copying, 0);
	if (copying.length > 0)
		refuse(&copying.packet, what >> 48);
	return 0;
}

static __always_inline void copy(struct packet *packet, __u64 from, __u64 to, __u32 flags, enum refused what)
{
	tt_http_copy(packet->skb, packet->connection, from, (__u64)what << 48 | (__u64)flags << 32 | (__u32)(to - from),
		     offset_of(packet, from) << 1 | packet->sent);
}

/* Hands over the bytes from one position to another, but changes neither `end` nor `handed` of the direction. */
static __always_inline void hand_over_aside(struct packet *packet, __u64 from, __u64 to)
{
	if (from < to)
		copy(packet, from, to, 0, REFUSED_UNKNOWN);
}

/* Hands over the bytes from one position to another; afterwards, no byte before `to` needs to be handed over. */
static __always_inline void hand_over(struct packet *packet, __u64 from, __u64 to, __u32 flags, enum refused what)
{
	if (from >= to)
		return;
	copy(packet, from, to, flags, what);
	packet->way->handed = to;
}
#endif
