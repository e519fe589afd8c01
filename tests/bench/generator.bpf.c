// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Makes a new packet for each turn of BPF_PROG_TEST_RUN, which repeats one buffer and does not restore it: the frame's
 * beginning is written anew with a pseudo-random key in it.  The program under test is tail-called, so that it is the
 * unmodified one.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GENERATOR_HEAD 88
#define INLINE static __always_inline
#define U16(p) (*(__u16 *)(p))
#define U32(p) (*(__u32 *)(p))
#define U64(p) (*(__u64 *)(p))

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

/* Written by user space before a run. */
__u8 head[GENERATOR_HEAD] __attribute__((aligned(8))) = {}; /* of the frame whose key is 0 */
__u32 length = 0;                                           /* of the frame */
__u32 first = 0, count = 0;                                 /* keys; host order */
__u32 partial_sum = 0;         /* one's complement sum of what the checksum covers, key 0 */
volatile const __u32 zero = 0; /* makes a key depend on bytes without changing it */

__u64 state = 1;
__u64 generated = 0;

enum dependence { INDEPENDENT, DEPENDENT };

/* The next key; a DEPENDENT one needs the Ethernet source of the last answer, so that successive misses of the cache
 * cannot overlap. */
INLINE __u32 next_key(struct xdp_md *ctx, enum dependence dependence)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 last = dependence == DEPENDENT && data + 12 <= end ? U32(data + 8) & zero : 0;

	state = state * 6364136223846793005ULL + 1442695040888963407ULL + last;
	generated++;
	return first + (__u32)(((state >> 32) * count) >> 32);
}

/* Makes the frame as long as it was, and its first `size` bytes what they were. */
INLINE void *restore(struct xdp_md *ctx, const int size)
{
	long size_now = (long)ctx->data_end - (long)ctx->data;
	void *data, *end;
	int i;

	asm volatile("" : "+r"(size_now)); /* else clang takes the low halves of pointers, which the verifier refuses */
	if (size_now != length && bpf_xdp_adjust_head(ctx, size_now - length))
		return NULL;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + size > end)
		return NULL;
#pragma unroll
	for (i = 0; i + 8 <= size; i += 8)
		U64(data + i) = U64(head + i);
	if (size & 4)
		U32(data + (size & ~7)) = U32(head + (size & ~7));
	if (size & 2)
		U16(data + (size & ~3)) = U16(head + (size & ~3));
	return data;
}

INLINE __u16 checksum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* ARP: the key is the target's address. */
INLINE int write_arp(struct xdp_md *ctx, enum dependence dependence)
{
	__u32 key_be = bpf_htonl(next_key(ctx, dependence));
	void *data = restore(ctx, 60);

	if (!data)
		return -1;
	U32(data + 38) = key_be;
	return 0;
}

/* IPv4 behind `ethernet` bytes: the key is the destination's address. */
INLINE int write_ip4(struct xdp_md *ctx, const int ethernet, enum dependence dependence)
{
	__u32 key_be = bpf_htonl(next_key(ctx, dependence));
	void *data = restore(ctx, ethernet + 34);

	if (!data)
		return -1;
	U32(data + ethernet + 16) = key_be;
	U16(data + ethernet + 10) = checksum((__u64)partial_sum + key_be);
	return 0;
}

/* Neighbour Solicitation of `size` bytes: the key is the end of the target's address, and 24 bits of it that of the
 * solicited-node group. */
INLINE int write_ns(struct xdp_md *ctx, const int size, enum dependence dependence)
{
	__u32 key = next_key(ctx, dependence), key_be = bpf_htonl(key), group_be = bpf_htonl(key & 0xffffff);
	void *data = restore(ctx, size);

	if (!data)
		return -1;
	U32(data + 2) |= group_be;
	U32(data + 50) |= group_be;
	U32(data + 74) = key_be;
	U16(data + 56) = checksum((__u64)partial_sum + key_be + group_be);
	return 0;
}

/* IPv6: the key is the end of the destination's address.  The checksum is that of ICMPv6; nobody looks at those of TCP
 * and UDP. */
INLINE int write_ip6(struct xdp_md *ctx, const int icmp, enum dependence dependence)
{
	__u32 key_be = bpf_htonl(next_key(ctx, dependence));
	void *data = restore(ctx, 62);

	if (!data)
		return -1;
	U32(data + 50) = key_be;
	if (icmp)
		U16(data + 56) = checksum((__u64)partial_sum + key_be);
	return 0;
}

/* Magic Packet: the key is in the host's MAC, sixteen times. */
INLINE int write_magic(struct xdp_md *ctx, const int payload)
{
	__u32 key_be = bpf_htonl(next_key(ctx, INDEPENDENT));
	void *data = restore(ctx, 48);
	int i;

	if (!data || data + payload + 102 > (void *)(long)ctx->data_end)
		return -1;
#pragma unroll
	for (i = 1; i <= 16; i++)
		U32(data + payload + 6 * i + 2) = key_be;
	return 0;
}

#define GENERATOR(name, written)                                                                                       \
	SEC("xdp.frags")                                                                                               \
	int generate_##name(struct xdp_md *ctx)                                                                        \
	{                                                                                                              \
		if (written)                                                                                           \
			return XDP_ABORTED;                                                                            \
		bpf_tail_call_static(ctx, &under_test, 0);                                                             \
		return XDP_ABORTED;                                                                                    \
	}

GENERATOR(arp, write_arp(ctx, INDEPENDENT))
GENERATOR(arp_dependent, write_arp(ctx, DEPENDENT))
GENERATOR(ip4, write_ip4(ctx, 14, INDEPENDENT))
GENERATOR(ip4_dependent, write_ip4(ctx, 14, DEPENDENT))
GENERATOR(ip4_tagged, write_ip4(ctx, 18, INDEPENDENT))
GENERATOR(ns, write_ns(ctx, 86, INDEPENDENT))
GENERATOR(ns_dependent, write_ns(ctx, 86, DEPENDENT))
GENERATOR(dad, write_ns(ctx, 78, INDEPENDENT))
GENERATOR(dad_dependent, write_ns(ctx, 78, DEPENDENT))
GENERATOR(ip6, write_ip6(ctx, 0, INDEPENDENT))
GENERATOR(echo6, write_ip6(ctx, 1, INDEPENDENT))
GENERATOR(echo6_dependent, write_ip6(ctx, 1, DEPENDENT))
GENERATOR(magic4, write_magic(ctx, 42))
GENERATOR(magic6, write_magic(ctx, 62))

char LICENSE[] SEC("license") = "GPL";
