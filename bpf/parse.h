/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Bytes of a frame to struct pz_packet: first what the filter needs, then the IP headers in full. */
#ifndef PZ_PARSE_H
#define PZ_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include "context.h"

#define PZ_U8(p) (*(__u8 *)(p))
#define PZ_U16(p) (*(__u16 *)(p))
#define PZ_U32(p) (*(__u32 *)(p))
#define PZ_U64(p) (*(__u64 *)(p))

#define PZ_ETH_P_MAGIC 0x0842
#define PZ_ETH_P_QINQ_OLD 0x9100
#define PZ_ARP_LEN 28
#define PZ_IPV6_HLEN 40
#define PZ_MAX_EXT_HEADERS 8
/* Above any Ethernet frame; also keeps the verifier's packet offsets small. */
#define PZ_MAX_OFFSET 0x3fff

enum pz_l3 { PZ_L3_ARP = 1, PZ_L3_IPV4, PZ_L3_IPV6, PZ_L3_MAGIC };

/* What the filter has to know of a frame: all that almost every frame costs. */
struct pz_link {
	__u32 reason; /* enum pz_reason of the verdict */
	__u16 l3_offset;
	__u16 outer_vid;
	__u16 inner_vid;
	__u8 l3;         /* enum pz_l3 */
	__u8 group;      /* destination MAC is multicast or broadcast */
	__u8 magic_port; /* group UDP to a port where Magic Packets are looked for */
	__u8 unpacked;   /* egress: the outer tag was beside the frame */
};

/* What is known of a frame.  Offsets count from its start; _be is network order, everything else host order.
 * MACs and addresses stand at aligned offsets, because the verifier allows no other access to the stack. */
struct pz_packet {
	__u32 length;  /* whole frame, parts outside the linear area too */
	__u32 status;  /* enum pz_reason that the headers failed with; PZ_REASON_NOBODY = none */
	__u32 reason;  /* enum pz_reason of the verdict */
	__u32 segment; /* from here on found by the hosts stage */
	__u32 host;    /* up to here */
	__u32 xsk;     /* where in pz_xsks_v1 the socket of its queue would be; PZ_XSKS: nowhere */
	__u16 l3_offset;
	__u16 l4_offset;
	__u16 l4_length; /* by the IP header */
	__u16 outer_vid;
	__u16 inner_vid;
	__u16 arp_operation;
	__u8 l3;       /* enum pz_l3 */
	__u8 protocol; /* after the extension headers */
	__u8 hop_limit;
	__u8 group;      /* destination MAC is multicast or broadcast */
	__u8 source[16]; /* IPv4 in the first four bytes; ARP: sender protocol address */
	__u8 destination[16];
	__u8 target[16]; /* ARP and ND: the address that the message is about; else the destination */
	__u8 destination_mac[6];
	__u8 icmp_type;
	__u8 has_lladdr; /* NS, NA: it has the link-layer option */
	__u8 source_mac[6];
	__u8 magic_port;    /* group UDP to a port where Magic Packets are looked for */
	__u8 target_family; /* enum pz_family */
	__u8 lladdr[6];     /* ARP: sender hardware address; ND: link-layer option, else the source MAC */
	__u8 nd_flags;      /* NA: first byte of the flags */
	__u8 index_flags;   /* enum pz_index_flag; from here on of the target's host */
	__u8 answer_mac[6];
	__u8 echo;    /* enum pz_echo_mode */
	__u8 options; /* enum pz_policy_flag */
	__u8 own_mac[6];
	__u8 marked;         /* ARP and NA: a proxy sent it in a host's name (abi/mark.h) ... */
	__u8 steer;          /* enum pz_listen: the option that it is for */
	__u8 gateway_mac[6]; /* ... this one */
	__u8 pad5[2];
};

#define PZ_CONTINUE (-1)

/* What the filter leaves, as one number: the argument of a global function. */
PZ_INLINE __u64 pz_pack_link(const struct pz_link *link)
{
	return link->l3_offset | (__u64)link->outer_vid << 16 | (__u64)link->inner_vid << 32 | (__u64)link->l3 << 48 |
	       (__u64) !!link->group << 56 | (__u64) !!link->magic_port << 57;
}

PZ_INLINE void pz_unpack_link(struct pz_packet *p, __u64 link)
{
	p->reason = PZ_REASON_NOBODY;
	p->l3_offset = link;
	p->outer_vid = link >> 16;
	p->inner_vid = link >> 32;
	p->l3 = link >> 48;
	p->group = link >> 56 & 1;
	p->magic_port = link >> 57 & 1;
}

/* `size` bytes at `offset`, or NULL when they are not in the linear area. */
PZ_INLINE void *pz_at(struct pz_ctx *ctx, __u64 offset, const __u32 size)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	/* keeps clang from narrowing the sum to 32 bits, which the verifier refuses for pointers */
	asm volatile("" : "+r"(offset));
	if (offset > PZ_MAX_OFFSET)
		return NULL;
	if (data + offset + size > end)
		return NULL;
	return data + offset;
}

PZ_INLINE void pz_copy_mac(void *to, const void *from)
{
	PZ_U32(to) = PZ_U32(from);
	PZ_U16(to + 4) = PZ_U16(from + 4);
}

PZ_INLINE int pz_same_mac(const void *a, const void *b)
{
	return PZ_U32(a) == PZ_U32(b) && PZ_U16(a + 4) == PZ_U16(b + 4);
}

PZ_INLINE void pz_copy16(void *to, const void *from)
{
	PZ_U64(to) = PZ_U64(from);
	PZ_U64(to + 8) = PZ_U64(from + 8);
}

/* Returns PZ_CONTINUE for a frame whose headers fail a check: the stages decide by `status` what that means. */
PZ_INLINE int pz_fail_headers(struct pz_packet *p, __u32 reason)
{
	p->status = reason;
	return PZ_CONTINUE;
}

PZ_INLINE int pz_pass(struct pz_packet *p, __u32 reason)
{
	p->reason = reason;
	return XDP_PASS;
}

PZ_INLINE int pz_is_vlan(__u16 type_be)
{
	return type_be == bpf_htons(ETH_P_8021Q) || type_be == bpf_htons(ETH_P_8021AD) ||
	       type_be == bpf_htons(PZ_ETH_P_QINQ_OLD);
}

PZ_INLINE int pz_pass_link(struct pz_link *p, __u32 reason)
{
	p->reason = reason;
	return XDP_PASS;
}

/* Ethernet and at most two tags (R1).  Whatever is not ARP, IPv4, IPv6 or a Magic Packet passes here. */
PZ_INLINE int pz_parse_link(struct pz_ctx *ctx, struct pz_link *p)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *l3 = data + ETH_HLEN;
	__u16 type_be, vid;

	if (l3 > end)
		return pz_pass_link(p, PZ_REASON_TOO_SHORT);
	p->group = PZ_U8(data) & 1;
	type_be = PZ_U16(data + 12);
	p->l3_offset = ETH_HLEN;
	if (pz_is_vlan(type_be)) {
		if (l3 + 4 > end)
			return pz_pass_link(p, PZ_REASON_TOO_SHORT);
		p->outer_vid = bpf_ntohs(PZ_U16(l3)) & 0xfff;
		type_be = PZ_U16(l3 + 2);
		l3 += 4;
		p->l3_offset += 4;
		if (pz_is_vlan(type_be)) {
			if (l3 + 4 > end)
				return pz_pass_link(p, PZ_REASON_TOO_SHORT);
			vid = bpf_ntohs(PZ_U16(l3)) & 0xfff;
			/* a priority tag (VID 0) is no tag, wherever it stands */
			if (p->outer_vid)
				p->inner_vid = vid;
			else
				p->outer_vid = vid;
			type_be = PZ_U16(l3 + 2);
			p->l3_offset += 4;
		}
	}
	if (type_be == bpf_htons(ETH_P_IP))
		p->l3 = PZ_L3_IPV4;
	else if (type_be == bpf_htons(ETH_P_IPV6))
		p->l3 = PZ_L3_IPV6;
	else if (type_be == bpf_htons(ETH_P_ARP))
		p->l3 = PZ_L3_ARP;
	else if (type_be == bpf_htons(PZ_ETH_P_MAGIC))
		p->l3 = PZ_L3_MAGIC;
	else
		return pz_pass_link(p, PZ_REASON_UNKNOWN_L2);
	return PZ_CONTINUE;
}

#ifdef PZ_EGRESS
/* The tag that the kernel keeps beside the frame goes into it, so that the stages and an event see one frame. */
PZ_INLINE int pz_unpack_tag(struct pz_ctx *ctx, struct pz_link *p)
{
	__u16 vid = ctx->vlan_tci & 0xfff;

	if (p->l3_offset > ETH_HLEN + 4)
		return pz_pass_link(p, PZ_REASON_UNKNOWN_L2);
	if (bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), 0)) /* another one takes its place, until pz_pack_tag() */
		return pz_pass_link(p, PZ_REASON_NO_ROOM);
	p->l3_offset += 4;
	p->unpacked = 1;
	if (vid) {
		p->inner_vid = p->outer_vid;
		p->outer_vid = vid;
	}
	return PZ_CONTINUE;
}

PZ_INLINE void pz_pack_tag(struct pz_ctx *ctx, const struct pz_link *p)
{
	if (p->unpacked)
		bpf_skb_vlan_pop(ctx);
}
#endif

PZ_INLINE int pz_is_arp_mark(const struct pz_arp_mark *mark)
{
	const __u8 word[4] = PZ_ARP_MARK;

	return PZ_U32(mark->word) == PZ_U32(word);
}

/* ARP over Ethernet for IPv4 (RFC 826); other hardware and protocols are not ours. */
PZ_INLINE int pz_parse_arp(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *arp = pz_at(ctx, p->l3_offset, PZ_ARP_LEN);
	struct pz_arp_mark *mark = pz_at(ctx, p->l3_offset + PZ_ARP_LEN, sizeof(*mark));

	if (!arp)
		return pz_pass(p, PZ_REASON_TOO_SHORT);
	if (PZ_U16(arp) != bpf_htons(1) || PZ_U16(arp + 2) != bpf_htons(ETH_P_IP) || PZ_U8(arp + 4) != 6 ||
	    PZ_U8(arp + 5) != 4 || (PZ_U8(arp + 8) & 1) || !(PZ_U32(arp + 8) | PZ_U16(arp + 12)))
		return pz_pass(p, PZ_REASON_ARP_MALFORMED);
	p->arp_operation = bpf_ntohs(PZ_U16(arp + 6));
	pz_copy_mac(p->lladdr, arp + 8);
	PZ_U32(p->source) = PZ_U32(arp + 14);
	PZ_U32(p->target) = PZ_U32(arp + 24);
	p->target_family = PZ_FAMILY_4;
	if (mark && pz_is_arp_mark(mark)) {
		p->marked = 1;
		pz_copy_mac(p->gateway_mac, mark->gateway);
	}
	return PZ_CONTINUE;
}

#define PZ_IPOPT_END 0
#define PZ_IPOPT_NOP 1
#define PZ_IPOPT_LSRR 131
#define PZ_IPOPT_SSRR 137

/* IPv4 options for source routes (R38) and for lengths that add up. */
PZ_INLINE __u32 pz_check_ip_options(struct pz_ctx *ctx, __u64 offset, __u32 length)
{
	__u32 at = 0, option_length;
	__u8 *option;
	int i;

	for (i = 0; i < 40 && at < length; i++) {
		option = pz_at(ctx, offset + at, 1);
		if (!option)
			return PZ_REASON_IP_MALFORMED;
		if (*option == PZ_IPOPT_END)
			return PZ_REASON_NOBODY;
		if (*option == PZ_IPOPT_NOP) {
			at = (at + 1) & 63;
			continue;
		}
		if (*option == PZ_IPOPT_LSRR || *option == PZ_IPOPT_SSRR)
			return PZ_REASON_IP_SOURCE_ROUTE;
		option = pz_at(ctx, offset + at, 2);
		if (!option)
			return PZ_REASON_IP_MALFORMED;
		option_length = option[1];
		if (option_length < 2 || at + option_length > length)
			return PZ_REASON_IP_MALFORMED;
		at = (at + option_length) & 63;
	}
	return PZ_REASON_NOBODY;
}

PZ_GLOBAL __u32 pz_checksum(struct pz_ctx *ctx, __u32 offset, __u32 length);

/* The UDP header, if its length is right. */
PZ_INLINE void *pz_udp(struct pz_ctx *ctx, const struct pz_packet *p)
{
	void *udp = pz_at(ctx, p->l4_offset, 8);

	if (!udp || bpf_ntohs(PZ_U16(udp + 4)) < 8 || bpf_ntohs(PZ_U16(udp + 4)) > p->l4_length)
		return NULL;
	return udp;
}

PZ_INLINE int pz_parse_ipv4(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *ip = pz_at(ctx, p->l3_offset, 20);
	__u32 header, total, fragment, options;

	if (!ip)
		return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
	header = (PZ_U8(ip) & 0xf) * 4;
	total = bpf_ntohs(PZ_U16(ip + 2));
	fragment = bpf_ntohs(PZ_U16(ip + 6)) & 0x3fff; /* more fragments, or an offset */
	p->hop_limit = PZ_U8(ip + 8);
	p->protocol = PZ_U8(ip + 9);
	PZ_U32(p->source) = PZ_U32(ip + 12);
	PZ_U32(p->destination) = PZ_U32(ip + 16);
	PZ_U32(p->target) = PZ_U32(ip + 16);
	p->target_family = PZ_FAMILY_4;
	if (PZ_U8(ip) >> 4 != 4 || header < 20 || total < header || p->l3_offset + total > p->length)
		return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
	if (pz_checksum(ctx, p->l3_offset, header) != 0xffff)
		return pz_fail_headers(p, PZ_REASON_IP_CHECKSUM);
	if (header > 20) {
		options = pz_check_ip_options(ctx, p->l3_offset + 20, header - 20);
		if (options != PZ_REASON_NOBODY)
			return pz_fail_headers(p, options);
	}
	if (fragment)
		return pz_fail_headers(p, PZ_REASON_IP_FRAGMENT);
	p->l4_offset = p->l3_offset + header;
	p->l4_length = total - header;
	return PZ_CONTINUE;
}

PZ_INLINE int pz_is_nd(__u8 icmp6_type)
{
	return icmp6_type >= 133 && icmp6_type <= 137;
}

PZ_INLINE int pz_is_extension(__u8 next_header)
{
	return next_header == IPPROTO_HOPOPTS || next_header == IPPROTO_ROUTING || next_header == IPPROTO_FRAGMENT ||
	       next_header == IPPROTO_AH || next_header == IPPROTO_DSTOPTS || next_header == IPPROTO_MH;
}

PZ_INLINE int pz_is_unspecified6(const void *address)
{
	return !(PZ_U64(address) | PZ_U64(address + 8));
}

/* The header chain of RFC 8200 section 4, at most PZ_MAX_EXT_HEADERS of it (R29). */
PZ_INLINE int pz_parse_ipv6(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *ip = pz_at(ctx, p->l3_offset, PZ_IPV6_HLEN);
	__u32 at, end, size;
	__u8 next;
	__u8 *ext;
	int i;

	if (!ip)
		return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
	next = PZ_U8(ip + 6);
	p->hop_limit = PZ_U8(ip + 7);
	pz_copy16(p->source, ip + 8);
	pz_copy16(p->destination, ip + 24);
	pz_copy16(p->target, ip + 24);
	p->target_family = PZ_FAMILY_6;
	at = p->l3_offset + PZ_IPV6_HLEN;
	end = at + bpf_ntohs(PZ_U16(ip + 4));
	if (PZ_U8(ip) >> 4 != 6 || end > p->length)
		return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
	for (i = 0; i <= PZ_MAX_EXT_HEADERS; i++) {
		if (!pz_is_extension(next))
			break;
		if (i == PZ_MAX_EXT_HEADERS)
			return pz_fail_headers(p, PZ_REASON_IP_EXT_TOO_MANY);
		ext = pz_at(ctx, at, 8);
		if (!ext || at + 8 > end)
			return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
		/* hop-by-hop options stand first or not at all */
		if (next == IPPROTO_HOPOPTS && i > 0)
			return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
		if (next == IPPROTO_FRAGMENT) {
			p->protocol = ext[0];
			/* ND inside any fragment is RFC 6980's case; only a first fragment shows it */
			ext = pz_at(ctx, at + 8, 1);
			if (p->protocol == IPPROTO_ICMPV6 && ext && pz_is_nd(*ext) && at + 8 < end)
				return pz_fail_headers(p, PZ_REASON_ND_FRAGMENTED);
			return pz_fail_headers(p, PZ_REASON_IP_FRAGMENT);
		}
		if (next == IPPROTO_ROUTING && ext[3] != 0)
			return pz_fail_headers(p, PZ_REASON_IP_SOURCE_ROUTE);
		size = next == IPPROTO_AH ? (ext[1] + 2) * 4 : (ext[1] + 1) * 8;
		next = ext[0];
		at = (at + size) & 0xffff;
		if (at > end)
			return pz_fail_headers(p, PZ_REASON_IP_MALFORMED);
	}
	p->protocol = next;
	p->l4_offset = at;
	p->l4_length = end - at;
	return PZ_CONTINUE;
}

/* Everything below the link layer that the stages want to know.  Only for frames that the filter let through.
 * Global, so that it is verified once. */
PZ_GLOBAL int pz_parse_network(struct pz_ctx *ctx, struct pz_packet *p)
{
	void *eth;

	if (!p)
		return XDP_PASS;
	eth = pz_at(ctx, 0, ETH_HLEN);
	if (!eth)
		return pz_pass(p, PZ_REASON_TOO_SHORT);
	p->length = pz_frame_length(ctx);
	pz_copy_mac(p->destination_mac, eth);
	pz_copy_mac(p->source_mac, eth + 6);
	switch (p->l3) {
	case PZ_L3_ARP:
		return pz_parse_arp(ctx, p);
	case PZ_L3_IPV4:
		return pz_parse_ipv4(ctx, p);
	case PZ_L3_IPV6:
		return pz_parse_ipv6(ctx, p);
	default:
		return PZ_CONTINUE;
	}
}

#endif
