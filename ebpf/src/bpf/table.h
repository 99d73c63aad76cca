/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table: sets of eight slots, whose eight tags lie side by side in `tt_tags`. A flow's key is hashed to two
 * sets; its slot is in one of them, at its preferred way (index in the set) if that was free. A flow without room in
 * either is in the stash, further sets where the map `tt_spill` finds it.
 *
 * A slot's handle is its number plus one; 0 is no slot. A slot is taken by its tag and published by its state. All
 * slots of a TCP socket are in the same two sets, so the end of the socket finds them. One of them is the main slot,
 * which represents the connection and knows what the others counted.
 */
#ifndef TT_TABLE_H
#define TT_TABLE_H

/*
 * `set_mask`: number of sets without the stash, which is a power of two, minus one. `stash_sets`: number of sets of the
 * stash, which follow the others. Set by user space.
 */
const volatile __u32 set_mask;
const volatile __u32 stash_sets;

/* Set once the stash was used. Until then, no look-up in it is needed. */
volatile __u64 spilled;

/* Number of sets of the stash that are tried for a flow. */
#define STASH_TRIES 16
/* With at least this many free ways, a flow's first set takes the flow without a look at the second one. */
#define FREE_ENOUGH 4

/*
 * Returns its argument as a number of which the verifier knows nothing, so that it checks the code after the call once,
 * and not once for each path that leads there.
 */
CHECKED_ONCE __u64 any(__u64 number)
{
	/* The compiler must not know the value either, or it would use that at the callers. */
	barrier_var(number);
	return number;
}

static __always_inline struct tt_slot *slot_at(__u32 number)
{
	return bpf_map_lookup_elem(&tt_slots, &number);
}

static __always_inline struct tt_tags *tags_at(__u32 set)
{
	return bpf_map_lookup_elem(&tt_tags, &set);
}

/*
 * Hashes what selects a flow's sets, by the finalizer of SplitMix64: the cookie of a TCP socket, or the cookie and the
 * peer of a datagram flow.
 */
static __always_inline __u64 hash_of(const struct tt_key *key)
{
	__u64 hash = key->cookie;

	if (key->datagram)
		hash ^= (key->addr[0] ^ key->addr[1] * 0x9e3779b97f4a7c15ull ^ (__u64)key->port << 48) *
			0xd6e8feb86659fd93ull;
	hash *= 0xbf58476d1ce4e5b9ull;
	hash ^= hash >> 27;
	hash *= 0x94d049bb133111ebull;
	return hash ^ hash >> 31;
}

static __always_inline __u32 tag_of(__u64 hash)
{
	return (__u32)hash | 1u << 31;
}

static __always_inline __u32 first_set(__u64 hash)
{
	return hash >> 32 & set_mask;
}

/* Returns the second set, which is never the first one. */
static __always_inline __u32 second_set(__u64 hash)
{
	return (first_set(hash) ^ ((__u32)hash * 0x5bd1e995u >> 8 | 1)) & set_mask;
}

static __always_inline __u32 preferred_way(__u64 hash)
{
	return hash >> 61;
}

/* Returns whether events may count in a slot, which is true if it is open or pending. */
static __always_inline bool is_live(struct tt_slot *slot)
{
	return *(volatile __u32 *)&slot->state & 1;
}

static __always_inline __u32 state_of(struct tt_slot *slot)
{
	return *(volatile __u32 *)&slot->state & TT_STATE_MASK;
}

static __always_inline __u8 direction_of(struct tt_slot *slot)
{
	return *(volatile __u32 *)&slot->state >> 16;
}

static __always_inline bool is_main(struct tt_slot *slot)
{
	return *(volatile __u32 *)&slot->state & TT_CONNECTION;
}

static __always_inline bool is_flow(struct tt_slot *slot, const struct tt_key *key)
{
	if (slot->cookie != key->cookie || slot->owner != key->owner || !is_live(slot))
		return false;
	if (!key->datagram)
		return true;
	return ((__u64 *)slot->remote_addr)[0] == key->addr[0] && ((__u64 *)slot->remote_addr)[1] == key->addr[1] &&
	       slot->remote_port == key->port;
}

/*
 * Finds the slot that `tt_spill` leads to, if it is not closed; returns its handle, or 0. The key of a main slot has no
 * owner. A key can still lead to a closed slot, since user space removes it later.
 */
static __always_inline __u32 find_spilled(const struct tt_key *key)
{
	__u32 *number = bpf_map_lookup_elem(&tt_spill, key);
	struct tt_slot *slot = number ? slot_at(*number) : 0;

	return slot && state_of(slot) != TT_CLOSED ? *number + 1 : 0;
}

/*
 * A key as numbers, for functions that are marked CHECKED_ONCE and take no pointers: the cookie, the two words of the
 * peer's address, and the rest in one word.
 */
#define NUMBERS(key) (key)->cookie, (key)->addr[0], (key)->addr[1], rest_of(key)
/* Versions of clang-format lay this macro out differently. */
/* clang-format off */
#define KEY_OF(cookie, addr0, addr1, rest)                                                                  \
	{                                                                                                   \
		(cookie), { (addr0), (addr1) }, (__u32)(rest), (__u16)((rest) >> 32), (__u16)((rest) >> 48) \
	}
/* clang-format on */

static __always_inline __u64 rest_of(const struct tt_key *key)
{
	return key->owner | (__u64)key->port << 32 | (__u64)key->datagram << 48;
}

/*
 * Finds the slot of a flow or, with `main`, the main slot of its TCP socket. Returns the slot's handle, or 0. The
 * key is given by NUMBERS().
 */
CHECKED_ONCE __u64 find_in_sets(__u64 cookie, __u64 addr0, __u64 addr1, __u64 rest, __u32 main)
{
	struct tt_key key = KEY_OF(cookie, addr0, addr1, rest);
	__u64 hash = hash_of(&key);
	__u32 tag = tag_of(hash), set = first_set(hash), round, way;
	struct tt_slot *slot;
	struct tt_tags *tags;

	for (round = 0; round < 2; round++) {
		tags = tags_at(set);
		if (!tags)
			return 0;
		for (way = 0; way < TT_WAYS; way++) {
			if (*(volatile __u32 *)&tags->tag[way] != tag)
				continue;
			slot = slot_at(set * TT_WAYS + way);
			if (!slot)
				return 0;
			if (main ? slot->cookie == cookie && is_main(slot) && is_live(slot) : is_flow(slot, &key))
				return set * TT_WAYS + way + 1;
		}
		set = second_set(hash);
	}
	return 0;
}

/* Finds a flow's slot, or a socket's main slot, in the stash. Returns as find_in_sets() does. */
CHECKED_ONCE __u64 find_in_stash(__u64 cookie, __u64 addr0, __u64 addr1, __u64 rest, __u32 main)
{
	struct tt_key key = KEY_OF(cookie, addr0, addr1, rest);
	__u32 number = main ? 0 : find_spilled(&key);
	struct tt_slot *slot;

	slot = slot_at(number - 1);
	if (slot && is_live(slot))
		return number;
	if (key.datagram)
		return 0;
	rest = key.owner;
	key.owner = 0;
	number = find_spilled(&key);
	slot = slot_at(number - 1);
	if (!slot || !is_live(slot) || (!main && slot->owner != (__u32)rest))
		return 0;
	return number;
}

/*
 * Finds the slot of a flow, and its handle; returns 0 if there is none. Looks first at the preferred way, where most
 * are.
 */
static __always_inline struct tt_slot *find_slot(struct tt_key *key, __u64 hash, __u32 *found)
{
	__u32 number = first_set(hash) * TT_WAYS + preferred_way(hash);
	struct tt_slot *slot = slot_at(number);

	*found = number + 1;
	if (slot && is_flow(slot, key))
		return slot;
	*found = 0;
	/* This is the main slot of a connection that no process has used yet, so there is no slot of this process. */
	if (slot && !key->datagram && slot->cookie == key->cookie && !slot->owner && is_live(slot))
		return 0;
	*found = find_in_sets(NUMBERS(key), false);
	if (!*found && spilled)
		*found = find_in_stash(NUMBERS(key), false);
	return *found ? slot_at(*found - 1) : 0;
}

/* Finds the main slot of a TCP socket, and its handle; returns 0 if there is none. */
static __always_inline struct tt_slot *find_main(__u64 cookie, __u32 *found)
{
	struct tt_key key = { .cookie = cookie };
	__u64 hash = hash_of(&key);
	__u32 number = first_set(hash) * TT_WAYS + preferred_way(hash);
	struct tt_slot *slot = slot_at(number);

	*found = number + 1;
	if (slot && slot->cookie == cookie && is_main(slot) && is_live(slot))
		return slot;
	*found = find_in_sets(cookie, 0, 0, 0, true);
	if (!*found && spilled)
		*found = find_in_stash(cookie, 0, 0, 0, true);
	return *found ? slot_at(*found - 1) : 0;
}

static __always_inline struct tt_slot *main_slot(__u64 cookie)
{
	__u32 number;

	return find_main(cookie, &number);
}

/* Counts the free ways of a set. */
static __always_inline __u32 free_ways(__u32 set)
{
	struct tt_tags *tags = tags_at(set);
	__u32 way, free = 0;

	if (!tags)
		return 0;
#pragma unroll
	for (way = 0; way < TT_WAYS; way++)
		/*
		 * Adds 1 for a tag of 0 without a branch: each branch would double the states that the verifier walks
		 * through.
		 */
		free += (__u32)(((__u64)tags->tag[way] - 1) >> 63);
	return free;
}

/* Takes a way of a set for a tag, the preferred one first; returns the slot's handle, or 0. */
CHECKED_ONCE __u64 take_way(__u32 set, __u32 preferred, __u32 tag)
{
	struct tt_tags *tags = tags_at(set);
	__u32 i, way;

	if (!tags)
		return 0;
	for (i = 0; i < TT_WAYS; i++) {
		way = (preferred + i) & (TT_WAYS - 1);
		if (claim(&tags->tag[way], tag))
			return set * TT_WAYS + way + 1;
	}
	return 0;
}

/* Takes a slot in the emptier of two sets, or in the first if that has free ways enough. Returns as take_way() does. */
CHECKED_ONCE __u64 take_in_sets(__u64 hash)
{
	__u32 first = first_set(hash), second = second_set(hash), free = free_ways(first), taken;

	if (free < FREE_ENOUGH && free_ways(second) > free) {
		first = second;
		second = first_set(hash);
	}
	taken = take_way(first, preferred_way(hash), tag_of(hash));
	return taken ? taken : take_way(second, preferred_way(hash), tag_of(hash));
}

/* Takes a slot of the stash. Returns as take_way() does. */
CHECKED_ONCE __u64 take_in_stash(__u64 hash)
{
	__u32 i, taken;

	if (!stash_sets)
		return 0;
	for (i = 0; i < STASH_TRIES; i++) {
		taken = take_way(set_mask + 1 + ((__u32)(hash >> 32) + i) % stash_sets, preferred_way(hash), tag_of(hash));
		if (taken)
			return taken;
	}
	return 0;
}

static __always_inline bool is_in_stash(__u32 number)
{
	return number / TT_WAYS > set_mask;
}

/* Makes a slot free that was taken and not filled. */
static __always_inline void give_back(__u32 number, __u64 hash)
{
	struct tt_tags *tags = tags_at(number / TT_WAYS);

	if (tags)
		unclaim(&tags->tag[number & (TT_WAYS - 1)], tag_of(hash));
}

/*
 * Returns whether the same socket has, or is about to get, another main slot besides the one that was just taken and is
 * not filled yet: two processes can use an unknown connection at the same moment. Each takes its tag before it looks,
 * so at least one of them sees the other.
 */
CHECKED_ONCE __u64 has_rival(__u64 hash, __u64 cookie, __u32 stashed)
{
	__u32 tag = tag_of(hash), set = first_set(hash), round, way, found = stashed;
	struct tt_slot *slot;
	struct tt_tags *tags;

	for (round = 0; round < 2; round++) {
		tags = tags_at(set);
		if (!tags)
			return false;
		for (way = 0; way < TT_WAYS; way++) {
			if (*(volatile __u32 *)&tags->tag[way] != tag)
				continue;
			slot = slot_at(set * TT_WAYS + way);
			if (!slot)
				return false;
			/*
			 * The sum is hidden from the verifier, which would otherwise check each of its values by
			 * itself.
			 */
			found += state_of(slot) == TT_FREE || (slot->cookie == cookie && is_main(slot) && is_live(slot));
			barrier_var(found);
		}
		set = second_set(hash);
	}
	return found > 1;
}

/* Result of take_slot(): another process has made the socket's main slot, or is about to. */
#define CONTESTED 0xffffffffu

/*
 * Takes a slot for a flow, whose key is given by NUMBERS(); the key of a main slot has no owner. `contested`: others
 * may be about to make the same main slot. Returns the slot's handle; 0 if the table is full.
 */
CHECKED_ONCE __u64 take_slot(__u64 cookie, __u64 addr0, __u64 addr1, __u64 rest, __u32 contested)
{
	struct tt_key key = KEY_OF(cookie, addr0, addr1, rest);
	__u64 hash = hash_of(&key);
	__u32 taken = take_in_sets(hash), number;

	if (!taken) {
		taken = take_in_stash(hash);
		number = taken - 1;
		if (!taken)
			return 0;
		spilled = 1;
		/* If the key leads to a slot that is not closed, another CPU has just made one for this flow. */
		if (find_spilled(&key) || bpf_map_update_elem(&tt_spill, &key, &number, BPF_ANY)) {
			give_back(number, hash);
			return contested ? CONTESTED : 0;
		}
	}
	number = taken - 1;
	if (!contested)
		return taken;
	if (!has_rival(hash, cookie, is_in_stash(number)) &&
	    (!spilled || find_spilled(&key) == (is_in_stash(number) ? taken : 0)))
		return taken;
	if (is_in_stash(number))
		bpf_map_delete_elem(&tt_spill, &key);
	give_back(number, hash);
	return CONTESTED;
}

/* Closes a slot: no event finds it any more, and user space frees it after reading its bytes. */
static __always_inline void close_slot(struct tt_slot *slot)
{
	publish(&slot->state, (*(volatile __u32 *)&slot->state & ~TT_STATE_MASK) | TT_CLOSED);
}

/* Closes a slot that user space must not show. */
static __always_inline void drop_slot(struct tt_slot *slot)
{
	slot->sessions = 0;
	slot->connections = 0;
	close_slot(slot);
}

/* Closes all slots of a TCP socket. */
CHECKED_ONCE int close_all(__u64 cookie)
{
	struct tt_key key = { .cookie = cookie };
	__u64 hash = hash_of(&key);
	__u32 tag = tag_of(hash), set = first_set(hash), round, way;
	struct tt_slot *slot;
	struct tt_tags *tags;

	for (round = 0; round < 2; round++) {
		tags = tags_at(set);
		if (!tags)
			return 0;
		for (way = 0; way < TT_WAYS; way++) {
			if (*(volatile __u32 *)&tags->tag[way] != tag)
				continue;
			slot = slot_at(set * TT_WAYS + way);
			if (slot && slot->cookie == cookie && is_live(slot))
				close_slot(slot);
		}
		set = second_set(hash);
	}
	if (spilled) {
		__u32 number = find_spilled(&key);

		slot = slot_at(number - 1);
		if (number && slot && slot->cookie == cookie && is_live(slot))
			close_slot(slot);
		/*
		 * Slots of other processes may be in the stash too. Their keys are not known here, so user space closes
		 * them.
		 */
		if (bpf_map_push_elem(&tt_ended, &cookie, 0))
			count_loss(TT_LOSS_ENDED, 1);
	}
	return 0;
}

/* Closes the slots of a TCP socket, by its main slot. */
static __always_inline void close_socket(struct tt_slot *main)
{
	if (main->shared)
		close_all(main->cookie);
	else
		close_slot(main);
}

#endif
