// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Puts a VLAN tag beside the frame, where VLAN devices and drivers have it, and calls the program under test. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

/* Set before each run. */
__u32 protocol; /* EtherType of the tag, host order */
__u32 tci;

SEC("tc")
int tag_beside(struct __sk_buff *ctx)
{
	if (bpf_skb_vlan_push(ctx, bpf_htons(protocol), tci))
		return TC_ACT_SHOT;
	bpf_tail_call(ctx, &under_test, 0);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
