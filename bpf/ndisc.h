/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Neighbour Discovery: the checks of RFC 4861 section 7.1 and the Neighbour Advertisement. */
#ifndef PZ_NDISC_H
#define PZ_NDISC_H

#include "csum.h"
#include "parse.h"
#include "resize.h"

#define PZ_ND_RS 133
#define PZ_ND_RA 134
#define PZ_ND_NS 135
#define PZ_ND_NA 136
#define PZ_ND_LEN 24
#define PZ_ND_OPT_SOURCE_LLADDR 1
#define PZ_ND_OPT_TARGET_LLADDR 2
#define PZ_ND_MAX_OPTIONS 64
#define PZ_NA_SOLICITED 0x40
#define PZ_NA_OVERRIDE 0x20

/* ff02::1:ff00:0/104 */
PZ_INLINE int pz_is_solicited_node(const void *address)
{
	return PZ_U64(address) == bpf_cpu_to_be64(0xff02000000000000ULL) &&
	       (PZ_U64(address + 8) & bpf_cpu_to_be64(0xffffffffff000000ULL)) == bpf_cpu_to_be64(0x00000001ff000000ULL);
}

/*
 * RFC 4861 sections 7.1.1 and 7.1.2.  Takes the target and the link-layer option out of the message on the way.
 * Returns the reason to ignore it, or PZ_REASON_NOBODY.  Global, so that it is verified once.
 */
PZ_GLOBAL __u32 pz_check_nd(struct pz_ctx *ctx, struct pz_packet *p)
{
	__u32 at = PZ_ND_LEN, size, sum;
	__u8 *option;
	void *nd;
	int i;

	if (!p)
		return PZ_REASON_ND_MALFORMED;
	nd = pz_at(ctx, p->l4_offset, PZ_ND_LEN);
	pz_copy_mac(p->lladdr, p->source_mac);
	if (!nd || p->l4_length < PZ_ND_LEN)
		return PZ_REASON_ND_MALFORMED;
	p->nd_flags = PZ_U8(nd + 4);
	pz_copy16(p->target, nd + 8);
	if (p->hop_limit != 255 || PZ_U8(nd + 1) != 0 || p->target[0] == 0xff)
		return PZ_REASON_ND_MALFORMED;
	for (i = 0; i < PZ_ND_MAX_OPTIONS && at < p->l4_length; i++) {
		option = pz_at(ctx, p->l4_offset + at, 8);
		if (!option || at + 8 > p->l4_length)
			return PZ_REASON_ND_MALFORMED;
		size = option[1] * 8;
		if (!size || at + size > p->l4_length)
			return PZ_REASON_ND_MALFORMED;
		if (option[0] == (p->icmp_type == PZ_ND_NS ? PZ_ND_OPT_SOURCE_LLADDR : PZ_ND_OPT_TARGET_LLADDR) &&
		    size == 8) {
			p->has_lladdr = 1;
			pz_copy_mac(p->lladdr, option + 2);
		}
		if (option[0] == PZ_ND_OPT_MARK && size == sizeof(struct pz_nd_mark) && p->icmp_type == PZ_ND_NA) {
			p->marked = 1;
			pz_copy_mac(p->gateway_mac, option + offsetof(struct pz_nd_mark, gateway));
		}
		at = (at + size) & 0xffff;
	}
	if (at != p->l4_length)
		return PZ_REASON_ND_MALFORMED;
	if (p->icmp_type == PZ_ND_NS) {
		if (pz_is_unspecified6(p->source) && (p->has_lladdr || !pz_is_solicited_node(p->destination)))
			return PZ_REASON_ND_MALFORMED;
		if (p->lladdr[0] & 1) /* an answer to a group address would be a reflector */
			return PZ_REASON_ND_MALFORMED;
	} else if ((p->nd_flags & PZ_NA_SOLICITED) && p->destination[0] == 0xff) {
		return PZ_REASON_ND_MALFORMED;
	}
	sum = pz_checksum(ctx, p->l4_offset, p->l4_length);
	if (sum == PZ_CSUM_UNREADABLE ||
	    pz_fold(sum + pz_sum16(p->source) + pz_sum16(p->destination) + pz_sum_icmp6_pseudo(p->l4_length)) != 0xffff)
		return PZ_REASON_ND_CHECKSUM;
	return PZ_REASON_NOBODY;
}

/* After the IP headers: the ICMP type, and for ND the message's own checks and target. */
PZ_INLINE void pz_parse_icmp(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *icmp;

	if (p->status != PZ_REASON_NOBODY || !((p->l3 == PZ_L3_IPV4 && p->protocol == IPPROTO_ICMP) ||
					       (p->l3 == PZ_L3_IPV6 && p->protocol == IPPROTO_ICMPV6)))
		return;
	icmp = pz_at(ctx, p->l4_offset, 8);
	if (!icmp || p->l4_length < 8) {
		p->status = PZ_REASON_L4_MALFORMED;
		return;
	}
	p->icmp_type = PZ_U8(icmp);
	if (p->l3 == PZ_L3_IPV6 && (p->icmp_type == PZ_ND_NS || p->icmp_type == PZ_ND_NA))
		p->status = pz_check_nd(ctx, p);
}

/* A Neighbour Advertisement with a target link-layer option and our mark: always this long, whatever was asked. */
#define PZ_NA_PAYLOAD (PZ_ND_LEN + 8 + sizeof(struct pz_nd_mark))
#define PZ_NA_LEN (PZ_IPV6_HLEN + PZ_NA_PAYLOAD)

/* Writes the advertisement at `l3`, where there is room for PZ_NA_LEN bytes.  The sums are those of the addresses. */
PZ_INLINE void pz_write_na(void *l3, const void *target, const void *to, const void *answer_mac, const void *own_mac,
			   __u8 flags, __u64 sum_target, __u64 sum_to)
{
	__u64 sum;

	PZ_U32(l3) = bpf_htonl(0x60000000);
	PZ_U32(l3 + 4) = bpf_htonl(PZ_NA_PAYLOAD << 16 | IPPROTO_ICMPV6 << 8 | 255);
	pz_copy16(l3 + 8, target);
	pz_copy16(l3 + 24, to);
	PZ_U32(l3 + 40) = bpf_htonl(PZ_ND_NA << 24);
	PZ_U32(l3 + 44) = bpf_htonl((__u32)flags << 24);
	pz_copy16(l3 + 48, target);
	PZ_U16(l3 + 64) = bpf_htons(PZ_ND_OPT_TARGET_LLADDR << 8 | 1);
	pz_copy_mac(l3 + 66, answer_mac);
	PZ_U16(l3 + 72) = bpf_htons(PZ_ND_OPT_MARK << 8 | 1);
	pz_copy_mac(l3 + 74, own_mac);
	/* the target counts twice: once as the source of the pseudo header */
	sum = 2 * sum_target + sum_to + pz_sum_icmp6_pseudo(PZ_NA_PAYLOAD) + bpf_htons(PZ_ND_NA << 8) +
	      bpf_htons((__u16)flags << 8) + bpf_htons(PZ_ND_OPT_TARGET_LLADDR << 8 | 1) + pz_sum_mac(answer_mac) +
	      bpf_htons(PZ_ND_OPT_MARK << 8 | 1) + pz_sum_mac(own_mac);
	PZ_U16(l3 + 42) = ~pz_fold(sum);
}

/* Answers a solicitation (R25-R29, RFC 4861 section 7.2.4); for DAD to ff02::1 with S=0. */
PZ_INLINE int pz_answer_nd(struct pz_ctx *ctx, struct pz_packet *p)
{
	int dad = pz_is_unspecified6(p->source);
	__u8 flags = dad ? 0 : PZ_NA_SOLICITED;
	void *l3;

	if (p->icmp_type != PZ_ND_NS)
		return pz_ignore(p, PZ_REASON_ND_NOT_SOLICITATION);
	if (!(p->index_flags & PZ_INDEX_IDENTITY_PROXY))
		flags |= PZ_NA_OVERRIDE;
	if (dad) { /* to all nodes */
		PZ_U64(p->source) = bpf_cpu_to_be64(0xff02000000000000ULL);
		PZ_U64(p->source + 8) = bpf_cpu_to_be64(1);
		PZ_U32(p->lladdr) = bpf_htonl(0x33330000);
		PZ_U16(p->lladdr + 4) = bpf_htons(1);
	}
	l3 = pz_reply_frame(ctx, p, PZ_NA_LEN);
	if (!l3)
		return pz_pass(p, PZ_REASON_NO_ROOM);
	pz_write_na(l3, p->target, p->source, p->answer_mac, p->own_mac, flags, pz_sum16(p->target),
		    pz_sum16(p->source));
	p->reason = dad ? PZ_REASON_ND_DAD_ANSWERED : PZ_REASON_ND_ANSWERED;
	return XDP_TX;
}

#endif
