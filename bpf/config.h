/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the loader may set before the program is verified. */
#ifndef PZ_CONFIG_H
#define PZ_CONFIG_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <proxzzy/abi/events.h>
#include <proxzzy/abi/explain.h>
#include <proxzzy/abi/maps.h>
#include <proxzzy/abi/mark.h>
#include <proxzzy/abi/reasons.h>

#define PZ_INLINE static __always_inline
/*
 * A global function: verified once, with nothing assumed of its arguments.  Where clang optimises for size it begins a
 * loop with the loop's head; else it may put the end of the loop before the head, so that one falls through to the
 * other, which kernel 6.1 refuses ("back-edge").
 */
#define PZ_GLOBAL __attribute__((noinline, minsize))

/* How many buckets the tables have. */
const volatile __u32 buckets4 = 131072 / PZ_SLOTS;
const volatile __u32 buckets6 = 262144 / PZ_SLOTS;
const volatile __u32 buckets_mac = 131072 / PZ_SLOTS;

/* Set: everything is in the hash tables that are for what finds no slot (to measure what the buckets are worth). */
const volatile __u32 plain_hash = 0;

/* Set: the program only says what it would do, in `explanation`; what else verdict.h writes is dead code. */
const volatile __u32 dry_run = 0;

#endif
