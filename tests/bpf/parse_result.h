/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What parse_probe.bpf.c found in a frame, compiled by both sides of the comparison. */
#ifndef PZ_TEST_PARSE_RESULT_H
#define PZ_TEST_PARSE_RESULT_H

#include <linux/types.h>

struct parse_result {
    __s32 action; /* XDP action of a parser that ended early, or -1 */
    __u32 reason; /* of an early end: enum pz_reason */
    __u32 status; /* enum pz_reason that the headers failed with */
    __u32 l3;     /* enum pz_l3 */
    __u32 outer_vid;
    __u32 inner_vid;
    __u32 l3_offset;
    __u32 l4_offset;
    __u32 l4_length;
    __u32 protocol;
    __u32 hop_limit;
    __u32 pad;
    __u8 source[16];
    __u8 destination[16];
};

#endif
