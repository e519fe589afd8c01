/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What no stage took: unicast to a sleeper is ignored, group traffic belongs to everybody. */
#ifndef PZ_STEER_H
#define PZ_STEER_H

#include "verdict.h"

PZ_INLINE int pz_steer(struct pz_packet *p)
{
	return pz_ignore(p, p->group ? PZ_REASON_MULTICAST_PASSED : PZ_REASON_UNICAST_IGNORED);
}

#endif
