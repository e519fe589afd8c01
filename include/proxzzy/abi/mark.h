/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The mark on every ARP packet and Neighbour Advertisement that proxzzy sends in a host's name.  It says which gateway
 * sent it, so that one that comes back, or a second gateway's, is not taken for the host.  Receivers ignore it: it is
 * padding in ARP (RFC 826, RFC 894), and an option of unknown type in ND (RFC 4861 section 7.2.5).
 */
#ifndef PROXZZY_ABI_MARK_H
#define PROXZZY_ABI_MARK_H

#include <linux/types.h>

/* Behind the 28 bytes of ARP; with two VLAN tags it just fits into a frame of 60 bytes. */
struct pz_arp_mark {
	__u8 word[4];    /* PZ_ARP_MARK */
	__u8 gateway[6]; /* the MAC of the interface that sent it */
};
#define PZ_ARP_MARK {'p', 'x', 'z', 'y'}

/* The last option of an advertisement. */
struct pz_nd_mark {
	__u8 type;       /* PZ_ND_OPT_MARK */
	__u8 units;      /* 1: eight bytes */
	__u8 gateway[6]; /* as above */
};
#define PZ_ND_OPT_MARK 253 /* for experiments (RFC 4727 section 5.1.3) */

#endif
