/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a dry run found: the only thing that the programs write when they are loaded with dry_run set. */
#ifndef PROXZZY_ABI_EXPLAIN_H
#define PROXZZY_ABI_EXPLAIN_H

#include <proxzzy/abi/events.h>

/* A host that the frame has to do with; generation 0 = none. */
struct pz_party {
	__u32 host;
	__u32 generation;
};

/* A frame causes at most one event about its sender and one about the host that it is for. */
enum pz_event_slot {
	PZ_SLOT_SENDER = 0, /* RELEASE, PROOF, NIC_ANSWERS, ADDRESS */
	PZ_SLOT_TARGET = 1, /* TRIGGER, CONFLICT, NON_WAKE, SECOND_PROXY, OPTION */
	PZ_SLOT_COUNT
};

struct pz_explanation {
	__u32 reason;                          /* enum pz_reason */
	__u32 segment;                         /* PZ_NO_SEGMENT = not looked up, or none */
	struct pz_party sender;                /* whose frame it is */
	struct pz_party target;                /* who it is for, or whose address it claims */
	__u32 sign;                            /* enum pz_sign, of the sender's frame */
	__u32 released;                        /* the sender would be released on this frame */
	struct pz_rule rule;                   /* the rule of the target that matched; action 0 = none */
	__u32 pad;                             /* zero */
	struct pz_event events[PZ_SLOT_COUNT]; /* that would be sent; kind 0 = none */
};
PZ_STATIC_ASSERT(sizeof(struct pz_explanation) == 40 + PZ_SLOT_COUNT * sizeof(struct pz_event), "layout");

#endif
