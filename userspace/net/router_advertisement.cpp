// SPDX-License-Identifier: Apache-2.0
#include "net/router_advertisement.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>

#include <algorithm>
#include <cstring>

namespace pz {
namespace {

constexpr std::size_t option_unit = 8;
constexpr std::uint8_t max_hop_limit = 255;
constexpr std::uint8_t autonomous_prefix_length = 64;
constexpr std::uint32_t infinite = 0xffffffff; // RFC 4861 §4.6.2

std::optional<AdvertisedPrefix> autonomous_prefix(ByteView option) {
    nd_opt_prefix_info info{};
    if (option.size() != sizeof info)
        return std::nullopt;
    std::memcpy(&info, option.data(), sizeof info);
    const std::uint32_t valid = ntohl(info.nd_opt_pi_valid_time);
    if ((info.nd_opt_pi_flags_reserved & ND_OPT_PI_FLAG_AUTO) == 0 ||
        info.nd_opt_pi_prefix_len != autonomous_prefix_length || ntohl(info.nd_opt_pi_preferred_time) > valid)
        return std::nullopt;
    IpAddress prefix;
    prefix.family = IpAddress::Family::v6;
    std::memcpy(prefix.bytes.data(), &info.nd_opt_pi_prefix, autonomous_prefix_length / 8);
    if (prefix.is_link_local())
        return std::nullopt;
    AdvertisedPrefix advertised{.prefix = prefix, .valid = std::nullopt};
    if (valid != infinite)
        advertised.valid = std::chrono::seconds(valid);
    return advertised;
}

} // namespace

std::vector<AdvertisedPrefix> advertised_prefixes(ByteView frame) {
    std::vector<AdvertisedPrefix> prefixes;
    const auto parsed = parse_frame(frame);
    if (parsed.status != ParseStatus::ok || parsed.l3 != L3::ipv6 || parsed.protocol != IPPROTO_ICMPV6 ||
        parsed.hop_limit != max_hop_limit || !parsed.ip_source.is_link_local() ||
        parsed.l4_length < sizeof(nd_router_advert))
        return prefixes;
    const ByteView message = frame.subspan(parsed.l4_offset, parsed.l4_length);
    if (message[0] != ND_ROUTER_ADVERT || message[1] != 0 ||
        checksum_fold(checksum_add(
            message, pseudo_header_sum(parsed.ip_source, parsed.ip_destination, IPPROTO_ICMPV6, message.size()))) != 0)
        return prefixes;
    for (ByteView rest = message.subspan(sizeof(nd_router_advert)); !rest.empty();) {
        const std::size_t size = rest.size() < 2 ? 0 : rest[1] * option_unit;
        if (size == 0 || size > rest.size())
            return {};
        if (rest[0] == ND_OPT_PREFIX_INFORMATION)
            if (auto prefix = autonomous_prefix(rest.first(size)))
                prefixes.push_back(*prefix);
        rest = rest.subspan(size);
    }
    return prefixes;
}

} // namespace pz
