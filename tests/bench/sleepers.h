// SPDX-License-Identifier: Apache-2.0
// Sleeping hosts in great number, which every benchmark numbers in the same way.
#pragma once

#include <netinet/in.h>

#include <cstdint>

#include "base/result.h"
#include "fastpath/fastpath.h"
#include "net/address.h"

namespace pz::bench {

/// 02:00 and the number.
MacAddress sleeper_mac(std::uint32_t host);
/// 10.0.0.0 + number.
IpAddress sleeper_ip4(std::uint32_t host);
/// 2001:db8:0:SUBNET:: + number; each host has one in subnet 0 and one in subnet 1.
IpAddress sleeper_ip6(std::uint32_t host, std::uint8_t subnet);

/// The default, tcp/any.
constexpr pz_rule default_rule{.port = 0, .protocol = IPPROTO_TCP, .action = PZ_RULE_WAKE};

/// Serves the hosts `first` to `first + count - 1`: generation 1, one wake rule, answers with their own MACs.  No
/// allowance bounds their triggers, so that a trigger which is repeated takes the same path each time.
Result<> add_sleepers(fastpath::Fastpath& fastpath, std::uint32_t segment, std::uint32_t first, std::uint32_t count,
                      const pz_rule& rule = default_rule);

/// Options with room for `count` sleepers.
fastpath::Options room_for(std::uint32_t count);

} // namespace pz::bench
