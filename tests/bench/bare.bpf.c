// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The cheapest XDP programs, which ours is measured against. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

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

/* Makes the frame longer, as an answer that does not fit; the generator makes it shorter again. */
SEC("xdp.frags")
int bare_grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -8) ? XDP_ABORTED : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
