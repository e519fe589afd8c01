/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Records in the two ring buffers. */
#ifndef PROXZZY_ABI_EVENTS_H
#define PROXZZY_ABI_EVENTS_H

#include <proxzzy/abi/maps.h>

/*
 * pz_triggers_v1 carries what a wake depends on: TRIGGER, RELEASE, PROOF.
 * pz_overheard_v1 carries the rest, so that a flood of it cannot lose a wake: CONFLICT and what follows.
 */
enum pz_event_kind {
	PZ_EVENT_TRIGGER = 1,      /* wake the host; the frame is in the event if it fits */
	PZ_EVENT_RELEASE = 2,      /* sign of life: the kernel stopped answering on this frame */
	PZ_EVENT_PROOF = 3,        /* the owner of a host being woken used or confirmed `address` */
	PZ_EVENT_CONFLICT = 4,     /* `mac` claims `address` */
	PZ_EVENT_NIC_ANSWERS = 5,  /* the sleeper's NIC answered ARP or ND by itself */
	PZ_EVENT_NON_WAKE = 6,     /* unicast or Magic Packet for a sleeper that did not wake it; a few for each host */
	PZ_EVENT_SECOND_PROXY = 7, /* the gateway `mac` speaks in the host's name */
	PZ_EVENT_ROUTER = 8,       /* Router Advertisement, of which hosts' addresses get their validity: no host's */
	PZ_EVENT_ADDRESS = 9, /* an awake host with PZ_POLICY_LEARN uses `address`, or said so when asked (`detail`) */
	PZ_EVENT_OPTION = 10, /* packet to `address` for the option `detail`; a group's is no host's (generation 0) */
};

/* TRIGGER events say in `detail` whether the same came before from that source, which waited: TCP repeats a SYN after
 * 1 s (RFC 6298), a flood from forged sources does not. */
enum pz_asked { PZ_ASKED_FIRST = 0, PZ_ASKED_AGAIN = 1 };

/* Which sign of life: RELEASE events say it in `detail`. */
enum pz_sign {
	PZ_SIGN_NONE = 0,
	PZ_SIGN_ARP_REQUEST = 1,
	PZ_SIGN_ARP_PROBE = 2, /* the address is not the owner's yet */
	PZ_SIGN_ARP_ANNOUNCEMENT = 3,
	PZ_SIGN_DAD = 4, /* the address is not the owner's yet */
	PZ_SIGN_ND = 5,  /* NS or RS; never an NA, which NIC firmware sends too */
	PZ_SIGN_DHCP = 6,
	PZ_SIGN_GROUP = 7, /* IGMP or MLD */
	PZ_SIGN_IP = 8,    /* a packet from one of the record's addresses */
	PZ_SIGN_REPLY = 9, /* ARP reply or NA: NIC firmware sends them too; proof only once the host is woken or back */
};

/* family of `address` in an event, also "no address" */
enum pz_family { PZ_FAMILY_NONE = 0, PZ_FAMILY_4 = 4, PZ_FAMILY_6 = 6 };

struct pz_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 kind;    /* enum pz_event_kind */
	__u32 reason;  /* enum pz_reason */
	__u32 host;
	__u32 generation;
	__u32 segment;
	__u32 ifindex;        /* where the frame came in, or would have left */
	__u32 frame_length;   /* on the wire */
	__u32 frame_captured; /* bytes that follow; 0 when the frame did not fit; NON_WAKE: the first that fit */
	__u8 mac[6];          /* the frame's sender; SECOND_PROXY: the other gateway */
	__u8 family;          /* enum pz_family of `address` */
	__u8 detail;          /* enum pz_sign; TRIGGER: enum pz_asked; OPTION: enum pz_listen */
	__u8 address[16];     /* the record's address that is meant, or the group; IPv4 in the first four bytes */
	__u16 port;           /* trigger: destination port, host order */
	__u8 protocol;        /* trigger: IP protocol, 0 = Magic Packet in Ethernet */
	__u8 leaves;          /* the frame leaves by `ifindex`: it comes from the gateway, or through it */
	__u8 at_once;         /* trigger: the kernel sends a Magic Packet in the place of the frame */
	__u8 pad[3];
};

#define PZ_EVENT_SMALL_SIZE 256
#define PZ_EVENT_LARGE_SIZE 2048
/* OPTION alone: mDNS messages have up to 9,000 bytes with their IP header (RFC 6762 section 17). */
#define PZ_EVENT_JUMBO_SIZE (9216 + sizeof(struct pz_event))
#define PZ_EVENT_SMALL_FRAME (PZ_EVENT_SMALL_SIZE - sizeof(struct pz_event))
#define PZ_EVENT_LARGE_FRAME (PZ_EVENT_LARGE_SIZE - sizeof(struct pz_event))
#define PZ_EVENT_JUMBO_FRAME (PZ_EVENT_JUMBO_SIZE - sizeof(struct pz_event))

struct pz_event_small {
	struct pz_event event;
	__u8 frame[PZ_EVENT_SMALL_FRAME];
};
struct pz_event_large {
	struct pz_event event;
	__u8 frame[PZ_EVENT_LARGE_FRAME];
};
struct pz_event_jumbo {
	struct pz_event event;
	__u8 frame[PZ_EVENT_JUMBO_FRAME];
};
PZ_STATIC_ASSERT(sizeof(struct pz_event) == 72, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_event_small) == PZ_EVENT_SMALL_SIZE, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_event_large) == PZ_EVENT_LARGE_SIZE, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_event_jumbo) == PZ_EVENT_JUMBO_SIZE, "layout");

#endif
