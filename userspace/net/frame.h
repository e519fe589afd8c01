// SPDX-License-Identifier: Apache-2.0
// Ethernet frames: a parser that says what the kernel's parser says, and builders of what the daemon sends.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "net/address.h"

namespace pz {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

/// VLAN tags of a frame to send, outside in; TCI with priority bits, host order; 0 = no tag.  Tags use TPID 0x8100,
/// the outer of two 0x88a8.
struct TagStack {
    std::uint16_t outer = 0;
    std::uint16_t inner = 0;
};

enum class L3 : std::uint8_t { other, arp, ipv4, ipv6, magic };

/// Where the parser stopped, in the words of bpf/parse.h.
enum class ParseStatus : std::uint8_t {
    ok,
    too_short,         // the frame ends before its Ethernet header, a tag, or ARP does
    unknown_l2,        // EtherType below 0x0600, unknown, or more than two tags
    malformed,         // IP header that is cut short, or contradicts itself or the frame
    bad_checksum,      // IPv4 header checksum
    fragment,          // any IPv4 fragment; IPv6 with a Fragment header
    source_route,      // IPv4 LSRR or SSRR; IPv6 routing header with segments left
    too_many_ext,      // IPv6 extension headers beyond the bound
};

/// What the parser found.  Offsets count from the start of the frame; ports and VIDs in host order.
struct ParsedFrame {
    ParseStatus status = ParseStatus::too_short;
    L3 l3 = L3::other;
    MacAddress destination;
    MacAddress source;
    std::uint16_t outer_vid = 0; // of the first tag that names a VLAN: VID 0 (priority tag) is no tag
    std::uint16_t inner_vid = 0;
    std::size_t l3_offset = 0;
    IpAddress ip_source;      // IP only
    IpAddress ip_destination; // IP only
    std::uint8_t protocol = 0; // of what is at l4_offset; behind the Fragment header for an IPv6 fragment
    std::uint8_t hop_limit = 0;
    std::size_t l4_offset = 0;
    std::size_t l4_length = 0; // by the IP header, not by the frame
};

/// Up to two tags, ARP, IPv4 with options, IPv6 with up to 8 extension headers.  Never reads outside `frame`.
ParsedFrame parse_frame(ByteView frame);

/// RFC 1071 over `data` as 16-bit words in network order; `sum` continues the sum of an even number of bytes.  The sum
/// is neither folded nor complemented.
std::uint32_t checksum_add(ByteView data, std::uint32_t sum = 0);
/// Folded to 16 bits and complemented, host order: what goes into the checksum field; 0 when the bytes summed hold a
/// right checksum.
std::uint16_t checksum_fold(std::uint32_t sum);
/// Sum of the IPv4 or IPv6 pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
std::uint32_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                std::size_t length);

/// Rewrites the TCP, UDP, ICMP or ICMPv6 checksum of `frame` from its bytes: captured packets from virtual
/// interfaces carry half-done ones.  False if the frame has no such packet whole.
bool complete_checksum(std::span<std::uint8_t> frame);
/// Sets the Ethernet addresses.  The frame has at least 14 bytes.
void set_ethernet(std::span<std::uint8_t> frame, const MacAddress& destination, const MacAddress& source);

/// RFC 5227 §3: ARP request, sender = target = `address`, broadcast, padded to 60 bytes.
Bytes build_arp_announcement(const MacAddress& owner, const IpAddress& address, TagStack tags);
/// Broadcast ARP request for `target` from the gateway's own address, padded to 60 bytes.
Bytes build_arp_request(const MacAddress& sender, const IpAddress& sender_ip, const IpAddress& target, TagStack tags);
/// RFC 4861 §7.2.6: NA to ff02::1, S=0, R=0, with target link-layer option.
Bytes build_unsolicited_na(const MacAddress& ethernet_source, const MacAddress& owner, const IpAddress& address,
                           bool override_flag, TagStack tags);
/// NS to the solicited-node group with source link-layer option, unless it is from :: (DAD, RFC 4861 §4.3).
Bytes build_neighbor_solicitation(const MacAddress& sender, const IpAddress& sender_ip, const IpAddress& target,
                                  TagStack tags);

/// An IGMP message: TTL 1, TOS 0xc0 and Router Alert (RFC 3376 §4, RFC 2113), padded to 60 bytes.
Bytes build_igmp(const MacAddress& sender, const IpAddress& source, const IpAddress& destination, ByteView message,
                 TagStack tags);
/// An MLD message, whose checksum is set: hop limit 1 and Router Alert (RFC 3810 §5, RFC 2711).
Bytes build_mld(const MacAddress& sender, const IpAddress& source, const IpAddress& destination, ByteView message,
                TagStack tags);
/// Whether the IPv4 header, or the IPv6 Hop-by-Hop header, holds Router Alert with value 0.
bool has_router_alert(ByteView frame, const ParsedFrame& parsed);

/// RFC 3810 §5.2: a version 2 report to ff02::16 that `listener` takes what is sent to `groups`, from any source; at
/// most 72 of them, and `source` is link-local or ::.
Bytes build_mld_report(const MacAddress& listener, const IpAddress& source, std::span<const IpAddress> groups,
                       TagStack tags);

/// Who sends an IP packet to whom; both addresses are of one family.
struct Ends {
    MacAddress source_mac;
    MacAddress destination_mac;
    IpAddress source;
    IpAddress destination;
};
/// TCP without data, UDP without data, and an echo request without data; checksums set, padded to 60 bytes.
/// `flags` are those of netinet/tcp.h: TH_SYN, ...
Bytes build_tcp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t flags,
                TagStack tags);
Bytes build_udp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port, TagStack tags);

struct UdpOptions {
    std::uint8_t hop_limit = 64; // TTL
    std::uint8_t traffic_class = 0;
    std::size_t mtu = 1500;           // bytes of the largest IP packet
    std::uint32_t identification = 0; // of fragments, another one for each datagram; IPv4 takes the low 16 bits
};
/// A UDP datagram with its checksum, each frame padded to 60 bytes; in fragments if it is larger than the MTU (RFC 791
/// §3.2, RFC 8200 §4.5).  None if it is larger than UDP can be: 65,507 bytes over IPv4, 65,527 over IPv6.
std::vector<Bytes> build_udp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port,
                             ByteView payload, const UdpOptions& options, TagStack tags);
Bytes build_echo_request(const Ends& ends, std::uint16_t identifier, std::uint16_t sequence, TagStack tags);

/// Adds the mark of abi/mark.h to an announcement or advertisement that `gateway` sends in a host's name: it is in the
/// padding of ARP, or one more option of an advertisement.
void add_mark(Bytes& frame, const MacAddress& gateway);

using SecureOn = std::optional<std::array<std::uint8_t, 6>>;
/// EtherType 0x0842, broadcast.
Bytes build_magic_ethernet(const MacAddress& sender, const MacAddress& target, const SecureOn& password, TagStack tags);
/// UDP in IPv4 to 255.255.255.255, source port 9, checksum set.
Bytes build_magic_udp(const MacAddress& sender, const IpAddress& sender_ip, const MacAddress& target,
                      std::uint16_t port, const SecureOn& password, TagStack tags);

} // namespace pz
