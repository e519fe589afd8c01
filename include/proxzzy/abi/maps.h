/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Keys and values of the pinned maps: compiled by the kernel programs and by user space. */
#ifndef PROXZZY_ABI_MAPS_H
#define PROXZZY_ABI_MAPS_H

#include <linux/types.h>

/*
 * Changes with the layout of pz_policy, pz_live or pz_event.  A daemon that finds the maps of another version still takes
 * over from it without a gap, so these keep their places in all versions: generation and stage of pz_policy; released,
 * last_seen_ns and last_trigger_ns of pz_live; the first four fields of pz_daemon.
 */
#define PZ_ABI_VERSION 3

#define PZ_MAX_VLAN_TAGS 2
#define PZ_MAX_RULES 32
#define PZ_MAX_MAGIC_PORTS 8
#define PZ_SECUREON_LEN 6

/* Segment 0 is never given out, so that an empty value is recognised. */
#define PZ_NO_SEGMENT 0
#define PZ_MAX_SEGMENT 4095

/* pz_segments_v2: one L2 broadcast domain seen through {interface, VLAN tags}.  A VID of 0 (priority tag) is no tag. */
struct pz_segment_key {
	__u32 ifindex;
	__u16 outer_vid; /* host order, 0 = untagged */
	__u16 inner_vid; /* host order, 0 = at most one tag */
};
struct pz_segment {
	__u32 segment;
	__u8 mac[6]; /* the interface's own */
	__u8 pad[2];
	__u32 xsk_first; /* the interface's sockets in pz_xsks_v1: of its receive queue 0 ... */
	__u32 xsk_count; /* ... and so many queues; 0: it has none */
};

/* pz_xsks_v1: AF_XDP sockets of all interfaces, each of which takes frames of its own interface and queue alone. */
#define PZ_XSKS 4096
/* A frame in their memory, and what of it the kernel leaves to the packet (XDP_PACKET_HEADROOM is in front). */
#define PZ_XSK_FRAME_SIZE 2048
#define PZ_XSK_FRAME_ROOM (PZ_XSK_FRAME_SIZE - 256)

/* pz_ports_v1: the untagged segment of an interface once more, at its index modulo PZ_PORTS, unless another one is there. */
#define PZ_PORTS 4096
struct pz_port {
	__u32 ifindex; /* 0 = none */
	__u32 segment;
	__u8 mac[6];
	__u8 pad[2];
};

/*
 * The tables of addresses and MACs.  A key has one bucket, by its hash; a bucket has four slots in one cache line, or in
 * two neighbouring ones.  What finds no slot is in a hash table beside it (pz_more4_v1, ...), and the bucket's word in
 * the filter says so.  An entry moves only to a later slot of its bucket or to the hash table, where readers look after
 * they looked where it was, and it is there before it is away from here: so a reader finds it from the moment when it is
 * put there until it is taken away.  But the kernel's hash table may miss what is replaced at this moment (docs/maps.md).
 *
 * The last eight bytes of a slot are its head: 0 is a free slot.  The daemon writes the rest while the head is 0, then
 * the head; of a slot in use it changes one word, and an entry that differs in more moves.  A reader takes the head, the
 * rest, and the head again: the same head means that what is between belongs to it.  `turn` is another one for each use
 * of a slot.
 */
#define PZ_SLOTS 4

/* An address that the kernel answers for: what is found, and the value in pz_more4_v1 and pz_more6_v1. */
enum pz_index_flag {
	PZ_INDEX_IDENTITY_PROXY = 1, /* `mac` is the gateway's own; solicited NAs carry O=0 (RFC 4861 section 7.2.4) */
	PZ_INDEX_UNANSWERED = 2,     /* the host's stage is neither ASLEEP nor WAKING */
	PZ_INDEX_TURN = 12,          /* of a pz_slot4: two bits */
};
struct pz_index {
	__u8 mac[6]; /* goes into the answer; of PZ_LISTENERS: the first byte says which (enum pz_listen) */
	__u16 flags; /* enum pz_index_flag */
	__u32 host;  /* index into pz_policy_v2 and pz_live_v2; or PZ_LISTENERS */
};
/* No host: the address is a group's, and options listen to it. */
#define PZ_LISTENERS ((__u32) - 2)
enum pz_listen {
	PZ_LISTEN_MDNS = 1,   /* UDP to port 5353 */
	PZ_LISTEN_LLMNR = 2,  /* UDP to port 5355 */
	PZ_LISTEN_GROUPS = 4, /* IGMP and MLD */
};
struct pz_index4_key {
	__u32 segment;
	__u8 address[4]; /* network order, as on the wire */
};
struct pz_index6_key {
	__u32 segment;
	__u8 address[16];
};

/* pz_index4_v2 */
struct pz_slot4 {
	__u8 address[4];
	__u32 host;
	__u8 mac[6];
	__u16 segment : 12;
	__u16 flags : 4;
};
struct pz_bucket4 {
	struct pz_slot4 slots[PZ_SLOTS];
};

/* pz_index6_v2 */
struct pz_slot6 {
	__u8 address[16];
	__u32 host;
	__u16 segment;
	__u16 flags;
	__u8 mac[6];
	__u16 turn; /* never 0 in use */
};
struct pz_bucket6 {
	struct pz_slot6 slots[PZ_SLOTS];
};

/* pz_by_mac_v2: who owns a source MAC. */
struct pz_mac_key {
	__u32 segment;
	__u8 mac[6];
	__u8 pad[2];
};
struct pz_owner { /* in pz_more_mac_v1 */
	__u32 host;
};
struct pz_slot_mac {
	__u8 mac[6];
	__u16 segment;
	__u32 host;
	__u32 turn; /* never 0 in use */
};
struct pz_bucket_mac {
	struct pz_slot_mac slots[PZ_SLOTS];
};

/*
 * pz_bits4_v1, pz_bits6_v1, pz_bits_mac_v1: a word for each bucket, sixteen to an entry.  Every key in the bucket,
 * and every one that found no slot there, has its bits set; PZ_FILTER_MORE: there are such.
 */
#define PZ_FILTER_WORDS 16
#define PZ_FILTER_MORE (1U << 31)
struct pz_filter_words {
	__u32 bits[PZ_FILTER_WORDS];
};

/* pz_released_v1: a bit for each host, 64 to an entry; not set: pz_live.released is not its generation. */
struct pz_released {
	__u64 bits;
};

/* What the kernel does with the frames of the record's owner and with triggers. */
enum pz_stage {
	PZ_STAGE_NONE = 0,   /* free slot, or awake */
	PZ_STAGE_ARMING = 1, /* falling asleep: the owner's frames restart the timer (pz_live.last_seen_ns) */
	PZ_STAGE_ASLEEP = 2, /* answer and trigger; any sign of life releases */
	PZ_STAGE_WAKING = 3, /* as asleep, and the owner's ARP replies and NAs are reported as proof of address */
	/* as waking, but nothing is answered or triggers: the host is looked for, and who asks for it is reported */
	PZ_STAGE_UNANSWERED = 4,
	PZ_STAGE_WATCHED =
		5, /* awake: pz_live.last_seen_ns is kept, and its addresses are reported if they are learned */
};
enum pz_echo_mode { PZ_ECHO_ANSWER = 0, PZ_ECHO_IGNORE = 1, PZ_ECHO_WAKE = 2 };
enum pz_rule_action {
	PZ_RULE_WAKE = 1,      /* TCP: a SYN; UDP: any datagram */
	PZ_RULE_WAKE_DATA = 2, /* TCP segment with data: reserved, refused by control until it is served */
	PZ_RULE_STEER = 3,     /* to AF_XDP: reserved */
};
struct pz_rule {
	__u16 port; /* host order, 0 = any */
	__u8 protocol;
	__u8 action; /* enum pz_rule_action */
};
enum pz_policy_flag {
	PZ_POLICY_SECUREON = 1,
	PZ_POLICY_LEARN = 2, /* while WATCHED: the addresses that the host uses are reported */
	PZ_POLICY_MDNS = 4,  /* UDP to its addresses, port 5353, is mDNS's: it wakes nobody */
	PZ_POLICY_LLMNR = 8, /* the same for port 5355 and LLMNR */
	/* any packet to its addresses that triggers may wake it, whoever sends it and whenever: while ASLEEP the kernel
	 * makes one in 5 ms a Magic Packet for the MAC of the address, and sends it where the packet came in */
	PZ_POLICY_AT_ONCE = 16,
};

/* pz_policy_v2: array by host id, written by the daemon only. */
struct pz_policy {
	__u32 generation;
	__u8 stage; /* enum pz_stage */
	__u8 echo;  /* enum pz_echo_mode */
	__u8 flags; /* enum pz_policy_flag */
	__u8 pad;
	__u32 rules; /* key of pz_rules_v1 */
	__u32 pad2;
};

/* pz_rules_v1: what wakes a host.  Many hosts have the same rules. */
struct pz_rules {
	__u8 secureon[PZ_SECUREON_LEN]; /* if PZ_POLICY_SECUREON */
	__u8 pad;
	__u8 count; /* at most PZ_MAX_RULES */
	struct pz_rule rules[PZ_MAX_RULES];
};

/* Addresses of one host whose conflicts are told apart by their hash. */
#define PZ_CONFLICT_SLOTS 3

/* pz_live_v2: array by host id, written by the kernel only.  Times are CLOCK_MONOTONIC; of milliseconds the low 32 bits. */
struct pz_live {
	__u32 released;        /* the generation that showed a sign of life; answer only if the record's differs */
	__u32 lost;            /* triggers that found the ring full */
	__u64 last_seen_ns;    /* the owner's last frame */
	__u64 last_trigger_ns; /* the last trigger, reported or not */
	__u32 event_due_ms;    /* when the host's event allowance is whole again */
	__u32 again_due_ms;    /* the same for sources that ask again */
	__u32 non_wake_due_ms; /* when its allowance of NON_WAKE events is whole again */
	__u32 conflict_ms[PZ_CONFLICT_SLOTS]; /* by hash of the address: the last claim that was reported; 0 = none */
};

/* pz_askers_v1: which trigger came lately, by hash of host, source, ports and sequence number; the last one of a slot. */
#define PZ_ASKERS 65536
struct pz_asker {
	__u32 tag;      /* another hash of the same */
	__u32 since_ms; /* when it first came; CLOCK_MONOTONIC, the low 32 bits */
	__u32 due_ms;   /* when its own allowance is whole again */
};

/* pz_daemon_v2: one entry. */
struct pz_daemon {
	__u32 abi_version;
	__u32 pid;
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC */
	__u64 answer_without_daemon_ns;
	__u16 magic_ports
		[PZ_MAX_MAGIC_PORTS]; /* host order; broadcast UDP ports searched for Magic Packets; 0 = unused */
	__u32 event_interval_ms;      /* a host earns one event each interval; 0 = as many as there are ... */
	__u32 event_burst;            /* ... and may save up this many */
};

/* pz_counters_v1: per-CPU array by enum pz_reason. */
struct pz_counter {
	__u64 frames;
};

/*
 * The hash of the tables and their filters: the same on both sides.  Words are the address bytes as loaded
 * little-endian; neighbours differ in the last bytes, which a product spreads best from the low end.  No segment is in
 * it, so that the filter can be asked before the segment is known.
 */
static inline __u64 pz_hash64(__u64 value)
{
	value *= 0x94d049bb133111ebULL;
	return value ^ value >> 32;
}
static inline __u64 pz_hash4(__u32 address)
{
	return pz_hash64(__builtin_bswap32(address));
}
static inline __u64 pz_hash6(__u64 high, __u64 low)
{
	low = __builtin_bswap64(low) ^ high * 0xc2b2ae3d27d4eb4fULL;
	return pz_hash64(low ^ low >> 32);
}
static inline __u64 pz_hash_mac(__u64 mac48)
{
	return pz_hash64(__builtin_bswap64(mac48) >> 16);
}
/* Which of so many buckets. */
static inline __u32 pz_bucket_of(__u64 hash, __u32 buckets)
{
	return (__u32)((hash >> 32) * buckets >> 32);
}
/* The key's bits in the word of its bucket; the one that would be PZ_FILTER_MORE's is left out. */
static inline __u32 pz_filter_bits(__u64 hash)
{
	return (1U << (hash & 31) | 1U << (hash >> 5 & 31) | 1U << (hash >> 10 & 31)) & ~PZ_FILTER_MORE;
}

#ifdef __cplusplus
#define PZ_STATIC_ASSERT static_assert
#else
#define PZ_STATIC_ASSERT _Static_assert
#endif
PZ_STATIC_ASSERT(sizeof(struct pz_segment_key) == 8, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_segment) == 20, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_index4_key) == 8, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_index6_key) == 20, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_index) == 12, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_port) == 16, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_bucket4) == 64, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_bucket6) == 128, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_bucket_mac) == 64, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_filter_words) == 64, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_mac_key) == 12, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_owner) == 4, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_policy) == 16, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_rules) == 8 + 4 * PZ_MAX_RULES, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_asker) == 12, "layout");
PZ_STATIC_ASSERT(sizeof(struct pz_live) == 36 + 4 * PZ_CONFLICT_SLOTS, "layout");
PZ_STATIC_ASSERT(__builtin_offsetof(struct pz_policy, stage) == 4, "the same in all versions");
PZ_STATIC_ASSERT(__builtin_offsetof(struct pz_live, last_seen_ns) == 8, "the same in all versions");
PZ_STATIC_ASSERT(__builtin_offsetof(struct pz_live, last_trigger_ns) == 16, "the same in all versions");
PZ_STATIC_ASSERT(__builtin_offsetof(struct pz_daemon, answer_without_daemon_ns) == 16, "the same in all versions");
PZ_STATIC_ASSERT(sizeof(struct pz_daemon) == 32 + 2 * PZ_MAX_MAGIC_PORTS, "layout");

#endif
