// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The bytes of HTTP that pass the sockets of selected cgroups. This object is loaded while a session asks for requests.
 *
 *  cgroup_skb/ingress, egress   every packet of the sockets, before TCP has put it in order, including retransmits
 *
 * Bodies are skipped as far as their length is known. The bytes that a parser needs go through a ring buffer: see
 * http_shared.h for its records, http_begin.h for the detection of a connection's protocol, http_walk.h for the steps
 * through a packet, http_head.h for the heads of messages. Packets are never dropped.
 */
#include "http_begin.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { PASS = 1 };

/*
 * Bytes that have no socket yet are refused while this many times `wake_at` bytes wait in the ring buffer: see early().
 */
#define EARLY_SHARE 4

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset;
	__u8 flags;
};
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4 };

static __always_inline bool read_headers(struct __sk_buff *skb, struct headers *to)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct tcp_header *tcp;
	__u8 *ip = data;
	__u32 offset;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (data + 20 > data_end || ip[9] != IPPROTO_TCP)
			return false;
		offset = (ip[0] & 15) * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (data + 40 > data_end || ip[6] != IPPROTO_TCP)
			return false;
		offset = 40;
	} else {
		return false;
	}
	tcp = data + offset;
	if ((void *)(tcp + 1) > data_end)
		return false;
	to->flags = tcp->flags;
	to->sequence = bpf_ntohl(tcp->sequence) + (tcp->flags & TCP_SYN ? 1 : 0);
	to->offset = offset + (tcp->offset >> 4) * 4;
	to->length = skb->len > to->offset ? skb->len - to->offset : 0;
	return true;
}

static __always_inline bool early_record(struct __sk_buff *skb, const struct headers *headers, __u32 length, __u64 waiting,
					 const __u32 most)
{
	bool is_ipv4 = skb->protocol == bpf_htons(ETH_P_IP);
	struct tt_http_connection *of;
	struct tt_http_record *record;
	__be16 ports[2] = {};
	__u32 ip[10] = {};

	if (bpf_skb_load_bytes(skb, 0, ip, is_ipv4 ? 20 : 40) ||
	    bpf_skb_load_bytes(skb, is_ipv4 ? (*(__u8 *)ip & 15) * 4 : 40, ports, sizeof(ports)))
		return false;
	record = bpf_ringbuf_reserve(&tt_http_ring, sizeof(*record) + sizeof(*of) + most, 0);
	if (!record)
		return false;
	of = (struct tt_http_connection *)(record + 1);
	if (!load(skb, of + 1, headers->offset, length, most)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return false;
	}
	record->cookie = 0;
	record->time = bpf_ktime_get_ns();
	record->sequence = headers->sequence;
	record->length = record->copied = length;
	record->skip = 0;
	record->flags = TT_HTTP_EARLY;
	of->cgroup = bpf_skb_cgroup_id(skb);
	of->first_received = headers->sequence;
	of->first_sent = of->reserved = 0;
	copy_address(of->remote_addr, is_ipv4, ip[IPV4_SOURCE / 4], ip + IPV6_SOURCE / 4);
	copy_address(of->local_addr, is_ipv4, ip[IPV4_DESTINATION / 4], ip + IPV6_DESTINATION / 4);
	of->remote_port = bpf_ntohs(ports[0]);
	of->local_port = bpf_ntohs(ports[1]);
	bpf_ringbuf_submit(record, wake_up(waiting, ring_bytes(sizeof(*record) + sizeof(*of) + most)));
	return true;
}

/*
 * Hands over bytes that a listening socket receives, because their connection has no socket of its own yet. Anybody who
 * can reach the port can send such packets, so they may only use a part of the ring buffer.
 */
static __always_inline void early(struct __sk_buff *skb, const struct headers *headers)
{
	__u64 waiting = bpf_ringbuf_query(&tt_http_ring, BPF_RB_AVAIL_DATA);
	__u32 length = headers->length < TT_HTTP_LARGE ? headers->length : TT_HTTP_LARGE;
	struct tt_http_lost *lost;

	if (waiting < EARLY_SHARE * wake_at &&
	    (length <= TT_HTTP_SMALL ? early_record(skb, headers, length, waiting, TT_HTTP_SMALL) :
				       early_record(skb, headers, length, waiting, TT_HTTP_LARGE)))
		return;
	lost = lose(&tt_http_lost, bpf_skb_cgroup_id(skb));
	if (lost)
		__sync_fetch_and_add(&lost->unknown, 1);
}

/*
 * Takes one step in a packet: handles the head, line or frame that begins, or goes on, at the `end` of the direction.
 */
__noinline int tt_http_step(struct __sk_buff *skb, struct connection *connection, __u64 first, __u64 last, __u32 where)
{
	struct packet packet;

	if (!is_packet(&packet, skb, connection, first, last, where))
		return 0;
	switch (packet.way->place) {
	case PLACE_MESSAGE:
		/* The server has agreed to Upgrade: h2c, so the client's next message is the preface of HTTP/2. */
		if (packet.connection->h2) {
			begin_preface(&packet, packet.way->end);
			return 0;
		}
		return tt_http_head(skb, connection, first, last, where);
	case PLACE_HEAD:
	case PLACE_TRAILER:
		return tt_http_head(skb, connection, first, last, where);
	case PLACE_CHUNK:
		return tt_http_chunk(skb, connection, first, last, where);
	case PLACE_FRAME:
		return tt_http_frame(skb, connection, first, last, where);
	}
	return 0;
}

/*
 * Returns whether user space wants no more of a connection. Called only while all bytes of a direction are handed over:
 * then the look-up costs less than what it can save.
 */
static __always_inline bool is_ignored(struct packet *packet)
{
	__u64 cookie = packet->connection->cookie;

	if (!bpf_map_lookup_elem(&tt_http_ignored, &cookie))
		return false;
	bpf_map_delete_elem(&tt_http_ignored, &cookie);
	packet->connection->off = 1;
	return true;
}

/*
 * Ends the handing over of everything in a direction, if user space has reported (tt_http_pauses) that a message begins
 * where this packet begins. Returns whether it did. The direction of the requests resumes first, since a request is
 * what ends a pause; the other direction then resumes at its next packet.
 */
static __always_inline bool resume(struct packet *packet)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way, *other = packet->sent ? &connection->ways[0] : &connection->ways[1];
	struct tt_http_pause *pause;
	__u64 cookie = connection->cookie;

	if (packet->first != way->end)
		return false;
	if (connection->resumes && !way->is_request && !connection->h2) {
		connection->resumes = 0;
		if (way->end != connection->resume_at)
			return false;
		begin_message(way, way->end);
		return true;
	}
	pause = bpf_map_lookup_elem(&tt_http_pauses, &cookie);
	if (!pause || (packet->sent ? pause->sent : pause->received) != (__u32)way->end)
		return false;
	if (connection->h2) {
		begin_frames(way, way->end);
		return true;
	}
	if (!way->is_request || (packet->sent ? pause->received : pause->sent) != (__u32)other->end)
		return false;
	if (other->place == PLACE_RAW) {
		connection->resume_at = other->end;
		connection->resumes = 1;
	}
	/* In a pause no request is outstanding. */
	connection->requests = connection->responses;
	connection->uncounted = 0;
	begin_message(way, way->end);
	return true;
}

/*
 * Returns whether it is unknown where messages begin in this direction, or in the direction of the responses to its
 * requests.
 */
static __always_inline bool is_lost(struct packet *packet)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way, *other = packet->sent ? &connection->ways[0] : &connection->ways[1];

	return way->place == PLACE_RAW || (other->place == PLACE_RAW && way->place == PLACE_MESSAGE && way->is_request);
}

/* Handles the bytes from the direction's `end` to the end of the packet. */
static __always_inline void walk(struct packet *packet)
{
	struct connection *connection = packet->connection;
	struct way *way = packet->way;
	int step;

	if (is_lost(packet) && resume(packet))
		way->has_hole = 0;
	/* A shortcut past tt_http_step(), which would call this function too: most packets begin with a head. */
	if (way->place == PLACE_MESSAGE && !connection->h2)
		tt_http_head(packet->skb, packet->connection, packet->first, packet->last, WHERE(packet));
	for (step = 0; step < STEPS; step++) {
		if (way->end >= packet->last || way->place == PLACE_RAW || connection->off)
			break;
		tt_http_step(packet->skb, packet->connection, packet->first, packet->last, WHERE(packet));
	}
	if (way->end >= packet->last || connection->off)
		return;
	if (way->place != PLACE_RAW)
		give_up(packet);
	if (is_ignored(packet))
		return;
	hand_over(packet, way->end > way->handed ? way->end : way->handed, packet->last, TT_HTTP_RAW, REFUSED_UNKNOWN);
	way->end = packet->last;
}

/*
 * Gives up the direction's position if bytes beyond it, up to `end`, have passed out of order or on another CPU. They
 * were only handed over, so a message may have begun in them.
 */
static __always_inline void settle(struct packet *packet, __u64 end)
{
	struct way *way = packet->way;

	if (end > way->end && way->place != PLACE_JOINED) {
		give_up(packet);
		way->end = end;
		way->has_hole = 1;
	}
}

/* Handles the bytes of a packet. */
static __always_inline void pass(struct packet *packet)
{
	struct way *way = packet->way;

	settle(packet, way->raced);
	way->raced = 0;
	if (packet->first < way->copy_to)
		hand_over_aside(packet, packet->first, packet->last < way->copy_to ? packet->last : way->copy_to);
	if (packet->last > way->seen)
		way->seen = packet->last;
	if (way->place == PLACE_JOINED) {
		begin_joined(packet);
		if (way->place == PLACE_JOINED)
			return;
	} else if (packet->last <= way->end) {
		/* These bytes were handled before (a retransmission), or belong to a body that is skipped. */
		if (way->place == PLACE_RAW && way->has_hole)
			hand_over_aside(packet, packet->first, packet->last);
		else if (packet->last == way->end && way->awaited) {
			way->awaited = 0;
			tell(packet, packet->first, packet->last - packet->first, 0);
		}
		return;
	} else if (packet->first > way->end) {
		/* Earlier bytes are still to come, so the position of these in a message is unknown. */
		hand_over_aside(packet, packet->first, packet->last);
		if (way->place == PLACE_RAW) {
			way->has_hole = 1;
			way->end = packet->last;
		} else if (packet->last > way->ahead) {
			way->ahead = packet->last;
		}
		return;
	} else if (way->place == PLACE_NEW) {
		begin_new(packet);
	}
	/* A retransmitted packet can have more bytes than the first one had. Its earlier part may fill a hole. */
	if (way->place == PLACE_RAW && way->has_hole && packet->first < way->end)
		hand_over_aside(packet, packet->first, way->end);
	way->awaited = 0;
	walk(packet);
	settle(packet, way->ahead);
	way->ahead = 0;
}

/* Handles a packet. If another CPU is handling one of the same direction, the bytes are only handed over. */
static __always_inline void enter(struct packet *packet)
{
	struct way *way = packet->way;

	/*
	 * Two CPUs may see each other, and then both only hand over their bytes. An atomic addition whose result is not
	 * used works on every architecture.
	 */
	__sync_fetch_and_add(&way->entered, 1);
	if (*(volatile __u32 *)&way->entered - *(volatile __u32 *)&way->left == 1) {
		pass(packet);
	} else {
		hand_over_aside(packet, packet->first, packet->last);
		if (packet->last > way->raced)
			way->raced = packet->last;
	}
	__sync_fetch_and_add(&way->left, 1);
}

static __always_inline int look(struct __sk_buff *skb, bool sent)
{
	struct packet packet = { .skb = skb, .sent = sent };
	struct connection *connection;
	struct headers headers;
	struct bpf_sock *sk;
	struct way *way;

	if (!read_headers(skb, &headers) || (headers.length == 0 && !(headers.flags & (TCP_FIN | TCP_RST))))
		return PASS;
	sk = skb->sk;
	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	if (sk->state == TCP_LISTEN) {
		if (headers.length > 0 && !sent)
			early(skb, &headers);
		return PASS;
	}
	connection = bpf_sk_storage_get(&tt_http_sockets, sk, 0, 0);
	if (!connection) {
		connection = headers.length > 0 ? begin(skb, sk, &headers, sent) : 0;
		if (!connection)
			return PASS;
	}
	if (connection->off && !(connection->begun && headers.flags & (TCP_FIN | TCP_RST)))
		return PASS;
	way = &connection->ways[sent];
	if (way->seen == 0)
		way->seen = way->end = position_of(headers.sequence);
	packet.connection = connection;
	packet.way = way;
	packet.first = way->seen + (__s32)(headers.sequence - (__u32)way->seen);
	packet.last = packet.first + headers.length;
	packet.offset = headers.offset;
	if (headers.length > 0 && !connection->off)
		enter(&packet);
	if (connection->begun && headers.flags & (TCP_FIN | TCP_RST))
		tell(&packet, packet.last, 0, headers.flags & TCP_RST ? TT_HTTP_RESET : TT_HTTP_FIN);
	return PASS;
}

SEC("cgroup_skb/ingress")
int tt_http_in(struct __sk_buff *skb)
{
	return look(skb, false);
}

SEC("cgroup_skb/egress")
int tt_http_out(struct __sk_buff *skb)
{
	return look(skb, true);
}
