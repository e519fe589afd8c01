// SPDX-License-Identifier: Apache-2.0
// The user-space parser, the Internet checksum, and the frames that the daemon originates.
#include "net/frame.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include <proxzzy/abi/mark.h>

namespace pz {
namespace {

constexpr std::uint16_t ethertype_stag = 0x88a8;
constexpr std::uint16_t ethertype_old_qinq = 0x9100;
constexpr std::uint16_t ethertype_magic = 0x0842;
constexpr std::uint16_t vid_mask = 0x0fff;
constexpr int max_tags = 2;
constexpr int max_extension_headers = 8;
constexpr std::uint8_t protocol_mobility = 135;
constexpr std::uint8_t mld2_report = 143;
constexpr std::size_t smallest_frame = 60; // IEEE 802.3, without the frame check sequence

/// A header at `offset`, or nullopt when it does not lie within `bytes` whole.
template <class Header>
std::optional<Header> load(ByteView bytes, std::size_t offset) {
    static_assert(std::is_trivially_copyable_v<Header>);
    if (offset > bytes.size() || bytes.size() - offset < sizeof(Header))
        return std::nullopt;
    Header header;
    std::memcpy(&header, bytes.data() + offset, sizeof header);
    return header;
}

template <class Header>
ByteView as_bytes(const Header& header) {
    static_assert(std::is_trivially_copyable_v<Header>);
    return {reinterpret_cast<const std::uint8_t*>(&header), sizeof header};
}

template <class Header>
void append(Bytes& frame, const Header& header) {
    const auto bytes = as_bytes(header);
    frame.insert(frame.end(), bytes.begin(), bytes.end());
}

bool is_tag(std::uint16_t ethertype) {
    return ethertype == ETHERTYPE_VLAN || ethertype == ethertype_stag || ethertype == ethertype_old_qinq;
}

/// RFC 791 §3.1: source routes, and lengths that add up to the header's.
ParseStatus check_options(ByteView options) {
    while (!options.empty() && options[0] != IPOPT_EOL) {
        if (options[0] == IPOPT_NOP) {
            options = options.subspan(1);
            continue;
        }
        if (options[0] == IPOPT_LSRR || options[0] == IPOPT_SSRR)
            return ParseStatus::source_route;
        if (options.size() < 2 || options[1] < 2 || options[1] > options.size())
            return ParseStatus::malformed;
        options = options.subspan(options[1]);
    }
    return ParseStatus::ok;
}

ParseStatus parse_ipv4(ByteView frame, ParsedFrame& parsed) {
    const auto header = load<iphdr>(frame, parsed.l3_offset);
    if (!header)
        return ParseStatus::malformed;
    const std::size_t room = frame.size() - parsed.l3_offset;
    const std::size_t header_length = std::size_t{header->ihl} * 4;
    const std::size_t total_length = ntohs(header->tot_len);
    if (header->version != 4 || header_length < sizeof(iphdr) || total_length < header_length || total_length > room)
        return ParseStatus::malformed;
    const auto whole_header = frame.subspan(parsed.l3_offset, header_length);
    if (checksum_fold(checksum_add(whole_header)) != 0)
        return ParseStatus::bad_checksum;

    parsed.ip_source = IpAddress::v4(std::bit_cast<std::array<std::uint8_t, 4>>(header->saddr));
    parsed.ip_destination = IpAddress::v4(std::bit_cast<std::array<std::uint8_t, 4>>(header->daddr));
    parsed.protocol = header->protocol;
    parsed.hop_limit = header->ttl;
    parsed.l4_offset = parsed.l3_offset + header_length;
    parsed.l4_length = total_length - header_length;
    const auto options = check_options(whole_header.subspan(sizeof(iphdr)));
    if (options == ParseStatus::ok && (ntohs(header->frag_off) & (IP_MF | IP_OFFMASK)) != 0)
        return ParseStatus::fragment;
    return options;
}

bool is_extension(std::uint8_t next_header) {
    return next_header == IPPROTO_HOPOPTS || next_header == IPPROTO_ROUTING || next_header == IPPROTO_FRAGMENT ||
           next_header == IPPROTO_AH || next_header == IPPROTO_DSTOPTS || next_header == protocol_mobility;
}

ParseStatus parse_ipv6(ByteView frame, ParsedFrame& parsed) {
    const auto header = load<ip6_hdr>(frame, parsed.l3_offset);
    if (!header)
        return ParseStatus::malformed;
    parsed.l4_offset = parsed.l3_offset + sizeof(ip6_hdr);
    parsed.l4_length = ntohs(header->ip6_plen);
    if (header->ip6_vfc >> 4 != 6 || parsed.l4_length > frame.size() - parsed.l4_offset)
        return ParseStatus::malformed;
    parsed.ip_source = IpAddress::v6(std::bit_cast<std::array<std::uint8_t, 16>>(header->ip6_src));
    parsed.ip_destination = IpAddress::v6(std::bit_cast<std::array<std::uint8_t, 16>>(header->ip6_dst));
    parsed.protocol = header->ip6_nxt;
    parsed.hop_limit = header->ip6_hlim;

    const auto packet = frame.first(parsed.l4_offset + parsed.l4_length); // without Ethernet padding
    for (int headers = 0; is_extension(parsed.protocol); ++headers) {
        if (headers == max_extension_headers)
            return ParseStatus::too_many_ext;
        if (parsed.protocol == IPPROTO_HOPOPTS && headers > 0) // stands first or not at all (RFC 8200 §4.1)
            return ParseStatus::malformed;
        // No extension header is shorter than eight bytes; the routing header's first fields are the common ones.
        const auto extension = load<ip6_rthdr0>(packet, parsed.l4_offset);
        if (!extension)
            return ParseStatus::malformed;
        if (parsed.protocol == IPPROTO_ROUTING && extension->ip6r0_segleft != 0)
            return ParseStatus::source_route;
        const bool fragment = parsed.protocol == IPPROTO_FRAGMENT;
        const std::size_t length = fragment                        ? sizeof(ip6_frag)
                                   : parsed.protocol == IPPROTO_AH ? (extension->ip6r0_len + 2U) * 4
                                                                   : (extension->ip6r0_len + 1U) * 8;
        if (length > parsed.l4_length)
            return ParseStatus::malformed;
        parsed.protocol = extension->ip6r0_nxt;
        parsed.l4_offset += length;
        parsed.l4_length -= length;
        if (fragment)
            return ParseStatus::fragment;
    }
    return ParseStatus::ok;
}

/// Ethernet header and tags.
Bytes start_frame(const MacAddress& destination, const MacAddress& source, TagStack tags, std::uint16_t ethertype) {
    Bytes frame;
    append(frame, destination.bytes);
    append(frame, source.bytes);
    if (tags.outer != 0)
        append(frame, std::array{htons(tags.inner != 0 ? ethertype_stag : ETHERTYPE_VLAN), htons(tags.outer)});
    if (tags.inner != 0)
        append(frame, std::array{htons(ETHERTYPE_VLAN), htons(tags.inner)});
    append(frame, htons(ethertype));
    return frame;
}

/// RFC 826, Ethernet and IPv4.  The target hardware address is what is asked for: zero.
Bytes build_arp_broadcast(const MacAddress& sender, const IpAddress& sender_ip, const IpAddress& target,
                          TagStack tags) {
    auto frame = start_frame(MacAddress::broadcast(), sender, tags, ETHERTYPE_ARP);
    ether_arp arp{};
    arp.ea_hdr = {htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), ETH_ALEN, sizeof arp.arp_spa, htons(ARPOP_REQUEST)};
    std::ranges::copy(sender.bytes, arp.arp_sha);
    std::ranges::copy(sender_ip.octets(), arp.arp_spa);
    std::ranges::copy(target.octets(), arp.arp_tpa);
    append(frame, arp);
    frame.resize(std::max(frame.size(), smallest_frame));
    return frame;
}

ip6_hdr ip6_header(const IpAddress& source, const IpAddress& destination, std::uint8_t next, std::uint8_t hop_limit,
                   std::size_t payload, std::uint8_t traffic_class = 0) {
    ip6_hdr ip{};
    ip.ip6_flow = htonl(6U << 28 | std::uint32_t{traffic_class} << 20);
    ip.ip6_plen = htons(static_cast<std::uint16_t>(payload));
    ip.ip6_nxt = next;
    ip.ip6_hlim = hop_limit;
    std::ranges::copy(source.bytes, ip.ip6_src.s6_addr);
    std::ranges::copy(destination.bytes, ip.ip6_dst.s6_addr);
    return ip;
}

/// The header of one IP packet; what does not exist in its family is not used.
struct IpHeader {
    std::uint8_t next = 0; // protocol, or the type of the first extension header
    std::uint8_t hop_limit = IPDEFTTL;
    std::uint8_t traffic_class = 0; // TOS
    std::uint16_t fragment = IP_DF; // IPv4: flags and offset.  Not a fragment, so that the identification may
    std::uint16_t identification = 0; // IPv4: stay 0 (RFC 6864 §4.1)
    ByteView options = {}; // IPv4: multiple of four bytes; IPv6: extension headers
};

/// An Ethernet frame of at least 60 bytes; no checksum but that of the IPv4 header is set.
Bytes build_ip(const Ends& ends, const IpHeader& header, ByteView payload, TagStack tags) {
    const bool v4 = ends.destination.is_v4();
    auto frame = start_frame(ends.destination_mac, ends.source_mac, tags, v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    const std::size_t start = frame.size();
    if (v4) {
        const std::size_t header_length = sizeof(iphdr) + header.options.size();
        iphdr ip{};
        ip.version = 4;
        ip.ihl = static_cast<std::uint8_t>(header_length / 4) & 0xf;
        ip.tos = header.traffic_class;
        ip.tot_len = htons(static_cast<std::uint16_t>(header_length + payload.size()));
        ip.id = htons(header.identification);
        ip.frag_off = htons(header.fragment);
        ip.ttl = header.hop_limit;
        ip.protocol = header.next;
        std::memcpy(&ip.saddr, ends.source.bytes.data(), sizeof ip.saddr);
        std::memcpy(&ip.daddr, ends.destination.bytes.data(), sizeof ip.daddr);
        append(frame, ip);
    } else {
        append(frame, ip6_header(ends.source, ends.destination, header.next, header.hop_limit,
                                 header.options.size() + payload.size(), header.traffic_class));
    }
    frame.insert(frame.end(), header.options.begin(), header.options.end());
    if (v4) {
        const auto check = htons(checksum_fold(checksum_add(ByteView(frame).subspan(start))));
        std::memcpy(frame.data() + start + offsetof(iphdr, check), &check, sizeof check);
    }
    frame.insert(frame.end(), payload.begin(), payload.end());
    frame.resize(std::max(frame.size(), smallest_frame));
    return frame;
}

/// An IP packet with hop limit 64 and the checksum of what it carries.
Bytes build_packet(const Ends& ends, std::uint8_t protocol, ByteView payload, TagStack tags) {
    auto frame = build_ip(ends, {.next = protocol}, payload, tags);
    complete_checksum(frame);
    return frame;
}

/// NS and NA have the same shape: type, flags, target, one link-layer address option.
struct NeighborMessage {
    std::uint8_t type;
    std::uint32_t flags; // network order
    IpAddress target;
    std::uint8_t option;
    MacAddress link_layer;
};

/// RFC 4861 §4.3, §4.4: hop limit 255, to a multicast group.
Bytes build_neighbor_message(const MacAddress& ethernet_source, const IpAddress& source, const IpAddress& group,
                             const NeighborMessage& message, TagStack tags) {
    struct Payload {
        nd_neighbor_advert message; // the layout of nd_neighbor_solicit too
        nd_opt_hdr option;
        std::array<std::uint8_t, 6> link_layer;
    } payload{};
    static_assert(sizeof(Payload) == 32 && sizeof(nd_neighbor_advert) == sizeof(nd_neighbor_solicit));

    payload.message.nd_na_hdr.icmp6_type = message.type;
    payload.message.nd_na_flags_reserved = message.flags;
    std::ranges::copy(message.target.bytes, payload.message.nd_na_target.s6_addr);
    payload.option = {message.option, 1}; // one unit of eight bytes
    payload.link_layer = message.link_layer.bytes;
    // who has no address yet gives no link-layer address either
    const auto bytes = as_bytes(payload).first(source.is_unspecified() ? sizeof payload.message : sizeof payload);

    auto frame = start_frame(multicast_mac(group), ethernet_source, tags, ETHERTYPE_IPV6);
    append(frame, ip6_header(source, group, IPPROTO_ICMPV6, 255, bytes.size()));
    frame.insert(frame.end(), bytes.begin(), bytes.end());
    complete_checksum(frame);
    return frame;
}

/// Six times ff, sixteen times the target, the password.
Bytes magic_sequence(const MacAddress& target, const SecureOn& password) {
    Bytes sequence(6, 0xff);
    for (int i = 0; i < 16; ++i)
        append(sequence, target.bytes);
    if (password)
        append(sequence, *password);
    return sequence;
}

} // namespace

ParsedFrame parse_frame(ByteView frame) {
    ParsedFrame parsed;
    const auto ethernet = load<ether_header>(frame, 0);
    if (!ethernet)
        return parsed;
    std::ranges::copy(ethernet->ether_dhost, parsed.destination.bytes.begin());
    std::ranges::copy(ethernet->ether_shost, parsed.source.bytes.begin());

    std::uint16_t ethertype = ntohs(ethernet->ether_type);
    parsed.l3_offset = sizeof(ether_header);
    for (int tags = 0; is_tag(ethertype); ++tags) {
        if (tags == max_tags) {
            parsed.status = ParseStatus::unknown_l2;
            return parsed;
        }
        const auto tag = load<std::array<std::uint16_t, 2>>(frame, parsed.l3_offset); // TCI, EtherType
        if (!tag)
            return parsed;
        const auto vid = static_cast<std::uint16_t>(ntohs((*tag)[0]) & vid_mask);
        (parsed.outer_vid == 0 ? parsed.outer_vid : parsed.inner_vid) = vid;
        ethertype = ntohs((*tag)[1]);
        parsed.l3_offset += sizeof *tag;
    }

    switch (ethertype) {
    case ETHERTYPE_ARP:
        parsed.l3 = L3::arp;
        parsed.status = load<ether_arp>(frame, parsed.l3_offset) ? ParseStatus::ok : ParseStatus::too_short;
        break;
    case ETHERTYPE_IP:
        parsed.l3 = L3::ipv4;
        parsed.status = parse_ipv4(frame, parsed);
        break;
    case ETHERTYPE_IPV6:
        parsed.l3 = L3::ipv6;
        parsed.status = parse_ipv6(frame, parsed);
        break;
    case ethertype_magic:
        parsed.l3 = L3::magic;
        parsed.status = ParseStatus::ok;
        break;
    default:
        parsed.status = ParseStatus::unknown_l2;
    }
    return parsed;
}

std::uint32_t checksum_add(ByteView data, std::uint32_t sum) {
    std::uint64_t total = sum;
    std::size_t i = 0;
    for (; i + 1 < data.size(); i += 2)
        total += static_cast<std::uint32_t>(data[i] << 8 | data[i + 1]);
    if (i < data.size())
        total += static_cast<std::uint32_t>(data[i] << 8);
    while (total >> 32 != 0)
        total = (total & 0xffffffff) + (total >> 32);
    return static_cast<std::uint32_t>(total);
}

std::uint16_t checksum_fold(std::uint32_t sum) {
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

std::uint32_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                std::size_t length) {
    const std::array tail{htonl(static_cast<std::uint32_t>(length)), htonl(protocol)};
    return checksum_add(as_bytes(tail), checksum_add(destination.octets(), checksum_add(source.octets())));
}

bool complete_checksum(std::span<std::uint8_t> frame) {
    const auto parsed = parse_frame(frame);
    if (parsed.status != ParseStatus::ok || (parsed.l3 != L3::ipv4 && parsed.l3 != L3::ipv6))
        return false;

    auto segment = frame.subspan(parsed.l4_offset, parsed.l4_length);
    std::size_t field = 0;
    std::size_t smallest = 0;
    bool pseudo_header = true;
    if (parsed.protocol == IPPROTO_TCP) {
        field = offsetof(tcphdr, check);
        smallest = sizeof(tcphdr);
    } else if (parsed.protocol == IPPROTO_UDP) {
        field = offsetof(udphdr, check);
        smallest = sizeof(udphdr);
    } else if (parsed.protocol == IPPROTO_ICMP && parsed.l3 == L3::ipv4) {
        field = offsetof(icmp6_hdr, icmp6_cksum); // where ICMP has it too
        smallest = sizeof(icmp6_hdr);
        pseudo_header = false;
    } else if (parsed.protocol == IPPROTO_ICMPV6 && parsed.l3 == L3::ipv6) {
        field = offsetof(icmp6_hdr, icmp6_cksum);
        smallest = sizeof(icmp6_hdr);
    } else {
        return false;
    }
    if (parsed.protocol == IPPROTO_UDP) { // its own length rules; what follows is no part of the datagram
        const auto udp = load<udphdr>(segment, 0);
        if (!udp || ntohs(udp->len) > segment.size())
            return false;
        segment = segment.first(ntohs(udp->len));
    }
    if (segment.size() < smallest)
        return false;

    std::ranges::fill(segment.subspan(field, 2), std::uint8_t{0});
    std::uint32_t sum = 0;
    if (pseudo_header)
        sum = pseudo_header_sum(parsed.ip_source, parsed.ip_destination, parsed.protocol, segment.size());
    auto checksum = checksum_fold(checksum_add(segment, sum));
    if (parsed.protocol == IPPROTO_UDP && checksum == 0)
        checksum = 0xffff; // RFC 768: zero on the wire means no checksum
    segment[field] = static_cast<std::uint8_t>(checksum >> 8);
    segment[field + 1] = static_cast<std::uint8_t>(checksum & 0xff);
    return true;
}

void set_ethernet(std::span<std::uint8_t> frame, const MacAddress& destination, const MacAddress& source) {
    std::ranges::copy(destination.bytes, frame.subspan<0, ETH_ALEN>().begin());
    std::ranges::copy(source.bytes, frame.subspan<ETH_ALEN, ETH_ALEN>().begin());
}

Bytes build_arp_announcement(const MacAddress& owner, const IpAddress& address, TagStack tags) {
    return build_arp_broadcast(owner, address, address, tags);
}

Bytes build_arp_request(const MacAddress& sender, const IpAddress& sender_ip, const IpAddress& target, TagStack tags) {
    return build_arp_broadcast(sender, sender_ip, target, tags);
}

Bytes build_unsolicited_na(const MacAddress& ethernet_source, const MacAddress& owner, const IpAddress& address,
                           bool override_flag, TagStack tags) {
    const auto all_nodes = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    return build_neighbor_message(ethernet_source, address, all_nodes,
                                  {.type = ND_NEIGHBOR_ADVERT,
                                   .flags = override_flag ? std::uint32_t{ND_NA_FLAG_OVERRIDE} : 0,
                                   .target = address,
                                   .option = ND_OPT_TARGET_LINKADDR,
                                   .link_layer = owner},
                                  tags);
}

void add_mark(Bytes& frame, const MacAddress& gateway) {
    const auto parsed = parse_frame(frame);
    if (parsed.l3 == L3::arp) {
        pz_arp_mark mark{.word = PZ_ARP_MARK, .gateway = {}};
        std::ranges::copy(gateway.bytes, mark.gateway);
        std::ranges::copy(as_bytes(mark),
                          frame.begin() + static_cast<std::ptrdiff_t>(parsed.l3_offset + sizeof(ether_arp)));
        return;
    }
    pz_nd_mark mark{.type = PZ_ND_OPT_MARK, .units = 1, .gateway = {}};
    std::ranges::copy(gateway.bytes, mark.gateway);
    append(frame, mark);
    const auto length = htons(static_cast<std::uint16_t>(parsed.l4_length + sizeof mark));
    std::memcpy(frame.data() + parsed.l3_offset + offsetof(ip6_hdr, ip6_plen), &length, sizeof length);
    complete_checksum(frame);
}

Bytes build_neighbor_solicitation(const MacAddress& sender, const IpAddress& sender_ip, const IpAddress& target,
                                  TagStack tags) {
    return build_neighbor_message(sender, sender_ip, solicited_node_group(target),
                                  {.type = ND_NEIGHBOR_SOLICIT,
                                   .flags = 0,
                                   .target = target,
                                   .option = ND_OPT_SOURCE_LINKADDR,
                                   .link_layer = sender},
                                  tags);
}

Bytes build_igmp(const MacAddress& sender, const IpAddress& source, const IpAddress& destination, ByteView message,
                 TagStack tags) {
    constexpr std::array<std::uint8_t, 4> router_alert{IPOPT_RA, 4, 0, 0}; // RFC 2113 §2.1
    constexpr std::uint8_t internetwork_control = 0xc0;
    return build_ip(
        {sender, multicast_mac(destination), source, destination},
        {.next = IPPROTO_IGMP, .hop_limit = 1, .traffic_class = internetwork_control, .options = router_alert}, message,
        tags);
}

Bytes build_mld(const MacAddress& sender, const IpAddress& source, const IpAddress& destination, ByteView message,
                TagStack tags) {
    // Hop-by-Hop: Router Alert for MLD (RFC 2711 §2.1), PadN
    constexpr std::array<std::uint8_t, 8> hop_by_hop{IPPROTO_ICMPV6, 0, IP6OPT_ROUTER_ALERT, 2, 0, 0, IP6OPT_PADN, 0};
    auto frame = build_ip({sender, multicast_mac(destination), source, destination},
                          {.next = IPPROTO_HOPOPTS, .hop_limit = 1, .options = hop_by_hop}, message, tags);
    complete_checksum(frame);
    return frame;
}

Bytes build_mld_report(const MacAddress& listener, const IpAddress& source, std::span<const IpAddress> groups,
                       TagStack tags) {
    const auto routers = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16});
    struct Record {
        std::uint8_t type;
        std::uint8_t auxiliary_length;
        std::uint16_t sources;
        std::array<std::uint8_t, 16> group;
    };
    constexpr std::uint8_t change_to_exclude = 4;
    icmp6_hdr report{};
    report.icmp6_type = mld2_report;
    report.icmp6_data16[1] = htons(static_cast<std::uint16_t>(groups.size()));

    Bytes message;
    append(message, report);
    for (const auto& group : groups)
        append(message, Record{.type = change_to_exclude, .auxiliary_length = 0, .sources = 0, .group = group.bytes});
    return build_mld(listener, source, routers, message, tags);
}

bool has_router_alert(ByteView frame, const ParsedFrame& parsed) {
    const bool v4 = parsed.l3 == L3::ipv4;
    const std::size_t fixed = v4 ? sizeof(iphdr) : sizeof(ip6_hdr);
    if ((!v4 && parsed.l3 != L3::ipv6) || parsed.l4_offset > frame.size() ||
        parsed.l4_offset < parsed.l3_offset + fixed)
        return false;
    auto options = frame.subspan(parsed.l3_offset + fixed, parsed.l4_offset - parsed.l3_offset - fixed);
    if (!v4) {
        // no extension header is shorter than eight bytes; what follows the first is left off
        const auto next = load<ip6_hdr>(frame, parsed.l3_offset)->ip6_nxt;
        if (next != IPPROTO_HOPOPTS || options.size() < 8 || options.size() < (std::size_t{options[1]} + 1) * 8)
            return false;
        options = options.subspan(2, (std::size_t{options[1]} + 1) * 8 - 2);
    }
    while (!options.empty()) {
        const std::uint8_t type = options[0];
        if (v4 && type == IPOPT_EOL)
            return false;
        if (type == (v4 ? std::uint8_t{IPOPT_NOP} : std::uint8_t{IP6OPT_PAD1})) {
            options = options.subspan(1);
            continue;
        }
        if (options.size() < 2)
            return false;
        const std::size_t length = v4 ? options[1] : options[1] + 2U;
        if (length < 2 || length > options.size())
            return false;
        // IPv6: 0 says that the packet holds an MLD message (RFC 2711 §2.1); IPv4: other values are reserved
        if (type == (v4 ? std::uint8_t{IPOPT_RA} : std::uint8_t{IP6OPT_ROUTER_ALERT}))
            return length == 4 && options[2] == 0 && options[3] == 0;
        options = options.subspan(length);
    }
    return false;
}

Bytes build_magic_ethernet(const MacAddress& sender, const MacAddress& target, const SecureOn& password,
                           TagStack tags) {
    auto frame = start_frame(MacAddress::broadcast(), sender, tags, ethertype_magic);
    const auto sequence = magic_sequence(target, password);
    frame.insert(frame.end(), sequence.begin(), sequence.end());
    return frame;
}

Bytes build_magic_udp(const MacAddress& sender, const IpAddress& sender_ip, const MacAddress& target,
                      std::uint16_t port, const SecureOn& password, TagStack tags) {
    constexpr std::uint16_t discard = 9;
    const auto sequence = magic_sequence(target, password);
    udphdr udp{};
    udp.source = htons(discard);
    udp.dest = htons(port);
    udp.len = htons(static_cast<std::uint16_t>(sizeof udp + sequence.size()));
    Bytes datagram;
    append(datagram, udp);
    datagram.insert(datagram.end(), sequence.begin(), sequence.end());
    const auto everybody = IpAddress::v4({255, 255, 255, 255});
    return build_packet({sender, MacAddress::broadcast(), sender_ip, everybody}, IPPROTO_UDP, datagram, tags);
}

Bytes build_tcp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port, std::uint8_t flags,
                TagStack tags) {
    tcphdr tcp{};
    tcp.source = htons(source_port);
    tcp.dest = htons(destination_port);
    tcp.doff = sizeof tcp / 4;
    tcp.th_flags = flags;
    tcp.window = htons(0xffff);
    return build_packet(ends, IPPROTO_TCP, as_bytes(tcp), tags);
}

Bytes build_udp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port, TagStack tags) {
    udphdr udp{};
    udp.source = htons(source_port);
    udp.dest = htons(destination_port);
    udp.len = htons(sizeof udp);
    return build_packet(ends, IPPROTO_UDP, as_bytes(udp), tags);
}

std::vector<Bytes> build_udp(const Ends& ends, std::uint16_t source_port, std::uint16_t destination_port,
                             ByteView payload, const UdpOptions& options, TagStack tags) {
    const bool v4 = ends.destination.is_v4();
    constexpr std::size_t largest = 0xffff; // of IPv4's total length and of UDP's length
    const std::size_t length = sizeof(udphdr) + payload.size();
    const std::size_t header_length = v4 ? sizeof(iphdr) : sizeof(ip6_hdr);
    if (length > (v4 ? largest - header_length : largest))
        return {};

    udphdr udp{};
    udp.source = htons(source_port);
    udp.dest = htons(destination_port);
    udp.len = htons(static_cast<std::uint16_t>(length));
    const auto sum = pseudo_header_sum(ends.source, ends.destination, IPPROTO_UDP, length);
    const auto checksum = checksum_fold(checksum_add(payload, checksum_add(as_bytes(udp), sum)));
    udp.check = htons(checksum == 0 ? 0xffff : checksum); // RFC 768: zero on the wire means no checksum
    Bytes datagram;
    datagram.reserve(length);
    append(datagram, udp);
    datagram.insert(datagram.end(), payload.begin(), payload.end());

    IpHeader header{.next = IPPROTO_UDP, .hop_limit = options.hop_limit, .traffic_class = options.traffic_class};
    if (header_length + length <= options.mtu) {
        std::vector<Bytes> frames;
        frames.push_back(build_ip(ends, header, datagram, tags));
        return frames;
    }

    const std::size_t fragment_header = v4 ? 0 : sizeof(ip6_frag);
    if (options.mtu < header_length + fragment_header + 8)
        return {};
    // all but the last are multiples of eight bytes (RFC 791 §3.2, RFC 8200 §4.5)
    const std::size_t room = (options.mtu - header_length - fragment_header) & ~std::size_t{7};
    std::vector<Bytes> frames;
    for (std::size_t offset = 0; offset < length; offset += room) {
        const auto part = ByteView(datagram).subspan(offset, std::min(room, length - offset));
        const bool more = offset + part.size() < length;
        ip6_frag fragment{};
        if (v4) {
            header.fragment = static_cast<std::uint16_t>(offset / 8 | (more ? IP_MF : 0U));
            header.identification = static_cast<std::uint16_t>(options.identification & 0xffff);
        } else {
            fragment.ip6f_nxt = IPPROTO_UDP;
            fragment.ip6f_offlg = htons(static_cast<std::uint16_t>(offset | (more ? 1U : 0U))); // in units of 8, << 3
            fragment.ip6f_ident = htonl(options.identification);
            header.next = IPPROTO_FRAGMENT;
            header.options = as_bytes(fragment);
        }
        frames.push_back(build_ip(ends, header, part, tags));
    }
    return frames;
}

Bytes build_echo_request(const Ends& ends, std::uint16_t identifier, std::uint16_t sequence, TagStack tags) {
    const bool v4 = ends.destination.is_v4();
    icmp6_hdr icmp{}; // ICMP has the same layout
    icmp.icmp6_type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
    icmp.icmp6_id = htons(identifier);
    icmp.icmp6_seq = htons(sequence);
    const std::uint8_t protocol = v4 ? std::uint8_t{IPPROTO_ICMP} : std::uint8_t{IPPROTO_ICMPV6};
    return build_packet(ends, protocol, as_bytes(icmp), tags);
}

} // namespace pz
