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

/* Answers an ARP request after one read. */
static __always_inline int answer(struct xdp_md *ctx, int asks_filter)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *arp = eth + 14;
	struct line *line;
	__u32 asker;
	__u64 mac, hash;

	if (eth + 60 > end || *(__u16 *)(eth + 12) != bpf_htons(0x0806) || *(__u16 *)(arp + 6) != bpf_htons(1))
		return XDP_ABORTED;
	hash = pz_hash4(*(__u32 *)(arp + 24));
	if (asks_filter && is_filtered(hash, buckets4))
		return XDP_ABORTED;
	line = line4(hash);
	if (!line)
		return XDP_ABORTED;
	mac = *(volatile __u64 *)&line->words[1] + 2; /* the lines are empty */
	asker = *(__u32 *)(arp + 14);
	__builtin_memcpy(eth, arp + 8, 6);
	__builtin_memcpy(eth + 6, &mac, 6);
	*(__u16 *)(arp + 6) = bpf_htons(2);
	__builtin_memcpy(arp + 18, arp + 8, 6);
	__builtin_memcpy(arp + 8, &mac, 6);
	*(__u32 *)(arp + 14) = *(__u32 *)(arp + 24);
	*(__u32 *)(arp + 24) = asker;
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

/* The sum of an IPv6 packet's addresses and of what an ICMPv6 checksum covers besides, 32 bytes; 0 or 0xffff if it is
 * right. */
static __always_inline __u32 icmp6_sum(const void *ip)
{
	__u64 sum = bpf_htonl(32) + bpf_htonl(58);
	int i;

#pragma unroll
	for (i = 8; i < 72; i += 4)
		sum += *(__u32 *)(ip + i);
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
	struct line *line;
	__u64 mac;

	if (eth + 86 > end || *(__u16 *)(eth + 12) != bpf_htons(0x86dd) || *(__u8 *)icmp != 135 ||
	    icmp6_sum(ip) != 0xffff)
		return XDP_ABORTED;
	line = line6(pz_hash6(*(__u64 *)(icmp + 8), *(__u64 *)(icmp + 16)));
	if (!line)
		return XDP_ABORTED;
	mac = *(volatile __u64 *)&line->words[1] + 2;
	__builtin_memcpy(eth, eth + 6, 6);
	__builtin_memcpy(eth + 6, &mac, 6);
	__builtin_memcpy(ip + 24, ip + 8, 16);
	__builtin_memcpy(ip + 8, icmp + 8, 16);
	*(__u32 *)icmp = 136;
	*(__u32 *)(icmp + 4) = bpf_htonl(0x60000000); /* solicited, override */
	*(__u16 *)(icmp + 24) = bpf_htons(0x0201);    /* the target's link-layer address */
	__builtin_memcpy(icmp + 26, &mac, 6);
	*(__u16 *)(icmp + 2) = ~icmp6_sum(ip);
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
