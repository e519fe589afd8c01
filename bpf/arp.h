/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ARP requests and probes for a sleeper, answered in place (R18-R22, RFC 826, RFC 5227 section 2.1.1). */
#ifndef PZ_ARP_H
#define PZ_ARP_H

#include "resize.h"
#include "verdict.h"

#define PZ_MIN_FRAME 60 /* without the frame check sequence */

PZ_INLINE int pz_answer_arp(struct xdp_md *ctx, struct pz_packet *p)
{
	__u32 asker_be = PZ_U32(p->source), target_be = PZ_U32(p->target);
	void *arp, *pad;

	/* an announcement asks nothing, even for a sleeper's address */
	if (p->arp_operation != 1 || asker_be == target_be)
		return pz_ignore(p, PZ_REASON_ARP_NOT_REQUEST);
	/* three cases, because the length of the padding must be a constant for the verifier */
	if (p->l3_offset == ETH_HLEN)
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN);
	else if (p->l3_offset == ETH_HLEN + 4)
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN - 4);
	else
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN - 8);
	if (!arp)
		return pz_pass(p, PZ_REASON_NO_ROOM);
	PZ_U64(arp) = bpf_cpu_to_be64(0x0001080006040002ULL);
	pz_copy_mac(arp + 8, p->answer_mac);
	PZ_U32(arp + 14) = target_be;
	pz_copy_mac(arp + 18, p->lladdr);
	PZ_U32(arp + 24) = asker_be;
	/* at least ten bytes of padding; zero the last eighteen that may exist, never the request's leftovers */
	pad = pz_at(ctx, PZ_MIN_FRAME - 10, 10);
	if (!pad)
		return pz_pass(p, PZ_REASON_NO_ROOM);
	PZ_U64(pad) = 0;
	PZ_U16(pad + 8) = 0;
	if (p->l3_offset <= ETH_HLEN + 4)
		PZ_U32(pad - 4) = 0;
	if (p->l3_offset == ETH_HLEN)
		PZ_U32(pad - 8) = 0;
	p->reason = asker_be ? PZ_REASON_ARP_ANSWERED : PZ_REASON_ARP_PROBE_ANSWERED;
	return XDP_TX;
}

#endif
