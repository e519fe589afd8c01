/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where a frame is met: coming in (XDP), or leaving (tc, compiled with PZ_EGRESS).  The stages are the same text for
 * both; what the kernel calls differently is here.  Both contexts have `data` and `data_end`.
 */
#ifndef PZ_CONTEXT_H
#define PZ_CONTEXT_H

#include "config.h"

#ifdef PZ_EGRESS
#define pz_ctx __sk_buff
#define PZ_IS_EGRESS 1

/*
 * Brings the frame's first `length` bytes into the linear part, or all of a shorter one, if less than `least` of them
 * are there.
 */
PZ_INLINE void pz_gather(struct pz_ctx *ctx, __u32 least, __u32 length)
{
	if (length > ctx->len)
		length = ctx->len;
	if ((long)ctx->data_end - (long)ctx->data < least)
		bpf_skb_pull_data(ctx, length);
}

/* What the filter looks at.  The stack's packets have all headers there; those of a packet socket's ring may not. */
PZ_INLINE void pz_gather_headers(struct pz_ctx *ctx)
{
	pz_gather(ctx, 34, 128);
}

/* The whole frame; of a GSO packet as much as any frame has. */
PZ_INLINE void pz_gather_frame(struct pz_ctx *ctx)
{
	pz_gather(ctx, ctx->len, 9216);
}

PZ_INLINE __u32 pz_frame_length(struct pz_ctx *ctx)
{
	return ctx->len;
}

PZ_INLINE __u32 pz_device(struct pz_ctx *ctx)
{
	return ctx->ifindex;
}

/* Nothing that leaves goes to AF_XDP. */
PZ_INLINE __u32 pz_xsk_of(struct pz_ctx *ctx, const struct pz_segment *segment)
{
	(void)ctx;
	(void)segment;
	return PZ_XSKS;
}

PZ_INLINE int pz_load(struct pz_ctx *ctx, void *to, __u32 length)
{
	return bpf_skb_load_bytes(ctx, 0, to, length);
}

/* Several packets in one, which the device or its driver would have taken apart: none of them can be held. */
PZ_INLINE int pz_is_several(struct pz_ctx *ctx)
{
	return ctx->gso_size != 0;
}

/*
 * Cuts `delta` bytes out of the frame, somewhere in its headers; negative: adds as many at its end.  An answer to ARP is
 * written anew as a whole, and of ARP the kernel cuts nothing but the end.
 */
PZ_INLINE int pz_cut(struct pz_ctx *ctx, int delta, int is_ip)
{
	if (delta < 0 || !is_ip)
		return bpf_skb_change_tail(ctx, ctx->len - delta, 0);
	return bpf_skb_adjust_room(ctx, -delta, BPF_ADJ_ROOM_MAC, 0);
}

#else
#define pz_ctx xdp_md
#define PZ_IS_EGRESS 0

PZ_INLINE __u32 pz_frame_length(struct pz_ctx *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

PZ_INLINE __u32 pz_device(struct pz_ctx *ctx)
{
	return ctx->ingress_ifindex;
}

/* Where in pz_xsks_v1 the socket of the frame's receive queue would be; PZ_XSKS: nowhere. */
PZ_INLINE __u32 pz_xsk_of(struct pz_ctx *ctx, const struct pz_segment *segment)
{
	__u32 queue = ctx->rx_queue_index;

	return queue < segment->xsk_count ? segment->xsk_first + queue : PZ_XSKS;
}

PZ_INLINE int pz_load(struct pz_ctx *ctx, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(ctx, 0, to, length);
}

PZ_INLINE int pz_is_several(struct pz_ctx *ctx)
{
	(void)ctx;
	return 0;
}

/* Moves the frame's start by `delta` bytes; the Ethernet header does not come along. */
PZ_INLINE int pz_cut(struct pz_ctx *ctx, int delta, int is_ip)
{
	(void)is_ip;
	return bpf_xdp_adjust_head(ctx, delta);
}

#endif

#endif
