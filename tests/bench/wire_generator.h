// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What wire_generator.bpf.c counts; one cache line for each CPU.
#pragma once

#include <linux/types.h>

#define WIRE_CPUS 64
#define WIRE_BATCH 192 /* frames between two looks at the clock: not more than the 256 of a ring */

struct wire_generator {
    __u64 seed;
    __u64 asked;
    __u64 due_ns; /* when the next batch may leave */
    __u64 pad[5];
};

struct wire_tally {
    __u64 replies;   /* to a question that may have been asked, of the right kind */
    __u64 reflected; /* the question came back */
    __u64 others;
    __u64 pad[5];
};
