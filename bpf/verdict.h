/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Every side effect of the data path: counters, events, the release mark.  Nothing else writes anything.  In a dry run
 * they are left out, and what is found goes to `explanation`; the verifier removes the half that a load does not need.
 */
#ifndef PZ_VERDICT_H
#define PZ_VERDICT_H

#include <linux/pkt_cls.h>
#include <linux/time.h>

#include "maps.h"
#include "parse.h"

/* Written by a dry run only, one frame at a time; user space clears it before. */
struct pz_explanation explanation;

PZ_INLINE void pz_count(__u32 reason)
{
	struct pz_counter *counter = bpf_map_lookup_elem(&pz_counters_v1, &reason);

	if (counter)
		counter->frames++;
}

#ifdef PZ_EGRESS
/*
 * The kernel's word for an action.  What passes meets the filters of others.  What is dropped is taken over rather than
 * shot: a program on the gateway gets no error for it, as it gets none for what a sleeper on the wire ignores.
 */
PZ_INLINE int pz_tc_action(struct pz_ctx *ctx, int action)
{
	if (action == XDP_TX)
		return dry_run ? TC_ACT_REDIRECT : bpf_redirect(ctx->ifindex, BPF_F_INGRESS);
	return action == XDP_DROP ? TC_ACT_STOLEN : TC_ACT_UNSPEC;
}
#endif

/* Counts the frame's one reason and ends the program. */
PZ_INLINE int pz_finish(__u32 reason, int action)
{
	if (dry_run)
		explanation.reason = reason;
	else
		pz_count(reason);
	return action;
}

PZ_INLINE void pz_note_segment(__u32 segment)
{
	if (dry_run)
		explanation.segment = segment;
}

/* Who the frame has to do with, and which rule matched: of interest to a dry run alone. */
PZ_INLINE void pz_note_sender(__u32 host, __u32 generation, __u32 sign)
{
	if (!dry_run)
		return;
	explanation.sender.host = host;
	explanation.sender.generation = generation;
	explanation.sign = sign;
}

PZ_INLINE void pz_note_target(__u32 host, __u32 generation)
{
	if (!dry_run)
		return;
	explanation.target.host = host;
	explanation.target.generation = generation;
}

PZ_INLINE void pz_note_rule(const struct pz_rule *rule)
{
	if (dry_run)
		explanation.rule = *rule;
}

/* Ignored: unicast to a sleeper must not reach its NIC; everybody else needs group traffic too. */
PZ_INLINE int pz_ignore(struct pz_packet *p, __u32 reason)
{
	p->reason = reason;
	return p->group ? XDP_PASS : XDP_DROP;
}

/* What an event says besides what struct pz_packet knows. */
struct pz_report {
	__u64 time_ns;
	__u8 address[16];
	__u32 kind; /* enum pz_event_kind */
	__u32 reason;
	__u32 host;
	__u32 generation;
	__u16 port;
	__u8 detail;   /* enum pz_sign; TRIGGER: enum pz_asked; OPTION: enum pz_listen */
	__u8 family;   /* enum pz_family of `address` */
	__u32 at_once; /* the daemon is woken later: pz_ring_later() */
};

PZ_INLINE void pz_fill_event(struct pz_ctx *ctx, const struct pz_packet *p, const struct pz_report *report,
			     struct pz_event *event, __u32 captured)
{
	event->time_ns = report->time_ns;
	event->kind = report->kind;
	event->reason = report->reason;
	event->host = report->host;
	event->generation = report->generation;
	event->segment = p->segment;
	event->ifindex = pz_device(ctx);
	event->frame_length = p->length;
	event->frame_captured = captured;
	if (report->kind == PZ_EVENT_SECOND_PROXY)
		pz_copy_mac(event->mac, p->gateway_mac);
	else
		pz_copy_mac(event->mac,
			    p->l3 == PZ_L3_ARP || report->kind == PZ_EVENT_CONFLICT ? p->lladdr : p->source_mac);
	event->family = report->family;
	event->detail = report->detail;
	pz_copy16(event->address, report->address);
	event->port = report->port;
	event->protocol = p->l3 == PZ_L3_MAGIC || p->l3 == PZ_L3_ARP ? 0 : p->protocol;
	event->leaves = PZ_IS_EGRESS;
	event->at_once = report->at_once;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
}

/* pz_emit() of a dry run, with its answer; the ring is only asked whether it has room. */
PZ_INLINE int pz_note_event(struct pz_ctx *ctx, const struct pz_packet *p, const struct pz_report *report, void *ring)
{
	__u32 captured = p->length <= PZ_EVENT_LARGE_FRAME ? p->length : 0;
	__u64 size;

	if (report->kind == PZ_EVENT_NON_WAKE && p->length > PZ_EVENT_SMALL_FRAME)
		captured = PZ_EVENT_SMALL_FRAME;
	if (report->kind == PZ_EVENT_TRIGGER && pz_is_several(ctx))
		captured = 0;
	if (report->kind == PZ_EVENT_OPTION)
		captured = p->length; /* any that is reported fits */
	size = captured > PZ_EVENT_LARGE_FRAME   ? PZ_EVENT_JUMBO_SIZE
	       : captured > PZ_EVENT_SMALL_FRAME ? PZ_EVENT_LARGE_SIZE
						 : PZ_EVENT_SMALL_SIZE;

	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) + size + BPF_RINGBUF_HDR_SZ >=
	    bpf_ringbuf_query(ring, BPF_RB_RING_SIZE))
		return 0;
	if (report->kind == PZ_EVENT_TRIGGER || report->kind == PZ_EVENT_CONFLICT ||
	    report->kind == PZ_EVENT_NON_WAKE || report->kind == PZ_EVENT_SECOND_PROXY ||
	    report->kind == PZ_EVENT_OPTION)
		pz_fill_event(ctx, p, report, &explanation.events[PZ_SLOT_TARGET], captured);
	else
		pz_fill_event(ctx, p, report, &explanation.events[PZ_SLOT_SENDER], captured);
	return 1;
}

/* The frame's first `length` bytes to `to`, which has room for `room`.  The tests stand apart, or clang makes one of
 * them that bounds a difference and not `length`, which 6.1 and 6.12 refuse; and 6.1 does not see `length != 0`. */
PZ_INLINE int pz_capture(struct pz_ctx *ctx, void *to, __u64 length, const __u64 room)
{
	asm volatile("" : "+r"(length));
	if (length > room)
		return -1;
	asm volatile("" : "+r"(length));
	if (length < ETH_HLEN)
		return -1;
	asm volatile("" : "+r"(length));
	return pz_load(ctx, to, length);
}

/*
 * Hands the frame to user space, on the ring of its kind.  Two sizes, because the ring zeroes nothing but is bounded; a
 * frame that fits neither is reported without its bytes, and of a non-wake the beginning is enough.  What an option is
 * to read has a third one.  False: the ring is full.  Global, so that it is verified once.
 */
PZ_GLOBAL int pz_emit(struct pz_ctx *ctx, const struct pz_packet *p, const struct pz_report *report)
{
	__u64 wakeup = 0;
	__u32 length;
	void *ring;

	if (!p || !report)
		return 0;
	length = p->length;
	ring = report->kind >= PZ_EVENT_CONFLICT ? (void *)&pz_overheard_v1 : (void *)&pz_triggers_v1;
	if (dry_run)
		return pz_note_event(ctx, p, report, ring);
	if (report->at_once) /* later there may be no room to wake it by */
		wakeup = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2
				 ? BPF_RB_FORCE_WAKEUP
				 : BPF_RB_NO_WAKEUP;

	if (report->kind == PZ_EVENT_NON_WAKE && length > PZ_EVENT_SMALL_FRAME)
		length = PZ_EVENT_SMALL_FRAME;
	if (report->kind == PZ_EVENT_TRIGGER && pz_is_several(ctx))
		length = 0; /* the host gets packets, not a parcel of them */
	if (length > PZ_EVENT_SMALL_FRAME && length <= PZ_EVENT_LARGE_FRAME) {
		struct pz_event_large *large = bpf_ringbuf_reserve(ring, sizeof(*large), 0);

		if (!large)
			return 0;
		if (pz_capture(ctx, large->frame, length, PZ_EVENT_LARGE_FRAME))
			length = 0;
		pz_fill_event(ctx, p, report, &large->event, length);
		bpf_ringbuf_submit(large, wakeup);
	} else if (report->kind == PZ_EVENT_OPTION && length > PZ_EVENT_LARGE_FRAME) {
		struct pz_event_jumbo *jumbo = bpf_ringbuf_reserve(ring, sizeof(*jumbo), 0);

		if (!jumbo)
			return 0;
		if (pz_capture(ctx, jumbo->frame, length, PZ_EVENT_JUMBO_FRAME))
			length = 0;
		pz_fill_event(ctx, p, report, &jumbo->event, length);
		bpf_ringbuf_submit(jumbo, 0);
	} else {
		struct pz_event_small *small = bpf_ringbuf_reserve(ring, sizeof(*small), 0);

		if (!small)
			return 0;
		if (pz_capture(ctx, small->frame, length, PZ_EVENT_SMALL_FRAME))
			length = 0;
		pz_fill_event(ctx, p, report, &small->event, length);
		bpf_ringbuf_submit(small, wakeup);
	}
	return 1;
}

#ifndef PZ_EGRESS
PZ_INLINE void pz_ring_now(void)
{
	void *nothing = bpf_ringbuf_reserve(&pz_triggers_v1, 8, 0);

	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

static int pz_on_alarm(void *map, int *key, struct pz_alarm *alarm)
{
	(void)map;
	(void)key;
	(void)alarm;
	pz_ring_now();
	return 0;
}

/*
 * To wake the daemon takes longer than all the rest, and a Magic Packet leaves only when the program has ended.  So what
 * pz_emit() told quietly the daemon hears some milliseconds later: after the next tick, as a nearer one would have to be
 * set up now.
 */
#define PZ_ALARM_NS 5000000
PZ_INLINE void pz_ring_later(__u64 now_ns)
{
	__u32 cpu = bpf_get_smp_processor_id() % PZ_ALARMS;
	struct pz_alarm *alarm = bpf_map_lookup_elem(&pz_alarms_v1, &cpu);

	if (dry_run || !alarm || now_ns < alarm->due_ns) /* one that is due is not put off */
		return;
	alarm->due_ns = now_ns + PZ_ALARM_NS;
	bpf_timer_init(&alarm->timer, &pz_alarms_v1, CLOCK_MONOTONIC); /* does nothing but the first time */
	bpf_timer_set_callback(&alarm->timer, pz_on_alarm);
	if (bpf_timer_start(&alarm->timer, PZ_ALARM_NS, 0))
		pz_ring_now();
}
#endif

PZ_INLINE void pz_mark_seen(struct pz_live *live, __u64 now)
{
	if (!dry_run)
		live->last_seen_ns = now;
}

PZ_INLINE void pz_mark_released(struct pz_live *live, __u32 host, __u32 generation)
{
	__u32 entry = host / 64;
	struct pz_released *word;

	if (dry_run) {
		explanation.released = 1;
		return;
	}
	live->released = generation;
	word = bpf_map_lookup_elem(&pz_released_v1, &entry);
	if (word)
		__sync_fetch_and_or(&word->bits, 1ULL << (host % 64));
}

/* Was the record released, maybe on this very frame?  A dry run leaves no mark, so it has to remember. */
PZ_INLINE int pz_is_released(const struct pz_live *live, __u32 host, __u32 generation)
{
	if (dry_run) {
		asm volatile("" ::: "memory"); /* else clang reads `explanation` ahead of the test, in every load */
		if (explanation.released && explanation.sender.host == host &&
		    explanation.sender.generation == generation)
			return 1;
	}
	return live->released == generation;
}

/* A source asks again if it asked first so long ago. */
#define PZ_AGAIN_MIN_MS 500
#define PZ_AGAIN_MAX_MS 64000
/* Triggers of one source that asks again: so many at once, then one each interval. */
#define PZ_ASKER_INTERVAL_MS 100
#define PZ_ASKER_BURST 32

/* What a packet that is sent again has in common with the first one, besides its addresses. */
PZ_INLINE __u64 pz_flow(struct pz_ctx *ctx, const struct pz_packet *p, __u32 reason)
{
	void *l4 = pz_at(ctx, p->l4_offset, 8);

	if (l4 && reason == PZ_REASON_TRIGGER_SYN)
		return PZ_U64(l4); /* ports and sequence number */
	if (l4 && reason == PZ_REASON_TRIGGER_UDP)
		return PZ_U32(l4); /* ports */
	return 0;
}

/*
 * Whether a trigger comes again from its source: enum pz_asked; -1 if it does so too often.  A slot keeps the last one
 * that fell into it: in a flood of ever new ones a source that waits is forgotten with a probability that grows with
 * the flood, and then asks once more.
 */
PZ_INLINE int pz_note_asker(struct pz_ctx *ctx, const struct pz_packet *p, const struct pz_report *report)
{
	__u64 high = p->l3 == PZ_L3_MAGIC ? PZ_U32(p->source_mac) | (__u64)PZ_U16(p->source_mac + 4) << 32
					  : PZ_U64(p->source);
	__u64 low = PZ_U64(p->source + 8) ^ ((__u64)report->host << 32), flow = pz_flow(ctx, p, report->reason);
	__u32 tag = pz_hash6(high, low) ^ pz_hash64(flow), slot = pz_hash6(flow ^ low, high) % PZ_ASKERS;
	__u32 now = report->time_ns / 1000000, due;
	struct pz_asker *asker = bpf_map_lookup_elem(&pz_askers_v1, &slot);

	if (!asker)
		return PZ_ASKED_FIRST;
	if (asker->tag != tag || now - asker->since_ms > PZ_AGAIN_MAX_MS) {
		if (!dry_run) {
			asker->tag = tag;
			asker->since_ms = now;
			asker->due_ms = now;
		}
		return PZ_ASKED_FIRST;
	}
	if (now - asker->since_ms < PZ_AGAIN_MIN_MS)
		return PZ_ASKED_FIRST;
	due = asker->due_ms;
	if ((__s32)(due - now) < 0)
		due = now;
	if (due - now > (PZ_ASKER_BURST - 1) * PZ_ASKER_INTERVAL_MS)
		return -1;
	if (!dry_run)
		asker->due_ms = due + PZ_ASKER_INTERVAL_MS;
	return PZ_ASKED_AGAIN;
}

/* When an allowance is whole again that was so at `due`; what is further ahead than it can be is from long ago. */
PZ_INLINE __u32 pz_due(__u32 due, __u32 now, __u32 ahead)
{
	return (__s32)(due - now) < 0 || due - now > ahead ? now : due;
}

/*
 * Takes one event from the host's allowance: `event_burst` at once, then one each `event_interval_ms`.  Who asks again
 * has an allowance apart, which a flood from ever new sources cannot use up.  Two CPUs may both take the last one:
 * harmless.
 */
PZ_INLINE int pz_take_allowance(struct pz_live *live, int asked, __u64 now_ns)
{
	__u32 zero = 0, now = now_ns / 1000000, interval, burst, due;
	struct pz_daemon *daemon = bpf_map_lookup_elem(&pz_daemon_v2, &zero);

	if (!dry_run)
		live->last_trigger_ns = now_ns;
	interval = daemon ? daemon->event_interval_ms : 0;
	if (!interval)
		return 1;
	if (asked < 0)
		return 0;
	burst = daemon->event_burst ? daemon->event_burst : 1;
	due = pz_due(asked == PZ_ASKED_AGAIN ? live->again_due_ms : live->event_due_ms, now, burst * interval);
	if (due - now > (burst - 1) * interval)
		return 0;
	if (!dry_run && asked == PZ_ASKED_AGAIN)
		live->again_due_ms = due + interval;
	else if (!dry_run)
		live->event_due_ms = due + interval;
	return 1;
}

/*
 * One event for an address in each interval, about a conflict or, of an awake host, about its use, so that a flood of
 * claims costs others nothing; a few slots for each host, so that its other addresses are not hidden.  What is not
 * reported counts for nothing: two claims so close together are one, to which there was no time to answer.
 */
#define PZ_CLAIM_INTERVAL_MS 100

PZ_INLINE int pz_take_claim(struct pz_live *live, const struct pz_report *report)
{
	__u32 slot = pz_bucket_of(report->family == PZ_FAMILY_4
					  ? pz_hash4(PZ_U32(report->address))
					  : pz_hash6(PZ_U64(report->address), PZ_U64(report->address + 8)),
				  PZ_CONFLICT_SLOTS);
	__u32 now = report->time_ns / 1000000, last;

	asm volatile(""
		     : "+r"(slot)); /* else clang folds its shift into the one for the address, and its bound is lost */
	last = live->conflict_ms[slot];
	if (last && now - last < PZ_CLAIM_INTERVAL_MS)
		return 0;
	if (!dry_run)
		live->conflict_ms[slot] = now ? now : 1;
	return 1;
}

/* A host's NON_WAKE events: so many at once, then one each second. */
#define PZ_NON_WAKE_INTERVAL_MS 1000
#define PZ_NON_WAKE_BURST 8

#define PZ_BIT(reason) (1ULL << PZ_REASON_##reason)
/* Why a packet for a sleeper did not wake it, where somebody might ask: p->host is set then, if the packet is unicast. */
#define PZ_NON_WAKES                                                                                                   \
	(PZ_BIT(PORT_CLOSED) | PZ_BIT(UNICAST_IGNORED) | PZ_BIT(ECHO_IGNORED) | PZ_BIT(ECHO_CHECKSUM) |                \
	 PZ_BIT(MAGIC_PASSWORD) | PZ_BIT(TRIGGER_THROTTLED) | PZ_BIT(IP_MALFORMED) | PZ_BIT(IP_CHECKSUM) |             \
	 PZ_BIT(IP_FRAGMENT) | PZ_BIT(IP_SOURCE_ROUTE) | PZ_BIT(IP_EXT_TOO_MANY) | PZ_BIT(L4_MALFORMED))
/* Also said of what passes, once it is known which host is meant. */
#define PZ_PASSED_NON_WAKES (PZ_BIT(MAGIC_PASSWORD) | PZ_BIT(TRIGGER_THROTTLED) | PZ_BIT(UNANSWERED))
PZ_STATIC_ASSERT(PZ_REASON_COUNT <= 64, "reasons are bits of PZ_NON_WAKES");

/*
 * Tells the daemon of a packet that `p->host` sleeps on for.  Bounded for each host, and in all: it leaves half of the
 * ring to what the others on it need.
 */
PZ_INLINE void pz_report_non_wake(struct pz_ctx *ctx, const struct pz_packet *p)
{
	__u32 host = p->host;
	struct pz_policy *policy = bpf_map_lookup_elem(&pz_policy_v2, &host);
	struct pz_live *live = bpf_map_lookup_elem(&pz_live_v2, &host);
	struct pz_report report = {
		.time_ns = bpf_ktime_get_ns(), .kind = PZ_EVENT_NON_WAKE, .reason = p->reason, .host = host};
	__u32 now = report.time_ns / 1000000, due;

	if (!policy || !live || (policy->stage != PZ_STAGE_ASLEEP && policy->stage != PZ_STAGE_UNANSWERED))
		return;
	due = pz_due(live->non_wake_due_ms, now, PZ_NON_WAKE_BURST * PZ_NON_WAKE_INTERVAL_MS);
	if (due - now > (PZ_NON_WAKE_BURST - 1) * PZ_NON_WAKE_INTERVAL_MS)
		return;
	if (bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_AVAIL_DATA) >
	    bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_RING_SIZE) / 2)
		return;
	if (!dry_run)
		live->non_wake_due_ms = due + PZ_NON_WAKE_INTERVAL_MS;
	report.generation = policy->generation;
	pz_emit(ctx, p, &report);
}

/* Router Advertisements leave half of the ring to what the others on it need. */
PZ_INLINE void pz_report_router(struct pz_ctx *ctx, const struct pz_packet *p)
{
	struct pz_report report = {.time_ns = bpf_ktime_get_ns(), .kind = PZ_EVENT_ROUTER, .reason = PZ_REASON_NOBODY};

	if (bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_AVAIL_DATA) <=
	    bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_RING_SIZE) / 2)
		pz_emit(ctx, p, &report);
}

/* So do the addresses that an awake host uses. */
PZ_INLINE void pz_report_use(struct pz_ctx *ctx, const struct pz_packet *p, struct pz_live *live,
			     struct pz_report *report)
{
	report->kind = PZ_EVENT_ADDRESS;
	report->reason = PZ_REASON_OWNER_WATCHED;
	if (bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_AVAIL_DATA) <=
		    bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_RING_SIZE) / 2 &&
	    pz_take_claim(live, report))
		pz_emit(ctx, p, report);
}

/*
 * Gives an option its packet: a group's (generation 0) or a sleeper's.  Whole or not at all, and the larger part of the
 * ring stays for the others on it, whose own bound is half of it.  False: the option misses it.  Global, for the room
 * that it needs on the stack.
 */
PZ_GLOBAL int pz_report_option(struct pz_ctx *ctx, const struct pz_packet *p, __u32 listener, __u32 host,
			       __u32 generation)
{
	struct pz_report report = {.time_ns = bpf_ktime_get_ns(), .kind = PZ_EVENT_OPTION, .host = host};

	if (!p || p->length > PZ_EVENT_JUMBO_FRAME || pz_is_several(ctx) ||
	    bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_AVAIL_DATA) >
		    bpf_ringbuf_query(&pz_overheard_v1, BPF_RB_RING_SIZE) / 4)
		return 0;
	report.generation = generation;
	report.reason = generation ? PZ_REASON_STEERED : PZ_REASON_MULTICAST_COPIED;
	report.detail = listener;
	report.family = p->target_family;
	pz_copy16(report.address, p->target);
	return pz_emit(ctx, p, &report);
}

#ifndef PZ_EGRESS
/* Gives the frame to the socket of its queue; PZ_CONTINUE: there is none, or it has no room for so much. */
PZ_INLINE int pz_redirect(struct pz_ctx *ctx, const struct pz_packet *p)
{
	__u32 xsk = p->xsk;

	if (xsk >= PZ_XSKS || p->length > PZ_XSK_FRAME_ROOM || !pz_at(ctx, (__u64)p->length - 1, 1) ||
	    !bpf_map_lookup_elem(&pz_xsks_v1, &xsk))
		return PZ_CONTINUE;
	return dry_run ? XDP_REDIRECT : bpf_redirect_map(&pz_xsks_v1, xsk, XDP_DROP);
}
#endif

PZ_INLINE void pz_mark_lost(struct pz_live *live)
{
	if (!dry_run)
		__sync_fetch_and_add(&live->lost, 1);
}

#endif
