// SPDX-License-Identifier: Apache-2.0
// MAC and IP addresses as values: bytes in network order, text in and out.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace pz {

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};

    /// "02:00:00:00:00:01" or with '-'.  Errors name the value and the form expected.
    static Result<MacAddress> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] bool is_multicast() const { return (bytes[0] & 1) != 0; }
    [[nodiscard]] bool is_zero() const { return *this == MacAddress{}; }
    auto operator<=>(const MacAddress&) const = default;

    static constexpr MacAddress broadcast() { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
};

/// An IPv4 or IPv6 address.  IPv4 uses the first four bytes, the rest is zero.
struct IpAddress {
    enum class Family : std::uint8_t { v4 = 4, v6 = 6 };

    Family family = Family::v4;
    std::array<std::uint8_t, 16> bytes{};

    static IpAddress v4(std::array<std::uint8_t, 4> octets);
    static IpAddress v6(std::array<std::uint8_t, 16> octets);
    /// `octets` has 4 or 16 bytes; nullopt for any other size.
    static std::optional<IpAddress> from_bytes(std::span<const std::uint8_t> octets);
    /// "192.0.2.1" or "2001:db8::1", without prefix length or zone.
    static Result<IpAddress> parse(std::string_view text);

    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] std::span<const std::uint8_t> octets() const { return {bytes.data(), is_v4() ? 4U : 16U}; }
    [[nodiscard]] bool is_v4() const { return family == Family::v4; }
    [[nodiscard]] bool is_v6() const { return family == Family::v6; }
    [[nodiscard]] bool is_unspecified() const;
    [[nodiscard]] bool is_multicast() const;
    /// 127.0.0.0/8 or ::1
    [[nodiscard]] bool is_loopback() const;
    /// 169.254.0.0/16 or fe80::/10
    [[nodiscard]] bool is_link_local() const;
    /// 255.255.255.255
    [[nodiscard]] bool is_limited_broadcast() const;
    auto operator<=>(const IpAddress&) const = default;
};

/// A prefix: "192.0.2.0/24", "2001:db8::/32"; a single address is one of full length.
struct Network {
    IpAddress address; // no bit is set behind the prefix
    std::uint8_t length = 0; // bits of the prefix

    /// Errors name the value and the form expected.
    static Result<Network> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] bool contains(const IpAddress& ip) const;
    /// Whether the length fits the family and no bit is set behind the prefix.
    [[nodiscard]] bool is_valid() const;
    auto operator<=>(const Network&) const = default;
};

/// ff02::1:ffXX:XXXX of an IPv6 unicast address (RFC 4291 §2.7.1).
IpAddress solicited_node_group(const IpAddress& address);
/// The Ethernet group address of an IPv4 or IPv6 multicast address (RFC 1112 §6.4, RFC 2464 §7).
MacAddress multicast_mac(const IpAddress& group);

} // namespace pz

template <>
struct std::hash<pz::MacAddress> {
    std::size_t operator()(const pz::MacAddress& mac) const noexcept;
};
template <>
struct std::hash<pz::IpAddress> {
    std::size_t operator()(const pz::IpAddress& address) const noexcept;
};
