// SPDX-License-Identifier: Apache-2.0
#include "sleepers.h"

#include <array>

namespace pz::bench {
namespace {

std::array<std::uint8_t, 4> big_endian(std::uint32_t number) {
    const auto byte = [&](int shift) { return static_cast<std::uint8_t>(number >> shift); };
    return {byte(24), byte(16), byte(8), byte(0)};
}

} // namespace

MacAddress sleeper_mac(std::uint32_t host) {
    const auto number = big_endian(host);
    return {{0x02, 0, number[0], number[1], number[2], number[3]}};
}

IpAddress sleeper_ip4(std::uint32_t host) {
    return IpAddress::v4(big_endian(0x0a000000 + host));
}

IpAddress sleeper_ip6(std::uint32_t host, std::uint8_t subnet) {
    const auto number = big_endian(host);
    return IpAddress::v6(
        {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, subnet, 0, 0, 0, 0, number[0], number[1], number[2], number[3]});
}

Result<> add_sleepers(fastpath::Fastpath& fastpath, std::uint32_t segment, std::uint32_t first, std::uint32_t count,
                      const pz_rule& rule) {
    fastpath::HostEntry entry;
    entry.segment = segment;
    entry.policy.generation = 1;
    entry.rules.rules[0] = rule;
    entry.rules.count = 1;
    for (std::uint32_t host = first; host < first + count; host++) {
        entry.host = host;
        entry.answer_mac = sleeper_mac(host);
        entry.macs = {entry.answer_mac};
        entry.addresses = {sleeper_ip4(host), sleeper_ip6(host, 0), sleeper_ip6(host, 1)};
        PZ_TRY(fastpath.serve(entry));
    }
    return {};
}

fastpath::Options room_for(std::uint32_t count) {
    fastpath::Options options;
    options.max_hosts = count;
    options.max_addresses4 = 2 * count; // as proxzzyd makes them
    options.max_addresses6 = 4 * count;
    options.max_macs = 2 * count;
    options.event_interval = {}; // no host's triggers are too many
    return options;
}

} // namespace pz::bench
