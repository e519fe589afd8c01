/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ARP requests and probes for a sleeper, answered in place (R18-R22, RFC 826, RFC 5227 section 2.1.1). */
#ifndef PZ_ARP_H
#define PZ_ARP_H

#include "resize.h"
#include "verdict.h"

#define PZ_MIN_FRAME 60 /* without the frame check sequence */

PZ_INLINE int pz_answer_arp(struct pz_ctx *ctx, struct pz_packet *p)
{
	__u32 asker_be = PZ_U32(p->source), target_be = PZ_U32(p->target);
	const __u8 word[4] = PZ_ARP_MARK;
	void *arp;

	/* an announcement asks nothing, even for a sleeper's address */
	if (p->arp_operation != 1 || asker_be == target_be)
		return pz_ignore(p, PZ_REASON_ARP_NOT_REQUEST);
	/* three cases, because the length of the padding must be a constant for the verifier; what is left of it behind
	 * the mark is zero, never the request's leftovers */
	if (p->l3_offset == ETH_HLEN) {
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN);
		if (arp)
			PZ_U64(arp + PZ_ARP_LEN + sizeof(struct pz_arp_mark)) = 0;
	} else if (p->l3_offset == ETH_HLEN + 4) {
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN - 4);
		if (arp)
			PZ_U32(arp + PZ_ARP_LEN + sizeof(struct pz_arp_mark)) = 0;
	} else {
		arp = pz_reply_frame(ctx, p, PZ_MIN_FRAME - ETH_HLEN - 8);
	}
	if (!arp)
		return pz_pass(p, PZ_REASON_NO_ROOM);
	PZ_U64(arp) = bpf_cpu_to_be64(0x0001080006040002ULL);
	pz_copy_mac(arp + 8, p->answer_mac);
	PZ_U32(arp + 14) = target_be;
	pz_copy_mac(arp + 18, p->lladdr);
	PZ_U32(arp + 24) = asker_be;
	PZ_U32(arp + PZ_ARP_LEN) = PZ_U32(word);
	pz_copy_mac(arp + PZ_ARP_LEN + offsetof(struct pz_arp_mark, gateway), p->own_mac);
	p->reason = asker_be ? PZ_REASON_ARP_ANSWERED : PZ_REASON_ARP_PROBE_ANSWERED;
	return XDP_TX;
}

#endif
