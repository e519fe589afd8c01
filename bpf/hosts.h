/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Whose frame is it: the filter, the sender (sign of life, conflict) and the sleeper that is meant. */
#ifndef PZ_HOSTS_H
#define PZ_HOSTS_H

#include "echo.h"
#include "ndisc.h"
#include "table.h"
#include "verdict.h"

/* UDP to a port where broadcast Magic Packets are looked for. */
PZ_INLINE int pz_magic_port(struct pz_ctx *ctx, __u64 udp_offset)
{
	__u32 zero = 0;
	struct pz_daemon *daemon;
	void *udp = pz_at(ctx, udp_offset, 8);
	__u16 port;
	int i;

	if (!udp)
		return 0;
	daemon = bpf_map_lookup_elem(&pz_daemon_v2, &zero);
	port = bpf_ntohs(PZ_U16(udp + 2));
	if (!daemon || !port)
		return 0;
	for (i = 0; i < PZ_MAX_MAGIC_PORTS; i++)
		if (daemon->magic_ports[i] == port)
			return 1;
	return 0;
}

/*
 * The two bit tests that almost every frame on a gateway ends with: is the destination (for ARP and ND: the address
 * asked for) or the sender a host in our care, or a group that an option listens to?  The bits know no segment, which
 * costs a look into a table only where two segments use the same address and saves one everywhere else.
 */
PZ_INLINE int pz_filter(struct pz_ctx *ctx, struct pz_link *p)
{
	void *eth = pz_at(ctx, 0, ETH_HLEN);
	void *l3;
	__u8 next;

	if (!eth)
		return pz_pass_link(p, PZ_REASON_TOO_SHORT);
	p->reason = PZ_REASON_NOBODY;
	if (p->l3 == PZ_L3_MAGIC || pz_may_have_mac(eth + 6))
		return PZ_CONTINUE;
	if (p->l3 == PZ_L3_IPV4) {
		l3 = pz_at(ctx, p->l3_offset, 20);
		if (!l3)
			return pz_pass_link(p, PZ_REASON_TOO_SHORT);
		if (p->group)
			p->magic_port = PZ_U8(l3 + 9) == IPPROTO_UDP &&
					pz_magic_port(ctx, p->l3_offset + (PZ_U8(l3) & 0xf) * 4);
		return p->magic_port || pz_may_have4(l3 + 16) ? PZ_CONTINUE : XDP_PASS;
	}
	if (p->l3 == PZ_L3_IPV6) {
		l3 = pz_at(ctx, p->l3_offset, PZ_IPV6_HLEN);
		if (!l3)
			return pz_pass_link(p, PZ_REASON_TOO_SHORT);
		next = PZ_U8(l3 + 6);
		if (p->group) {
			if (next == IPPROTO_UDP)
				p->magic_port = pz_magic_port(ctx, p->l3_offset + PZ_IPV6_HLEN);
			if (p->magic_port || pz_is_extension(next))
				return PZ_CONTINUE; /* ND may hide behind extension headers (R29); rare enough to look */
		}
		if (pz_may_have6(l3 + 24))
			return PZ_CONTINUE;
		/* a claim may be unicast to somebody else */
		l3 = next == IPPROTO_ICMPV6 ? pz_at(ctx, p->l3_offset + PZ_IPV6_HLEN, PZ_ND_LEN) : NULL;
		return l3 && (pz_may_have6(l3 + 8) || (p->group && PZ_U8(l3) == PZ_ND_RA)) ? PZ_CONTINUE : XDP_PASS;
	}
	l3 = pz_at(ctx, p->l3_offset, PZ_ARP_LEN);
	if (!l3)
		return pz_pass_link(p, PZ_REASON_TOO_SHORT);
	if (pz_may_have4(l3 + 24) || pz_may_have4(l3 + 14) || pz_may_have_mac(l3 + 8))
		return PZ_CONTINUE;
	return XDP_PASS;
}

/*
 * An address by its sixteen bytes, of which IPv4 has the first four.  False: the kernel does not answer for it.  Global,
 * so that it is verified once.
 */
PZ_GLOBAL int pz_find_address(__u32 segment, __u32 family, __u64 high, __u64 low, struct pz_index *found)
{
	if (!found)
		return 0;
	if (family == PZ_FAMILY_4)
		return pz_find4(segment, (__u32)high, found);
	return family == PZ_FAMILY_6 && pz_find6(segment, high, low, found);
}

PZ_INLINE int pz_find_target(const struct pz_packet *p, struct pz_index *found)
{
	return pz_find_address(p->segment, p->target_family, PZ_U64(p->target), PZ_U64(p->target + 8), found);
}

PZ_INLINE int pz_find_reported(const struct pz_packet *p, const struct pz_report *report, struct pz_index *found)
{
	return pz_find_address(p->segment, report->family, PZ_U64(report->address), PZ_U64(report->address + 8), found);
}

/* Several heartbeats. */
#define PZ_DAEMON_FRESH_NS 5000000000LL

/* The daemon's entry, if the daemon was alive recently enough for the kernel to speak in its name. */
PZ_INLINE struct pz_daemon *pz_alive(__u64 now)
{
	__u32 zero = 0;
	struct pz_daemon *daemon = bpf_map_lookup_elem(&pz_daemon_v2, &zero);

	/* the coarse clock may stand a tick behind the heartbeat */
	if (!daemon || !daemon->heartbeat_ns ||
	    (__s64)(now - daemon->heartbeat_ns) > (__s64)daemon->answer_without_daemon_ns)
		return NULL;
	return daemon;
}

/* RFC 2710, RFC 3810 */
#define PZ_MLD_QUERY 130
#define PZ_MLD_REPORT 131
#define PZ_MLD_DONE 132
#define PZ_MLD2_REPORT 143

PZ_INLINE int pz_is_mld(__u8 type)
{
	return (type >= PZ_MLD_QUERY && type <= PZ_MLD_DONE) || type == PZ_MLD2_REPORT;
}

/* Which sign of life the owner's frame is (design section 6); NONE: it may come from a NIC's offload or firmware. */
PZ_INLINE __u8 pz_sign_of(struct pz_ctx *ctx, const struct pz_packet *p)
{
	void *udp;

	if (p->l3 == PZ_L3_ARP) {
		if (p->arp_operation == 2)
			return PZ_SIGN_REPLY;
		if (p->arp_operation != 1)
			return PZ_SIGN_NONE;
		if (!PZ_U32(p->source))
			return PZ_SIGN_ARP_PROBE;
		return PZ_U32(p->source) == PZ_U32(p->target) ? PZ_SIGN_ARP_ANNOUNCEMENT : PZ_SIGN_ARP_REQUEST;
	}
	if (p->l3 == PZ_L3_MAGIC || p->status == PZ_REASON_IP_MALFORMED || p->status == PZ_REASON_IP_CHECKSUM)
		return PZ_SIGN_NONE;
	if (p->protocol == IPPROTO_ICMPV6 && p->l3 == PZ_L3_IPV6 && p->status == PZ_REASON_NOBODY) {
		switch (p->icmp_type) {
		case PZ_ND_NS:
			return PZ_U64(p->source) | PZ_U64(p->source + 8) ? PZ_SIGN_ND : PZ_SIGN_DAD;
		case PZ_ND_RS:
			return PZ_SIGN_ND;
		case PZ_ND_NA:
			return PZ_SIGN_REPLY;
		case PZ_MLD_REPORT:
		case PZ_MLD_DONE:
		case PZ_MLD2_REPORT:
			return PZ_SIGN_GROUP;
		}
	}
	if (p->protocol == IPPROTO_IGMP && p->l3 == PZ_L3_IPV4)
		return PZ_SIGN_GROUP;
	if (p->protocol == IPPROTO_UDP && p->status == PZ_REASON_NOBODY) {
		udp = pz_at(ctx, p->l4_offset, 8);
		if (udp && ((PZ_U16(udp) == bpf_htons(68) && PZ_U16(udp + 2) == bpf_htons(67)) ||
			    (PZ_U16(udp) == bpf_htons(546) && PZ_U16(udp + 2) == bpf_htons(547))))
			return PZ_SIGN_DHCP;
	}
	return PZ_SIGN_IP; /* if its source address is the record's */
}

/* The address that the owner's frame uses or confirms: ARP sender, NA target, IP source.  Probes use none yet, but say
 * which one they are about. */
PZ_INLINE void pz_used_address(const struct pz_packet *p, __u8 sign, struct pz_report *report)
{
	if (sign == PZ_SIGN_NONE || sign == PZ_SIGN_DHCP || sign == PZ_SIGN_GROUP)
		return;
	if (p->l3 == PZ_L3_IPV6) {
		report->family = PZ_FAMILY_6;
		pz_copy16(report->address, sign == PZ_SIGN_DAD || sign == PZ_SIGN_REPLY ? p->target : p->source);
		if (pz_is_unspecified6(report->address)) /* a Router Solicitation may have none */
			report->family = PZ_FAMILY_NONE;
		return;
	}
	report->family = PZ_FAMILY_4;
	PZ_U32(report->address) = PZ_U32(sign == PZ_SIGN_ARP_PROBE ? p->target : p->source);
}

PZ_INLINE int pz_is_echo_reply(const struct pz_packet *p)
{
	return p->status == PZ_REASON_NOBODY &&
	       ((p->l3 == PZ_L3_IPV4 && p->protocol == IPPROTO_ICMP && p->icmp_type == PZ_ICMP_ECHO_REPLY) ||
		(p->l3 == PZ_L3_IPV6 && p->protocol == IPPROTO_ICMPV6 && p->icmp_type == PZ_ICMP6_ECHO_REPLY));
}

/*
 * The frame says that the address in pz_used_address() is at the very MAC that sent it.  What is routed or forwarded says
 * nothing of its source, a probe and DAD use no address yet, and an advertisement without O may be for somebody else
 * (RFC 4861 section 7.2.8).
 */
PZ_INLINE int pz_claims_own(const struct pz_packet *p, __u8 sign)
{
	if (!pz_same_mac(p->lladdr, p->source_mac))
		return 0;
	if (p->l3 == PZ_L3_ARP)
		return sign != PZ_SIGN_NONE && sign != PZ_SIGN_ARP_PROBE;
	return p->has_lladdr && (sign == PZ_SIGN_ND || (sign == PZ_SIGN_REPLY && (p->nd_flags & PZ_NA_OVERRIDE)));
}

/* The sender is one of our hosts: PZ_CONTINUE when the frame may still concern another one. */
PZ_INLINE int pz_owner_speaks(struct pz_ctx *ctx, struct pz_packet *p, __u32 host, __u64 now,
			      const struct pz_daemon *daemon)
{
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	struct pz_live *live = bpf_map_lookup_elem(&pz_live_v2, &host);
	struct pz_report report = {.time_ns = now, .host = host};
	struct pz_index used = {};
	__u64 last_seen;
	__u8 sign;

	if (!policy || !live || policy->stage == PZ_STAGE_NONE)
		return PZ_CONTINUE;
	sign = pz_sign_of(ctx, p);
	last_seen = live->last_seen_ns;
	pz_mark_seen(live, now);
	pz_note_sender(host, policy->generation, sign);
	report.generation = policy->generation;
	report.detail = sign;
	pz_used_address(p, sign, &report);

	if (policy->stage == PZ_STAGE_WATCHED) {
		p->reason = PZ_REASON_OWNER_WATCHED;
		if ((policy->flags & PZ_POLICY_LEARN) && pz_claims_own(p, sign)) {
			if (p->l3 == PZ_L3_ARP && PZ_U32(p->source) == PZ_U32(p->target))
				report.detail = PZ_SIGN_ARP_ANNOUNCEMENT; /* also as a reply: RFC 5227 section 3 */
			pz_report_use(ctx, p, live, &report);
		}
		return PZ_CONTINUE;
	}
	if (live->released == policy->generation) {
		p->reason = PZ_REASON_OWNER_SEEN;
		/* Only a daemon that is there holds packets; and a stream is reported once in a tick of the clock. */
		if (report.family == PZ_FAMILY_NONE || sign == PZ_SIGN_ARP_PROBE || sign == PZ_SIGN_DAD ||
		    (sign == PZ_SIGN_IP && now == last_seen) ||
		    (__s64)(now - daemon->heartbeat_ns) > PZ_DAEMON_FRESH_NS)
			return PZ_CONTINUE;
		report.kind = PZ_EVENT_PROOF;
		report.reason = PZ_REASON_OWNER_SEEN;
		pz_emit(ctx, p, &report);
		return PZ_CONTINUE;
	}
	if (policy->stage == PZ_STAGE_ARMING && sign != PZ_SIGN_ARP_PROBE && sign != PZ_SIGN_DAD) {
		p->reason = PZ_REASON_OWNER_ARMING;
		return PZ_CONTINUE;
	}
	if (sign == PZ_SIGN_REPLY) {
		/* Once the host is to wake the daemon asks, and knows from before whether this NIC answers by itself. */
		int asked = policy->stage >= PZ_STAGE_WAKING;

		p->reason = asked ? PZ_REASON_OWNER_SEEN : PZ_REASON_NIC_ANSWERS;
		report.kind = asked ? PZ_EVENT_PROOF : PZ_EVENT_NIC_ANSWERS;
		report.reason = p->reason;
		if (asked || now - last_seen >= 1000000000)
			pz_emit(ctx, p, &report);
		return PZ_CONTINUE;
	}
	if (sign == PZ_SIGN_IP) {
		if (!pz_find_reported(p, &report, &used) || used.host != host)
			return PZ_CONTINUE;
		/* has no room for a mark, and may be an answer of ours that came back */
		if (pz_is_echo_reply(p) && policy->stage != PZ_STAGE_UNANSWERED) {
			p->reason = PZ_REASON_OWN_FRAME;
			return PZ_CONTINUE;
		}
	}
	if (sign == PZ_SIGN_NONE)
		return PZ_CONTINUE;
	pz_mark_released(live, host, policy->generation);
	p->reason = PZ_REASON_SIGN_OF_LIFE;
	report.kind = PZ_EVENT_RELEASE;
	report.reason = PZ_REASON_SIGN_OF_LIFE;
	if (!pz_emit(ctx, p, &report)) {
		pz_mark_lost(live);
		p->reason = PZ_REASON_RING_FULL;
	}
	return PZ_CONTINUE;
}

/* The address that ARP or an NA says is at `lladdr`; false: none. */
PZ_INLINE int pz_claimed_address(const struct pz_packet *p, struct pz_report *report)
{
	if (p->l3 == PZ_L3_ARP && PZ_U32(p->source)) {
		report->family = PZ_FAMILY_4;
		PZ_U32(report->address) = PZ_U32(p->source);
		return 1;
	}
	if (p->l3 == PZ_L3_IPV6 && p->icmp_type == PZ_ND_NA && p->status == PZ_REASON_NOBODY) {
		report->family = PZ_FAMILY_6;
		pz_copy16(report->address, p->target);
		return 1;
	}
	return 0;
}

/*
 * A frame that a proxy sent in the name of `host`.  Ours come back by a loop, two ports on one switch or an access point
 * that repeats broadcasts; a second gateway's mean that two stand in for one host.  Neither is the host.  Global, for the
 * room that it needs on the stack.
 */
PZ_GLOBAL int pz_proxy_speaks(struct pz_ctx *ctx, struct pz_packet *p, __u32 owner, __u64 now)
{
	__u32 host = owner; /* on the stack: 6.1 takes no key from a global function's argument */
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	struct pz_live *live = bpf_map_lookup_elem(&pz_live_v2, &host);
	struct pz_report report = {
		.time_ns = now, .kind = PZ_EVENT_SECOND_PROXY, .reason = PZ_REASON_SECOND_PROXY, .host = host};

	if (!p)
		return XDP_PASS;
	if (!policy || !live)
		return pz_pass(p, PZ_REASON_RELEASED);
	pz_note_target(host, policy->generation);
	if (pz_same_mac(p->gateway_mac, p->own_mac))
		return pz_pass(p, PZ_REASON_OWN_FRAME);
	report.generation = policy->generation;
	pz_claimed_address(p, &report);
	if (pz_take_claim(live, &report))
		pz_emit(ctx, p, &report);
	return pz_pass(p, PZ_REASON_SECOND_PROXY);
}

/*
 * ARP or NA from `lladdr` that claims a served address for a MAC that is not the record's (RFC 5227, RFC 4862).  The mark
 * excuses only a gateway that answers with its own MAC.
 */
PZ_INLINE int pz_claims(struct pz_ctx *ctx, struct pz_packet *p, __u64 now)
{
	struct pz_report report = {.time_ns = now, .kind = PZ_EVENT_CONFLICT, .reason = PZ_REASON_CONFLICT};
	struct pz_index claimed = {};
	struct pz_policy *policy;
	struct pz_live *live;

	if (!pz_claimed_address(p, &report))
		return PZ_CONTINUE;
	if (!pz_find_reported(p, &report, &claimed) || claimed.host == PZ_LISTENERS)
		return PZ_CONTINUE;
	if (pz_owner_of(p->segment, p->lladdr) == claimed.host || pz_same_mac(p->lladdr, claimed.mac))
		return PZ_CONTINUE;
	if (p->marked && pz_same_mac(p->lladdr, p->gateway_mac))
		return pz_proxy_speaks(ctx, p, claimed.host, now);
	live = bpf_map_lookup_elem(&pz_live_v2, &claimed.host);
	policy = bpf_map_lookup_elem(&pz_policy_v2, &claimed.host);
	if (!live || !policy || pz_is_released(live, claimed.host, policy->generation))
		return PZ_CONTINUE;
	pz_note_target(claimed.host, policy->generation);
	report.host = claimed.host;
	report.generation = policy->generation;
	if (pz_take_claim(live, &report))
		pz_emit(ctx, p, &report);
	return pz_pass(p, PZ_REASON_CONFLICT);
}

/* An address that may stand as a source on a link (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5 and 2.7). */
PZ_INLINE int pz_valid_source(const struct pz_packet *p)
{
	if (p->l3 != PZ_L3_ARP && (p->source_mac[0] & 1)) /* IEEE 802.3: a group sends nothing */
		return 0;
	if (p->l3 == PZ_L3_IPV4) /* 0/8, 127/8 and everything from 224/4 up are not */
		return p->source[0] != 0 && p->source[0] != 127 && p->source[0] < 224;
	if (p->l3 != PZ_L3_IPV6)
		return 1;
	if (pz_is_unspecified6(p->source))
		return p->protocol == IPPROTO_ICMPV6 && p->icmp_type == PZ_ND_NS;
	return p->source[0] != 0xff && (PZ_U64(p->source) || PZ_U64(p->source + 8) != bpf_cpu_to_be64(1));
}

#define PZ_PORT_MDNS 5353
#define PZ_PORT_LLMNR 5355

/* The option that a packet to a group is for (enum pz_listen); 0: none. */
PZ_INLINE __u8 pz_listener(struct pz_ctx *ctx, const struct pz_packet *p)
{
	void *udp;
	__u16 port;

	if (p->status != PZ_REASON_NOBODY || p->l3 == PZ_L3_ARP)
		return 0;
	if (p->protocol == IPPROTO_UDP) {
		udp = pz_udp(ctx, p);
		port = udp ? bpf_ntohs(PZ_U16(udp + 2)) : 0;
		return port == PZ_PORT_MDNS ? PZ_LISTEN_MDNS : port == PZ_PORT_LLMNR ? PZ_LISTEN_LLMNR : 0;
	}
	if (p->l3 == PZ_L3_IPV4)
		return p->protocol == IPPROTO_IGMP ? PZ_LISTEN_GROUPS : 0;
	return p->protocol == IPPROTO_ICMPV6 && pz_is_mld(p->icmp_type) ? PZ_LISTEN_GROUPS : 0;
}

/*
 * A packet to a group that options listen to passes, whoever sent it; those of `options` that it is for get a copy.  Some
 * access points turn multicast into unicast.  What was said of the sender stays the frame's reason, unless the copy is
 * lost; but a lost release (ring-full) is what the daemon has to know.
 */
PZ_INLINE void pz_copy_to_options(struct pz_ctx *ctx, struct pz_packet *p, __u8 options)
{
	__u8 listener = pz_listener(ctx, p) & options;

	if (!listener || !(PZ_IS_EGRESS || p->group || pz_same_mac(p->destination_mac, p->own_mac)))
		return;
	if (!pz_report_option(ctx, p, listener, 0, 0))
		p->reason = p->reason == PZ_REASON_RING_FULL ? p->reason : PZ_REASON_OPTION_LOST;
	else if (p->reason == PZ_REASON_NOBODY)
		p->reason = PZ_REASON_MULTICAST_COPIED;
}

/* Fills in the sleeper that the frame is for.  Everything else passes here. */
PZ_INLINE int pz_hosts(struct pz_ctx *ctx, struct pz_packet *p)
{
	struct pz_segment_key key = {.ifindex = pz_device(ctx), .outer_vid = p->outer_vid, .inner_vid = p->inner_vid};
	struct pz_segment *segment = bpf_map_lookup_elem(&pz_segments_v2, &key);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct pz_daemon *daemon = pz_alive(now);
	struct pz_policy *policy;
	struct pz_index index = {};
	struct pz_live *live;
	__u32 speaker = PZ_NOBODY;
	int found;

	if (!segment)
		return pz_pass(p, PZ_REASON_NO_SEGMENT);
	if (!daemon)
		return pz_pass(p, PZ_REASON_DAEMON_GONE);
	p->segment = segment->segment;
	p->xsk = pz_xsk_of(ctx, segment);
	pz_note_segment(p->segment);
	pz_copy_mac(p->own_mac, segment->mac);

	if (!PZ_IS_EGRESS) { /* what leaves is the gateway's, whatever its source is: no sign of life, no claim */
		speaker = pz_owner_of(p->segment, p->source_mac);
		if (speaker == PZ_NOBODY && p->l3 == PZ_L3_ARP)
			speaker = pz_owner_of(p->segment, p->lladdr);
	}
	if (speaker != PZ_NOBODY && p->marked)
		return pz_proxy_speaks(ctx, p, speaker, now);
	if (speaker != PZ_NOBODY) {
		pz_owner_speaks(ctx, p, speaker, now, daemon);
	} else if (p->group && p->l3 == PZ_L3_IPV6 && p->icmp_type == PZ_ND_RA && p->status == PZ_REASON_NOBODY) {
		pz_report_router(ctx, p);
	}
	if (!PZ_IS_EGRESS && pz_claims(ctx, p, now) != PZ_CONTINUE)
		return XDP_PASS;
	found = pz_find_target(p, &index);
	if (found && index.host == PZ_LISTENERS) {
		pz_copy_to_options(ctx, p, index.mac[0]);
		found = 0;
	}
	if (p->l3 == PZ_L3_MAGIC || p->magic_port)
		return PZ_CONTINUE;
	if (!found && p->l3 == PZ_L3_IPV6 && !p->group) {
		/* unicast ND about an address that is not ours, to one that is */
		pz_copy16(p->target, p->destination);
		found = pz_find_target(p, &index);
		if (found)
			p->status = PZ_REASON_UNICAST_IGNORED;
	}
	if (!found || index.host == speaker)
		return XDP_PASS;
	live = bpf_map_lookup_elem(&pz_live_v2, &index.host);
	policy = bpf_map_lookup_elem(&pz_policy_v2, &index.host);
	if (!live || !policy)
		return pz_pass(p, PZ_REASON_RELEASED);
	pz_note_target(index.host, policy->generation);
	if (!PZ_IS_EGRESS && !p->group && !pz_same_mac(p->destination_mac, index.mac) &&
	    !pz_same_mac(p->destination_mac, p->own_mac)) /* the gateway itself knows which MAC it means */
		return pz_pass(p, PZ_REASON_NOT_ADDRESSED);
	if (pz_is_released(live, index.host, policy->generation) || policy->stage < PZ_STAGE_ASLEEP)
		return pz_pass(p, PZ_REASON_RELEASED);
	p->host = index.host;
	p->index_flags = index.flags;
	p->echo = policy->echo;
	p->options = policy->flags;
	pz_copy_mac(p->answer_mac, index.mac);
	if (p->status == PZ_REASON_NOBODY && !pz_valid_source(p))
		p->status = PZ_REASON_IP_MALFORMED;
	if (policy->stage == PZ_STAGE_UNANSWERED)
		return pz_pass(p, p->status == PZ_REASON_NOBODY ? PZ_REASON_UNANSWERED : p->status);
	if (p->status != PZ_REASON_NOBODY)
		return pz_ignore(p, p->status);
	return PZ_CONTINUE;
}

#endif
