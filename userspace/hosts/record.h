// SPDX-License-Identifier: Apache-2.0
// One record per host: what was configured, and the states it goes through.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <proxzzy/abi/maps.h>

#include "hosts/states.h"
#include "hosts/wake_policy.h"
#include "net/address.h"
#include "proto/offers.h"

namespace pz {

/// Index of a host in the kernel's policy and live arrays.
using HostId = std::uint32_t;
/// Number of an L2 broadcast domain; PZ_NO_SEGMENT is none.
using SegmentId = std::uint32_t;

/// VLAN tags from the outside in, host order; 0 = no such tag.
struct VlanTags {
    std::uint16_t outer = 0;
    std::uint16_t inner = 0;
    auto operator<=>(const VlanTags&) const = default;
};

/// An address that the host holds (ECMA-393 C5, C7-C9).
struct HostAddress {
    IpAddress ip;
    /// C8: RFC 8981 temporary address.  Served like any other; ages by `valid_for`.
    bool temporary = false;
    /// How long from the moment of configuration; nullopt = for ever.
    std::optional<std::chrono::seconds> valid_for = std::nullopt;
    bool operator==(const HostAddress&) const = default;
};

/// What may wake the host besides a Magic Packet.  protocol is IPPROTO_TCP or IPPROTO_UDP; port 0 = any.
struct WakeRule {
    std::uint8_t protocol = 0;
    std::uint16_t port = 0;
    auto operator<=>(const WakeRule&) const = default;
};

enum class EchoMode : std::uint8_t { answer = PZ_ECHO_ANSWER, ignore = PZ_ECHO_IGNORE, wake = PZ_ECHO_WAKE };

/// Whose MAC goes into answers (design: "Whose MAC answers").
enum class Identity : std::uint8_t { host, proxy };

/// As a person writes them, from value 0 upwards.
inline constexpr std::array echo_names{"answer", "ignore", "wake"};
inline constexpr std::array identity_names{"host", "proxy"};

/// How the host is woken.
struct MagicOptions {
    /// UDP destination port of the second form, next to EtherType 0x0842; 9 is discard, 40000 the EMAN draft's.
    std::uint16_t udp_port = 9;
    std::optional<std::array<std::uint8_t, PZ_SECUREON_LEN>> secureon = std::nullopt;
    auto operator<=>(const MagicOptions&) const = default;
};

/// What of a configuration many hosts have alike.
struct HostOptions {
    /// Empty = the default, tcp/any.
    std::vector<WakeRule> wake;
    std::string interface; // empty = the only one served
    VlanTags vlan;
    EchoMode echo = EchoMode::answer;
    std::optional<Identity> identity = std::nullopt; // nullopt = the daemon's default
    MagicOptions magic;
    /// No software on the host says when it sleeps: it is probed, and asleep when it does not answer.
    bool agentless = false;
    /// The addresses that it uses while awake are answered for too when it sleeps; so it needs none of its own here.
    bool learn = false;
    WakePolicy policy;
    auto operator<=>(const HostOptions&) const = default;
};

/// Everything that a host or an operator configures (ECMA-393 C12).
struct HostConfig : HostOptions {
    std::string name;
    std::vector<MacAddress> macs; // the first one answers and is woken; the others are signs of life
    std::vector<HostAddress> addresses;
    HostOffers offers;
    bool operator==(const HostConfig&) const = default;
};

/// Names and bounds that a configuration must keep, whoever sends it; errors name the field.
/// Checks everything that can be checked without the table: name, MACs, addresses, rules, VLANs, services.
Result<> validate(const HostConfig& config);

/// A unicast address that a host can have on a link.
bool is_host_address(const IpAddress& ip);

/// "awake", "arming", ...
std::string_view to_string(HostState state);
/// "tcp/22", "udp/any"
std::string to_string(const WakeRule& rule);
/// Those in force: the configured ones, else the default, tcp/any (R30); then one for each port of a service that they
/// do not cover, if service ports wake.
std::vector<WakeRule> wake_rules(const HostOptions& options, const HostOffers& offers);
/// The first of them that lets a packet to this port (host order) wake the host.
std::optional<WakeRule> find_wake_rule(const HostOptions& options, const HostOffers& offers, std::uint8_t protocol,
                                       std::uint16_t port);

inline constexpr std::size_t max_name_length = 63;
inline constexpr std::size_t max_macs = 8;
inline constexpr std::size_t max_addresses = 64;

} // namespace pz
