/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which of the three answers a frame gets, if any. */
#ifndef PZ_ANSWER_H
#define PZ_ANSWER_H

#include "arp.h"
#include "echo.h"
#include "ndisc.h"
#include "wake.h"

PZ_INLINE int pz_answer(struct pz_ctx *ctx, struct pz_packet *p)
{
	if (p->l3 == PZ_L3_ARP)
		return pz_answer_arp(ctx, p);
	if (p->l3 == PZ_L3_IPV6 && (p->icmp_type == PZ_ND_NS || p->icmp_type == PZ_ND_NA))
		return pz_answer_nd(ctx, p);
	if (p->group || !pz_is_echo(p))
		return PZ_CONTINUE;
	if (!pz_echo_checksum_ok(ctx, p))
		return pz_ignore(p, PZ_REASON_ECHO_CHECKSUM);
	if (p->echo == PZ_ECHO_WAKE)
		return pz_trigger(ctx, p, p->host, PZ_REASON_TRIGGER_ECHO, 0);
	if (p->echo == PZ_ECHO_IGNORE)
		return pz_ignore(p, PZ_REASON_ECHO_IGNORED);
	return pz_answer_echo(ctx, p);
}

#endif
