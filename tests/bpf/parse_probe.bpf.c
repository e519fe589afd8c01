// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Runs the kernel's parser alone and leaves what it found in a map. */
#include "csum.h"
#include "parse.h"
#include "parse_result.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parse_result);
} results SEC(".maps");

SEC("xdp.frags")
int parse_probe(struct xdp_md *ctx)
{
	struct pz_packet packet = {};
	struct pz_link link = {};
	struct parse_result *result;
	__u32 zero = 0;
	int action;

	action = pz_parse_link(ctx, &link);
	pz_unpack_link(&packet, pz_pack_link(&link));
	packet.reason = link.reason;
	if (action == PZ_CONTINUE)
		action = pz_parse_network(ctx, &packet);
	result = bpf_map_lookup_elem(&results, &zero);
	if (!result)
		return XDP_ABORTED;
	result->action = action;
	result->reason = packet.reason;
	result->status = packet.status;
	result->l3 = packet.l3;
	result->outer_vid = packet.outer_vid;
	result->inner_vid = packet.inner_vid;
	result->l3_offset = packet.l3_offset;
	result->l4_offset = packet.l4_offset;
	result->l4_length = packet.l4_length;
	result->protocol = packet.protocol;
	result->hop_limit = packet.hop_limit;
	__builtin_memcpy(result->source, packet.source, sizeof(result->source));
	__builtin_memcpy(result->destination, packet.destination, sizeof(result->destination));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
