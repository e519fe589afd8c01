/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the options answer in a sleeper's name goes to user space: by AF_XDP, or else by an event.  Of the rest, which no
 * stage took, unicast to a sleeper is ignored, and group traffic belongs to everybody.
 */
#ifndef PZ_STEER_H
#define PZ_STEER_H

#include "verdict.h"

PZ_INLINE int pz_steer_to_option(struct pz_ctx *ctx, struct pz_packet *p)
{
	__u32 host = p->host; /* on the stack: 6.1 takes no key from a global function's argument */
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);

#ifndef PZ_EGRESS
	if (pz_redirect(ctx, p) == XDP_REDIRECT) {
		p->reason = PZ_REASON_STEERED;
		return XDP_REDIRECT;
	}
#endif
	return pz_ignore(p, policy && pz_report_option(ctx, p, p->steer, host, policy->generation)
				    ? PZ_REASON_STEERED
				    : PZ_REASON_OPTION_LOST);
}

PZ_INLINE int pz_steer(struct pz_ctx *ctx, struct pz_packet *p)
{
	if (p->steer)
		return pz_steer_to_option(ctx, p);
	return pz_ignore(p, p->group ? PZ_REASON_MULTICAST_PASSED : PZ_REASON_UNICAST_IGNORED);
}

#endif
