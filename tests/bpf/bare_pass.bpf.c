// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The cheapest XDP program: what pass-through is measured against. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int bare_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
