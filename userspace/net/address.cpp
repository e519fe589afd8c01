// SPDX-License-Identifier: Apache-2.0
// Addresses: text by inet_pton and inet_ntop, classes by the RFCs' prefixes.
#include "net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include <spdlog/fmt/fmt.h>

#include "base/number.h"

namespace pz {
namespace {

/// The address of `network` without the bits behind the prefix.
IpAddress masked(const Network& network) {
    IpAddress address = network.address;
    for (std::size_t bit = network.length; bit < 8 * address.bytes.size(); ++bit)
        address.bytes.at(bit / 8) &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
    return address;
}

std::string_view as_text(std::span<const std::uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace

Result<MacAddress> MacAddress::parse(std::string_view text) {
    constexpr std::size_t length = 17; // six pairs and five separators
    MacAddress mac;
    bool good = text.size() == length && (text[2] == ':' || text[2] == '-');
    for (std::size_t i = 0; good && i < mac.bytes.size(); ++i) {
        const char* const pair = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(pair, pair + 2, mac.bytes[i], 16);
        good = error == std::errc{} && end == pair + 2 && (i == 0 || pair[-1] == text[2]);
    }
    if (!good)
        return fail(Errc::invalid,
                    fmt::format("{:?} is not a MAC address: six pairs of hexadecimal digits are expected, "
                                "like 02:00:00:00:00:01 or 02-00-00-00-00-01",
                                text));
    return mac;
}

std::string MacAddress::to_string() const {
    return fmt::format("{:02x}", fmt::join(bytes, ":"));
}

IpAddress IpAddress::v4(std::array<std::uint8_t, 4> octets) {
    IpAddress address;
    std::ranges::copy(octets, address.bytes.begin());
    return address;
}

IpAddress IpAddress::v6(std::array<std::uint8_t, 16> octets) {
    return {.family = Family::v6, .bytes = octets};
}

std::optional<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> octets) {
    if (octets.size() != 4 && octets.size() != 16)
        return std::nullopt;
    IpAddress address{.family = octets.size() == 4 ? Family::v4 : Family::v6};
    std::ranges::copy(octets, address.bytes.begin());
    return address;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
    // inet_pton() reads a C string: what follows a NUL would go unseen
    if (std::array<char, INET6_ADDRSTRLEN> terminated{}; text.size() < terminated.size() && !text.contains('\0')) {
        std::ranges::copy(text, terminated.begin());
        const bool is_v6 = text.contains(':');
        IpAddress address{.family = is_v6 ? Family::v6 : Family::v4};
        if (::inet_pton(is_v6 ? AF_INET6 : AF_INET, terminated.data(), address.bytes.data()) == 1)
            return address;
    }
    return fail(Errc::invalid, fmt::format("{:?} is not an IP address: IPv4 like 192.0.2.1 or IPv6 like 2001:db8::1 is "
                                           "expected, without prefix length or zone",
                                           text));
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    // Cannot fail: both families are known and the buffer holds the longest text of either.
    ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
    return text.data();
}

bool IpAddress::is_unspecified() const {
    return std::ranges::all_of(octets(), [](std::uint8_t octet) { return octet == 0; });
}

bool IpAddress::is_multicast() const {
    return is_v4() ? (bytes[0] & 0xf0) == 0xe0 : bytes[0] == 0xff;
}

bool IpAddress::is_loopback() const {
    return is_v4() ? bytes[0] == 127 : *this == v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
}

bool IpAddress::is_link_local() const {
    return is_v4() ? bytes[0] == 169 && bytes[1] == 254 : bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

bool IpAddress::is_limited_broadcast() const {
    return *this == v4({255, 255, 255, 255});
}

Result<Network> Network::parse(std::string_view text) {
    const auto slash = text.find('/');
    const auto address = IpAddress::parse(text.substr(0, slash));
    const std::size_t bits = address ? 8 * address->octets().size() : 0;
    const auto length =
        slash == std::string_view::npos ? std::optional(bits) : parse_number<std::size_t>(text.substr(slash + 1));
    if (!address || !length || *length > bits)
        return fail(Errc::invalid, fmt::format("{:?} is not a network: an address and the bits of its prefix are "
                                               "expected, like 192.0.2.0/24 or 2001:db8::/32, or an address",
                                               text));
    const Network given{.address = *address, .length = static_cast<std::uint8_t>(*length)};
    if (const Network right{.address = masked(given), .length = given.length}; right != given)
        return fail(Errc::invalid,
                    fmt::format("{:?} has bits set behind its prefix: {} would be right", text, right.to_string()));
    return given;
}

std::string Network::to_string() const {
    return fmt::format("{}/{}", address.to_string(), length);
}

bool Network::contains(const IpAddress& ip) const {
    return ip.family == address.family && masked({.address = ip, .length = length}) == address;
}

bool Network::is_valid() const {
    return length <= 8 * address.octets().size() && masked(*this) == address;
}

IpAddress solicited_node_group(const IpAddress& address) {
    const auto& b = address.bytes;
    return IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b[13], b[14], b[15]});
}

MacAddress multicast_mac(const IpAddress& group) {
    const auto& b = group.bytes;
    if (group.is_v4())
        return {{0x01, 0x00, 0x5e, static_cast<std::uint8_t>(b[1] & 0x7f), b[2], b[3]}};
    return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
}

} // namespace pz

std::size_t std::hash<pz::MacAddress>::operator()(const pz::MacAddress& mac) const noexcept {
    return std::hash<std::string_view>{}(pz::as_text(mac.bytes));
}

std::size_t std::hash<pz::IpAddress>::operator()(const pz::IpAddress& address) const noexcept {
    return std::hash<std::string_view>{}(pz::as_text(address.octets()));
}
