// SPDX-License-Identifier: Apache-2.0
#include "net/describe.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace pz {
namespace {

template <class Header>
std::optional<Header> load(ByteView bytes) {
    if (bytes.size() < sizeof(Header))
        return std::nullopt;
    Header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
}

MacAddress mac_at(const std::uint8_t* bytes) {
    MacAddress mac;
    std::copy_n(bytes, mac.bytes.size(), mac.bytes.begin());
    return mac;
}

/// The MAC of the Magic Packet in `payload`, if there is one.
std::string magic_target(ByteView payload) {
    constexpr std::size_t sync_length = 6;
    constexpr std::size_t repeats_length = 16 * 6;
    for (std::size_t at = 0; at + sync_length + repeats_length <= payload.size(); ++at) {
        const auto sync = payload.subspan(at, sync_length);
        const auto repeats = payload.subspan(at + sync_length, repeats_length);
        if (std::ranges::all_of(sync, [](std::uint8_t byte) { return byte == 0xff; }) && repeats[0] != 0xff &&
            std::ranges::equal(repeats.first(repeats_length - 6), repeats.subspan(6)))
            return fmt::format(" Magic Packet for {}", mac_at(repeats.data()).to_string());
    }
    return {};
}

std::string describe_arp(const ether_arp& arp) {
    const std::string sender = IpAddress::v4(std::to_array(arp.arp_spa)).to_string();
    const std::string target = IpAddress::v4(std::to_array(arp.arp_tpa)).to_string();
    switch (ntohs(arp.arp_op)) {
    case ARPOP_REQUEST:
        if (sender == "0.0.0.0")
            return fmt::format("ARP probe for {}", target);
        if (sender == target)
            return fmt::format("ARP announcement: {} is at {}", sender, mac_at(arp.arp_sha).to_string());
        return fmt::format("ARP request of {}: who has {}", sender, target);
    case ARPOP_REPLY:
        return fmt::format("ARP reply to {}: {} is at {}", target, sender, mac_at(arp.arp_sha).to_string());
    default:
        return fmt::format("ARP operation {}", ntohs(arp.arp_op));
    }
}

std::string flags_of(const tcphdr& tcp) {
    constexpr std::array names{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
    std::string text;
    for (std::size_t i = 0; i < names.size(); i++)
        if ((tcp.th_flags >> i & 1) != 0)
            text += fmt::format(" {}", names[i]);
    return text.empty() ? " without flags" : text;
}

/// IPv6 in brackets, so that the port is told from it.
std::string endpoint(const IpAddress& ip, std::uint16_t port) {
    return ip.is_v4() ? fmt::format("{}:{}", ip.to_string(), port) : fmt::format("[{}]:{}", ip.to_string(), port);
}

std::string describe_icmp6(const icmp6_hdr& icmp, ByteView l4) {
    const auto neighbor = load<nd_neighbor_advert>(l4); // NS has the same layout
    if (icmp.icmp6_type == ICMP6_ECHO_REQUEST || icmp.icmp6_type == ICMP6_ECHO_REPLY)
        return icmp.icmp6_type == ICMP6_ECHO_REQUEST ? "ICMPv6 echo request" : "ICMPv6 echo reply";
    if (!neighbor || (icmp.icmp6_type != ND_NEIGHBOR_SOLICIT && icmp.icmp6_type != ND_NEIGHBOR_ADVERT))
        return fmt::format("ICMPv6 type {}", icmp.icmp6_type);
    const std::string target = IpAddress::v6(std::to_array(neighbor->nd_na_target.s6_addr)).to_string();
    if (icmp.icmp6_type == ND_NEIGHBOR_SOLICIT)
        return fmt::format("Neighbour Solicitation: who has {}", target);
    std::string text = fmt::format("Neighbour Advertisement: {}", target);
    const ByteView options = l4.subspan(sizeof *neighbor);
    if (options.size() >= 8 && options[0] == ND_OPT_TARGET_LINKADDR)
        text += fmt::format(" is at {}", mac_at(options.data() + 2).to_string());
    const std::uint32_t flags = neighbor->nd_na_flags_reserved;
    return fmt::format("{}, S={} O={} R={}", text, (flags & ND_NA_FLAG_SOLICITED) != 0 ? 1 : 0,
                       (flags & ND_NA_FLAG_OVERRIDE) != 0 ? 1 : 0, (flags & ND_NA_FLAG_ROUTER) != 0 ? 1 : 0);
}

std::string describe_ip(const ParsedFrame& parsed, ByteView frame) {
    const std::string ends = fmt::format("{} > {}", parsed.ip_source.to_string(), parsed.ip_destination.to_string());
    switch (parsed.status) {
    case ParseStatus::ok:
        break;
    case ParseStatus::fragment:
        return ends + " fragment";
    case ParseStatus::source_route:
        return ends + " with a source route";
    case ParseStatus::too_many_ext:
        return ends + " with too many extension headers";
    default:
        return parsed.l3 == L3::ipv4 ? "IPv4 with a bad header" : "IPv6 with a bad header";
    }
    if (parsed.l4_offset > frame.size())
        return fmt::format("{} IP protocol {}", ends, parsed.protocol);
    const ByteView l4 =
        frame.subspan(parsed.l4_offset, std::min<std::size_t>(parsed.l4_length, frame.size() - parsed.l4_offset));
    if (const auto tcp = load<tcphdr>(l4); tcp && parsed.protocol == IPPROTO_TCP)
        return fmt::format("{} > {} TCP{}", endpoint(parsed.ip_source, ntohs(tcp->source)),
                           endpoint(parsed.ip_destination, ntohs(tcp->dest)), flags_of(*tcp));
    if (const auto udp = load<udphdr>(l4); udp && parsed.protocol == IPPROTO_UDP)
        return fmt::format("{} > {} UDP{}", endpoint(parsed.ip_source, ntohs(udp->source)),
                           endpoint(parsed.ip_destination, ntohs(udp->dest)), magic_target(l4.subspan(sizeof *udp)));
    if (const auto icmp = load<icmp6_hdr>(l4); icmp && parsed.protocol == IPPROTO_ICMPV6 && parsed.l3 == L3::ipv6)
        return fmt::format("{} {}", ends, describe_icmp6(*icmp, l4));
    if (const auto icmp = load<icmphdr>(l4); icmp && parsed.protocol == IPPROTO_ICMP && parsed.l3 == L3::ipv4)
        return fmt::format("{} {}", ends,
                           icmp->type == ICMP_ECHO        ? "ICMP echo request"
                           : icmp->type == ICMP_ECHOREPLY ? "ICMP echo reply"
                                                          : fmt::format("ICMP type {}", icmp->type));
    return fmt::format("{} IP protocol {}", ends, parsed.protocol);
}

/// `parsed` may know of more bytes than `frame` has.
std::string describe(const ParsedFrame& parsed, ByteView frame) {
    if (frame.size() < sizeof(ether_header))
        return fmt::format("{} bytes, shorter than an Ethernet header", frame.size());
    std::string text = fmt::format("{} > {}", parsed.source.to_string(), parsed.destination.to_string());
    if (parsed.outer_vid != 0)
        text += fmt::format(" vlan {}", parsed.outer_vid);
    if (parsed.inner_vid != 0)
        text += fmt::format(".{}", parsed.inner_vid);
    switch (parsed.l3) {
    case L3::arp:
        if (const auto arp = load<ether_arp>(frame.subspan(std::min<std::size_t>(parsed.l3_offset, frame.size()))))
            return fmt::format("{}, {}", text, describe_arp(*arp));
        return text + ", ARP that is cut short";
    case L3::ipv4:
    case L3::ipv6:
        return fmt::format("{}, {}", text, describe_ip(parsed, frame));
    case L3::magic:
        return text + ", EtherType 0x0842" +
               magic_target(frame.subspan(std::min<std::size_t>(parsed.l3_offset, frame.size())));
    case L3::other:
        break;
    }
    return text + (parsed.status == ParseStatus::unknown_l2 ? ", another EtherType" : ", cut short");
}

} // namespace

std::string describe(ByteView frame) {
    return describe(parse_frame(frame), frame);
}

std::string describe_captured(ByteView captured, std::size_t length) {
    // the parser wants all of a packet; the missing end is not looked at
    Bytes whole(captured.begin(), captured.end());
    whole.resize(std::max(length, captured.size()));
    return fmt::format("{}, {} bytes", describe(parse_frame(whole), captured), length);
}

} // namespace pz
