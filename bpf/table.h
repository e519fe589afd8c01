/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Looking up addresses and MACs: the filters, the bucket tables, and the hash tables for what finds no slot. */
#ifndef PZ_TABLE_H
#define PZ_TABLE_H

#include "maps.h"
#include "parse.h"

/* Words of a slot, as they are at this moment: the daemon may be writing. */
#define PZ_NOW64(p) (*(volatile __u64 *)(p))

/* How often a slot is read again that changed while it was read. */
#define PZ_READS 3

/* `pointer` depends on `value`, so that what is read by it is read later, on every CPU. */
#define PZ_READ_AFTER(pointer, value)                                                                                  \
	do {                                                                                                           \
		__u64 zero_ = (value);                                                                                 \
		asm volatile("%0 &= 0\n\t%1 += %0" : "+r"(zero_), "+r"(pointer));                                      \
	} while (0)

PZ_INLINE __u32 pz_filter_word(void *filter, __u32 bucket)
{
	__u32 entry = bucket / PZ_FILTER_WORDS;
	struct pz_filter_words *words = bpf_map_lookup_elem(filter, &entry);

	return words ? words->bits[bucket % PZ_FILTER_WORDS] : 0;
}

PZ_INLINE int pz_may_have(void *filter, __u32 buckets, __u64 hash)
{
	__u32 word = pz_filter_word(filter, pz_bucket_of(hash, buckets)) | PZ_FILTER_MORE; /* which says nothing here */

	return word >> (hash & 31) & word >> (hash >> 5 & 31) & word >> (hash >> 10 & 31) & 1; /* pz_filter_bits() */
}

PZ_INLINE __u64 pz_hash_of_mac(const void *mac)
{
	return pz_hash_mac((__u64)PZ_U32(mac) | (__u64)PZ_U16(mac + 4) << 32);
}

PZ_INLINE int pz_may_have_mac(const void *mac)
{
	return pz_may_have(&pz_bits_mac_v1, buckets_mac, pz_hash_of_mac(mac));
}

PZ_INLINE int pz_may_have4(const void *address)
{
	return pz_may_have(&pz_bits4_v1, buckets4, pz_hash4(PZ_U32(address)));
}

PZ_INLINE int pz_may_have6(const void *address)
{
	return pz_may_have(&pz_bits6_v1, buckets6, pz_hash6(PZ_U64(address), PZ_U64(address + 8)));
}

/* The table of what found no slot in this bucket, if anything did.  These look-ups are rare: functions of their own, so
 * that they take no room where they are called. */
PZ_INLINE void *pz_more(void *more, void *filter, __u32 bucket)
{
	__u32 zero = 0;

	if (!plain_hash && !(pz_filter_word(filter, bucket) & PZ_FILTER_MORE))
		return NULL;
	return bpf_map_lookup_elem(more, &zero);
}

PZ_INLINE int pz_take_index(const struct pz_index *from, struct pz_index *found)
{
	if (!from)
		return 0;
	*found = *from;
	return 1;
}

PZ_GLOBAL int pz_find_more4(__u32 segment, __u32 address, __u32 bucket, struct pz_index *found)
{
	struct pz_index4_key key = {.segment = segment};
	void *more = pz_more(&pz_more4_v1, &pz_bits4_v1, bucket);

	PZ_U32(key.address) = address;
	return found && more && pz_take_index(bpf_map_lookup_elem(more, &key), found);
}

PZ_GLOBAL int pz_find_more6(__u32 segment, __u64 high, __u64 low, __u32 bucket, struct pz_index *found)
{
	struct pz_index6_key key = {.segment = segment};
	void *more = pz_more(&pz_more6_v1, &pz_bits6_v1, bucket);

	PZ_U32(key.address) = (__u32)high;
	PZ_U32(key.address + 4) = high >> 32;
	PZ_U32(key.address + 8) = (__u32)low;
	PZ_U32(key.address + 12) = low >> 32;
	return found && more && pz_take_index(bpf_map_lookup_elem(more, &key), found);
}

PZ_INLINE int pz_find4(__u32 segment, __u32 address, struct pz_index *found)
{
	__u32 at = pz_bucket_of(pz_hash4(address), buckets4);
	struct pz_bucket4 *bucket = plain_hash ? NULL : bpf_map_lookup_elem(&pz_index4_v2, &at);
	struct pz_slot4 *slot;
	__u64 head, rest;
	int i, read;

	for (i = 0; bucket && i < PZ_SLOTS; i++) {
		slot = &bucket->slots[i];
		for (read = 0; read < PZ_READS; read++) {
			head = PZ_NOW64(slot->mac);
			if ((head >> 48 & PZ_MAX_SEGMENT) != segment)
				break;
			PZ_READ_AFTER(slot, head);
			rest = PZ_NOW64(slot->address);
			if ((__u32)rest != address)
				break;
			PZ_READ_AFTER(slot, rest);
			if (PZ_NOW64(slot->mac) != head)
				continue;
			PZ_U32(found->mac) = (__u32)head;
			PZ_U16(found->mac + 4) = (__u16)(head >> 32);
			found->flags = head >> 60 & ~PZ_INDEX_TURN;
			found->host = rest >> 32;
			return 1;
		}
	}
	return pz_find_more4(segment, address, at, found);
}

PZ_INLINE int pz_find6(__u32 segment, __u64 high, __u64 low, struct pz_index *found)
{
	__u32 at = pz_bucket_of(pz_hash6(high, low), buckets6);
	struct pz_bucket6 *bucket = plain_hash ? NULL : bpf_map_lookup_elem(&pz_index6_v2, &at);
	struct pz_slot6 *slot;
	__u64 head, rest;
	int i, read;

	for (i = 0; bucket && i < PZ_SLOTS; i++) {
		slot = &bucket->slots[i];
		for (read = 0; read < PZ_READS; read++) {
			if (PZ_NOW64(slot->address + 8) != low)
				break;
			head = PZ_NOW64(slot->mac);
			PZ_READ_AFTER(slot, head);
			rest = PZ_NOW64(&slot->host);
			if (!head || PZ_NOW64(slot->address) != high || PZ_NOW64(slot->address + 8) != low ||
			    (rest >> 32 & 0xffff) != segment)
				break;
			PZ_READ_AFTER(slot, rest);
			if (PZ_NOW64(slot->mac) != head)
				continue;
			PZ_U32(found->mac) = (__u32)head;
			PZ_U16(found->mac + 4) = (__u16)(head >> 32);
			found->flags = rest >> 48;
			found->host = (__u32)rest;
			return 1;
		}
	}
	return pz_find_more6(segment, high, low, at, found);
}

/* Who owns a MAC: the host's id, or PZ_NOBODY.  Global, so that it is verified once. */
#define PZ_NOBODY ((__u32) - 1)
PZ_GLOBAL __u32 pz_find_owner(__u32 segment, __u64 mac)
{
	__u32 at = pz_bucket_of(pz_hash_mac(mac), buckets_mac);
	struct pz_bucket_mac *bucket = plain_hash ? NULL : bpf_map_lookup_elem(&pz_by_mac_v2, &at);
	struct pz_mac_key key = {.segment = segment};
	struct pz_slot_mac *slot;
	struct pz_owner *owner;
	__u64 head, rest;
	void *more;
	int i, read;

	if (!pz_may_have(&pz_bits_mac_v1, buckets_mac, pz_hash_mac(mac)))
		return PZ_NOBODY;
	for (i = 0; bucket && i < PZ_SLOTS; i++) {
		slot = &bucket->slots[i];
		for (read = 0; read < PZ_READS; read++) {
			head = PZ_NOW64(&slot->host);
			PZ_READ_AFTER(slot, head);
			rest = PZ_NOW64(slot->mac);
			if (!head || rest != (mac | (__u64)segment << 48))
				break;
			PZ_READ_AFTER(slot, rest);
			if (PZ_NOW64(&slot->host) == head)
				return (__u32)head;
		}
	}
	more = pz_more(&pz_more_mac_v1, &pz_bits_mac_v1, at);
	if (!more)
		return PZ_NOBODY;
	PZ_U32(key.mac) = (__u32)mac;
	PZ_U16(key.mac + 4) = (__u16)(mac >> 32);
	owner = bpf_map_lookup_elem(more, &key);
	return owner ? owner->host : PZ_NOBODY;
}

PZ_INLINE __u32 pz_owner_of(__u32 segment, const void *mac)
{
	return pz_find_owner(segment, (__u64)PZ_U32(mac) | (__u64)PZ_U16(mac + 4) << 32);
}

/* Not set: the record is not released.  Set: maybe; pz_live knows. */
PZ_INLINE int pz_may_be_released(__u32 host)
{
	__u32 entry = host / 64;
	struct pz_released *word = bpf_map_lookup_elem(&pz_released_v1, &entry);

	return !word || (PZ_NOW64(&word->bits) >> (host % 64) & 1);
}

#endif
