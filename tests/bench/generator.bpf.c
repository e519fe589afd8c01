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
#define ETH_HLEN 14
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

/* The frame's first `size` bytes, as long as it was. */
INLINE void *resize(struct xdp_md *ctx, const int size)
{
	long size_now = (long)ctx->data_end - (long)ctx->data;
	void *data;

	asm volatile("" : "+r"(size_now)); /* else clang takes the low halves of pointers, which the verifier refuses */
	if (size_now != length && bpf_xdp_adjust_head(ctx, size_now - length))
		return NULL;
	data = (void *)(long)ctx->data;
	return data + size <= (void *)(long)ctx->data_end ? data : NULL;
}

/*
 * Frames are written in pieces that whole fields lie in: a processor that reads a field out of two stores that are on
 * their way to the cache waits for both, some 4 ns, which no frame from a device costs.
 */
INLINE void restore2(void *data, const int at)
{
	U16(data + at) = U16(head + at);
}

INLINE void restore4(void *data, const int at)
{
	U32(data + at) = U32(head + at);
}

INLINE void restore8(void *data, const int at)
{
	U64(data + at) = U64(head + at);
}

INLINE void restore_ethernet(void *data)
{
	restore4(data, 0);
	restore2(data, 4);
	restore8(data, 6);
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
	void *data = resize(ctx, 60);

	if (!data)
		return -1;
	restore_ethernet(data);
	restore8(data, 14);
	restore4(data, 22);
	restore2(data, 26);
	restore4(data, 28);
	restore4(data, 32);
	restore2(data, 36);
	U32(data + 38) = key_be;
	restore8(data, 42);
	restore8(data, 50);
	restore2(data, 58);
	return 0;
}

/* IPv4 behind `ethernet` bytes: the key is the destination's address. */
INLINE int write_ip4(struct xdp_md *ctx, const int ethernet, enum dependence dependence)
{
	__u32 key_be = bpf_htonl(next_key(ctx, dependence));
	void *data = resize(ctx, ethernet + 34);
	__u32 protocol;

	if (!data)
		return -1;
	restore_ethernet(data);
	if (ethernet > ETH_HLEN)
		restore4(data, ETH_HLEN);
	restore8(data, ethernet);
	protocol = U16(head + ethernet + 8);
	U32(data + ethernet + 8) = protocol | (__u32)checksum((__u64)partial_sum + key_be) << 16;
	restore4(data, ethernet + 12);
	U32(data + ethernet + 16) = key_be;
	restore8(data, ethernet + 20);
	restore4(data, ethernet + 28);
	restore2(data, ethernet + 32);
	return 0;
}

/* IPv6 with the key's part of the destination address. */
INLINE void restore_ip6(void *data, __u64 key)
{
	restore8(data, 14);
	restore8(data, 22);
	restore8(data, 30);
	restore8(data, 38);
	U64(data + 46) = U64(head + 46) | key;
}

/* Neighbour Solicitation of `size` bytes: the key is the end of the target's address, and 24 bits of it that of the
 * solicited-node group. */
INLINE int write_ns(struct xdp_md *ctx, const int size, enum dependence dependence)
{
	__u32 key = next_key(ctx, dependence), key_be = bpf_htonl(key), group_be = bpf_htonl(key & 0xffffff);
	void *data = resize(ctx, size);
	__u64 group = (__u64)group_be << 32;

	if (!data)
		return -1;
	restore2(data, 0);
	U32(data + 2) = U32(head + 2) | group_be;
	restore8(data, 6);
	restore_ip6(data, group);
	U32(data + 54) = U16(head + 54) | (__u32)checksum((__u64)partial_sum + key_be + group_be) << 16;
	restore4(data, 58);
	restore8(data, 62);
	U64(data + 70) = U32(head + 70) | (__u64)key_be << 32;
	if (size > 78)
		restore8(data, 78);
	return 0;
}

/* IPv6: the key is the end of the destination's address.  The checksum is that of ICMPv6; nobody looks at those of TCP
 * and UDP. */
INLINE int write_ip6(struct xdp_md *ctx, const int icmp, enum dependence dependence)
{
	__u32 key_be = bpf_htonl(next_key(ctx, dependence));
	void *data = resize(ctx, 62);

	if (!data)
		return -1;
	restore_ethernet(data);
	restore_ip6(data, (__u64)key_be << 32);
	if (icmp)
		U32(data + 54) = U16(head + 54) | (__u32)checksum((__u64)partial_sum + key_be) << 16;
	else
		restore4(data, 54);
	restore4(data, 58);
	return 0;
}

/* Magic Packet: the key is in the host's MAC, sixteen times. */
INLINE int write_magic(struct xdp_md *ctx, const int payload)
{
	__u32 key_be = bpf_htonl(next_key(ctx, INDEPENDENT));
	void *data = resize(ctx, 48);
	int i;

	if (!data || data + payload + 102 > (void *)(long)ctx->data_end)
		return -1;
	restore_ethernet(data);
	restore8(data, 14);
	restore8(data, 22);
	restore8(data, 30);
	restore8(data, 38);
	restore2(data, 46);
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
