// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Lets every frame pass: what XDP_TX on one end of a veth pair needs at the other end to arrive.
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))

SEC("xdp") int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char gpl[] SEC("license") = "GPL";
