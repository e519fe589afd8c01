// SPDX-License-Identifier: Apache-2.0
#include "net/describe.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>

#include <spdlog/fmt/fmt.h>

namespace pz {

namespace {

std::uint16_t u16(ByteView bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

std::string tcp_flags(std::uint8_t flags) {
    constexpr std::array names{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"};
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i)
        if ((flags >> i & 1) != 0)
            text += fmt::format("{}{}", text.empty() ? "" : ",", names[i]);
    return text.empty() ? "none" : text;
}

/// The MAC of a Magic Packet in `payload`, if there is one.
std::string magic_target(ByteView payload) {
    for (std::size_t at = 0; at + 12 <= payload.size(); ++at) {
        const auto sync = payload.subspan(at, 6);
        if (!std::ranges::all_of(sync, [](std::uint8_t byte) { return byte == 0xff; }) || payload[at + 6] == 0xff)
            continue;
        MacAddress mac;
        std::ranges::copy(payload.subspan(at + 6, 6), mac.bytes.begin());
        return " for " + mac.to_string();
    }
    return {};
}

std::string icmp_name(bool v4, std::uint8_t type) {
    switch (v4 ? type : type + 256) {
    case 8:
    case 128 + 256:
        return "echo request";
    case 0:
    case 129 + 256:
        return "echo reply";
    case 133 + 256:
        return "router solicitation";
    case 135 + 256:
        return "neighbour solicitation";
    case 136 + 256:
        return "neighbour advertisement";
    default:
        return fmt::format("{} type {}", v4 ? "icmp" : "icmpv6", type);
    }
}

std::string describe_arp(ByteView arp) {
    if (arp.size() < 28)
        return "arp";
    const auto ip = [&](std::size_t at) { return IpAddress::from_bytes(arp.subspan(at, 4))->to_string(); };
    const bool request = u16(arp, 6) == 1;
    if (ip(14) == ip(24))
        return "arp announcement of " + ip(14);
    if (request && ip(14) == "0.0.0.0")
        return "arp probe for " + ip(24);
    return request ? fmt::format("{} > {} arp request", ip(14), ip(24))
                   : fmt::format("{} > {} arp reply", ip(14), ip(24));
}

std::string describe_ip(const ParsedFrame& parsed, ByteView frame) {
    const bool v4 = parsed.l3 == L3::ipv4;
    // a frame that is cut short is no malformed packet: what is said is what is there
    const bool whole_header = parsed.l4_offset > parsed.l3_offset && parsed.l4_offset < frame.size();
    const ByteView l4 = whole_header ? frame.subspan(parsed.l4_offset) : ByteView{};
    const auto endpoint = [&](const IpAddress& address, std::size_t port_at) {
        const bool ports = (parsed.protocol == IPPROTO_TCP || parsed.protocol == IPPROTO_UDP) && l4.size() >= 4;
        if (!ports)
            return address.to_string();
        return address.is_v4() ? fmt::format("{}:{}", address.to_string(), u16(l4, port_at))
                               : fmt::format("[{}]:{}", address.to_string(), u16(l4, port_at));
    };
    std::string what = fmt::format("protocol {}", parsed.protocol);
    if (parsed.status == ParseStatus::fragment)
        what = "fragment";
    else if (parsed.protocol == IPPROTO_TCP)
        what = l4.size() >= 14 ? "tcp " + tcp_flags(l4[13]) : "tcp";
    else if (parsed.protocol == IPPROTO_UDP)
        what = "udp" + (l4.size() > 8 && !magic_target(l4.subspan(8)).empty() ? " magic" + magic_target(l4.subspan(8))
                                                                              : std::string());
    else if (parsed.protocol == IPPROTO_ICMP || parsed.protocol == IPPROTO_ICMPV6)
        what = l4.empty() ? "icmp" : icmp_name(v4, l4[0]);
    return fmt::format("{} > {} {}", endpoint(parsed.ip_source, 0), endpoint(parsed.ip_destination, 2), what);
}

} // namespace

std::string describe_frame(ByteView frame, std::size_t length) {
    if (frame.size() < 14)
        return fmt::format("{} bytes", length);
    // The parser wants all of a packet; the missing end is not looked at here.
    Bytes whole(frame.begin(), frame.end());
    whole.resize(std::max(length, frame.size()));
    const ParsedFrame parsed = parse_frame(whole);
    std::string text = parsed.source.to_string();
    if (parsed.outer_vid != 0)
        text += fmt::format(" vlan {}", parsed.outer_vid);
    if (parsed.inner_vid != 0)
        text += fmt::format(".{}", parsed.inner_vid);
    const ByteView l3 =
        parsed.l3_offset > 0 && parsed.l3_offset < frame.size() ? frame.subspan(parsed.l3_offset) : ByteView{};
    switch (parsed.l3) {
    case L3::arp:
        text += " " + describe_arp(l3);
        break;
    case L3::magic:
        text += fmt::format(" > {} magic{}", parsed.destination.to_string(), magic_target(l3));
        break;
    case L3::ipv4:
    case L3::ipv6:
        text += " " + describe_ip(parsed, frame);
        break;
    case L3::other:
        text += fmt::format(" > {} ethertype {:#06x}", parsed.destination.to_string(), u16(frame, 12));
        break;
    }
    return text + fmt::format(" {} bytes", length);
}

} // namespace pz
