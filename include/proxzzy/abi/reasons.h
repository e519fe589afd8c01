/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Why a frame got its verdict: the one list that the kernel programs, the daemon, proxzzyctl and the docs share. */
#ifndef PROXZZY_ABI_REASONS_H
#define PROXZZY_ABI_REASONS_H

/*
 * X(identifier, "name", "sentence").  The position is the key in pz_counters_v1: append at the end, never reorder
 * without a new map version.
 */
#define PZ_REASONS(X)                                                                                                  \
	X(NOBODY, "nobody", "neither the destination nor the sender is a host in proxzzy's care")                      \
	X(TOO_SHORT, "too-short", "the frame ends before its headers do")                                              \
	X(UNKNOWN_L2, "unknown-l2", "EtherType or tag stack that proxzzy does not serve (ECMA-393 R1)")                \
	X(NO_SEGMENT, "no-segment", "no host is configured on this interface and VLAN")                                \
	X(NOT_ADDRESSED, "not-addressed", "the frame's destination MAC is neither the sleeper's nor this gateway's")   \
	X(RELEASED, "released", "the host showed a sign of life, so the kernel no longer speaks for it")               \
	X(DAEMON_GONE, "daemon-gone", "no daemon for longer than answer_without_daemon: everything passes")            \
	X(ARP_ANSWERED, "arp-answered", "ARP request for a sleeper, answered (R18-R20)")                               \
	X(ARP_PROBE_ANSWERED, "arp-probe-answered", "ARP probe for a sleeper's address, answered (R21)")               \
	X(ARP_MALFORMED, "arp-malformed", "ARP with another hardware, protocol, length or an impossible sender MAC")   \
	X(ARP_NOT_REQUEST, "arp-not-request", "ARP reply, announcement or unknown operation: nothing to answer")       \
	X(ND_ANSWERED, "nd-answered", "Neighbour Solicitation for a sleeper, answered (R25-R29)")                      \
	X(ND_DAD_ANSWERED, "nd-dad-answered",                                                                          \
	  "duplicate address detection of a sleeper's address, answered to ff02::1")                                   \
	X(ND_MALFORMED, "nd-malformed", "Neighbour Discovery message that fails a check of RFC 4861 section 7.1")      \
	X(ND_CHECKSUM, "nd-checksum", "Neighbour Discovery message with a wrong ICMPv6 checksum")                      \
	X(ND_FRAGMENTED, "nd-fragmented", "Neighbour Discovery message with a Fragment header (RFC 6980)")             \
	X(ND_NOT_SOLICITATION, "nd-not-solicitation",                                                                  \
	  "Neighbour Advertisement of a sleeper's address: nothing to answer")                                         \
	X(ECHO_ANSWERED, "echo-answered", "echo request to a sleeper, answered")                                       \
	X(ECHO_IGNORED, "echo-ignored", "echo request to a sleeper whose policy says not to answer")                   \
	X(ECHO_CHECKSUM, "echo-checksum", "echo request with a wrong ICMP or ICMPv6 checksum")                         \
	X(IP_MALFORMED, "ip-malformed", "ill-formed IPv4 or IPv6 header (R36)")                                        \
	X(IP_CHECKSUM, "ip-checksum", "wrong IPv4 header checksum (R36)")                                              \
	X(IP_FRAGMENT, "ip-fragment", "fragment to a sleeper (R37)")                                                   \
	X(IP_SOURCE_ROUTE, "ip-source-route", "source-routed packet to a sleeper (R38)")                               \
	X(IP_EXT_TOO_MANY, "ip-ext-too-many", "more IPv6 extension headers than proxzzy walks")                        \
	X(L4_MALFORMED, "l4-malformed", "ill-formed TCP, UDP or ICMP header to a sleeper (R36)")                       \
	X(TRIGGER_SYN, "trigger-syn", "TCP connection attempt: the host is woken (R30)")                               \
	X(TRIGGER_UDP, "trigger-udp", "UDP datagram to a port that wakes the host")                                    \
	X(TRIGGER_ECHO, "trigger-echo", "echo request, and the host's policy says to wake for it")                     \
	X(TRIGGER_MAGIC, "trigger-magic", "Magic Packet for the host (R31)")                                           \
	X(TRIGGER_THROTTLED, "trigger-throttled", "more triggers for one host than its allowance: not handed on")      \
	X(RING_FULL, "ring-full",                                                                                      \
	  "trigger or release, but the ring to the daemon was full: the daemon's sweep acts on it")                    \
	X(MAGIC_REPEATS, "magic-repeats", "Magic Packet for a host that is already being woken or watched")            \
	X(MAGIC_PASSWORD, "magic-password", "Magic Packet without the host's SecureOn password")                       \
	X(PORT_CLOSED, "port-closed", "connection attempt or datagram to a port that does not wake the host")          \
	X(UNICAST_IGNORED, "unicast-ignored", "any other unicast to a sleeper")                                        \
	X(MULTICAST_PASSED, "multicast-passed", "multicast or broadcast that no stage needed")                         \
	X(SIGN_OF_LIFE, "sign-of-life", "the owner spoke: released on this packet (R32)")                              \
	X(OWNER_ARMING, "owner-arming", "the owner still talks while it falls asleep")                                 \
	X(OWNER_SEEN, "owner-seen", "the owner's frame after its release, or its reply while it is woken")             \
	X(NIC_ANSWERS, "nic-answers", "ARP reply or Advertisement from a sleeper's NIC: not a sign of life")           \
	X(CONFLICT, "conflict", "another node claims a sleeper's address")                                             \
	X(NO_ROOM, "no-room", "an answer was due, but the frame could not be resized: passed")                         \
	X(UNANSWERED, "unanswered",                                                                                    \
	  "for a host that did not wake, or was out of sight: it is looked for and not answered for")                  \
	X(OWN_FRAME, "own-frame", "what this gateway sent in the host's name came back: not the host")                 \
	X(SECOND_PROXY, "second-proxy", "another gateway stands in for the host too: not the host")                    \
	X(OWNER_WATCHED, "owner-watched", "an awake host is watched: when it last spoke is noted")                     \
	X(MULTICAST_COPIED, "multicast-copied", "multicast that an option listens for: passed, and copied to it")      \
	X(STEERED, "steered", "unicast for an option that answers in the sleeper's name: given to it")                 \
	X(OPTION_LOST, "option-lost", "a packet for an option that found no room on the ring: the option misses it")

enum pz_reason {
#define PZ_REASON_ENUM(id, name, sentence) PZ_REASON_##id,
	PZ_REASONS(PZ_REASON_ENUM)
#undef PZ_REASON_ENUM
		PZ_REASON_COUNT
};

#endif
