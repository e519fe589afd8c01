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
} pz_segments_v1 SEC(".maps");

/* {segment, IPv4 address} -> who answers, and with which MAC.  Writer: daemon.  An entry means: answer for it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct pz_index4_key);
	__type(value, struct pz_index);
} pz_index4_v1 SEC(".maps");

/* {segment, IPv6 address} -> the same. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct pz_index6_key);
	__type(value, struct pz_index);
} pz_index6_v1 SEC(".maps");

/* {segment, MAC} -> host id, for every MAC of a host in proxy care.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct pz_mac_key);
	__type(value, struct pz_owner);
} pz_by_mac_v1 SEC(".maps");

/* host id -> what wakes the host and what is answered.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pz_policy);
} pz_policy_v1 SEC(".maps");

/* host id -> what the kernel saw.  Writer: these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct pz_live);
} pz_live_v1 SEC(".maps");

/* By hash of a trigger: which comes again.  Writer: these programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PZ_ASKERS);
	__type(key, __u32);
	__type(value, struct pz_asker);
} pz_askers_v1 SEC(".maps");

/* One bit per hash of a served address, so that other traffic never reaches a hash table.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, (1U << 20) / 64);
	__type(key, __u32);
	__type(value, struct pz_filter_word);
} pz_addr_bits_v1 SEC(".maps");

/* The same for the MACs in pz_by_mac_v1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, (1U << 20) / 64);
	__type(key, __u32);
	__type(value, struct pz_filter_word);
} pz_mac_bits_v1 SEC(".maps");

/* One entry: the daemon's heartbeat and what concerns all hosts.  Writer: daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pz_daemon);
} pz_daemon_v1 SEC(".maps");

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
	__uint(max_entries, 1 << 19);
} pz_overheard_v1 SEC(".maps");

#endif
