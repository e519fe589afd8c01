/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The packets that need the host: Magic Packet (R31), TCP connection attempt (R30), UDP to a wake port. */
#ifndef PZ_WAKE_H
#define PZ_WAKE_H

#include "hosts.h"
#include "resize.h"
#include "verdict.h"

#define PZ_MAGIC_LEN 102
#define PZ_MAGIC_PERIOD 6
/* A Magic Packet repeats with period 6 for 96 bytes, so one probe of 14 bytes in every 83 cannot miss it. */
#define PZ_MAGIC_STRIDE 83
/* So many repeats before a probe reach back to the probe before it. */
#define PZ_MAGIC_BACK ((PZ_MAGIC_STRIDE + PZ_MAGIC_PERIOD - 1) / PZ_MAGIC_PERIOD + 1)
#define PZ_MAGIC_PACKETS 4 /* in one frame, for several hosts */
#define PZ_MAGIC_PROBES ((9216 + PZ_MAGIC_STRIDE - 1) / PZ_MAGIC_STRIDE)

#ifndef PZ_EGRESS
/*
 * May a Magic Packet take the frame's place?  The host is behind the same interface, and its record has one MAC for the
 * packet's target; what is a Magic Packet itself may be for another host than that.  Of the packets that come before the
 * daemon hears of the first, one does it.
 */
PZ_INLINE int pz_wakes_at_once(struct pz_ctx *ctx, const struct pz_packet *p, const struct pz_policy *policy,
			       const struct pz_live *live, const struct pz_report *report)
{
	return (policy->flags & PZ_POLICY_AT_ONCE) && report->reason != PZ_REASON_TRIGGER_MAGIC &&
	       report->time_ns - live->last_trigger_ns >= PZ_ALARM_NS && policy->stage == PZ_STAGE_ASLEEP &&
	       !p->group && !(p->index_flags & PZ_INDEX_IDENTITY_PROXY) && pz_at(ctx, (__u64)p->length - 1, 1);
}

/*
 * Makes the frame a Magic Packet for its target, broadcast from the gateway's own MAC, with the same tags.  0, or -1: no
 * room.  Global, so that it is verified once.
 */
PZ_GLOBAL int pz_become_magic(struct pz_ctx *ctx, struct pz_packet *p)
{
	__u64 mac;
	void *type;
	int i;

	if (!p)
		return -1;
	mac = PZ_U32(p->answer_mac) | (__u64)PZ_U16(p->answer_mac + 4) << 32;
	__builtin_memset(p->lladdr, 0xff, sizeof(p->lladdr));
	pz_copy_mac(p->answer_mac, p->own_mac);
	if (!pz_reply_frame(ctx, p, PZ_MAGIC_LEN))
		return -1;
	type = pz_at(ctx, (__u64)p->l3_offset - 2, 2 + PZ_MAGIC_LEN);
	if (!type)
		return -1;
	PZ_U16(type) = bpf_htons(PZ_ETH_P_MAGIC);
	PZ_U32(type + 2) = 0xffffffff;
	PZ_U16(type + 6) = 0xffff;
	for (i = 0; i < 4; i++) { /* four times the MAC each */
		PZ_U64(type + 8 + 24 * i) = mac | mac << 48;
		PZ_U64(type + 16 + 24 * i) = mac >> 16 | mac << 32;
		PZ_U64(type + 24 + 24 * i) = mac >> 32 | mac << 16;
	}
	return 0;
}
#endif

/* Wakes the host: hands the frame to the daemon, which holds it. */
PZ_INLINE int pz_trigger(struct pz_ctx *ctx, struct pz_packet *p, __u32 host, __u32 reason, __u16 port)
{
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	struct pz_live *live = bpf_map_lookup_elem(&pz_live_v2, &host);
	struct pz_report report = {
		.time_ns = bpf_ktime_get_ns(), .kind = PZ_EVENT_TRIGGER, .reason = reason, .host = host, .port = port};
	int asked;

	if (!policy || !live)
		return pz_ignore(p, PZ_REASON_RELEASED);
	asked = pz_note_asker(ctx, p, &report);
#ifndef PZ_EGRESS
	report.at_once = pz_wakes_at_once(ctx, p, policy, live, &report);
#endif
	if (!pz_take_allowance(live, asked, report.time_ns))
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
#ifndef PZ_EGRESS
	if (report.at_once)
		pz_ring_later(report.time_ns);
	if (report.at_once && !pz_become_magic(ctx, p)) {
		p->reason = reason;
		return XDP_TX;
	}
#endif
	return pz_ignore(p, reason);
}

/*
 * The offset of the Magic Packet of which the MAC at `at` is a repeat, within [start, end); 0: there is none; -1: there
 * is none, and the repeats begin here and not before the probe before this one.  The sync is just before the first
 * repeat.  Global, so that it is verified once.
 */
PZ_GLOBAL int pz_magic_at(struct pz_ctx *ctx, __u32 at, __u64 mac, __u32 start, __u32 end)
{
	int i, repeats = 1;
	void *bytes;

	at &= PZ_MAX_OFFSET;
	for (; repeats <= PZ_MAGIC_BACK; repeats++) {
		bytes = at >= start + PZ_MAGIC_PERIOD ? pz_at(ctx, (__u64)at - PZ_MAGIC_PERIOD, PZ_MAGIC_PERIOD) : NULL;
		if (!bytes || PZ_U32(bytes) != (__u32)mac || PZ_U16(bytes + 4) != (__u16)(mac >> 32))
			break;
		at = (at - PZ_MAGIC_PERIOD) & PZ_MAX_OFFSET;
	}
	if (repeats > PZ_MAGIC_BACK)
		return 0;
	if (at < start + 6 || at - 6 + PZ_MAGIC_LEN > end)
		return -1;
	bytes = pz_at(ctx, (__u64)at - 6, 6);
	if (!bytes || PZ_U32(bytes) != 0xffffffff || PZ_U16(bytes + 4) != 0xffff)
		return -1;
	for (i = 1; i < 16; i++) {
		bytes = pz_at(ctx, (__u64)at + i * PZ_MAGIC_PERIOD, PZ_MAGIC_PERIOD);
		if (!bytes || PZ_U32(bytes) != (__u32)mac || PZ_U16(bytes + 4) != (__u16)(mac >> 32))
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

PZ_INLINE struct pz_rules *pz_rules_of(const struct pz_policy *policy)
{
	__u32 key = policy->rules;

	return bpf_map_lookup_elem(&pz_rules_v1, &key);
}

PZ_INLINE void pz_judge_magic(struct pz_ctx *ctx, struct pz_packet *p, __u32 at, __u32 end, struct pz_magic *magic)
{
	void *mac = pz_at(ctx, (__u64)at + 6, 6);
	__u32 host = mac ? pz_owner_of(p->segment, mac) : PZ_NOBODY;
	struct pz_policy *policy;
	struct pz_rules *rules;
	struct pz_live *live;
	void *password;

	if (host == PZ_NOBODY)
		return;
	policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	live = bpf_map_lookup_elem(&pz_live_v2, &host);
	if (!policy || !live || policy->stage == PZ_STAGE_NONE || policy->stage == PZ_STAGE_WATCHED)
		return;
	if (!p->group && !pz_same_mac(p->destination_mac, p->own_mac) && !pz_same_mac(p->destination_mac, mac))
		return;
	pz_note_target(host, policy->generation);
	magic->found = 1;
	magic->host = host;
	magic->reason = PZ_REASON_TRIGGER_MAGIC;
	if (policy->stage == PZ_STAGE_UNANSWERED && !pz_is_released(live, host, policy->generation)) {
		magic->reason = PZ_REASON_UNANSWERED;
		return;
	}
	if (policy->stage != PZ_STAGE_ASLEEP || pz_is_released(live, host, policy->generation)) {
		magic->reason = PZ_REASON_MAGIC_REPEATS;
		return;
	}
	if (policy->flags & PZ_POLICY_SECUREON) {
		rules = pz_rules_of(policy);
		password = pz_at(ctx, (__u64)at + PZ_MAGIC_LEN, PZ_SECUREON_LEN);
		if (!rules || !password || at + PZ_MAGIC_LEN + PZ_SECUREON_LEN > end ||
		    !pz_same_mac(password, rules->secureon))
			magic->reason = PZ_REASON_MAGIC_PASSWORD;
	}
}

/*
 * Has what ends with the period at `probe` had it for longer than the repeats of one Magic Packet reach back?  Then there
 * is no sync in it, whoever's MAC that is.
 */
#define PZ_MAGIC_RUN (PZ_MAGIC_BACK * PZ_MAGIC_PERIOD)
PZ_INLINE int pz_is_long_run(struct pz_ctx *ctx, __u32 probe)
{
	void *run = pz_at(ctx, (__u64)probe - PZ_MAGIC_RUN, PZ_MAGIC_RUN + 14);
	__u64 differs = 0;
	int i;

	if (!run || PZ_U64(run + PZ_MAGIC_PERIOD) != PZ_U64(run + PZ_MAGIC_RUN)) /* most are shorter */
		return 0;
#pragma unroll
	for (i = 0; i < PZ_MAGIC_RUN; i += 8)
		differs |= PZ_U64(run + i) ^ PZ_U64(run + i + PZ_MAGIC_PERIOD);
	return !differs;
}

/*
 * What has the period of a Magic Packet at `probe` says six MACs, by where one begins; most are nobody's, so that nothing
 * else has to be looked at.  The offset of the Magic Packet; 0: there is none; -1: there is none, and what has a MAC that
 * may be in our care begins here.  Global, so that it is verified once.
 */
PZ_GLOBAL int pz_magic_around(struct pz_ctx *ctx, __u32 probe, __u64 mac, __u32 start, __u32 end)
{
	int turn, at, result = 0;

	if (pz_is_long_run(ctx, probe))
		return 0;
	mac &= 0xffffffffffff;
	for (turn = 0; turn < PZ_MAGIC_PERIOD; turn++) {
		if (!(mac & 1) && pz_may_have(&pz_bits_mac_v1, buckets_mac, pz_hash_mac(mac))) {
			at = pz_magic_at(ctx, probe + turn, mac, start, end);
			if (at > 0)
				return at;
			result = at < 0 ? -1 : result;
		}
		mac = mac >> 8 | (mac & 0xff) << 40;
		asm volatile("" : "+r"(turn)); /* else clang counts probe + turn, of which no bound is known */
	}
	return result;
}

/*
 * The offset of the first Magic Packet in [start, end) for a MAC that may be in our care, or -1.  After so many that have
 * such a MAC but are none the search is given up: nobody sends that but to keep us busy.
 */
#define PZ_MAGIC_FALSE 4
PZ_GLOBAL int pz_find_magic(struct pz_ctx *ctx, __u32 start, __u32 end)
{
	/* 0; for the verifier any number that leaves the search going, so that all turns of the loop look the same to it */
	__u32 false_ones = start >> 30, probe = start + 88;
	void *bytes;
	int i, at;

	for (i = 0; i < PZ_MAGIC_PROBES; i++) {
		if (probe + 14 > end)
			break;
		bytes = pz_at(ctx, probe, 14);
		if (!bytes)
			break;
		if (PZ_U64(bytes) == PZ_U64(bytes + PZ_MAGIC_PERIOD)) {
			at = pz_magic_around(ctx, probe, PZ_U64(bytes), start, end);
			if (at > 0)
				return at;
			false_ones -= at;
			if (false_ones >= PZ_MAGIC_FALSE)
				break;
		}
		probe += PZ_MAGIC_STRIDE;
	}
	return -1;
}

/* Does the record wake for this protocol and port?  `port` in host order. */
PZ_INLINE int pz_wakes_for(const struct pz_packet *p, __u8 protocol, __u16 port)
{
	__u32 host = p->host; /* on the stack: 6.1 takes no key from a global function's argument */
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	struct pz_rules *rules = policy ? pz_rules_of(policy) : NULL;
	const struct pz_rule *rule;
	int i;

	if (!rules)
		return 0;
	for (i = 0; i < PZ_MAX_RULES && i < rules->count; i++) {
		rule = &rules->rules[i];
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
	/* LLMNR by TCP is a question, and questions wake nobody */
	if ((port == PZ_PORT_LLMNR && (p->options & PZ_POLICY_LLMNR)) || !pz_wakes_for(p, IPPROTO_TCP, port))
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
		udp = pz_udp(ctx, p);
		if (!udp)
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
	if (port == PZ_PORT_MDNS && (p->options & PZ_POLICY_MDNS))
		p->steer = PZ_LISTEN_MDNS; /* a question wakes nobody, whatever the rules are */
	else if (port == PZ_PORT_LLMNR && (p->options & PZ_POLICY_LLMNR))
		p->steer = PZ_LISTEN_LLMNR; /* an answer to a question of ours */
	if (p->steer)
		return PZ_CONTINUE;
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
