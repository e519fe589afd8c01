// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The asking end of the wire, and the bare programs that the data path is compared with.
 *
 * ask_arp, ask_ns and data run with BPF_F_TEST_XDP_LIVE_FRAMES: what they write leaves by the asking end of a veth pair.
 * Frames are used again as they came back, so every one is written whole, with a key at random.  `sink` is on the asking
 * end and counts what comes back, if it is the reply that a stack would believe.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wire_generator.h"

#define U8(p) (*(volatile __u8 *)(p))
#define U16(p) (*(volatile __u16 *)(p))
#define U32(p) (*(volatile __u32 *)(p))
#define U64(p) (*(volatile __u64 *)(p))

/* tests/bench/sleepers.h: host i has 10.0.0.0 + i and 2001:db8::i. */
#define SLEEPERS4 0x0a000000
#define SLEEPERS6 0x20010db800000000ULL
#define STRANGERS4 0x14000000 /* 20.0.0.0 + i is nobody's */
/* Of the asking end; wire_bench.py has the same: 02:aa:bb:cc:dd:ee, 192.0.2.3, fe80::1. */
#define ASKER_MAC 0x02aabbccddeeULL
#define STRANGER_MAC 0x02aabbccdd02ULL
#define ASKER4 0xc0000203
#define ASKER_MAC_HEAD bpf_htonl(0x02aabbcc)
#define ASKER_MAC_TAIL bpf_htons(0xddee)

struct wire_generator generators[WIRE_CPUS] __attribute__((aligned(64)));
struct wire_tally tallies[WIRE_CPUS] __attribute__((aligned(64)));

/* Set before each run. */
__u32 keys = 1;
__u64 batch_ns; /* time between batches; 0: as fast as it goes */

static __always_inline struct wire_generator *this_generator(void)
{
	return &generators[bpf_get_smp_processor_id() % WIRE_CPUS];
}

static long is_due(__u32 turn, __u64 *due_ns)
{
	(void)turn;
	return bpf_ktime_get_ns() >= *due_ns;
}

static __always_inline void wait_for_batch(struct wire_generator *generator)
{
	__u64 now, due;

	if (!batch_ns || generator->asked % WIRE_BATCH)
		return;
	now = bpf_ktime_get_ns();
	due = generator->due_ns;
	if (now > due + 2000000) /* what was missed for long is not made up for */
		due = now;
	if (now < due)
		bpf_loop(1 << 20, is_due, &due, 0);
	generator->due_ns = due + batch_ns;
}

/* Uniform below `keys`. */
static __always_inline __u32 next_key(struct wire_generator *generator)
{
	generator->seed = generator->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	generator->asked++;
	return (generator->seed >> 32) * keys >> 32;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

SEC("xdp")
int ask_arp(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct wire_generator *generator = this_generator();

	if (frame + 60 > end)
		return XDP_ABORTED;
	wait_for_batch(generator);
	U64(frame) = bpf_cpu_to_be64(0xffffffffffff0000ULL | ASKER_MAC >> 32);
	U64(frame + 8) = bpf_cpu_to_be64(ASKER_MAC << 32 | 0x08060001);
	U64(frame + 16) = bpf_cpu_to_be64(0x0800060400010000ULL | ASKER_MAC >> 32);
	U64(frame + 24) = bpf_cpu_to_be64(ASKER_MAC << 32 | ASKER4);
	U64(frame + 32) = 0;
	U32(frame + 38) = bpf_htonl(SLEEPERS4 + next_key(generator));
	U64(frame + 42) = 0;
	U64(frame + 50) = 0;
	U16(frame + 58) = 0;
	return XDP_TX;
}

SEC("xdp")
int ask_ns(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct wire_generator *generator = this_generator();
	__u32 key, group;
	__u64 sum;

	if (frame + 86 > end)
		return XDP_ABORTED;
	wait_for_batch(generator);
	key = bpf_htonl(next_key(generator));
	group = key | bpf_htonl(0xff000000);
	U16(frame) = bpf_htons(0x3333);
	U32(frame + 2) = group;
	U64(frame + 6) = bpf_cpu_to_be64(ASKER_MAC << 16 | 0x86dd);
	U64(frame + 14) = bpf_cpu_to_be64(0x6000000000203affULL); /* 32 bytes of ICMPv6, hop limit 255 */
	U64(frame + 22) = bpf_cpu_to_be64(0xfe80000000000000ULL);
	U64(frame + 30) = bpf_cpu_to_be64(1);
	U64(frame + 38) = bpf_cpu_to_be64(0xff02000000000000ULL);
	U32(frame + 46) = bpf_htonl(1);
	U32(frame + 50) = group;
	U32(frame + 58) = 0;
	U64(frame + 62) = bpf_cpu_to_be64(SLEEPERS6);
	U32(frame + 70) = 0;
	U32(frame + 74) = key;
	U64(frame + 78) = bpf_cpu_to_be64(0x0101000000000000ULL | ASKER_MAC);
	sum = (__u64)bpf_htons(0xfe80) + bpf_htons(1) + bpf_htons(0xff02) + bpf_htons(1) + group + bpf_htons(32) +
	      bpf_htons(58) + bpf_htons(135 << 8) + bpf_htonl(SLEEPERS6 >> 32) + key +
	      bpf_htonl(0x01010000 | ASKER_MAC >> 32) + bpf_htonl((__u32)ASKER_MAC);
	U16(frame + 54) = bpf_htons(135 << 8);
	U16(frame + 56) = ~fold(sum);
	return XDP_TX;
}

/*
 * A segment of a TCP connection between two that nobody here knows; what is behind the headers is as it was given.  It
 * is for another MAC, so that the stack, which the data path is not, drops it as soon as it can.
 */
SEC("xdp")
int data(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 address, size = end - frame - 14;
	struct wire_generator *generator = this_generator();
	__u64 sum;

	if (frame + 60 > end)
		return XDP_ABORTED;
	wait_for_batch(generator);
	address = bpf_htonl(STRANGERS4 + next_key(generator));
	U64(frame) = bpf_cpu_to_be64(STRANGER_MAC << 16 | ASKER_MAC >> 32);
	U64(frame + 8) = bpf_cpu_to_be64(ASKER_MAC << 32 | 0x08004500);
	U16(frame + 16) = bpf_htons(size);
	U32(frame + 18) = 0;
	U16(frame + 22) = bpf_htons(64 << 8 | 6);
	sum = (__u64)bpf_htons(0x4500) + bpf_htons(size) + bpf_htons(64 << 8 | 6) + bpf_htonl(ASKER4) + address;
	U16(frame + 24) = ~fold(sum);
	U32(frame + 26) = bpf_htonl(ASKER4);
	U32(frame + 30) = address;
	U32(frame + 34) = bpf_htonl(50000 << 16 | 443);
	U16(frame + 46) = bpf_htons(0x5010); /* ACK alone */
	return XDP_TX;
}

/* Counts what comes back. */
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct wire_tally *tally = &tallies[bpf_get_smp_processor_id() % WIRE_CPUS];
	__u16 type;

	if (frame + 42 > end)
		goto other;
	if ((U32(frame) != ASKER_MAC_HEAD || U16(frame + 4) != ASKER_MAC_TAIL) &&
	    (U32(frame) != 0xffffffff || U16(frame + 4) != 0xffff)) /* farpd replies to all */
		goto other;
	type = U16(frame + 12);
	if (type == bpf_htons(0x0806)) {
		__u16 operation = U16(frame + 20);

		if (operation == bpf_htons(2) && bpf_ntohl(U32(frame + 28)) - SLEEPERS4 < keys &&
		    U32(frame + 38) == bpf_htonl(ASKER4))
			tally->replies++;
		else if (operation == bpf_htons(1) && U32(frame + 28) == bpf_htonl(ASKER4))
			tally->reflected++;
		else
			goto other;
		return XDP_DROP;
	}
	if (type == bpf_htons(0x86dd) && frame + 78 <= end && U8(frame + 20) == 58) {
		__u8 message = U8(frame + 54);

		if (message == 136 && U8(frame + 58) & 0x40 && U64(frame + 62) == bpf_cpu_to_be64(SLEEPERS6) &&
		    !U32(frame + 70) && bpf_ntohl(U32(frame + 74)) < keys)
			tally->replies++;
		else if (message == 135 && U64(frame + 22) == bpf_cpu_to_be64(0xfe80000000000000ULL) &&
			 U64(frame + 30) == bpf_cpu_to_be64(1))
			tally->reflected++;
		else
			goto other;
		return XDP_DROP;
	}
other:
	tally->others++;
	return XDP_DROP;
}

SEC("xdp")
int reflect(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 head;
	__u16 tail;

	if (frame + 14 > end)
		return XDP_ABORTED;
	head = U32(frame);
	tail = U16(frame + 4);
	U32(frame) = U32(frame + 6);
	U16(frame + 4) = U16(frame + 10);
	U32(frame + 6) = head;
	U16(frame + 10) = tail;
	return XDP_TX;
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
