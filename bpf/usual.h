/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The usual frames.  Unicast between strangers passes at once.  Questions are answered by a short way: an untagged ARP
 * request of 60 bytes, and a Neighbour Solicitation with nothing but a source link-layer option, from somebody who is no
 * host in our care, for a host that is.  What is not exactly so goes on to the filter.  What is answered here would get
 * the same answer there, byte for byte: a dry run takes that way only, and the tests compare.
 */
#ifndef PZ_USUAL_H
#define PZ_USUAL_H

#include "arp.h"
#include "hosts.h"
#include "ndisc.h"
#include "table.h"
#include "verdict.h"

/* The interface's untagged segment and its own MAC, if they are here and the daemon is there. */
PZ_INLINE struct pz_port *pz_usual_port(struct pz_ctx *ctx)
{
	__u32 ifindex = pz_device(ctx), at = ifindex % PZ_PORTS;
	struct pz_port *port = bpf_map_lookup_elem(&pz_ports_v1, &at);

	return port && port->ifindex == ifindex && pz_alive(bpf_ktime_get_coarse_ns()) ? port : NULL;
}

/* The filter is asked first; whom it takes for one of ours for ever is not to pay for it with the long way. */
PZ_INLINE int pz_is_ours(__u32 segment, const void *mac)
{
	return pz_may_have_mac(mac) && pz_owner_of(segment, mac) != PZ_NOBODY;
}

/* Whether the kernel answers for what was found, asked by a frame to its MAC, to the gateway's or to a group. */
PZ_INLINE int pz_usually_answered(const struct pz_index *index, const struct pz_port *port, const void *eth)
{
	return index->host != PZ_LISTENERS && !(index->flags & PZ_INDEX_UNANSWERED) &&
	       !pz_may_be_released(index->host) &&
	       ((PZ_U8(eth) & 1) || pz_same_mac(eth, index->mac) || pz_same_mac(eth, port->mac));
}

/* The reason to answer with, or PZ_REASON_NOBODY.  Global, for the room that it needs on the stack. */
PZ_GLOBAL int pz_answer_usual_arp(struct pz_ctx *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *arp = eth + ETH_HLEN;
	const __u8 word[4] = PZ_ARP_MARK;
	struct pz_index index = {};
	struct pz_port *port;
	__u32 asker, target;

	if (eth + PZ_MIN_FRAME > end || eth + PZ_MIN_FRAME + 1 <= end)
		return PZ_REASON_NOBODY;
	if (PZ_U64(arp) != bpf_cpu_to_be64(0x0001080006040001ULL) || !pz_same_mac(arp + 8, eth + 6) ||
	    (PZ_U8(arp + 8) & 1) || !(PZ_U32(arp + 8) | PZ_U16(arp + 12)))
		return PZ_REASON_NOBODY;
	if (!pz_may_have4(arp + 24)) /* nobody's: asked for the filter's few bytes before the table's line */
		return PZ_REASON_NOBODY;
	asker = PZ_U32(arp + 14);
	target = PZ_U32(arp + 24);
	port = pz_usual_port(ctx);
	if (!port || asker == target || pz_is_ours(port->segment, eth + 6) ||
	    (asker && pz_may_have4(arp + 14) && pz_find_address(port->segment, PZ_FAMILY_4, asker, 0, &index)))
		return PZ_REASON_NOBODY;
	if (!pz_find4(port->segment, target, &index) || !pz_usually_answered(&index, port, eth))
		return PZ_REASON_NOBODY;
	pz_copy_mac(eth, arp + 8);
	pz_copy_mac(eth + 6, index.mac);
	PZ_U16(arp + 6) = bpf_htons(2);
	pz_copy_mac(arp + 18, arp + 8);
	pz_copy_mac(arp + 8, index.mac);
	PZ_U32(arp + 14) = target;
	PZ_U32(arp + 24) = asker;
	PZ_U32(arp + PZ_ARP_LEN) = PZ_U32(word);
	pz_copy_mac(arp + PZ_ARP_LEN + offsetof(struct pz_arp_mark, gateway), port->mac);
	PZ_U64(arp + PZ_ARP_LEN + sizeof(struct pz_arp_mark)) = 0;
	return asker ? PZ_REASON_ARP_ANSWERED : PZ_REASON_ARP_PROBE_ANSWERED;
}

#define PZ_USUAL_NS (ETH_HLEN + PZ_IPV6_HLEN + PZ_ND_LEN + 8)
#define PZ_USUAL_NA (ETH_HLEN + PZ_NA_LEN)

PZ_INLINE int pz_is_usual_ns(struct pz_ctx *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip = eth + ETH_HLEN;
	void *nd = ip + PZ_IPV6_HLEN;

	if (eth + PZ_USUAL_NS > end || eth + PZ_USUAL_NS + 1 <= end)
		return 0;
	/* version; payload length, next header and hop limit; type and code; option */
	return PZ_U8(ip) >> 4 == 6 && PZ_U32(ip + 4) == bpf_htonl((PZ_ND_LEN + 8) << 16 | IPPROTO_ICMPV6 << 8 | 255) &&
	       PZ_U16(nd) == bpf_htons(PZ_ND_NS << 8) && PZ_U16(nd + 24) == bpf_htons(PZ_ND_OPT_SOURCE_LLADDR << 8 | 1);
}

/* The same for a frame that is a usual solicitation. */
PZ_GLOBAL int pz_answer_usual_nd(struct pz_ctx *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip = eth + ETH_HLEN;
	void *nd = ip + PZ_IPV6_HLEN;
	__u64 source[2], target[2], sum_source, sum_target, sum;
	struct pz_index index = {};
	struct pz_port *port;
	__u8 lladdr[8];

	if (eth + PZ_USUAL_NS > end)
		return PZ_REASON_NOBODY;
	source[0] = PZ_U64(ip + 8);
	source[1] = PZ_U64(ip + 16);
	target[0] = PZ_U64(nd + 8);
	target[1] = PZ_U64(nd + 16);
	if ((PZ_U8(eth + 6) & 1) || (PZ_U8(nd + 26) & 1) || PZ_U8(ip + 8) == 0xff || !source[0] ||
	    PZ_U8(nd + 8) == 0xff || !pz_may_have6(nd + 8))
		return PZ_REASON_NOBODY;
	sum_source = pz_sum16(source);
	sum_target = pz_sum16(target);
	sum = sum_source + sum_target + pz_sum16(ip + 24) + pz_sum_icmp6_pseudo(PZ_ND_LEN + 8) + PZ_U32(nd) +
	      PZ_U32(nd + 4) + PZ_U32(nd + 24) + PZ_U32(nd + 28);
	if (pz_fold(sum) != 0xffff)
		return PZ_REASON_NOBODY;
	port = pz_usual_port(ctx);
	if (!port || pz_is_ours(port->segment, eth + 6) || !pz_find6(port->segment, target[0], target[1], &index) ||
	    !pz_usually_answered(&index, port, eth))
		return PZ_REASON_NOBODY;
	pz_copy_mac(lladdr, nd + 26);
	if (bpf_xdp_adjust_head(ctx, PZ_USUAL_NS - (int)PZ_USUAL_NA))
		return PZ_REASON_NOBODY;
	eth = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (eth + PZ_USUAL_NA > end)
		return PZ_REASON_NOBODY; /* never: it has just become so long */
	pz_copy_mac(eth, lladdr);
	pz_copy_mac(eth + 6, index.mac);
	PZ_U16(eth + 12) = bpf_htons(ETH_P_IPV6);
	pz_write_na(eth + ETH_HLEN, target, source, index.mac, port->mac,
		    PZ_NA_SOLICITED | (index.flags & PZ_INDEX_IDENTITY_PROXY ? 0 : PZ_NA_OVERRIDE), sum_target,
		    sum_source);
	return PZ_REASON_ND_ANSWERED;
}

/*
 * Nearly all frames on a gateway: untagged unicast of IP that is nobody's, and no ICMPv6, which may be ND.  The filter would
 * say the same, later.
 */
PZ_INLINE int pz_is_usual_stranger(struct pz_ctx *ctx)
{
	void *eth = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip = eth + ETH_HLEN;

	if (dry_run || eth + ETH_HLEN + 20 > end || (PZ_U8(eth) & 1))
		return 0;
	if (PZ_U16(eth + 12) == bpf_htons(ETH_P_IP))
		return !pz_may_have4(ip + 16) && !pz_may_have_mac(eth + 6);
	return PZ_U16(eth + 12) == bpf_htons(ETH_P_IPV6) && eth + ETH_HLEN + PZ_IPV6_HLEN <= end &&
	       PZ_U8(ip + 6) != IPPROTO_ICMPV6 && !pz_may_have6(ip + 24) && !pz_may_have_mac(eth + 6);
}

PZ_INLINE int pz_answer_usual(struct pz_ctx *ctx, struct pz_link *link)
{
	int reason = PZ_REASON_NOBODY;

	if (dry_run || link->l3_offset != ETH_HLEN)
		return PZ_CONTINUE;
	if (link->l3 == PZ_L3_ARP)
		reason = pz_answer_usual_arp(ctx);
	else if (link->l3 == PZ_L3_IPV6 && pz_is_usual_ns(ctx))
		reason = pz_answer_usual_nd(ctx);
	if (reason == PZ_REASON_NOBODY)
		return PZ_CONTINUE;
	link->reason = reason;
	return XDP_TX;
}

#endif
