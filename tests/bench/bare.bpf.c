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

/* Memory as large as the table of a million hosts' IPv4 addresses. */
#define LINES (1 << 19)
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
__u32 lines_used = LINES; /* of them; written by user space before a run */

/* Where the target of an ARP request would be in a table of that size. */
static __always_inline struct line *line_of(const void *target)
{
	__u32 at = pz_bucket_of(pz_hash4(*(__u32 *)target), lines_used);

	return bpf_map_lookup_elem(&lines, &at);
}

/* Sends an ARP request back unchanged, after one read: what memory alone costs. */
SEC("xdp.frags")
int bare_read(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct line *line;

	if (data + 60 > end)
		return XDP_ABORTED;
	line = line_of(data + 38);
	return line && !*(volatile __u64 *)&line->words[1] ? XDP_TX : XDP_ABORTED;
}

/* Answers an ARP request after one read, and asks for nothing else: the least that an answer costs. */
SEC("xdp.frags")
int bare_answer(struct xdp_md *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *arp = eth + 14;
	struct line *line;
	__u32 asker;
	__u64 mac;

	if (eth + 60 > end || *(__u16 *)(eth + 12) != bpf_htons(0x0806) || *(__u16 *)(arp + 6) != bpf_htons(1))
		return XDP_ABORTED;
	line = line_of(arp + 24);
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

/* Makes the frame longer, as an answer that does not fit; the generator makes it shorter again. */
SEC("xdp.frags")
int bare_grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -8) ? XDP_ABORTED : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
