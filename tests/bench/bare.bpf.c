// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The cheapest XDP programs, which ours is measured against. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <proxzzy/abi/maps.h>

SEC("xdp.frags")
int bare_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("xdp.frags")
int bare_drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

/* Sends the frame back with its MACs swapped. */
SEC("xdp.frags")
int bare_tx(struct xdp_md *ctx)
{
	__u16 *mac = (void *)(long)ctx->data;
	__u16 *end = (void *)(long)ctx->data_end;
	__u16 kept;
	int i;

	if (mac + 6 > end)
		return XDP_ABORTED;
#pragma unroll
	for (i = 0; i < 3; i++) {
		kept = mac[i];
		mac[i] = mac[i + 3];
		mac[i + 3] = kept;
	}
	return XDP_TX;
}

/* Memory as large as the table of a million hosts' IPv6 addresses, at its default size. */
#define LINES (1 << 21)
struct line {
	__u64 words[8];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");
/* As large as the filter before it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINES / 2 / PZ_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct pz_filter_words);
} filter SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counter SEC(".maps");
/* Of the tables of IPv4 addresses, IPv6 addresses and MACs; written by user space before a run. */
__u32 buckets4 = LINES / 4, buckets6 = LINES / 2, buckets_mac = LINES / 4;

/* Where an IPv4 address would be in its table: a line is a bucket. */
static __always_inline struct line *line4(__u64 hash)
{
	__u32 at = pz_bucket_of(hash, buckets4);

	return bpf_map_lookup_elem(&lines, &at);
}

/* And an IPv6 address: a bucket is two lines. */
static __always_inline struct line *line6(__u64 hash)
{
	__u32 at = 2 * pz_bucket_of(hash, buckets6);

	return bpf_map_lookup_elem(&lines, &at);
}

/* Whether the filter may have what has this hash; it has nothing. */
static __always_inline int is_filtered(__u64 hash, __u32 buckets)
{
	__u32 word = pz_bucket_of(hash, buckets), at = word / PZ_FILTER_WORDS, bits = pz_filter_bits(hash);
	struct pz_filter_words *words = bpf_map_lookup_elem(&filter, &at);

	return words && (*(volatile __u32 *)&words->bits[word % PZ_FILTER_WORDS] & bits) == bits;
}

/* Sends an ARP request back unchanged, after one read: what memory alone costs. */
SEC("xdp.frags")
int bare_read(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct line *line;

	if (data + 60 > end)
		return XDP_ABORTED;
	line = line4(pz_hash4(*(__u32 *)(data + 38)));
	return line && !*(volatile __u64 *)&line->words[1] ? XDP_TX : XDP_ABORTED;
}

/* The same with a Neighbour Solicitation. */
SEC("xdp.frags")
int bare_read6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct line *line;

	if (data + 86 > end)
		return XDP_ABORTED;
	line = line6(pz_hash6(*(__u64 *)(data + 62), *(__u64 *)(data + 70)));
	return line && !*(volatile __u64 *)&line->words[1] ? XDP_TX : XDP_ABORTED;
}

/* Frames are read and written in pieces that whole fields lie in (generator.bpf.c says why). */
#define U8(p) (*(__u8 *)(p))
#define U16(p) (*(__u16 *)(p))
#define U32(p) (*(__u32 *)(p))
#define U64(p) (*(__u64 *)(p))

static __always_inline void put_mac(void *to, __u64 mac)
{
	U32(to) = mac;
	U16(to + 4) = mac >> 32;
}

/* Answers an ARP request after one read. */
static __always_inline int answer(struct xdp_md *ctx, int asks_filter)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *arp = eth + 14;
	__u32 asker, target;
	struct line *line;
	__u64 mac, hash, asker_mac;

	if (eth + 60 > end || U16(eth + 12) != bpf_htons(0x0806) || U16(arp + 6) != bpf_htons(1))
		return XDP_ABORTED;
	target = U32(arp + 24);
	hash = pz_hash4(target);
	if (asks_filter && is_filtered(hash, buckets4))
		return XDP_ABORTED;
	line = line4(hash);
	if (!line)
		return XDP_ABORTED;
	mac = *(volatile __u64 *)&line->words[1] + 2; /* the lines are empty */
	asker = U32(arp + 14);
	asker_mac = U32(arp + 8) | (__u64)U16(arp + 12) << 32;
	put_mac(eth, asker_mac);
	put_mac(eth + 6, mac);
	U16(arp + 6) = bpf_htons(2);
	put_mac(arp + 8, mac);
	U32(arp + 14) = target;
	put_mac(arp + 18, asker_mac);
	U32(arp + 24) = asker;
	return XDP_TX;
}

/* And asks for nothing else: the least that an answer costs. */
SEC("xdp.frags")
int bare_answer(struct xdp_md *ctx)
{
	return answer(ctx, 0);
}

/* After a look into the filter, as any program needs that lets strangers pass quickly. */
SEC("xdp.frags")
int bare_filtered_answer(struct xdp_md *ctx)
{
	return answer(ctx, 1);
}

/* Adds the two halves of a word to a sum of words of 32 bits. */
static __always_inline __u64 add(__u64 sum, __u64 word)
{
	return sum + (__u32)word + (word >> 32);
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Answers a Neighbour Solicitation whose checksum is right, after one read: the least that an answer costs. */
SEC("xdp.frags")
int bare_answer6(struct xdp_md *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip = eth + 14, *icmp = eth + 54;
	const __u64 pseudo = bpf_htonl(32) + (__u64)bpf_htonl(58), advertisement = bpf_htonl(0x60000000); /* S, O */
	__u64 source[2], target[2], sum, mac, option;
	struct line *line;

	if (eth + 86 > end || U16(eth + 12) != bpf_htons(0x86dd) || U8(icmp) != 135)
		return XDP_ABORTED;
	source[0] = U64(ip + 8);
	source[1] = U64(ip + 16);
	target[0] = U64(icmp + 8);
	target[1] = U64(icmp + 16);
	sum = add(add(add(add(pseudo, source[0]), source[1]), target[0]), target[1]);
	if (fold(add(add(add(add(sum, U64(ip + 24)), U64(ip + 32)), U64(icmp)), U64(icmp + 24))) != 0xffff)
		return XDP_ABORTED;
	line = line6(pz_hash6(target[0], target[1]));
	if (!line)
		return XDP_ABORTED;
	mac = *(volatile __u64 *)&line->words[1] + 2;
	option = 0x0102 | mac << 16; /* the target's link-layer address */
	put_mac(eth, U32(eth + 6) | (__u64)U16(eth + 10) << 32);
	put_mac(eth + 6, mac);
	U64(ip + 8) = target[0];
	U64(ip + 16) = target[1];
	U64(ip + 24) = source[0];
	U64(ip + 32) = source[1];
	sum = add(add(add(add(sum, target[0]), target[1]), 136 | advertisement << 32), option);
	U64(icmp) = 136 | (__u64)(__u16)~fold(sum) << 16 | advertisement << 32;
	U64(icmp + 24) = option;
	return XDP_TX;
}

/* Looks for the source MAC and the IPv4 destination in filters, and counts: the least that passing costs. */
SEC("xdp.frags")
int bare_filters(struct xdp_md *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	__u64 *count;

	if (eth + 34 > end)
		return XDP_ABORTED;
	if (is_filtered(pz_hash_mac(*(__u64 *)(eth + 4) >> 16), buckets_mac) ||
	    is_filtered(pz_hash4(*(__u32 *)(eth + 30)), buckets4))
		return XDP_ABORTED;
	count = bpf_map_lookup_elem(&counter, &zero);
	if (count)
		(*count)++;
	return XDP_PASS;
}

/* Makes the frame longer, as an answer that does not fit; the generator makes it shorter again. */
SEC("xdp.frags")
int bare_grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -8) ? XDP_ABORTED : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
