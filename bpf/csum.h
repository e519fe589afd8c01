/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One's complement sums (RFC 1071, RFC 1624). */
#ifndef PZ_CSUM_H
#define PZ_CSUM_H

#include "parse.h"

PZ_INLINE __u16 pz_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

PZ_INLINE __u64 pz_sum16(const void *bytes)
{
	return (__u64)PZ_U32(bytes) + PZ_U32(bytes + 4) + PZ_U32(bytes + 8) + PZ_U32(bytes + 12);
}

PZ_INLINE __u64 pz_sum_mac(const void *mac)
{
	return (__u64)PZ_U32(mac) + PZ_U16(mac + 4);
}

#define PZ_CSUM_UNREADABLE 0x10000U
#define PZ_CSUM_CHUNK 32
#define PZ_CSUM_CHUNKS ((9216 + PZ_CSUM_CHUNK - 1) / PZ_CSUM_CHUNK)

/*
 * The folded, uncomplemented sum of `length` bytes at `offset`; PZ_CSUM_UNREADABLE when they are not all in the
 * frame's linear part.  Global, so that it is verified once and not once per caller; offsets are masked so that every
 * turn of a loop looks the same to the verifier.
 */
PZ_GLOBAL __u32 pz_checksum(struct pz_ctx *ctx, __u32 offset, __u32 length)
{
	__u64 at = offset & PZ_MAX_OFFSET;
	__u32 left = length;
	__u64 sum = 0;
	void *p;
	int i;

	for (i = 0; i < PZ_CSUM_CHUNKS && left >= PZ_CSUM_CHUNK; i++) {
		p = pz_at(ctx, at, PZ_CSUM_CHUNK);
		if (!p)
			return PZ_CSUM_UNREADABLE;
		sum += pz_sum16(p) + pz_sum16(p + 16);
		at = (at + PZ_CSUM_CHUNK) & PZ_MAX_OFFSET;
		left -= PZ_CSUM_CHUNK;
	}
	for (i = 0; i < PZ_CSUM_CHUNK / 2 && left >= 2; i++) {
		p = pz_at(ctx, at, 2);
		if (!p)
			return PZ_CSUM_UNREADABLE;
		sum += PZ_U16(p);
		at = (at + 2) & PZ_MAX_OFFSET;
		left -= 2;
	}
	if (left > 1)
		return PZ_CSUM_UNREADABLE;
	if (left == 1) {
		p = pz_at(ctx, at, 1);
		if (!p)
			return PZ_CSUM_UNREADABLE;
		sum += PZ_U8(p);
	}
	return pz_fold(sum);
}

/* Sum of the ICMPv6 pseudo header (RFC 8200 section 8.1) without the addresses. */
PZ_INLINE __u64 pz_sum_icmp6_pseudo(__u32 length)
{
	return (__u64)bpf_htonl(length) + bpf_htons(IPPROTO_ICMPV6);
}

/* RFC 1624 equation 3: the checksum after a 16-bit word changed from `from` to `to`. */
PZ_INLINE __u16 pz_csum_replace(__u16 csum, __u16 from, __u16 to)
{
	return ~pz_fold((__u64)(__u16)~csum + (__u16)~from + to);
}

#endif
