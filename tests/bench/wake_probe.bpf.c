// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The client's end of the wire: when the first Magic Packet for each host arrives, and ARP requests at any rate. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_MAGIC 0x0842
#define ETH_IPV4 0x0800
#define ETH_ARP 0x0806
#define IP_TCP 6
#define PROBE 0x98 /* last byte of its MAC */

struct magic_frame {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
	__u8 sync[6];
	__u8 mac[6];
} __attribute__((packed));

struct ip_frame {
	__u8 ethernet[23];
	__u8 protocol;
} __attribute__((packed));

struct arp_frame {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
	__be16 hardware;
	__be16 network;
	__u8 hardware_length;
	__u8 network_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender;
	__u8 target_mac[6];
	__be32 target;
	__u8 padding[18];
} __attribute__((packed));

/* By host: CLOCK_MONOTONIC of its first Magic Packet, 0 = none yet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, __u64);
} first_magic SEC(".maps");

const volatile __u32 first_asked, asked_hosts; /* ARP asks for these hosts */
__u64 magic_packets, delivered, arp_asked, arp_answered;
__u64 reply_ns; /* CLOCK_MONOTONIC of the last ARP reply to the probe itself */
static __u32 seed = 1;

/* On the client's interface.  Nothing goes on to its stack. */
SEC("xdp")
int arrive(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct magic_frame *magic = (void *)(long)ctx->data;
	struct arp_frame *arp = (void *)magic;
	struct ip_frame *ip = (void *)magic;
	__u32 host;
	__u64 *when;

	if ((void *)(magic + 1) > end)
		return XDP_DROP;
	if (magic->type == bpf_htons(ETH_MAGIC)) {
		__builtin_memcpy(&host, magic->mac + 2, sizeof(host));
		host = bpf_ntohl(host);
		when = bpf_map_lookup_elem(&first_magic, &host);
		if (when && !*when)
			*when = bpf_ktime_get_ns();
		__sync_fetch_and_add(&magic_packets, 1);
	} else if (magic->type == bpf_htons(ETH_IPV4) && ip->protocol == IP_TCP) {
		__sync_fetch_and_add(&delivered, 1);
	} else if (magic->type == bpf_htons(ETH_ARP) && (void *)(arp + 1) <= end && arp->operation == bpf_htons(2) &&
		   !(arp->destination[0] & 1)) {
		if (arp->destination[5] == PROBE)
			reply_ns = bpf_ktime_get_ns();
		__sync_fetch_and_add(&arp_answered, 1);
	}
	return XDP_DROP;
}

/* Sends each frame of BPF_PROG_TEST_RUN out of the interface that the context names, with a random host asked for. */
SEC("xdp")
int ask(struct xdp_md *ctx)
{
	struct arp_frame *frame = (void *)(long)ctx->data;

	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	/* the page is used again and comes back as the answer, or as whatever it was made into */
	__builtin_memset(frame->destination, 0xff, sizeof(frame->destination));
	__builtin_memset(frame->source, 0, sizeof(frame->source));
	frame->source[0] = 2;
	frame->source[5] = 0x99;
	frame->type = bpf_htons(ETH_ARP);
	frame->hardware = bpf_htons(1);
	frame->network = bpf_htons(ETH_IPV4);
	frame->hardware_length = 6;
	frame->network_length = 4;
	frame->operation = bpf_htons(1);
	__builtin_memcpy(frame->sender_mac, frame->source, sizeof(frame->sender_mac));
	frame->sender = bpf_htonl(0xc0000263); /* 192.0.2.99 */
	__builtin_memset(frame->target_mac, 0, sizeof(frame->target_mac));
	seed = seed * 1664525 + 1013904223;
	frame->target = bpf_htonl(0x0a000000 + first_asked + (__u32)((__u64)seed * asked_hosts >> 32));
	__builtin_memset(frame->padding, 0, sizeof(frame->padding));
	__sync_fetch_and_add(&arp_asked, 1);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
