/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The room for an answer: the request's frame, made as long as the answer, with its tags and new Ethernet addresses. */
#ifndef PZ_RESIZE_H
#define PZ_RESIZE_H

#include "parse.h"

#define PZ_MAX_L2 (ETH_HLEN + 4 * PZ_MAX_VLAN_TAGS)

/*
 * Makes the frame `delta` bytes shorter (negative: longer), keeps its type, its tags and its end, and sets the Ethernet
 * addresses of the answer.  What is between is to be written anew, and in a longer frame everything behind the tags.
 * At the head for XDP, because drivers leave room there, while veth has no tail room for short frames.  0, or -1: no
 * room, frame untouched.
 */
PZ_INLINE int pz_move_start(struct pz_ctx *ctx, struct pz_packet *p, int delta)
{
	__u8 tags[4 * PZ_MAX_VLAN_TAGS + 2];
	void *eth;

	if (delta) {
		eth = pz_at(ctx, 12, sizeof(tags)); /* may reach into the L3 part, which is overwritten later */
		if (!eth)
			return -1;
		__builtin_memcpy(tags, eth, sizeof(tags));
		if (pz_cut(ctx, delta, p->l3 != PZ_L3_ARP))
			return -1;
		eth = pz_at(ctx, 12, sizeof(tags));
		if (!eth)
			return -1;
		__builtin_memcpy(eth, tags, sizeof(tags));
	}
	eth = pz_at(ctx, 0, ETH_HLEN);
	if (!eth)
		return -1;
	pz_copy_mac(eth, p->lladdr);
	pz_copy_mac(eth + 6, p->answer_mac);
	return 0;
}

/* Makes the frame l3_offset + l3_length bytes long and returns its L3 part, to be written in full; NULL: no room. */
PZ_INLINE void *pz_reply_frame(struct pz_ctx *ctx, struct pz_packet *p, const __u32 l3_length)
{
	__u64 l3_offset = p->l3_offset;

	if (!pz_at(ctx, (__u64)p->length - 1, 1))
		return NULL; /* part of the frame lies outside the linear area */
	if (pz_move_start(ctx, p, (int)p->length - (int)(l3_offset + l3_length)))
		return NULL;
	return pz_at(ctx, l3_offset, l3_length);
}

#endif
