// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The data path of one served interface: parse -> hosts -> answer -> wake -> steer, for what comes in, and compiled once
 * more with PZ_EGRESS for what leaves: from programs on the gateway, and from clients behind its other interfaces.
 *
 * Each stage returns an XDP action with the reason in the packet, or PZ_CONTINUE.  Almost every frame on a gateway is
 * nobody's sleeper and ends at the filter; the rest is served by a function of its own, which the verifier reads once.
 * The usual questions for a sleeper do not get that far: they are answered by a shorter way (usual.h).
 *
 *   frame                                               verdict
 *   ARP request or probe for a sleeper                  answered in place
 *   Neighbour Solicitation, DAD included                answered in place
 *   echo request                                        answered, ignored or trigger, by policy
 *   any sign of life of the owner                       released on this frame, passed, event
 *   another node claims a sleeper's address             passed, event
 *   TCP SYN or UDP to a wake port, Magic Packet         trigger: event with the frame, which user space holds;
 *                                                       at once: becomes a Magic Packet
 *   mDNS to a sleeper's own address                     steered to the option: AF_XDP, or event and dropped
 *   mDNS, LLMNR, IGMP, MLD to a group with listeners    passed, event with a copy
 *   fragment, source route, bad header or checksum      ignored, by reason
 *   any other unicast to a sleeper                      ignored
 *   everything else                                     passed
 *
 * Ignored: dropped if unicast to a sleeper, passed otherwise.
 */
#include "answer.h"
#include "config.h"
#include "hosts.h"
#include "maps.h"
#include "parse.h"
#include "steer.h"
#include "verdict.h"
#include "wake.h"

/*
 * A frame that concerns a host in our care, or may: the action, and the reason above the low eight bits.  Global:
 * verified once.  It gets and gives numbers, so that what is known of all the other frames stays in registers.
 */
PZ_GLOBAL __u32 pz_serve(struct pz_ctx *ctx, __u64 link)
{
	struct pz_packet packet = {}, *p = &packet;
	int action;

	pz_unpack_link(p, link);
	action = pz_parse_network(ctx, p);
	if (action == PZ_CONTINUE) {
		pz_parse_icmp(ctx, p);
		action = pz_hosts(ctx, p);
	}
	if (action == PZ_CONTINUE && p->l3 != PZ_L3_MAGIC && !p->magic_port)
		action = pz_answer(ctx, p);
	if (action == PZ_CONTINUE)
		action = pz_wake(ctx, p);
	if (action == PZ_CONTINUE)
		action = pz_steer(ctx, p);
	if ((action == XDP_DROP ? PZ_NON_WAKES : PZ_PASSED_NON_WAKES) >> p->reason & 1)
		pz_report_non_wake(ctx, p);
	return p->reason << 8 | action;
}

PZ_INLINE int pz_serve_link(struct pz_ctx *ctx, struct pz_link *link)
{
	__u32 verdict = pz_serve(ctx, pz_pack_link(link));

	link->reason = verdict >> 8;
	return verdict & 0xff;
}

#ifdef PZ_EGRESS
/* An answer goes back to where the packet came from: it is redirected to come in on the same device. */
SEC("tc")
int proxzzy_egress(struct __sk_buff *ctx)
{
	struct pz_link link = {};
	int action;

	pz_gather_headers(ctx);
	action = pz_parse_link(ctx, &link);
	if (action == PZ_CONTINUE)
		action = pz_filter(ctx, &link);
	if (action == PZ_CONTINUE && ctx->vlan_present)
		action = pz_unpack_tag(ctx, &link);
	if (action == PZ_CONTINUE) {
		pz_gather_frame(ctx);
		action = pz_serve_link(ctx, &link);
	}
	pz_pack_tag(ctx, &link);
	return pz_tc_action(ctx, pz_finish(link.reason, action));
}

#else
#include "usual.h"

SEC("xdp.frags")
int proxzzy_ingress(struct pz_ctx *ctx)
{
	struct pz_link link = {};
	int action;

	if (pz_is_usual_stranger(ctx))
		return pz_finish(PZ_REASON_NOBODY, XDP_PASS);
	action = pz_parse_link(ctx, &link);
	if (action == PZ_CONTINUE)
		action = pz_answer_usual(ctx, &link);
	if (action == PZ_CONTINUE)
		action = pz_filter(ctx, &link);
	if (action == PZ_CONTINUE)
		action = pz_serve_link(ctx, &link);
	return pz_finish(link.reason, action);
}
#endif

char LICENSE[] SEC("license") = "GPL";
