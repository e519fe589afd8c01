// SPDX-License-Identifier: Apache-2.0
// Packets as expressions: serialisation, checksums, and the texts of failure messages.
#include "packet.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace pz::test {
namespace {

[[noreturn]] void bad_literal(std::string_view text) {
    fmt::print(stderr, "not an address: {}\n", text);
    std::abort();
}

void put8(Bytes& out, unsigned value) {
    out.push_back(static_cast<std::uint8_t>(value));
}
void put16(Bytes& out, unsigned value) {
    put8(out, value >> 8);
    put8(out, value & 0xff);
}
void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}
template <class Range>
void put(Bytes& out, const Range& bytes) {
    out.insert(out.end(), std::begin(bytes), std::end(bytes));
}
void set16(Bytes& out, std::size_t offset, unsigned value) {
    out[offset] = static_cast<std::uint8_t>(value >> 8);
    out[offset + 1] = static_cast<std::uint8_t>(value & 0xff);
}

constexpr unsigned low16(int value) {
    return static_cast<unsigned>(value) & 0xffffU;
}

template <class... F>
struct Overload : F... {
    using F::operator()...;
};

unsigned ether_type(const Layer& layer) {
    return std::visit(Overload{
                          [](const Vlan& tag) -> unsigned { return tag.tpid; },
                          [](const Arp&) -> unsigned { return 0x0806; },
                          [](const Ip4&) -> unsigned { return 0x0800; },
                          [](const Ip6&) -> unsigned { return 0x86dd; },
                          [](const auto&) -> unsigned { return 0x0842; },
                      },
                      layer);
}

unsigned ip_protocol(const Layer& layer) {
    return std::visit(Overload{
                          [](const Ext& ext) -> unsigned { return ext.kind; },
                          [](const Fragment&) -> unsigned { return ext_fragment; },
                          [](const Icmp4&) -> unsigned { return proto_icmp; },
                          [](const Icmp6&) -> unsigned { return proto_icmp6; },
                          [](const Ns&) -> unsigned { return proto_icmp6; },
                          [](const Na&) -> unsigned { return proto_icmp6; },
                          [](const Tcp&) -> unsigned { return proto_tcp; },
                          [](const Udp&) -> unsigned { return proto_udp; },
                          [](const auto&) -> unsigned { return ext_none; },
                      },
                      layer);
}

/// What an inner layer has to know of the outer ones.
struct Outer {
    const Ip4* ip4 = nullptr;
    const Ip6* ip6 = nullptr;

    [[nodiscard]] std::uint32_t pseudo(std::uint8_t protocol, std::size_t length) const {
        if (ip6 != nullptr)
            return pseudo_sum(ip6->source.bytes, ip6->destination.bytes, protocol, length);
        if (ip4 != nullptr)
            return pseudo_sum(ip4->source.bytes, ip4->destination.bytes, protocol, length);
        return 0;
    }
};

void finish_checksum(Bytes& out, std::size_t offset, std::optional<std::uint16_t> given, std::uint32_t start) {
    set16(out, offset, given ? *given : low16(~ones_sum(out, start)));
}

/// `body` is what follows the layer inside the packet; `next` is the following layer, null at the end.
struct Writer {
    const Bytes& body;
    const Layer* next;
    Outer outer;

    [[nodiscard]] unsigned type_or(std::optional<std::uint16_t> given) const {
        return given ? *given : next != nullptr ? ether_type(*next) : 0x0842U;
    }
    [[nodiscard]] unsigned protocol_or(std::optional<std::uint8_t> given) const {
        return given ? *given : next != nullptr ? ip_protocol(*next) : ext_none;
    }

    Bytes operator()(const Ether& ether) const {
        Bytes out;
        put(out, ether.destination.bytes);
        put(out, ether.source.bytes);
        put16(out, type_or(ether.type));
        put(out, body);
        return out;
    }
    Bytes operator()(const Vlan& tag) const {
        // The TPID is the outer layer's type field; a tag writes its TCI and the type that follows.
        Bytes out;
        put16(out, static_cast<unsigned>(tag.priority << 13 | (tag.drop_eligible ? 1 : 0) << 12) | tag.vid);
        put16(out, type_or(tag.type));
        put(out, body);
        return out;
    }
    Bytes operator()(const Arp& arp) const {
        Bytes out;
        put16(out, arp.hardware_type);
        put16(out, arp.protocol_type);
        put8(out, arp.hardware_length);
        put8(out, arp.protocol_length);
        put16(out, arp.operation);
        put(out, arp.sender_mac.bytes);
        put(out, arp.sender_ip.bytes);
        put(out, arp.target_mac.bytes);
        put(out, arp.target_ip.bytes);
        put(out, body);
        return out;
    }
    Bytes operator()(const Ip4& ip) const {
        Bytes options = ip.options;
        options.resize((options.size() + 3) / 4 * 4);
        const auto header = 20 + options.size();
        Bytes out;
        const auto words = ip.header_words ? *ip.header_words : header / 4;
        put8(out, static_cast<unsigned>(ip.version << 4) | static_cast<unsigned>(words & 0xf));
        put8(out, ip.tos);
        put16(out, ip.total_length ? *ip.total_length : static_cast<unsigned>(header + body.size()));
        put16(out, ip.id);
        put16(out, ip.fragment);
        put8(out, ip.ttl);
        put8(out, protocol_or(ip.protocol));
        put16(out, 0);
        put(out, ip.source.bytes);
        put(out, ip.destination.bytes);
        put(out, options);
        finish_checksum(out, 10, ip.checksum, 0);
        put(out, body);
        return out;
    }
    Bytes operator()(const Ip6& ip) const {
        Bytes out;
        put32(out, static_cast<std::uint32_t>(ip.version) << 28 | static_cast<std::uint32_t>(ip.traffic_class) << 20 |
                       ip.flow_label);
        put16(out, ip.payload_length ? *ip.payload_length : static_cast<unsigned>(body.size()));
        put8(out, protocol_or(ip.next));
        put8(out, ip.hop_limit);
        put(out, ip.source.bytes);
        put(out, ip.destination.bytes);
        put(out, body);
        return out;
    }
    Bytes operator()(const Ext& ext) const {
        Bytes header = {static_cast<std::uint8_t>(protocol_or(ext.next)), 0};
        put(header, ext.body);
        // RFC 4302 §2.2 counts AH in 4-byte words minus 2; its size is a multiple of 8 in IPv6.
        header.resize((header.size() + 7) / 8 * 8);
        const auto units = ext.kind == ext_auth ? header.size() / 4 - 2 : header.size() / 8 - 1;
        header[1] = ext.length ? *ext.length : static_cast<std::uint8_t>(units);
        put(header, body);
        return header;
    }
    Bytes operator()(const Fragment& fragment) const {
        Bytes out;
        put8(out, protocol_or(fragment.next));
        put8(out, 0);
        put16(out, fragment.offset_flags);
        put32(out, fragment.id);
        put(out, body);
        return out;
    }
    Bytes operator()(const Icmp4& icmp) const {
        Bytes out = {icmp.type, icmp.code, 0, 0};
        put16(out, icmp.id);
        put16(out, icmp.sequence);
        put(out, body);
        finish_checksum(out, 2, icmp.checksum, 0);
        return out;
    }
    Bytes icmp6(std::uint8_t type, std::uint8_t code, std::uint32_t word, const Ip6Address* target,
                std::optional<std::uint16_t> checksum) const {
        Bytes out = {type, code, 0, 0};
        put32(out, word);
        if (target != nullptr)
            put(out, target->bytes);
        put(out, body);
        finish_checksum(out, 2, checksum, outer.pseudo(proto_icmp6, out.size()));
        return out;
    }
    Bytes operator()(const Icmp6& icmp) const { return icmp6(icmp.type, icmp.code, icmp.word, nullptr, icmp.checksum); }
    Bytes operator()(const Ns& ns) const { return icmp6(135, ns.code, 0, &ns.target, ns.checksum); }
    Bytes operator()(const Na& na) const {
        const auto flags =
            (na.router ? 0x80000000U : 0U) | (na.solicited ? 0x40000000U : 0U) | (na.override_flag ? 0x20000000U : 0U);
        return icmp6(136, na.code, flags, &na.target, na.checksum);
    }
    Bytes operator()(const NdOption& option) const {
        Bytes out = {option.type, 0};
        put(out, option.body);
        out.resize((out.size() + 7) / 8 * 8);
        out[1] = option.units ? *option.units : static_cast<std::uint8_t>(out.size() / 8);
        put(out, body);
        return out;
    }
    Bytes operator()(const Tcp& tcp) const {
        Bytes options = tcp.options;
        options.resize((options.size() + 3) / 4 * 4);
        const auto words = tcp.data_offset ? *tcp.data_offset : (20 + options.size()) / 4;
        Bytes out;
        put16(out, tcp.source_port);
        put16(out, tcp.destination_port);
        put32(out, tcp.sequence);
        put32(out, tcp.acknowledgement);
        put16(out, static_cast<unsigned>(words << 12) | tcp.flags);
        put16(out, 64240);
        put16(out, 0);
        put16(out, 0);
        put(out, options);
        put(out, body);
        finish_checksum(out, 16, tcp.checksum, outer.pseudo(proto_tcp, out.size()));
        return out;
    }
    Bytes operator()(const Udp& udp) const {
        Bytes out;
        put16(out, udp.source_port);
        put16(out, udp.destination_port);
        put16(out, udp.length ? *udp.length : static_cast<unsigned>(8 + body.size()));
        put16(out, 0);
        put(out, body);
        finish_checksum(out, 6, udp.checksum, outer.pseudo(proto_udp, out.size()));
        if (!udp.checksum && out[6] == 0 && out[7] == 0)
            set16(out, 6, 0xffff); // RFC 768: zero means none
        return out;
    }
    Bytes operator()(const Raw& raw) const {
        Bytes out = raw.bytes;
        put(out, body);
        return out;
    }
    Bytes operator()(const Trailer&) const { return body; }
};

std::string hex(ByteView bytes) {
    std::string out;
    for (const auto byte : bytes)
        out += fmt::format("{:02x}", byte);
    return out;
}

/// ", name=value" for a value that differs from Scapy's own.
template <class T>
std::string maybe(std::string_view name, const std::optional<T>& value) {
    return value ? fmt::format(", {}={:#x}", name, *value) : "";
}

struct Describer {
    std::string operator()(const Ether& e) const {
        return fmt::format("Ether(dst='{}', src='{}'{})", to_string(e.destination), to_string(e.source),
                           maybe("type", e.type));
    }
    std::string operator()(const Vlan& v) const {
        return fmt::format("{}(vlan={}, prio={}, id={})", v.tpid == 0x88a8 ? "Dot1AD" : "Dot1Q", v.vid, v.priority,
                           v.drop_eligible ? 1 : 0);
    }
    std::string operator()(const Arp& a) const {
        return fmt::format(
            "ARP(hwtype={}, ptype={:#x}, hwlen={}, plen={}, op={}, hwsrc='{}', psrc='{}', hwdst='{}', pdst='{}')",
            a.hardware_type, a.protocol_type, a.hardware_length, a.protocol_length, a.operation,
            to_string(a.sender_mac), to_string(a.sender_ip), to_string(a.target_mac), to_string(a.target_ip));
    }
    std::string operator()(const Ip4& ip) const {
        return fmt::format("IP(src='{}', dst='{}', ttl={}, tos={}, id={:#x}, flags={}, frag={}{}{}{}{}{})",
                           to_string(ip.source), to_string(ip.destination), ip.ttl, ip.tos, ip.id, ip.fragment >> 13,
                           ip.fragment & 0x1fff,
                           ip.options.empty() ? "" : fmt::format(", options=bytes.fromhex('{}')", hex(ip.options)),
                           maybe("proto", ip.protocol), maybe("ihl", ip.header_words), maybe("len", ip.total_length),
                           maybe("chksum", ip.checksum));
    }
    std::string operator()(const Ip6& ip) const {
        return fmt::format("IPv6(src='{}', dst='{}', hlim={}, tc={}, fl={}{}{})", to_string(ip.source),
                           to_string(ip.destination), ip.hop_limit, ip.traffic_class, ip.flow_label,
                           maybe("nh", ip.next), maybe("plen", ip.payload_length));
    }
    std::string operator()(const Ext& e) const {
        return fmt::format("Raw(b'<ext {}>'+bytes.fromhex('{}'))", e.kind, hex(e.body));
    }
    std::string operator()(const Fragment& f) const {
        return fmt::format("IPv6ExtHdrFragment(offset={}, m={}, id={:#x})", f.offset_flags >> 3, f.offset_flags & 1,
                           f.id);
    }
    std::string operator()(const Icmp4& i) const {
        return fmt::format("ICMP(type={}, code={}, id={:#x}, seq={}{})", i.type, i.code, i.id, i.sequence,
                           maybe("chksum", i.checksum));
    }
    std::string operator()(const Icmp6& i) const {
        return fmt::format("ICMPv6Unknown(type={}, code={}, msgbody=bytes.fromhex('{:08x}'){})", i.type, i.code, i.word,
                           maybe("cksum", i.checksum));
    }
    std::string operator()(const Ns& n) const {
        return fmt::format("ICMPv6ND_NS(tgt='{}', code={}{})", to_string(n.target), n.code, maybe("cksum", n.checksum));
    }
    std::string operator()(const Na& n) const {
        return fmt::format("ICMPv6ND_NA(tgt='{}', R={:d}, S={:d}, O={:d}, code={}{})", to_string(n.target), n.router,
                           n.solicited, n.override_flag, n.code, maybe("cksum", n.checksum));
    }
    std::string operator()(const NdOption& o) const {
        return fmt::format("ICMPv6NDOptUnknown(type={}, data=bytes.fromhex('{}'){})", o.type, hex(o.body),
                           maybe("len", o.units));
    }
    std::string operator()(const Tcp& t) const {
        return fmt::format("TCP(sport={}, dport={}, flags={:#x}{}{})", t.source_port, t.destination_port, t.flags,
                           maybe("dataofs", t.data_offset), maybe("chksum", t.checksum));
    }
    std::string operator()(const Udp& u) const {
        return fmt::format("UDP(sport={}, dport={}{}{})", u.source_port, u.destination_port, maybe("len", u.length),
                           maybe("chksum", u.checksum));
    }
    std::string operator()(const Raw& r) const {
        return r.bytes.size() <= 128 ? fmt::format("Raw(bytes.fromhex('{}'))", hex(r.bytes))
                                     : fmt::format("Raw({} bytes)", r.bytes.size());
    }
    std::string operator()(const Trailer& t) const { return fmt::format("Padding(b'\\x{:02x}'*{})", t.value, t.count); }
};

} // namespace

Mac operator""_mac(const char* text, std::size_t length) {
    Mac mac;
    auto& b = mac.bytes;
    if (length != 17 ||
        std::sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        bad_literal(text);
    return mac;
}
Ip4Address operator""_ip4(const char* text, std::size_t) {
    Ip4Address address;
    if (inet_pton(AF_INET, text, address.bytes.data()) != 1)
        bad_literal(text);
    return address;
}
Ip6Address operator""_ip6(const char* text, std::size_t) {
    Ip6Address address;
    if (inet_pton(AF_INET6, text, address.bytes.data()) != 1)
        bad_literal(text);
    return address;
}
std::string to_string(const Mac& mac) {
    const auto& b = mac.bytes;
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5]);
}
std::string to_string(const Ip4Address& address) {
    std::array<char, INET_ADDRSTRLEN> text{};
    return inet_ntop(AF_INET, address.bytes.data(), text.data(), text.size());
}
std::string to_string(const Ip6Address& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    return inet_ntop(AF_INET6, address.bytes.data(), text.data(), text.size());
}

Ip6Address solicited_node(const Ip6Address& address) {
    auto group = "ff02::1:ff00:0"_ip6;
    std::copy_n(address.bytes.begin() + 13, 3, group.bytes.begin() + 13);
    return group;
}
Mac group_mac(const Ip6Address& group) {
    Mac mac = {{0x33, 0x33, 0, 0, 0, 0}};
    std::copy_n(group.bytes.begin() + 12, 4, mac.bytes.begin() + 2);
    return mac;
}

const Ip6Address& client_ip6() {
    static const auto address = "2001:db8::c"_ip6;
    return address;
}
const Ip6Address& other_ip6() {
    static const auto address = "2001:db8::77"_ip6;
    return address;
}
const Ip6Address& host_ip6() {
    static const auto address = "2001:db8::10"_ip6;
    return address;
}
const Ip6Address& host_link_local() {
    static const auto address = "fe80::200:5eff:fe00:5310"_ip6;
    return address;
}
const Ip6Address& host_temporary_ip6() {
    static const auto address = "2001:db8::3c5a:91d2:7e04:b6f8"_ip6;
    return address;
}
const Ip6Address& all_nodes() {
    static const auto address = "ff02::1"_ip6;
    return address;
}
const Ip6Address& unspecified() {
    static const Ip6Address address;
    return address;
}

Bytes Packet::bytes() const {
    std::vector<Outer> outers;
    Outer outer;
    Bytes trailer;
    for (const auto& layer : layers_) {
        outers.push_back(outer);
        if (const auto* ip4 = std::get_if<Ip4>(&layer))
            outer = {.ip4 = ip4, .ip6 = nullptr};
        if (const auto* ip6 = std::get_if<Ip6>(&layer))
            outer = {.ip4 = nullptr, .ip6 = ip6};
        if (const auto* pad = std::get_if<Trailer>(&layer))
            trailer.insert(trailer.end(), pad->count, pad->value);
    }
    Bytes out;
    for (auto i = layers_.size(); i-- > 0;)
        out = std::visit(Writer{out, i + 1 < layers_.size() ? &layers_[i + 1] : nullptr, outers[i]}, layers_[i]);
    put(out, trailer);
    return out;
}

Bytes Packet::padded(std::size_t minimum) const {
    auto out = bytes();
    out.resize(std::max(out.size(), minimum));
    return out;
}

std::string Packet::scapy() const {
    std::string out;
    for (const auto& layer : layers_)
        out += (out.empty() ? "" : "/") + std::visit(Describer{}, layer);
    return out;
}

std::uint16_t ones_sum(ByteView data, std::uint32_t start) {
    std::uint64_t sum = start;
    for (std::size_t i = 0; i < data.size(); i++)
        sum += i % 2 == 0 ? static_cast<std::uint64_t>(data[i]) << 8 : data[i];
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::uint32_t pseudo_sum(ByteView source, ByteView destination, std::uint8_t protocol, std::size_t length) {
    return ones_sum(source) + static_cast<std::uint32_t>(ones_sum(destination)) + protocol +
           static_cast<std::uint32_t>((length >> 16) + (length & 0xffff));
}

std::string hexdump(ByteView bytes) {
    std::string out;
    for (std::size_t line = 0; line < bytes.size(); line += 16)
        out += fmt::format("  {:04x}  {:02x}\n", line,
                           fmt::join(bytes.subspan(line, std::min<std::size_t>(16, bytes.size() - line)), " "));
    return out;
}

std::string hexdiff(ByteView wanted, ByteView got) {
    std::string out =
        wanted.size() == got.size() ? "" : fmt::format("  length: wanted {}, got {}\n", wanted.size(), got.size());
    const auto line_of = [](ByteView bytes, std::size_t at) {
        return at >= bytes.size() ? ByteView{} : bytes.subspan(at, std::min<std::size_t>(16, bytes.size() - at));
    };
    for (std::size_t at = 0; at < std::max(wanted.size(), got.size()); at += 16) {
        const auto want = line_of(wanted, at);
        const auto have = line_of(got, at);
        if (std::ranges::equal(want, have))
            continue;
        std::string marks;
        for (std::size_t i = 0; i < std::max(want.size(), have.size()); i++)
            marks += i < want.size() && i < have.size() && want[i] == have[i] ? "   " : "^^ ";
        out += fmt::format("  {:04x} wanted  {:02x}\n       got     {:02x}\n               {}\n", at,
                           fmt::join(want, " "), fmt::join(have, " "), marks);
    }
    return out;
}

} // namespace pz::test
