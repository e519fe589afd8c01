/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packets that need the host: Magic Packet (R31), TCP connection attempt (R30), UDP to a wake port. */
#ifndef PZ_WAKE_H
#define PZ_WAKE_H

#include "hosts.h"
#include "verdict.h"

#define PZ_MAGIC_LEN 102
#define PZ_MAGIC_PERIOD 6
/* A Magic Packet repeats with period 6 for 96 bytes, so one probe of 14 bytes in every 83 cannot miss it. */
#define PZ_MAGIC_STRIDE 83
#define PZ_MAGIC_PACKETS 4 /* in one frame, for several hosts */
#define PZ_MAGIC_PROBES ((9216 + PZ_MAGIC_STRIDE - 1) / PZ_MAGIC_STRIDE)

/* Wakes the host: hands the frame to the daemon, which holds it. */
PZ_INLINE int pz_trigger(struct pz_ctx *ctx, struct pz_packet *p, __u32 host, __u32 reason, __u16 port)
{
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v1, &host);
	struct pz_live *live = bpf_map_lookup_elem(&pz_live_v1, &host);
	struct pz_report report = {
		.time_ns = bpf_ktime_get_ns(), .kind = PZ_EVENT_TRIGGER, .reason = reason, .host = host, .port = port};
	int asked;

	if (!policy || !live)
		return pz_ignore(p, PZ_REASON_RELEASED);
	asked = pz_note_asker(ctx, p, &report);
	if (!pz_take_allowance(live, policy, asked, report.time_ns))
		return pz_ignore(p, PZ_REASON_TRIGGER_THROTTLED);
	report.detail = asked == PZ_ASKED_AGAIN ? PZ_ASKED_AGAIN : PZ_ASKED_FIRST;
	report.generation = policy->generation;
	if (p->l3 != PZ_L3_MAGIC && !p->magic_port) { /* else the MAC is meant, and no address */
		report.family = p->target_family;
		pz_copy16(report.address, p->target);
	}
	if (!pz_emit(ctx, p, &report)) {
		pz_mark_lost(live);
		return pz_ignore(p, PZ_REASON_RING_FULL);
	}
	return pz_ignore(p, reason);
}

/*
 * The offset of the Magic Packet of which `probe` is a byte of the repeats, within [start, end); -1 if there is none.
 * Walks back to where the repetition begins; the sync ends just before the first byte that is not 0xff there, since
 * no host's MAC begins with 0xff.  Global, so that it is verified once.
 */
PZ_GLOBAL int pz_magic_at(struct pz_ctx *ctx, __u32 probe, __u32 start, __u32 end)
{
	__u32 at = probe & PZ_MAX_OFFSET;
	__u8 *byte;
	void *mac, *repeat;
	int i;

	for (i = 0; i < PZ_MAGIC_STRIDE + 2 * PZ_MAGIC_PERIOD && at > start; i++) {
		byte = pz_at(ctx, (__u64)at - 1, 7);
		if (!byte || byte[0] != byte[PZ_MAGIC_PERIOD])
			break;
		at = (at - 1) & PZ_MAX_OFFSET;
	}
	for (i = 0; i < PZ_MAGIC_PERIOD; i++) {
		byte = pz_at(ctx, at, 1);
		if (!byte || *byte != 0xff)
			break;
		at = (at + 1) & PZ_MAX_OFFSET;
	}
	if (at < start + 6 || at - 6 + PZ_MAGIC_LEN > end)
		return -1;
	mac = pz_at(ctx, (__u64)at - 6, 12);
	if (!mac || PZ_U32(mac) != 0xffffffff || PZ_U16(mac + 4) != 0xffff)
		return -1;
	mac = pz_at(ctx, at, 1);
	if (!mac || PZ_U8(mac) & 1) /* a run of 0xff is no MAC of a host */
		return -1;
	for (i = 1; i < 16; i++) {
		repeat = pz_at(ctx, (__u64)at + i * PZ_MAGIC_PERIOD, 6);
		mac = pz_at(ctx, at, 6);
		if (!repeat || !mac || !pz_same_mac(repeat, mac))
			return -1;
	}
	return (int)at - 6;
}

/* What the search for a Magic Packet came to. */
struct pz_magic {
	__u32 host;
	__u32 found;
	__u32 reason; /* trigger-magic, or why it does not count */
};

PZ_INLINE void pz_judge_magic(struct pz_ctx *ctx, struct pz_packet *p, __u32 at, __u32 end, struct pz_magic *magic)
{
	void *mac = pz_at(ctx, (__u64)at + 6, 6);
	struct pz_owner *owner = mac ? pz_find_owner(p->segment, mac) : NULL;
	struct pz_policy *policy;
	struct pz_live *live;
	void *password;

	if (!owner)
		return;
	policy = bpf_map_lookup_elem(&pz_policy_v1, &owner->host);
	live = bpf_map_lookup_elem(&pz_live_v1, &owner->host);
	if (!policy || !live || policy->stage == PZ_STAGE_NONE || policy->stage == PZ_STAGE_WATCHED)
		return;
	if (!p->group && !pz_same_mac(p->destination_mac, p->own_mac) && !pz_same_mac(p->destination_mac, mac))
		return;
	pz_note_target(owner->host, policy->generation);
	magic->found = 1;
	magic->host = owner->host;
	magic->reason = PZ_REASON_TRIGGER_MAGIC;
	if (policy->stage == PZ_STAGE_UNANSWERED && !pz_is_released(live, owner->host, policy->generation)) {
		magic->reason = PZ_REASON_UNANSWERED;
		return;
	}
	if (policy->stage != PZ_STAGE_ASLEEP || pz_is_released(live, owner->host, policy->generation)) {
		magic->reason = PZ_REASON_MAGIC_REPEATS;
		return;
	}
	if (policy->flags & PZ_POLICY_SECUREON) {
		password = pz_at(ctx, (__u64)at + PZ_MAGIC_LEN, PZ_SECUREON_LEN);
		if (!password || at + PZ_MAGIC_LEN + PZ_SECUREON_LEN > end || !pz_same_mac(password, policy->secureon))
			magic->reason = PZ_REASON_MAGIC_PASSWORD;
	}
}

/* The offset of the first Magic Packet for anybody in [start, end), or -1. */
PZ_GLOBAL int pz_find_magic(struct pz_ctx *ctx, __u32 start, __u32 end)
{
	__u32 probe = start + 88;
	void *bytes;
	int at, i;

	for (i = 0; i < PZ_MAGIC_PROBES; i++) {
		if (probe + 14 > end)
			break;
		bytes = pz_at(ctx, probe, 14);
		if (!bytes)
			break;
		if (PZ_U64(bytes) == PZ_U64(bytes + PZ_MAGIC_PERIOD)) {
			at = pz_magic_at(ctx, probe, start, end);
			if (at >= 0)
				return at;
		}
		probe += PZ_MAGIC_STRIDE;
	}
	return -1;
}

/* Does the record wake for this protocol and port?  `port` in host order. */
PZ_INLINE int pz_wakes_for(const struct pz_packet *p, __u8 protocol, __u16 port)
{
	__u32 host = p->host; /* on the stack: 6.1 takes no key from a global function's argument */
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v1, &host);
	const struct pz_rule *rule;
	int i;

	if (!policy)
		return 0;
	for (i = 0; i < PZ_MAX_RULES && i < policy->rule_count; i++) {
		rule = &policy->rules[i];
		if (rule->action == PZ_RULE_WAKE && rule->protocol == protocol && (!rule->port || rule->port == port)) {
			pz_note_rule(rule);
			return 1;
		}
	}
	return 0;
}

#define PZ_TCP_FIN 0x01
#define PZ_TCP_SYN 0x02
#define PZ_TCP_RST 0x04
#define PZ_TCP_ACK 0x10

/* A connection attempt: SYN alone; ECE and CWR with it are ECN setup (RFC 3168 section 6.1.1). */
PZ_INLINE int pz_wake_tcp(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *tcp = pz_at(ctx, p->l4_offset, 20);
	__u32 header;
	__u16 port;

	if (!tcp)
		return pz_ignore(p, PZ_REASON_L4_MALFORMED);
	header = (PZ_U8(tcp + 12) >> 4) * 4;
	if (header < 20 || header > p->l4_length)
		return pz_ignore(p, PZ_REASON_L4_MALFORMED);
	if ((PZ_U8(tcp + 13) & (PZ_TCP_SYN | PZ_TCP_ACK | PZ_TCP_RST | PZ_TCP_FIN)) != PZ_TCP_SYN)
		return PZ_CONTINUE;
	port = bpf_ntohs(PZ_U16(tcp + 2));
	if (!pz_wakes_for(p, IPPROTO_TCP, port))
		return pz_ignore(p, PZ_REASON_PORT_CLOSED);
	return pz_trigger(ctx, p, p->host, PZ_REASON_TRIGGER_SYN, port);
}

/* Where a Magic Packet may be and who it is for; UDP to a wake port otherwise. */
PZ_INLINE int pz_wake_udp(struct pz_ctx *ctx, struct pz_packet *p)
{
	struct pz_magic magic = {.found = 0};
	__u32 start, end;
	__u16 port = 0;
	void *udp;
	int at, i;

	if (p->l3 == PZ_L3_MAGIC) {
		start = p->l3_offset;
		end = p->length;
	} else {
		udp = pz_at(ctx, p->l4_offset, 8);
		if (!udp || p->l4_length < 8 || bpf_ntohs(PZ_U16(udp + 4)) < 8 ||
		    bpf_ntohs(PZ_U16(udp + 4)) > p->l4_length)
			return pz_ignore(p, PZ_REASON_L4_MALFORMED);
		port = bpf_ntohs(PZ_U16(udp + 2));
		start = p->l4_offset + 8;
		end = p->l4_offset + bpf_ntohs(PZ_U16(udp + 4));
	}
	for (i = 0; i < PZ_MAGIC_PACKETS && !magic.found; i++) {
		at = pz_find_magic(ctx, start, end);
		if (at < 0)
			break;
		pz_judge_magic(ctx, p, at, end, &magic);
		start = at + PZ_MAGIC_LEN;
	}
	if (magic.found)
		p->host = magic.host;
	if (magic.found && magic.reason == PZ_REASON_UNANSWERED)
		return pz_pass(p, magic.reason);
	if (magic.found && magic.reason != PZ_REASON_TRIGGER_MAGIC)
		return pz_ignore(p, magic.reason);
	if (magic.found)
		return pz_trigger(ctx, p, magic.host, PZ_REASON_TRIGGER_MAGIC, port);
	if (p->l3 == PZ_L3_MAGIC || p->magic_port)
		return XDP_PASS; /* nobody's, or its sender was the story */
	if (!pz_wakes_for(p, IPPROTO_UDP, port))
		return pz_ignore(p, PZ_REASON_PORT_CLOSED);
	return pz_trigger(ctx, p, p->host, PZ_REASON_TRIGGER_UDP, port);
}

PZ_INLINE int pz_wake(struct pz_ctx *ctx, struct pz_packet *p)
{
	if (p->l3 == PZ_L3_MAGIC || p->magic_port)
		return p->status == PZ_REASON_NOBODY ? pz_wake_udp(ctx, p) : pz_pass(p, p->status);
	if (p->group)
		return PZ_CONTINUE;
	if (p->protocol == IPPROTO_TCP)
		return pz_wake_tcp(ctx, p);
	if (p->protocol == IPPROTO_UDP)
		return pz_wake_udp(ctx, p);
	return PZ_CONTINUE;
}

#endif
