/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP and ICMPv6 echo requests to a sleeper, answered in place (RFC 792, RFC 4443 section 4.2, RFC 1122 3.2.2.6). */
#ifndef PZ_ECHO_H
#define PZ_ECHO_H

#include "csum.h"
#include "resize.h"
#include "verdict.h"

#define PZ_ICMP_ECHO_REPLY 0
#define PZ_ICMP_ECHO 8
#define PZ_ICMP6_ECHO 128
#define PZ_ICMP6_ECHO_REPLY 129
#define PZ_REPLY_TTL 64

PZ_INLINE int pz_is_echo(const struct pz_packet *p)
{
	return (p->l3 == PZ_L3_IPV4 && p->protocol == IPPROTO_ICMP && p->icmp_type == PZ_ICMP_ECHO) ||
	       (p->l3 == PZ_L3_IPV6 && p->protocol == IPPROTO_ICMPV6 && p->icmp_type == PZ_ICMP6_ECHO);
}

PZ_INLINE int pz_echo_checksum_ok(struct pz_ctx *ctx, const struct pz_packet *p)
{
	__u64 sum = pz_checksum(ctx, p->l4_offset, p->l4_length);

	if (sum == PZ_CSUM_UNREADABLE)
		return 0;
	if (p->l3 == PZ_L3_IPV6)
		sum += pz_sum16(p->source) + pz_sum16(p->destination) + pz_sum_icmp6_pseudo(p->l4_length);
	return pz_fold(sum) == 0xffff;
}

/*
 * The answer has no options and no extension headers, whatever the request had: a proxy sends none (ECMA-393 A.2).
 * They are cut out by moving the frame's start.
 */
PZ_INLINE int pz_answer_echo(struct pz_ctx *ctx, struct pz_packet *p)
{
	__u32 header = p->l3 == PZ_L3_IPV4 ? 20 : PZ_IPV6_HLEN;
	int cut = (int)p->l4_offset - (int)p->l3_offset - (int)header;
	void *ip = pz_at(ctx, p->l3_offset, 20), *icmp = pz_at(ctx, p->l4_offset, 8);
	__u32 first, second;

	if (!ip || !icmp || PZ_U8(icmp + 1) != 0)
		return pz_ignore(p, PZ_REASON_L4_MALFORMED);
	first = PZ_U32(ip); /* IPv4: type of service; identification and flags below */
	second = PZ_U32(ip + 4);
	pz_copy_mac(p->lladdr, p->source_mac);
	if (cut < 0 || pz_move_start(ctx, p, cut))
		return pz_pass(p, PZ_REASON_NO_ROOM);
	icmp = pz_at(ctx, p->l4_offset - cut, 8);
	if (p->l3 == PZ_L3_IPV4) {
		ip = pz_at(ctx, p->l3_offset, 20);
		if (!ip || !icmp)
			return pz_pass(p, PZ_REASON_NO_ROOM);
		PZ_U32(ip) = first;
		PZ_U8(ip) = 0x45;
		PZ_U16(ip + 2) = bpf_htons(20 + p->l4_length);
		PZ_U32(ip + 4) = second;
		PZ_U8(ip + 8) = PZ_REPLY_TTL;
		PZ_U8(ip + 9) = IPPROTO_ICMP;
		PZ_U16(ip + 10) = 0;
		PZ_U32(ip + 12) = PZ_U32(p->destination);
		PZ_U32(ip + 16) = PZ_U32(p->source);
		PZ_U16(ip + 10) = ~pz_fold(pz_sum16(ip) + PZ_U32(ip + 16));
		PZ_U8(icmp) = PZ_ICMP_ECHO_REPLY;
		PZ_U16(icmp + 2) = pz_csum_replace(PZ_U16(icmp + 2), bpf_htons(PZ_ICMP_ECHO << 8),
						   bpf_htons(PZ_ICMP_ECHO_REPLY << 8));
		/* an update cannot tell +0 from -0 (RFC 1624 section 3): the sum of nothing but zeros is +0 */
		if (!PZ_U16(icmp + 2) && !pz_checksum(ctx, p->l4_offset - cut, p->l4_length)) {
			icmp = pz_at(ctx, p->l4_offset - cut, 8);
			if (!icmp)
				return pz_pass(p, PZ_REASON_NO_ROOM);
			PZ_U16(icmp + 2) = 0xffff;
		}
	} else {
		ip = pz_at(ctx, p->l3_offset, PZ_IPV6_HLEN);
		if (!ip || !icmp)
			return pz_pass(p, PZ_REASON_NO_ROOM);
		PZ_U32(ip) = bpf_htonl(0x60000000);
		PZ_U16(ip + 4) = bpf_htons(p->l4_length);
		PZ_U8(ip + 6) = IPPROTO_ICMPV6;
		PZ_U8(ip + 7) = PZ_REPLY_TTL;
		pz_copy16(ip + 8, p->destination);
		pz_copy16(ip + 24, p->source);
		PZ_U8(icmp) = PZ_ICMP6_ECHO_REPLY;
		PZ_U16(icmp + 2) = pz_csum_replace(PZ_U16(icmp + 2), bpf_htons(PZ_ICMP6_ECHO << 8),
						   bpf_htons(PZ_ICMP6_ECHO_REPLY << 8));
	}
	p->reason = PZ_REASON_ECHO_ANSWERED;
	return XDP_TX;
}

#endif
