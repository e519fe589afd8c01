// SPDX-License-Identifier: Apache-2.0
// Packets as expressions: Ether{} / Vlan{.vid = 100} / Ip4{} / Icmp4{} / Raw{"data"}.  Lengths, next-protocol fields
// and checksums are computed unless a test sets them.
#pragma once

#include <array>
#include <compare>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pz::test {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

struct Mac {
    std::array<std::uint8_t, 6> bytes{};
    auto operator<=>(const Mac&) const = default;
};
struct Ip4Address {
    std::array<std::uint8_t, 4> bytes{};
    auto operator<=>(const Ip4Address&) const = default;
};
struct Ip6Address {
    std::array<std::uint8_t, 16> bytes{};
    auto operator<=>(const Ip6Address&) const = default;
};

/// Text to address; ends the program on a mistake in the test's source.
Mac operator""_mac(const char* text, std::size_t length);
Ip4Address operator""_ip4(const char* text, std::size_t length);
Ip6Address operator""_ip6(const char* text, std::size_t length);
std::string to_string(const Mac& mac);
std::string to_string(const Ip4Address& address);
std::string to_string(const Ip6Address& address);

/// ff02::1:ffXX:XXXX (RFC 4291 §2.7.1)
Ip6Address solicited_node(const Ip6Address& address);
/// 33:33 and the last four bytes (RFC 2464 §7)
Mac group_mac(const Ip6Address& group);

inline const Mac broadcast_mac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// The cast: documentation MACs (RFC 7042 §2.1.1 range 00-00-5E-00-53-xx), RFC 5737 and RFC 3849 addresses.
inline const Mac client_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x0c}};
inline const Mac gateway_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0xfe}};
inline const Mac host_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x10}};
inline const Mac host_second_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x11}};
inline const Mac stranger_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x66}};
inline const Ip4Address client_ip4 = {{192, 0, 2, 12}};
inline const Ip4Address other_ip4 = {{192, 0, 2, 77}};
inline const Ip4Address host_ip4 = {{192, 0, 2, 16}};
const Ip6Address& client_ip6();         // 2001:db8::c
const Ip6Address& other_ip6();          // 2001:db8::77
const Ip6Address& host_ip6();           // 2001:db8::10, global
const Ip6Address& host_link_local();    // fe80::200:5eff:fe00:5310
const Ip6Address& host_temporary_ip6(); // 2001:db8::3c5a:..., temporary (RFC 8981)
const Ip6Address& all_nodes();          // ff02::1
const Ip6Address& unspecified();        // ::

constexpr std::uint8_t proto_icmp = 1, proto_igmp = 2, proto_tcp = 6, proto_udp = 17, proto_icmp6 = 58;
constexpr std::uint8_t ext_hop_by_hop = 0, ext_routing = 43, ext_fragment = 44, ext_auth = 51, ext_none = 59,
                       ext_destination = 60, ext_mobility = 135;

// ---- layers, outside in -------------------------------------------------------------------------------------------

struct Ether {
    Mac destination = host_mac;
    Mac source = client_mac;
    std::optional<std::uint16_t> type = std::nullopt; // from the next layer
};
struct Vlan {
    std::uint16_t vid = 0;
    std::uint8_t priority = 0; // PCP
    bool drop_eligible = false;
    std::uint16_t tpid = 0x8100;
    std::optional<std::uint16_t> type = std::nullopt;
};
struct Arp {
    std::uint16_t hardware_type = 1;
    std::uint16_t protocol_type = 0x0800;
    std::uint8_t hardware_length = 6;
    std::uint8_t protocol_length = 4;
    std::uint16_t operation = 1;
    Mac sender_mac = client_mac;
    Ip4Address sender_ip = client_ip4;
    Mac target_mac = {};
    Ip4Address target_ip = host_ip4;
};
struct Ip4 {
    Ip4Address source = client_ip4;
    Ip4Address destination = host_ip4;
    std::optional<std::uint8_t> protocol = std::nullopt;
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    std::uint16_t id = 0x1234;
    std::uint16_t fragment = 0x4000; // flags and offset as on the wire
    std::uint8_t version = 4;
    Bytes options = {}; // padded to a multiple of 4 with End of Option List
    std::optional<std::uint8_t> header_words = std::nullopt;
    std::optional<std::uint16_t> total_length = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Ip6 {
    Ip6Address source = client_ip6();
    Ip6Address destination = host_ip6();
    std::uint8_t hop_limit = 64;
    std::uint8_t traffic_class = 0;
    std::uint32_t flow_label = 0;
    std::uint8_t version = 6;
    std::optional<std::uint8_t> next = std::nullopt;
    std::optional<std::uint16_t> payload_length = std::nullopt;
};
/// Hop-by-Hop, Routing, Destination Options, Mobility, AH: `body` follows the two bytes next-header and length and is
/// padded with zeros to the header's unit.
struct Ext {
    std::uint8_t kind = ext_destination;
    Bytes body = {1, 4, 0, 0, 0, 0}; // one PadN
    std::optional<std::uint8_t> length = std::nullopt;
    std::optional<std::uint8_t> next = std::nullopt;
};
struct Fragment {
    std::uint16_t offset_flags = 0; // offset in the upper 13 bits, M in the lowest
    std::uint32_t id = 0x01020304;
    std::optional<std::uint8_t> next = std::nullopt;
};
struct Icmp4 {
    std::uint8_t type = 8;
    std::uint8_t code = 0;
    std::uint16_t id = 0x1001;
    std::uint16_t sequence = 1;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Icmp6 {
    std::uint8_t type = 128;
    std::uint8_t code = 0;
    std::uint32_t word = 0x10010001; // identifier and sequence number, or what the type has there
    std::optional<std::uint16_t> checksum = std::nullopt;
};
/// Neighbor Solicitation; options follow as NdOption layers.
struct Ns {
    Ip6Address target = host_ip6();
    std::uint8_t code = 0;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Na {
    Ip6Address target = host_ip6();
    bool router = false;
    bool solicited = true;
    bool override_flag = true;
    std::uint8_t code = 0;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct NdOption {
    std::uint8_t type = 1;
    Bytes body = {}; // padded with zeros to 8 * units - 2
    std::optional<std::uint8_t> units = std::nullopt;
};
inline NdOption source_lla(const Mac& mac = client_mac) {
    return {.type = 1, .body = {mac.bytes.begin(), mac.bytes.end()}};
}
inline NdOption target_lla(const Mac& mac = host_mac) {
    return {.type = 2, .body = {mac.bytes.begin(), mac.bytes.end()}};
}
inline NdOption nonce_option(Bytes nonce = {1, 2, 3, 4, 5, 6}) {
    return {.type = 14, .body = std::move(nonce)};
}
struct Tcp {
    std::uint16_t source_port = 40001;
    std::uint16_t destination_port = 22;
    std::uint16_t flags = 0x002; // FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256
    std::uint32_t sequence = 0x01020304;
    std::uint32_t acknowledgement = 0;
    Bytes options = {}; // padded to a multiple of 4
    std::optional<std::uint8_t> data_offset = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Udp {
    std::uint16_t source_port = 40001;
    std::uint16_t destination_port = 5060;
    std::optional<std::uint16_t> length = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Raw {
    Bytes bytes = {};
    Raw() = default;
    explicit Raw(Bytes data) : bytes(std::move(data)) {}
    explicit Raw(std::string_view text) : bytes(text.begin(), text.end()) {}
    Raw(std::size_t count, std::uint8_t value) : bytes(count, value) {}
};
/// What proxzzy adds to ARP (in the padding) and to advertisements in a host's name: which gateway it was.
inline Raw arp_mark(const Mac& gateway = gateway_mac) {
    Bytes bytes{'p', 'x', 'z', 'y'};
    bytes.insert(bytes.end(), gateway.bytes.begin(), gateway.bytes.end());
    return Raw{std::move(bytes)};
}
inline NdOption mark_option(const Mac& gateway = gateway_mac) {
    return {.type = 253, .body = {gateway.bytes.begin(), gateway.bytes.end()}};
}
/// Bytes behind the packet: in no length field and in no checksum.
struct Trailer {
    std::size_t count = 0;
    std::uint8_t value = 0;
};

using Layer =
    std::variant<Ether, Vlan, Arp, Ip4, Ip6, Ext, Fragment, Icmp4, Icmp6, Ns, Na, NdOption, Tcp, Udp, Raw, Trailer>;

template <class T>
concept IsLayer = std::constructible_from<Layer, T> && !std::same_as<std::remove_cvref_t<T>, Layer>;

class Packet {
public:
    Packet() = default;
    template <IsLayer L>
    Packet(L layer) : layers_{Layer{std::move(layer)}} {} // NOLINT(google-explicit-constructor): a layer is a packet

    template <IsLayer L>
    friend Packet operator/(Packet packet, L layer) {
        packet.layers_.emplace_back(std::move(layer));
        return packet;
    }
    friend Packet operator/(Packet packet, const Packet& rest) {
        packet.layers_.insert(packet.layers_.end(), rest.layers_.begin(), rest.layers_.end());
        return packet;
    }

    [[nodiscard]] Bytes bytes() const;
    /// The frame, with zeros up to `minimum` bytes.
    [[nodiscard]] Bytes padded(std::size_t minimum = 60) const;
    /// A line that builds the same frame in Scapy (values that the DSL computes are left to Scapy).
    [[nodiscard]] std::string scapy() const;

private:
    std::vector<Layer> layers_;
};

template <IsLayer A, IsLayer B>
Packet operator/(A outer, B inner) {
    return Packet(std::move(outer)) / std::move(inner);
}

/// RFC 1071 over the bytes as they are, folded, not complemented: 0xffff when a checksum inside is right.
std::uint16_t ones_sum(ByteView data, std::uint32_t start = 0);
std::uint32_t pseudo_sum(ByteView source, ByteView destination, std::uint8_t protocol, std::size_t length);

std::string hexdump(ByteView bytes);
/// Lines of 16 bytes where the two differ, wanted over got.
std::string hexdiff(ByteView wanted, ByteView got);

} // namespace pz::test
