/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The pinned maps.  Sizes are the defaults for 65,536 hosts; the loader sets them from max_hosts. */
#ifndef PZ_MAPS_H
#define PZ_MAPS_H

#include "config.h"

/* {interface, VLAN tags} -> segment.  Writer: daemon.  Read only when a filter bit was set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct pz_segment_key);
	__type(value, struct pz_segment);
} pz_segments_v2 SEC(".maps");

/* The untagged segment of an interface, for the usual questions.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PZ_PORTS);
	__type(key, __u32);
	__type(value, struct pz_port);
} pz_ports_v1 SEC(".maps");

/*
 * {segment, IPv4 address} -> who answers, and with which MAC.  Writer: daemon.  An entry means: answer for it; or listen
 * to it, if it is a group's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 131072 / PZ_SLOTS);
	__type(key, __u32);
	__type(value, struct pz_bucket4);
} pz_index4_v2 SEC(".maps");

/* {segment, IPv6 address} -> the same. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 262144 / PZ_SLOTS);
	__type(key, __u32);
	__type(value, struct pz_bucket6);
} pz_index6_v2 SEC(".maps");

/* {segment, MAC} -> host id, for every MAC of a host in proxy care.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 131072 / PZ_SLOTS);
	__type(key, __u32);
	__type(value, struct pz_bucket_mac);
} pz_by_mac_v2 SEC(".maps");

/*
 * What found no slot in its bucket.  One hash table each, which the daemon replaces by a larger one when it is full: so
 * that each table has room for all keys, wherever they fall, and needs it only where they do.
 */
#define PZ_MORE_SMALLEST 1024

struct pz_more4 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PZ_MORE_SMALLEST);
	__type(key, struct pz_index4_key);
	__type(value, struct pz_index);
} first_more4 SEC(".maps");
struct pz_more6 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PZ_MORE_SMALLEST);
	__type(key, struct pz_index6_key);
	__type(value, struct pz_index);
} first_more6 SEC(".maps");
struct pz_more_mac {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PZ_MORE_SMALLEST);
	__type(key, struct pz_mac_key);
	__type(value, struct pz_owner);
} first_more_mac SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pz_more4);
} pz_more4_v1 SEC(".maps") = {.values = {&first_more4}};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pz_more6);
} pz_more6_v1 SEC(".maps") = {.values = {&first_more6}};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pz_more_mac);
} pz_more_mac_v1 SEC(".maps") = {.values = {&first_more_mac}};

/* Which addresses and MACs may be in those tables, so that other traffic never reaches one.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 131072 / PZ_SLOTS / PZ_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct pz_filter_words);
} pz_bits4_v1 SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 262144 / PZ_SLOTS / PZ_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct pz_filter_words);
} pz_bits6_v1 SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 131072 / PZ_SLOTS / PZ_FILTER_WORDS);
	__type(key, __u32);
	__type(value, struct pz_filter_words);
} pz_bits_mac_v1 SEC(".maps");

/* host id -> what is answered and which rules wake.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pz_policy);
} pz_policy_v2 SEC(".maps");

/* pz_policy.rules -> what wakes.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pz_rules);
} pz_rules_v1 SEC(".maps");

/* host id -> what the kernel saw.  Writer: these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pz_live);
} pz_live_v2 SEC(".maps");

/* host id / 64 -> may pz_live.released be the host's generation?  Writers: these programs set, the daemon clears. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536 / 64);
	__type(key, __u32);
	__type(value, struct pz_released);
} pz_released_v1 SEC(".maps");

/* By hash of a trigger: which comes again.  Writer: these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PZ_ASKERS);
	__type(key, __u32);
	__type(value, struct pz_asker);
} pz_askers_v1 SEC(".maps");

/* One entry: the daemon's heartbeat and what concerns all hosts.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pz_daemon);
} pz_daemon_v2 SEC(".maps");

/* enum pz_reason -> frames.  Writer: these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PZ_REASON_COUNT);
	__type(key, __u32);
	__type(value, struct pz_counter);
} pz_counters_v1 SEC(".maps");

/* What a wake depends on.  Reader: the daemon's trigger thread. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} pz_triggers_v1 SEC(".maps");

/* What was overheard; a flood of it cannot lose a wake.  Reader: the daemon's loop. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} pz_overheard_v1 SEC(".maps");

#ifndef PZ_EGRESS
/* pz_segment.xsk_first + receive queue -> AF_XDP socket.  Writer: daemon; the kernel takes out those that are closed. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, PZ_XSKS);
	__type(key, __u32);
	__type(value, __u32);
} pz_xsks_v1 SEC(".maps");

/* By processor: wakes the daemon a little later.  Writer: these programs. */
#define PZ_ALARMS 64
struct pz_alarm {
	struct bpf_timer timer;
	__u64 due_ns; /* CLOCK_MONOTONIC */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PZ_ALARMS);
	__type(key, __u32);
	__type(value, struct pz_alarm);
} pz_alarms_v1 SEC(".maps");
#endif

#endif
