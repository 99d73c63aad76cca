/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plain text for user space: read from the process, handed over, or counted as refused. Programs that hand it over can
 * sleep, since the bytes that a process sends need not be in memory yet.
 */
#ifndef TT_TLS_COPY_H
#define TT_TLS_COPY_H

#include "tls_state.h"

/* The argument of copy_turn(): the bytes of a call that are still to be handed over. */
struct copying {
	struct channel *channel;
	__u64 from; /* address in the process */
	__u64 time;
	__u64 position;
	__u32 left;
	__u32 sent; /* 0 or 1 */
};

static __noinline void refuse(struct channel *channel, __u32 sent)
{
	struct tt_http_lost *lost = lose(&tt_tls_lost, bpf_get_current_cgroup_id());

	channel->lost[sent & 1] = 1;
	if (lost)
		__sync_fetch_and_add(&lost->unknown, 1);
}

static __always_inline void fill(struct copying *copying, struct tt_http_record *record, __u64 length, __u32 copied)
{
	struct tt_tls_origin *origin = (struct tt_tls_origin *)(record + 1);
	struct channel *channel = copying->channel;
	__u32 sent = copying->sent & 1;

	record->cookie = channel->cookie;
	record->time = copying->time;
	record->sequence = copying->position;
	record->length = length;
	record->copied = copied;
	record->skip = 0;
	record->flags = TT_TLS_PLAIN | sent * TT_HTTP_SENT | (channel->lost[sent] & 1) * TT_HTTP_LOST_BEFORE;
	origin->channel = channel->id;
	origin->pid = current_pid();
	origin->reserved = 0;
	channel->lost[sent] = 0;
}

/* Reports a number of bytes that passed and are not copied. */
static __always_inline void tell(struct copying *copying, __u64 length)
{
	const __u32 size = sizeof(struct tt_http_record) + sizeof(struct tt_tls_origin);
	struct tt_http_record *record = bpf_ringbuf_reserve(&tt_tls_ring, size, 0);

	if (!record) {
		refuse(copying->channel, copying->sent);
		return;
	}
	fill(copying, record, length, 0);
	submit_to(&tt_tls_ring, record, size);
}

static __always_inline bool copy_slice(struct copying *copying, __u64 length, const __u32 most)
{
	const __u32 size = sizeof(struct tt_http_record) + sizeof(struct tt_tls_origin) + most;
	struct tt_http_record *record = bpf_ringbuf_reserve(&tt_tls_ring, size, 0);
	__u64 last = length - 1;
	void *to;

	if (!record)
		return false;
	to = (void *)(record + 1) + sizeof(struct tt_tls_origin);
	/* The length is computed from the index of its last byte for the same reason as in load() of http_copy.h. */
	asm volatile("" : "+r"(last));
	if (last >= most || bpf_copy_from_user(to, last + 1, (void *)copying->from)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return false;
	}
	fill(copying, record, length, length);
	submit_to(&tt_tls_ring, record, size);
	return true;
}

/*
 * Hands over one record, as a turn of bpf_loop(). Returns 1 if that was impossible, or if nothing is left: the last
 * turn.
 */
static long copy_turn(__u32 turn, struct copying *copying)
{
	__u32 left = copying->left, slice = left < TT_HTTP_LARGE ? left : TT_HTTP_LARGE;
	bool taken;

	if (left == 0)
		return 1;
	taken = slice <= TT_HTTP_SMALL ? copy_slice(copying, slice, TT_HTTP_SMALL) :
					 copy_slice(copying, slice, TT_HTTP_LARGE);
	if (!taken)
		return 1;
	copying->from += slice;
	copying->position += slice;
	copying->left -= slice;
	return 0;
}

/*
 * Hands over `length` bytes that passed a channel. Bytes beyond MOST_COPIED are reported without their contents. Of
 * bodies whose heads user space has read (tt_tls_bodies), only the call with the last byte is reported, without
 * contents; of endless bodies, each call. `buffer` is 0 for bytes that were never in the process's memory.
 */
static __noinline void hand_over(struct channel *channel, __u32 sent, __u64 buffer, __u64 length, __u64 time)
{
	struct copying copying = { .channel = channel, .from = buffer, .time = time, .sent = sent & 1 };
	struct tt_tls_way way = { .cookie = channel->cookie, .sent = sent & 1 };
	__u64 *body, begin = channel->end[sent & 1], end = begin + length;

	copying.position = begin;
	channel->end[sent & 1] = end;
	body = bpf_map_lookup_elem(&tt_tls_bodies, &way);
	if (body && end <= *body) {
		if (end == *body || *body == TT_TLS_ENDLESS)
			tell(&copying, length);
		return;
	}
	if (!buffer) {
		tell(&copying, length);
		return;
	}
	copying.left = length < MOST_COPIED ? length : MOST_COPIED;
	bpf_loop(MOST_COPIED / TT_HTTP_LARGE, copy_turn, &copying, 0);
	if (copying.left > 0) {
		refuse(channel, sent);
	} else if (length > MOST_COPIED) {
		tell(&copying, length - MOST_COPIED);
		channel->lost[sent & 1] = 1;
	}
}
#endif
