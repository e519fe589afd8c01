// SPDX-License-Identifier: Apache-2.0
// Frames: every outcome of the parser, the checksums, and each builder byte for byte.
#include "net/frame.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <random>
#include <string_view>

namespace pz {
namespace {

constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x51}};
constexpr MacAddress gateway_mac{{0x02, 0, 0, 0, 0, 0x01}};
constexpr MacAddress client_mac{{0x02, 0, 0, 0, 0, 0x0c}};
const IpAddress host4 = IpAddress::parse("192.0.2.81").value();
const IpAddress gateway4 = IpAddress::parse("192.0.2.1").value();
const IpAddress client4 = IpAddress::parse("192.0.2.12").value();
const IpAddress host6 = IpAddress::parse("2001:db8::51").value();
const IpAddress gateway6 = IpAddress::parse("fe80::1").value();
const IpAddress client6 = IpAddress::parse("2001:db8::c").value();

/// The bytes that hexadecimal text stands for; white space between pairs.
Bytes hex(std::string_view text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); ++i) {
        if (text[i] == ' ' || text[i] == '\n')
            continue;
        std::uint8_t byte = 0;
        std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
        bytes.push_back(byte);
        ++i;
    }
    return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

Bytes operator*(const Bytes& bytes, int times) {
    Bytes all;
    for (int i = 0; i < times; ++i)
        all = all + bytes;
    return all;
}

void put16(Bytes& bytes, std::size_t at, std::size_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
}

// Parts of frames from client to host, as they are on the wire.
const Bytes to_host = hex("02 00 00 00 00 51  02 00 00 00 00 0c");
const Bytes type_arp = hex("08 06");
const Bytes type_ipv4 = hex("08 00");
const Bytes type_ipv6 = hex("86 dd");
const Bytes arp_request =
    hex("00 01 08 00 06 04 00 01  02 00 00 00 00 0c  c0 00 02 0c  00 00 00 00 00 00  c0 00 02 51");
const Bytes tcp4_syn = hex("9c 40 00 16  01 02 03 04  00 00 00 00  a0 02 fa f0  28 54 00 00"
                           "02 04 05 b4  04 02 08 0a 00 00 00 01 00 00 00 00  01 03 03 07");
const Bytes tcp6_syn = hex("9c 40 00 16  01 02 03 04  00 00 00 00  a0 02 fa f0  50 e3 00 00"
                           "02 04 05 b4  04 02 08 0a 00 00 00 01 00 00 00 00  01 03 03 07");
const Bytes udp4 = hex("13 88 13 c4 00 0a eb c6  68 69");
const Bytes udp6 = hex("13 88 00 35 00 0d 40 60  71 75 65 72 79");
const Bytes icmp4_echo = hex("08 00 21 68  12 34 00 01  61 62 63");
const Bytes icmp6_echo = hex("80 00 4d 53  12 34 00 01  61 62 63");

struct Ipv4 {
    std::uint8_t protocol = IPPROTO_TCP;
    Bytes options = {};
    std::uint16_t fragment = 0x4000; // don't fragment
};

/// An IPv4 packet whose lengths and header checksum are right.
Bytes ipv4(const Bytes& payload, const Ipv4& with = {}) {
    Bytes header = hex("45 00 00 00 00 00 00 00 40 00 00 00  c0 00 02 0c  c0 00 02 51") + with.options;
    header[0] = static_cast<std::uint8_t>(0x40 | header.size() / 4);
    put16(header, 2, header.size() + payload.size());
    put16(header, 6, with.fragment);
    header[9] = with.protocol;
    put16(header, 10, checksum_fold(checksum_add(header)));
    return header + payload;
}

Bytes ipv6(std::uint8_t next_header, const Bytes& payload) {
    Bytes header = hex("60 00 00 00 00 00 00 40  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 0c"
                       "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51");
    put16(header, 4, payload.size());
    header[6] = next_header;
    return header + payload;
}

// IPv6 extension headers; `next` is the type of what follows.
Bytes hop_by_hop(std::uint8_t next) { // router alert
    return Bytes{next} + hex("00 05 02 00 00 01 00");
}
Bytes destination_options(std::uint8_t next) {
    return Bytes{next} + hex("00 01 04 00 00 00 00");
}
Bytes routing(std::uint8_t next, std::uint8_t segments_left) {
    return Bytes{next, 2, 2, segments_left} + hex("00 00 00 00  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51");
}
Bytes authentication(std::uint8_t next) { // length in units of four bytes, less two
    return Bytes{next} + hex("04 00 00  00 00 01 00  00 00 00 01  aa aa aa aa aa aa aa aa aa aa aa aa");
}
Bytes mobility(std::uint8_t next) {
    return Bytes{next} + hex("00 00 00 00 00 00 00");
}
Bytes fragment_header(std::uint8_t next) {
    return Bytes{next} + hex("00 00 00 00 00 00 01"); // atomic: the whole packet
}

ParseStatus status_of(const Bytes& frame) {
    return parse_frame(frame).status;
}

TEST(ParseFrame, ShorterThanAnEthernetHeaderIsTooShort) {
    const Bytes frame = to_host + type_ipv4;
    for (std::size_t size = 0; size < frame.size(); ++size)
        EXPECT_EQ(parse_frame(ByteView(frame).first(size)).status, ParseStatus::too_short) << size;
}

TEST(ParseFrame, ArpIsFoundWithItsMacAddresses) {
    const auto parsed = parse_frame(to_host + type_arp + arp_request);
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.l3, L3::arp);
    EXPECT_EQ(parsed.destination, host_mac);
    EXPECT_EQ(parsed.source, client_mac);
    EXPECT_EQ(parsed.l3_offset, 14U);
    EXPECT_EQ(parsed.outer_vid, 0U);
    EXPECT_EQ(parsed.inner_vid, 0U);
}

TEST(ParseFrame, ArpCutShortIsTooShort) {
    const Bytes frame = to_host + type_arp + arp_request;
    for (std::size_t size = 14; size < frame.size(); ++size)
        EXPECT_EQ(parse_frame(ByteView(frame).first(size)).status, ParseStatus::too_short) << size;
}

TEST(ParseFrame, MagicEtherTypeIsFound) {
    const auto parsed = parse_frame(to_host + hex("08 42"));
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.l3, L3::magic);
    EXPECT_EQ(parsed.l3_offset, 14U);
}

TEST(ParseFrame, UnknownEtherTypesAndLengthsAreUnknownL2) {
    for (const auto* type : {"00 00", "00 26", "05 dc", "05 ff", "06 00", "08 35", "88 cc", "88 8e", "ff ff"}) {
        const auto parsed = parse_frame(to_host + hex(type) + Bytes(46));
        EXPECT_EQ(parsed.status, ParseStatus::unknown_l2) << type;
        EXPECT_EQ(parsed.l3, L3::other) << type;
        EXPECT_EQ(parsed.destination, host_mac) << type;
    }
}

struct Tagged {
    const char* tags;
    std::uint16_t outer;
    std::uint16_t inner;
};

TEST(ParseFrame, TagsAreReadOutsideInWithEachTpid) {
    const Tagged cases[] = {
        {"81 00 00 05", 5, 0},
        {"88 a8 00 05", 5, 0},
        {"91 00 00 05", 5, 0},
        {"81 00 0f ff", 0xfff, 0},
        {"81 00 f0 05", 5, 0}, // priority and DEI bits are no part of the VID
        {"88 a8 00 64 81 00 00 07", 100, 7},
        {"81 00 00 64 81 00 00 07", 100, 7},
        {"91 00 00 64 88 a8 e0 07", 100, 7},
    };
    for (const auto& c : cases) {
        const Bytes tags = hex(c.tags);
        const auto parsed = parse_frame(to_host + tags + type_ipv4 + ipv4(tcp4_syn));
        EXPECT_EQ(parsed.status, ParseStatus::ok) << c.tags;
        EXPECT_EQ(parsed.outer_vid, c.outer) << c.tags;
        EXPECT_EQ(parsed.inner_vid, c.inner) << c.tags;
        EXPECT_EQ(parsed.l3_offset, 14 + tags.size()) << c.tags;
        EXPECT_EQ(parsed.l4_offset, 34 + tags.size()) << c.tags;
    }
}

TEST(ParseFrame, PriorityTagIsNoTagWhereverItStands) {
    const Tagged cases[] = {
        {"81 00 00 00", 0, 0},
        {"81 00 e0 00", 0, 0},
        {"81 00 e0 00 81 00 00 07", 7, 0},
        {"88 a8 00 64 81 00 20 00", 100, 0},
        {"81 00 00 00 81 00 00 00", 0, 0},
    };
    for (const auto& c : cases) {
        const auto parsed = parse_frame(to_host + hex(c.tags) + type_arp + arp_request);
        EXPECT_EQ(parsed.status, ParseStatus::ok) << c.tags;
        EXPECT_EQ(parsed.outer_vid, c.outer) << c.tags;
        EXPECT_EQ(parsed.inner_vid, c.inner) << c.tags;
    }
}

TEST(ParseFrame, ThirdTagIsUnknownL2) {
    EXPECT_EQ(status_of(to_host + hex("88 a8 00 01 81 00 00 02 81 00 00 03") + type_ipv4 + ipv4(tcp4_syn)),
              ParseStatus::unknown_l2);
    EXPECT_EQ(status_of(to_host + hex("81 00 00 00 81 00 00 00 81 00 00 00") + type_ipv4 + ipv4(tcp4_syn)),
              ParseStatus::unknown_l2);
}

TEST(ParseFrame, TagCutShortIsTooShort) {
    const Bytes frame = to_host + hex("88 a8 00 01 81 00 00 02") + type_ipv4;
    for (const std::size_t size : {14U, 15U, 17U, 18U, 19U, 21U})
        EXPECT_EQ(parse_frame(ByteView(frame).first(size)).status, ParseStatus::too_short) << size;
}

TEST(ParseFrame, Ipv4FieldsAreFound) {
    const auto parsed = parse_frame(to_host + type_ipv4 + ipv4(tcp4_syn));
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.l3, L3::ipv4);
    EXPECT_EQ(parsed.ip_source, client4);
    EXPECT_EQ(parsed.ip_destination, host4);
    EXPECT_EQ(parsed.protocol, IPPROTO_TCP);
    EXPECT_EQ(parsed.hop_limit, 64);
    EXPECT_EQ(parsed.l4_offset, 34U);
    EXPECT_EQ(parsed.l4_length, tcp4_syn.size());
}

TEST(ParseFrame, EthernetPaddingIsNoPartOfThePacket) {
    const auto v4 = parse_frame(to_host + type_ipv4 + ipv4(udp4, {.protocol = IPPROTO_UDP}) + Bytes(16));
    EXPECT_EQ(v4.status, ParseStatus::ok);
    EXPECT_EQ(v4.l4_length, udp4.size());
    const auto v6 = parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_UDP, udp6) + Bytes(16));
    EXPECT_EQ(v6.status, ParseStatus::ok);
    EXPECT_EQ(v6.l4_length, udp6.size());
}

TEST(ParseFrame, Ipv4HeaderThatContradictsItselfOrTheFrameIsMalformed) {
    const Bytes good = ipv4(tcp4_syn);
    const auto with = [&](auto change) {
        Bytes packet = good;
        change(packet);
        put16(packet, 10, 0);
        put16(packet, 10, checksum_fold(checksum_add(ByteView(packet).first(20)))); // nothing else is wrong
        return to_host + type_ipv4 + packet;
    };
    ASSERT_EQ(status_of(with([](Bytes&) {})), ParseStatus::ok);
    EXPECT_EQ(status_of(with([](Bytes& p) { p[0] = 0x55; })), ParseStatus::malformed) << "version 5";
    EXPECT_EQ(status_of(with([](Bytes& p) { p[0] = 0x65; })), ParseStatus::malformed) << "version 6";
    EXPECT_EQ(status_of(with([](Bytes& p) { p[0] = 0x44; })), ParseStatus::malformed) << "header of 16 bytes";
    EXPECT_EQ(status_of(with([](Bytes& p) { p[0] = 0x40; })), ParseStatus::malformed) << "header of 0 bytes";
    EXPECT_EQ(status_of(with([](Bytes& p) { put16(p, 2, 19); })), ParseStatus::malformed) << "shorter than its header";
    EXPECT_EQ(status_of(with([](Bytes& p) { put16(p, 2, p.size() + 1); })), ParseStatus::malformed)
        << "beyond the frame";
    EXPECT_EQ(status_of(with([](Bytes& p) { put16(p, 2, p.size() - 1); })), ParseStatus::ok) << "padding of one byte";
    EXPECT_EQ(status_of(with([](Bytes& p) { put16(p, 2, 20); })), ParseStatus::ok) << "no payload";
    EXPECT_EQ(status_of(with([](Bytes& p) {
                  p[0] = 0x4f;
                  put16(p, 2, 56);
              })),
              ParseStatus::malformed)
        << "header of 60 bytes in a packet of 56";
}

TEST(ParseFrame, IpHeaderCutShortIsMalformed) {
    const Bytes v4 = to_host + type_ipv4 + ipv4(Bytes{});
    for (std::size_t size = 14; size < v4.size(); ++size)
        EXPECT_EQ(parse_frame(ByteView(v4).first(size)).status, ParseStatus::malformed) << size;
    EXPECT_EQ(status_of(v4), ParseStatus::ok);
    const Bytes v6 = to_host + type_ipv6 + ipv6(IPPROTO_NONE, Bytes{});
    for (std::size_t size = 14; size < v6.size(); ++size)
        EXPECT_EQ(parse_frame(ByteView(v6).first(size)).status, ParseStatus::malformed) << size;
    EXPECT_EQ(status_of(v6), ParseStatus::ok);
}

TEST(ParseFrame, EachWrongBitInTheIpv4HeaderIsNoticed) {
    const Bytes good = to_host + type_ipv4 + ipv4(tcp4_syn, {.options = hex("94 04 00 00")});
    ASSERT_EQ(status_of(good), ParseStatus::ok);
    for (std::size_t bit = 0; bit < 24 * 8; ++bit) {
        Bytes bad = good;
        bad[14 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        const auto status = status_of(bad);
        if (bit < 8 || (bit >= 16 && bit < 32)) // version, lengths: those may be found out first
            EXPECT_TRUE(status == ParseStatus::malformed || status == ParseStatus::bad_checksum) << bit;
        else
            EXPECT_EQ(status, ParseStatus::bad_checksum) << bit;
    }
}

TEST(ParseFrame, Ipv4OptionsAreSkippedToTheTransportHeader) {
    for (const auto* options :
         {"94 04 00 00", "01 01 01 01", "01 07 07 04 00 00 00 00", "00 83 03 04", "01 44 02 00", "88 02 01 00"}) {
        const auto parsed = parse_frame(to_host + type_ipv4 + ipv4(tcp4_syn, {.options = hex(options)}));
        EXPECT_EQ(parsed.status, ParseStatus::ok) << options;
        EXPECT_EQ(parsed.l4_offset, 34 + hex(options).size()) << options;
        EXPECT_EQ(parsed.l4_length, tcp4_syn.size()) << options;
    }
    const auto longest = parse_frame(to_host + type_ipv4 + ipv4(tcp4_syn, {.options = Bytes(40, 1)}));
    EXPECT_EQ(longest.status, ParseStatus::ok);
    EXPECT_EQ(longest.l4_offset, 74U);
}

TEST(ParseFrame, Ipv4OptionWhoseLengthDoesNotFitIsMalformed) {
    for (const auto* options : {"07 00 00 00", "07 01 00 00", "07 05 00 00", "01 01 01 07", "94 04 00 00 07 ff 04 00"})
        EXPECT_EQ(status_of(to_host + type_ipv4 + ipv4(tcp4_syn, {.options = hex(options)})), ParseStatus::malformed)
            << options;
}

TEST(ParseFrame, LooseAndStrictSourceRoutesAreFoundBehindOtherOptions) {
    for (const auto* options : {"83 07 04 c0 00 02 09 00", "89 07 04 c0 00 02 09 00", "01 83 07 04 c0 00 02 09",
                                "94 04 00 00 89 07 04 c0 00 02 09 00", "83 03 04 00"})
        EXPECT_EQ(status_of(to_host + type_ipv4 + ipv4(tcp4_syn, {.options = hex(options)})), ParseStatus::source_route)
            << options;
}

TEST(ParseFrame, EveryIpv4FragmentIsFoundWithItsAddresses) {
    for (const auto fragment : std::to_array<std::uint16_t>({0x2000, 0x2001, 0x0001, 0x1fff, 0x6000, 0x4001})) {
        const auto parsed = parse_frame(to_host + type_ipv4 + ipv4(tcp4_syn, {.fragment = fragment}));
        EXPECT_EQ(parsed.status, ParseStatus::fragment) << fragment;
        EXPECT_EQ(parsed.ip_source, client4);
        EXPECT_EQ(parsed.ip_destination, host4);
        EXPECT_EQ(parsed.protocol, IPPROTO_TCP);
    }
    for (const auto whole :
         std::to_array<std::uint16_t>({0x0000, 0x4000, 0x8000})) // the reserved bit says nothing of fragments
        EXPECT_EQ(status_of(to_host + type_ipv4 + ipv4(tcp4_syn, {.fragment = whole})), ParseStatus::ok) << whole;
}

TEST(ParseFrame, Ipv6FieldsAreFound) {
    const auto parsed = parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_TCP, tcp6_syn));
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.l3, L3::ipv6);
    EXPECT_EQ(parsed.ip_source, client6);
    EXPECT_EQ(parsed.ip_destination, host6);
    EXPECT_EQ(parsed.protocol, IPPROTO_TCP);
    EXPECT_EQ(parsed.hop_limit, 64);
    EXPECT_EQ(parsed.l4_offset, 54U);
    EXPECT_EQ(parsed.l4_length, tcp6_syn.size());
}

TEST(ParseFrame, Ipv6HeaderThatContradictsTheFrameIsMalformed) {
    Bytes version = ipv6(IPPROTO_TCP, tcp6_syn);
    version[0] = 0x40;
    EXPECT_EQ(status_of(to_host + type_ipv6 + version), ParseStatus::malformed);
    Bytes longer = ipv6(IPPROTO_TCP, tcp6_syn);
    put16(longer, 4, tcp6_syn.size() + 1);
    EXPECT_EQ(status_of(to_host + type_ipv6 + longer), ParseStatus::malformed);
}

TEST(ParseFrame, EachExtensionHeaderIsWalkedByItsOwnLength) {
    const std::pair<std::uint8_t, Bytes> cases[] = {
        {IPPROTO_HOPOPTS, hop_by_hop(IPPROTO_TCP)}, {IPPROTO_DSTOPTS, destination_options(IPPROTO_TCP)},
        {IPPROTO_ROUTING, routing(IPPROTO_TCP, 0)}, {IPPROTO_AH, authentication(IPPROTO_TCP)},
        {IPPROTO_MH, mobility(IPPROTO_TCP)},
    };
    for (const auto& [type, header] : cases) {
        const auto parsed = parse_frame(to_host + type_ipv6 + ipv6(type, header + tcp6_syn));
        EXPECT_EQ(parsed.status, ParseStatus::ok) << int{type};
        EXPECT_EQ(parsed.protocol, IPPROTO_TCP) << int{type};
        EXPECT_EQ(parsed.l4_offset, 54 + header.size()) << int{type};
        EXPECT_EQ(parsed.l4_length, tcp6_syn.size()) << int{type};
    }
}

TEST(ParseFrame, ExtensionHeadersMayFollowEachOther) {
    const Bytes chain = hop_by_hop(IPPROTO_ROUTING) + routing(IPPROTO_AH, 0) + authentication(IPPROTO_DSTOPTS) +
                        destination_options(IPPROTO_MH) + mobility(IPPROTO_UDP);
    const auto parsed = parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_HOPOPTS, chain + udp6));
    EXPECT_EQ(parsed.status, ParseStatus::ok);
    EXPECT_EQ(parsed.protocol, IPPROTO_UDP);
    EXPECT_EQ(parsed.l4_offset, 54 + chain.size());
    EXPECT_EQ(parsed.l4_length, udp6.size());
}

TEST(ParseFrame, EightExtensionHeadersAreWalkedAndANinthIsTooMany) {
    const Bytes seven = destination_options(IPPROTO_DSTOPTS) * 7;
    const auto eight =
        parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_DSTOPTS, seven + destination_options(IPPROTO_TCP) + tcp6_syn));
    EXPECT_EQ(eight.status, ParseStatus::ok);
    EXPECT_EQ(eight.protocol, IPPROTO_TCP);
    const Bytes nine = seven + destination_options(IPPROTO_DSTOPTS) + destination_options(IPPROTO_TCP) + tcp6_syn;
    EXPECT_EQ(status_of(to_host + type_ipv6 + ipv6(IPPROTO_DSTOPTS, nine)), ParseStatus::too_many_ext);
}

TEST(ParseFrame, UnknownNextHeaderEndsTheWalkAndIsTheProtocol) {
    for (const auto protocol :
         std::to_array<std::uint8_t>({IPPROTO_ESP, IPPROTO_NONE, IPPROTO_SCTP, IPPROTO_ICMP, 139, 140, 253, 255})) {
        const auto parsed =
            parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_DSTOPTS, destination_options(protocol) + Bytes(16)));
        EXPECT_EQ(parsed.status, ParseStatus::ok) << int{protocol};
        EXPECT_EQ(parsed.protocol, protocol);
        EXPECT_EQ(parsed.l4_offset, 62U);
        EXPECT_EQ(parsed.l4_length, 16U);
    }
}

TEST(ParseFrame, AnyFragmentHeaderIsAFragmentAndSaysOfWhat) {
    const Bytes atomic = fragment_header(IPPROTO_ICMPV6) + icmp6_echo;
    const auto parsed = parse_frame(to_host + type_ipv6 + ipv6(IPPROTO_FRAGMENT, atomic));
    EXPECT_EQ(parsed.status, ParseStatus::fragment);
    EXPECT_EQ(parsed.protocol, IPPROTO_ICMPV6);
    EXPECT_EQ(parsed.ip_destination, host6);
    EXPECT_EQ(status_of(to_host + type_ipv6 + ipv6(IPPROTO_DSTOPTS, destination_options(IPPROTO_FRAGMENT) + atomic)),
              ParseStatus::fragment);
}

TEST(ParseFrame, RoutingHeaderWithSegmentsLeftIsASourceRoute) {
    for (const auto left : std::to_array<std::uint8_t>({1, 2, 255}))
        EXPECT_EQ(status_of(to_host + type_ipv6 + ipv6(IPPROTO_ROUTING, routing(IPPROTO_TCP, left) + tcp6_syn)),
                  ParseStatus::source_route);
    EXPECT_EQ(status_of(to_host + type_ipv6 +
                        ipv6(IPPROTO_HOPOPTS, hop_by_hop(IPPROTO_ROUTING) + routing(IPPROTO_TCP, 1) + tcp6_syn)),
              ParseStatus::source_route);
}

TEST(ParseFrame, ExtensionHeaderBeyondThePacketIsMalformedEvenIfPaddingCoversIt) {
    const std::pair<std::uint8_t, Bytes> cases[] = {
        {IPPROTO_HOPOPTS, hop_by_hop(IPPROTO_TCP)}, {IPPROTO_DSTOPTS, destination_options(IPPROTO_TCP)},
        {IPPROTO_ROUTING, routing(IPPROTO_TCP, 0)}, {IPPROTO_AH, authentication(IPPROTO_TCP)},
        {IPPROTO_MH, mobility(IPPROTO_TCP)},        {IPPROTO_FRAGMENT, fragment_header(IPPROTO_TCP)},
    };
    for (const auto& [type, header] : cases) {
        for (std::size_t size = 0; size < header.size(); ++size) {
            const Bytes cut(header.begin(), header.begin() + static_cast<std::ptrdiff_t>(size));
            EXPECT_EQ(status_of(to_host + type_ipv6 + ipv6(type, cut)), ParseStatus::malformed)
                << int{type} << " cut to " << size;
            for (const std::uint8_t padding : {std::uint8_t{0}, std::uint8_t{0xff}}) {
                EXPECT_EQ(status_of(to_host + type_ipv6 + ipv6(type, cut) + Bytes(64, padding)), ParseStatus::malformed)
                    << int{type} << " cut to " << size << ", padded";
            }
        }
    }
}

TEST(Checksum, IsTheExampleOfRfc1071) {
    const Bytes words = hex("00 01 f2 03 f4 f5 f6 f7"); // RFC 1071 §3: the sum is ddf2
    EXPECT_EQ(checksum_fold(checksum_add(words)), static_cast<std::uint16_t>(~0xddf2));
}

/// By arithmetic modulo 65535, which is what RFC 1071's end-around carry computes.
std::uint16_t reference_checksum(const Bytes& bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        sum += static_cast<std::uint64_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    if (sum != 0)
        sum = (sum - 1) % 0xffff + 1; // the all-ones zero, which carries cannot leave
    return static_cast<std::uint16_t>(~sum);
}

TEST(Checksum, AgreesWithArithmeticModulo65535AndVerifiesOnceItIsSet) {
    std::mt19937 random(1); // NOLINT: the same bytes in every run
    for (std::size_t size = 0; size < 1200; ++size) {
        Bytes bytes(size);
        std::ranges::generate(bytes, [&] { return static_cast<std::uint8_t>(random()); });
        if (size % 5 == 0)
            std::ranges::fill(bytes, std::uint8_t{0xff});
        const auto checksum = checksum_fold(checksum_add(bytes));
        ASSERT_EQ(checksum, reference_checksum(bytes)) << size;
        if (size >= 2) {
            put16(bytes, 0, 0);
            put16(bytes, 0, checksum_fold(checksum_add(bytes)));
            ASSERT_EQ(checksum_fold(checksum_add(bytes)), 0) << size;
        }
        const std::size_t even = size / 4 * 2;
        const ByteView view(bytes);
        ASSERT_EQ(checksum_fold(checksum_add(view.subspan(even), checksum_add(view.first(even)))),
                  checksum_fold(checksum_add(view)))
            << size;
    }
}

TEST(Checksum, LongSumsDoNotOverflow) {
    const Bytes ones(65535, 0xff);
    std::uint32_t sum = 0;
    for (int i = 0; i < 10; ++i)
        sum = checksum_add(ByteView(ones).first(65534), sum);
    EXPECT_EQ(checksum_fold(sum), 0);
    EXPECT_EQ(checksum_fold(0xffffffff), 0);
    EXPECT_EQ(checksum_fold(0x0001ffff), static_cast<std::uint16_t>(~0x0001));
}

TEST(Checksum, PseudoHeadersAreThoseOfTheRfcs) {
    const Bytes v4 = hex("c0 00 02 0c  c0 00 02 51  00 06 00 28");
    EXPECT_EQ(checksum_fold(pseudo_header_sum(client4, host4, IPPROTO_TCP, 40)), checksum_fold(checksum_add(v4)));
    const Bytes v6 =
        hex("20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 0c  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
            "00 01 00 02  00 00 00 3a");
    EXPECT_EQ(checksum_fold(pseudo_header_sum(client6, host6, IPPROTO_ICMPV6, 0x10002)),
              checksum_fold(checksum_add(v6)));
}

struct Transport {
    const char* name;
    std::uint8_t protocol;
    std::size_t field; // of the checksum, in the transport header
    Bytes segment;     // with the right checksum
    bool v4;
};

const std::vector<Transport>& transports() {
    static const std::vector<Transport> all = {
        {"TCP over IPv4", IPPROTO_TCP, 16, tcp4_syn, true}, {"TCP over IPv6", IPPROTO_TCP, 16, tcp6_syn, false},
        {"UDP over IPv4", IPPROTO_UDP, 6, udp4, true},      {"UDP over IPv6", IPPROTO_UDP, 6, udp6, false},
        {"ICMP", IPPROTO_ICMP, 2, icmp4_echo, true},        {"ICMPv6", IPPROTO_ICMPV6, 2, icmp6_echo, false},
    };
    return all;
}

Bytes packet_of(const Transport& transport) {
    return transport.v4 ? type_ipv4 + ipv4(transport.segment, {.protocol = transport.protocol})
                        : type_ipv6 + ipv6(transport.protocol, transport.segment);
}

TEST(CompleteChecksum, SetsTheChecksumOfEveryProtocolAndNothingElse) {
    for (const auto& transport : transports()) {
        const Bytes whole = to_host + packet_of(transport);
        const std::size_t field = (transport.v4 ? 34 : 54) + transport.field;
        for (const std::size_t stale : {0x0000U, 0x1234U, 0xffffU}) { // a half-done one is the pseudo header's sum
            Bytes frame = whole;
            put16(frame, field, stale);
            EXPECT_TRUE(complete_checksum(frame)) << transport.name;
            EXPECT_EQ(frame, whole) << transport.name;
        }
    }
}

TEST(CompleteChecksum, ReachesBehindTagsAndOptionsAndStopsAtPadding) {
    for (const auto& transport : transports()) {
        const Bytes extended =
            transport.v4
                ? type_ipv4 + ipv4(transport.segment, {.protocol = transport.protocol, .options = hex("94 04 00 00")})
                : type_ipv6 + ipv6(IPPROTO_HOPOPTS, hop_by_hop(IPPROTO_AH) + authentication(IPPROTO_ROUTING) +
                                                        routing(transport.protocol, 0) + transport.segment);
        const Bytes whole = to_host + hex("88 a8 00 64 81 00 00 07") + extended + hex("5a a5 5a");
        Bytes frame = whole;
        const std::size_t field = frame.size() - 3 - transport.segment.size() + transport.field;
        put16(frame, field, 0xbeef);
        EXPECT_TRUE(complete_checksum(frame)) << transport.name;
        EXPECT_EQ(frame, whole) << transport.name;
    }
}

TEST(CompleteChecksum, UdpResultZeroBecomesAllOnes) {
    for (const bool v4 : {true, false}) {
        Bytes datagram = hex("13 88 00 35 00 0a 00 00  00 00");
        const std::uint32_t pseudo = v4 ? pseudo_header_sum(client4, host4, IPPROTO_UDP, datagram.size())
                                        : pseudo_header_sum(client6, host6, IPPROTO_UDP, datagram.size());
        put16(datagram, 8, checksum_fold(checksum_add(datagram, pseudo))); // now the sum is all ones, its complement 0
        Bytes frame = to_host + (v4 ? type_ipv4 + ipv4(datagram, {.protocol = IPPROTO_UDP})
                                    : type_ipv6 + ipv6(IPPROTO_UDP, datagram));
        ASSERT_TRUE(complete_checksum(frame));
        EXPECT_EQ(frame[frame.size() - 4], 0xff);
        EXPECT_EQ(frame[frame.size() - 3], 0xff);
    }
}

TEST(CompleteChecksum, UdpCoversItsOwnLengthOnly) {
    // Two bytes behind the datagram, inside the packet.
    Bytes frame = to_host + type_ipv4 + ipv4(udp4 + hex("de ad"), {.protocol = IPPROTO_UDP});
    const Bytes whole = frame;
    put16(frame, 40, 0);
    EXPECT_TRUE(complete_checksum(frame));
    EXPECT_EQ(frame, whole);
}

TEST(CompleteChecksum, LeavesAloneWhatIsNoWholePacketOfTheseProtocols) {
    const auto untouched = [](const Bytes& before) {
        Bytes frame = before;
        return !complete_checksum(frame) && frame == before;
    };
    EXPECT_TRUE(untouched({}));
    EXPECT_TRUE(untouched(to_host + type_arp + arp_request));
    EXPECT_TRUE(untouched(to_host + hex("08 42") + Bytes(102)));
    EXPECT_TRUE(untouched(to_host + type_ipv4 + ipv4(Bytes(40), {.protocol = IPPROTO_SCTP})));
    EXPECT_TRUE(untouched(to_host + type_ipv4 + ipv4(Bytes(40), {.protocol = IPPROTO_ICMPV6}))) << "ICMPv6 in IPv4";
    EXPECT_TRUE(untouched(to_host + type_ipv6 + ipv6(IPPROTO_ICMP, Bytes(40)))) << "ICMP in IPv6";
    EXPECT_TRUE(untouched(to_host + type_ipv4 + ipv4(tcp4_syn, {.fragment = 0x2000})));
    EXPECT_TRUE(untouched(to_host + type_ipv6 + ipv6(IPPROTO_FRAGMENT, fragment_header(IPPROTO_TCP) + tcp6_syn)));
    Bytes bad_header = to_host + type_ipv4 + ipv4(tcp4_syn);
    bad_header[24] ^= 1;
    EXPECT_TRUE(untouched(bad_header));

    for (const auto& transport : transports()) { // cut in the frame: by the IP header there is more
        Bytes frame = to_host + packet_of(transport);
        frame.pop_back();
        EXPECT_TRUE(untouched(frame)) << transport.name;
    }
    const std::pair<std::uint8_t, std::size_t> headers[] = {
        {IPPROTO_TCP, 20}, {IPPROTO_UDP, 8}, {IPPROTO_ICMP, 8}, {IPPROTO_ICMPV6, 8}};
    for (const auto& [protocol, size] : headers) { // cut in the packet: not even the header is there
        for (std::size_t length = 0; length < size; ++length) {
            const Bytes segment(length, 0);
            EXPECT_TRUE(untouched(to_host + type_ipv4 + ipv4(segment, {.protocol = protocol}) + Bytes(40)));
            EXPECT_TRUE(untouched(to_host + type_ipv6 + ipv6(protocol, segment) + Bytes(40)));
        }
    }
    for (const std::size_t length : {0U, 7U, 11U, 0xffffU}) { // UDP length below its header or beyond the packet
        Bytes datagram = udp4;
        put16(datagram, 4, length);
        EXPECT_TRUE(untouched(to_host + type_ipv4 + ipv4(datagram, {.protocol = IPPROTO_UDP}) + Bytes(40))) << length;
    }
}

TEST(SetEthernet, WritesBothAddressesAndNothingElse) {
    Bytes frame = to_host + type_ipv4 + ipv4(tcp4_syn);
    set_ethernet(frame, gateway_mac, host_mac);
    EXPECT_EQ(frame, hex("02 00 00 00 00 01  02 00 00 00 00 51") + type_ipv4 + ipv4(tcp4_syn));
}

TEST(BuildArp, AnnouncementHasSenderAndTargetTheAddressAndIsPaddedTo60Bytes) {
    const Bytes expected = hex("ff ff ff ff ff ff  02 00 00 00 00 51  08 06" // Ethernet: broadcast, the owner, ARP
                               "00 01  08 00  06  04  00 01" // Ethernet, IPv4, their lengths, request
                               "02 00 00 00 00 51  c0 00 02 51" // sender
                               "00 00 00 00 00 00  c0 00 02 51" // target
                               "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    EXPECT_EQ(build_arp_announcement(host_mac, host4, {}), expected);
}

TEST(BuildArp, RequestAsksFromTheGatewaysOwnAddresses) {
    const Bytes expected = hex("ff ff ff ff ff ff  02 00 00 00 00 01  08 06"
                               "00 01  08 00  06  04  00 01"
                               "02 00 00 00 00 01  c0 00 02 01"
                               "00 00 00 00 00 00  c0 00 02 51"
                               "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    EXPECT_EQ(build_arp_request(gateway_mac, gateway4, host4, {}), expected);
}

TEST(BuildArp, TagsStandBetweenAddressesAndTypeAndTheFrameIsStill60Bytes) {
    const Bytes two = hex("ff ff ff ff ff ff  02 00 00 00 00 01  88 a8 00 64  81 00 a0 07  08 06"
                          "00 01  08 00  06  04  00 01"
                          "02 00 00 00 00 01  c0 00 02 01"
                          "00 00 00 00 00 00  c0 00 02 51"
                          "00 00 00 00 00 00 00 00 00 00");
    EXPECT_EQ(build_arp_request(gateway_mac, gateway4, host4, {.outer = 100, .inner = 0xa007}), two);
    const Bytes one = hex("ff ff ff ff ff ff  02 00 00 00 00 51  81 00 20 05  08 06"
                          "00 01  08 00  06  04  00 01"
                          "02 00 00 00 00 51  c0 00 02 51"
                          "00 00 00 00 00 00  c0 00 02 51"
                          "00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    EXPECT_EQ(build_arp_announcement(host_mac, host4, {.outer = 0x2005}), one);
}

TEST(BuildNeighbor, UnsolicitedAdvertisementGoesToAllNodesWithTargetLinkLayerAddress) {
    const Bytes expected = hex("33 33 00 00 00 01  02 00 00 00 00 51  86 dd"
                               "60 00 00 00  00 20 3a ff" // 32 bytes, ICMPv6, hop limit 255
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51" // from the address itself
                               "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01" // to all nodes
                               "88 00 f8 3a  20 00 00 00" // NA, R=0 S=0 O=1
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51" // target
                               "02 01 02 00 00 00 00 51"); // target link-layer address
    EXPECT_EQ(build_unsolicited_na(host_mac, host_mac, host6, true, {}), expected);
}

TEST(BuildNeighbor, AdvertisementInAnothersNameKeepsTheEthernetSourceAndTheOverrideFlagAsTold) {
    const Bytes expected = hex("33 33 00 00 00 01  02 00 00 00 00 01  81 00 00 05  86 dd"
                               "60 00 00 00  00 20 3a ff"
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                               "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
                               "88 00 18 3b  00 00 00 00" // O=0
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                               "02 01 02 00 00 00 00 51");
    EXPECT_EQ(build_unsolicited_na(gateway_mac, host_mac, host6, false, {.outer = 5}), expected);
}

TEST(AddMark, IsInThePaddingOfArpWithAnyTags) {
    const Bytes mark = hex("70 78 7a 79  02 00 00 00 00 01");
    for (const TagStack tags : {TagStack{}, TagStack{.outer = 5}, TagStack{.outer = 100, .inner = 7}}) {
        const Bytes plain = build_arp_announcement(host_mac, host4, tags);
        Bytes marked = plain;
        add_mark(marked, gateway_mac);
        const std::size_t at = parse_frame(plain).l3_offset + 28;
        Bytes expected(plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(at));
        expected.insert(expected.end(), mark.begin(), mark.end());
        expected.resize(60);
        EXPECT_EQ(marked, expected);
    }
}

TEST(AddMark, IsTheLastOptionOfAnAdvertisement) {
    const Bytes expected = hex("33 33 00 00 00 01  02 00 00 00 00 51  86 dd"
                               "60 00 00 00  00 28 3a ff" // 40 bytes
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                               "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
                               "88 00 f9 2f  20 00 00 00"
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                               "02 01 02 00 00 00 00 51"
                               "fd 01 02 00 00 00 00 01");
    Bytes marked = build_unsolicited_na(host_mac, host_mac, host6, true, {});
    add_mark(marked, gateway_mac);
    EXPECT_EQ(marked, expected);
}

TEST(BuildNeighbor, SolicitationGoesToTheSolicitedNodeGroupWithSourceLinkLayerAddress) {
    const Bytes expected = hex("33 33 ff 00 00 51  02 00 00 00 00 01  86 dd"
                               "60 00 00 00  00 20 3a ff"
                               "fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
                               "ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 51"
                               "87 00 4a c1  00 00 00 00"
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                               "01 01 02 00 00 00 00 01");
    EXPECT_EQ(build_neighbor_solicitation(gateway_mac, gateway6, host6, {}), expected);
}

TEST(BuildNeighbor, DadHasNoSourceAndNoOption) {
    const Bytes expected = hex("33 33 ff 00 00 51  02 00 00 00 00 51  86 dd"
                               "60 00 00 00  00 18 3a ff"
                               "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
                               "ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 51"
                               "87 00 4c 4d  00 00 00 00"
                               "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51");
    EXPECT_EQ(build_neighbor_solicitation(host_mac, IpAddress::v6({}), host6, {}), expected);
}

TEST(BuildMld, ReportOfTwoGroups) {
    const Bytes expected = hex("33 33 00 00 00 16  02 00 00 00 00 01  86 dd"
                               "60 00 00 00  00 38 00 01"
                               "fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
                               "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 16"
                               "3a 00 05 02 00 00 01 00" // Router Alert
                               "8f 00 6e 4b  00 00 00 02"
                               "04 00 00 00  ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 51"
                               "04 00 00 00  ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 52");
    const std::array groups{solicited_node_group(host6), IpAddress::parse("ff02::1:ff00:52").value()};
    EXPECT_EQ(build_mld_report(gateway_mac, gateway6, groups, {}), expected);
}

TEST(BuildIgmp, HasTtl1AndRouterAlertAndGoesToTheGroupsMac) {
    const Bytes leave = hex("17 00 04 fb  e2 01 02 03");
    const Bytes expected = hex("01 00 5e 00 00 02  02 00 00 00 00 51  08 00"
                               "46 c0 00 20  00 00 40 00  01 02 41 c4  c0 00 02 51  e0 00 00 02  94 04 00 00") +
                           leave + Bytes(14);
    const auto routers = IpAddress::parse("224.0.0.2").value();
    const auto frame = build_igmp(host_mac, host4, routers, leave, {});
    EXPECT_EQ(frame, expected);
    const auto parsed = parse_frame(frame);
    EXPECT_EQ(parsed.status, ParseStatus::ok) << "the header's checksum covers the option";
    EXPECT_EQ(parsed.protocol, IPPROTO_IGMP);
    EXPECT_EQ(parsed.l4_length, leave.size());
    EXPECT_TRUE(has_router_alert(frame, parsed));
    EXPECT_EQ(build_igmp(host_mac, host4, routers, leave, {.outer = 5}).size(), 60U) << "the tag is in the 60 bytes";
}

TEST(BuildMld, SetsTheChecksumOfTheMessage) {
    const auto group = IpAddress::parse("ff02::fb").value();
    const auto frame = build_mld(host_mac, gateway6, group,
                                 hex("83 00 00 00  00 00 00 00  ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 fb"), {});
    EXPECT_EQ(frame, hex("33 33 00 00 00 fb  02 00 00 00 00 51  86 dd"
                         "60 00 00 00  00 20 00 01"
                         "fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
                         "ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 fb"
                         "3a 00 05 02 00 00 01 00"
                         "83 00 7e 2f  00 00 00 00  ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 fb"));
    EXPECT_TRUE(has_router_alert(frame, parse_frame(frame)));
}

TEST(RouterAlert, IsFoundBehindOtherOptionsAndOnlyWithValueZero) {
    const auto found = [](const Bytes& frame) { return has_router_alert(frame, parse_frame(frame)); };
    const auto v4 = [](const Bytes& options) {
        return to_host + type_ipv4 + ipv4(icmp4_echo, {.protocol = IPPROTO_ICMP, .options = options});
    };
    EXPECT_TRUE(found(v4(hex("01 01 01 01 94 04 00 00"))));
    EXPECT_FALSE(found(v4(hex("94 04 00 01"))));
    EXPECT_FALSE(found(v4(hex("00 00 00 00 94 04 00 00")))) << "behind the end of the list";
    EXPECT_FALSE(found(v4({})));
    const auto v6 = [](const Bytes& options) {
        return to_host + type_ipv6 + ipv6(IPPROTO_HOPOPTS, hex("3a 00") + options + icmp6_echo);
    };
    EXPECT_TRUE(found(v6(hex("05 02 00 00 01 00"))));
    EXPECT_TRUE(found(v6(hex("00 00 05 02 00 00"))));
    EXPECT_FALSE(found(v6(hex("05 02 00 01 01 00")))) << "RSVP's value";
    EXPECT_FALSE(found(v6(hex("01 04 05 02 00 00")))) << "within padding";
    EXPECT_FALSE(found(v6(hex("01 05 00 00 00 00")))) << "beyond the header";
    EXPECT_FALSE(found(to_host + type_ipv6 + ipv6(IPPROTO_ICMPV6, icmp6_echo)));
    EXPECT_FALSE(found(arp_request));
}

const Ends ends4{client_mac, host_mac, client4, host4};
const Ends ends6{client_mac, host_mac, client6, host6};

TEST(BuildTcp, OverIpv4AndIpv6WithTheFlagsAsTold) {
    EXPECT_EQ(build_tcp(ends4, 40000, 22, 0x02, {}),
              to_host + type_ipv4 +
                  hex("45 00 00 28  00 00 40 00  40 06 b6 72  c0 00 02 0c  c0 00 02 51"
                      "9c 40 00 16  00 00 00 00  00 00 00 00  50 02 ff ff  8f 2e 00 00" // SYN
                      "00 00 00 00 00 00")); // up to 60 bytes
    EXPECT_EQ(build_tcp(ends6, 40000, 22, 0xc2, {.outer = 5}),
              to_host + hex("81 00 00 05  86 dd"
                            "60 00 00 00  00 14 06 40"
                            "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 0c"
                            "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                            "9c 40 00 16  00 00 00 00  00 00 00 00  50 c2 ff ff  b6 fd 00 00")); // with ECE, CWR
}

TEST(BuildUdp, IsADatagramWithoutData) {
    EXPECT_EQ(build_udp(ends4, 40000, 5060, {}),
              to_host + type_ipv4 +
                  hex("45 00 00 1c  00 00 40 00  40 11 b6 73  c0 00 02 0c  c0 00 02 51"
                      "9c 40 13 c4  00 08 cb 7b") +
                  Bytes(18));
}

TEST(BuildUdp, CarriesDataWithHopLimitAndTrafficClass) {
    const auto hi = hex("68 69");
    const auto frames4 = build_udp(ends4, 5000, 5060, hi, {.hop_limit = 255, .traffic_class = 0xb8}, {});
    ASSERT_EQ(frames4.size(), 1U);
    EXPECT_EQ(frames4[0], to_host + type_ipv4 +
                              hex("45 b8 00 1e  00 00 40 00  ff 11 f6 b8  c0 00 02 0c  c0 00 02 51"
                                  "13 88 13 c4 00 0a eb c6  68 69") +
                              Bytes(16));
    const auto frames6 = build_udp(ends6, 5000, 53, hex("71 75 65 72 79"), {.traffic_class = 0xb8}, {.outer = 5});
    ASSERT_EQ(frames6.size(), 1U);
    EXPECT_EQ(frames6[0], to_host + hex("81 00 00 05  86 dd"
                                        "6b 80 00 00  00 0d 11 40"
                                        "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 0c"
                                        "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                                        "13 88 00 35 00 0d 40 60  71 75 65 72 79"));
}

/// The payload that a receiver puts together from fragments that come in order.
Bytes reassembled(const std::vector<Bytes>& frames, std::size_t mtu) {
    Bytes whole;
    Bytes first_id;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const auto parsed = parse_frame(frames[i]);
        EXPECT_EQ(parsed.status, ParseStatus::fragment);
        EXPECT_EQ(parsed.protocol, IPPROTO_UDP);
        EXPECT_LE(frames[i].size(), 14 + mtu);
        const bool v4 = parsed.l3 == L3::ipv4;
        const auto field = frames[i].begin() + static_cast<std::ptrdiff_t>(v4 ? 14 + 6 : 14 + 40 + 2);
        const unsigned word = static_cast<unsigned>(field[0] << 8 | field[1]);
        EXPECT_EQ(v4 ? (word & 0x1fffU) * 8 : word & 0xfff8U, whole.size());
        EXPECT_EQ((word & (v4 ? 0x2000U : 1U)) != 0, i + 1 < frames.size()) << "more fragments";
        EXPECT_TRUE(i + 1 == frames.size() || parsed.l4_length % 8 == 0);
        const Bytes id = v4 ? Bytes(field - 2, field) : Bytes(field + 2, field + 6);
        first_id = i == 0 ? id : first_id;
        EXPECT_EQ(id, first_id);
        const auto data = frames[i].begin() + static_cast<std::ptrdiff_t>(parsed.l4_offset);
        whole.insert(whole.end(), data, data + static_cast<std::ptrdiff_t>(parsed.l4_length));
    }
    EXPECT_EQ(first_id, parse_frame(frames[0]).l3 == L3::ipv4 ? hex("56 78") : hex("12 34 56 78"));
    return whole;
}

TEST(BuildUdp, R83_TheLargestDatagramGoesInFragmentsWithOneChecksum) {
    for (const Ends& ends : {ends4, ends6}) {
        const std::size_t largest = ends.destination.is_v4() ? 65507 : 65527;
        for (const std::size_t mtu : {576U, 1280U, 1500U, 9000U}) {
            Bytes payload(largest);
            std::mt19937 random(7);
            for (auto& byte : payload)
                byte = static_cast<std::uint8_t>(random());
            const auto frames = build_udp(ends, 5355, 40000, payload, {.mtu = mtu, .identification = 0x12345678}, {});
            ASSERT_GT(frames.size(), 7U);
            const Bytes datagram = reassembled(frames, mtu);
            ASSERT_EQ(datagram.size(), largest + 8);
            EXPECT_TRUE(std::ranges::equal(std::span(datagram).subspan(8), payload));
            const auto sum = pseudo_header_sum(ends.source, ends.destination, IPPROTO_UDP, datagram.size());
            EXPECT_EQ(checksum_fold(checksum_add(datagram, sum)), 0);
        }
        EXPECT_TRUE(build_udp(ends, 1, 2, Bytes(largest + 1), {}, {}).empty());
    }
}

TEST(BuildUdp, WhatFitsTheMtuIsNoFragment) {
    EXPECT_EQ(build_udp(ends4, 1, 2, Bytes(1472), {}, {}).size(), 1U);
    EXPECT_EQ(build_udp(ends4, 1, 2, Bytes(1473), {}, {}).size(), 2U);
    EXPECT_EQ(build_udp(ends6, 1, 2, Bytes(1452), {}, {}).size(), 1U);
    EXPECT_EQ(build_udp(ends6, 1, 2, Bytes(1453), {}, {}).size(), 2U);
    EXPECT_TRUE(build_udp(ends6, 1, 2, Bytes(100), {.mtu = 50}, {}).empty()) << "no room for any data";
}

TEST(BuildEcho, IsARequestOfItsFamily) {
    EXPECT_EQ(build_echo_request(ends4, 1, 2, {}),
              to_host + type_ipv4 +
                  hex("45 00 00 1c  00 00 40 00  40 01 b6 83  c0 00 02 0c  c0 00 02 51"
                      "08 00 f7 fc  00 01 00 02") +
                  Bytes(18));
    EXPECT_EQ(build_echo_request(ends6, 1, 2, {}), to_host + hex("86 dd"
                                                                 "60 00 00 00  00 08 3a 40"
                                                                 "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 0c"
                                                                 "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 51"
                                                                 "80 00 23 eb  00 01 00 02"));
}

// Six times ff, then the MAC sixteen times.
const Bytes magic_sequence = hex("ff ff ff ff ff ff"
                                 "02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51"
                                 "02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51"
                                 "02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51"
                                 "02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51  02 00 00 00 00 51");
const SecureOn password{{0x73, 0x65, 0x63, 0x72, 0x65, 0x74}};

TEST(BuildMagic, EthernetFormIsBroadcastWithItsOwnEtherType) {
    EXPECT_EQ(build_magic_ethernet(gateway_mac, host_mac, std::nullopt, {}),
              hex("ff ff ff ff ff ff  02 00 00 00 00 01  08 42") + magic_sequence);
}

TEST(BuildMagic, SecureOnPasswordFollowsTheSequence) {
    EXPECT_EQ(build_magic_ethernet(gateway_mac, host_mac, password, {.outer = 5}),
              hex("ff ff ff ff ff ff  02 00 00 00 00 01  81 00 00 05  08 42") + magic_sequence +
                  hex("73 65 63 72 65 74"));
}

TEST(BuildMagic, UdpFormIsALimitedBroadcastWithBothChecksums) {
    EXPECT_EQ(build_magic_udp(gateway_mac, gateway4, host_mac, 9, std::nullopt, {}),
              hex("ff ff ff ff ff ff  02 00 00 00 00 01  08 00"
                  "45 00 00 82  00 00 40 00  40 11 78 6a  c0 00 02 01  ff ff ff ff" // 130 bytes, DF, TTL 64, UDP
                  "00 09 00 09  00 6e 17 ef") +
                  magic_sequence);
}

TEST(BuildMagic, UdpFormTakesPortPasswordAndTags) {
    EXPECT_EQ(build_magic_udp(gateway_mac, gateway4, host_mac, 40000, password, {.outer = 5}),
              hex("ff ff ff ff ff ff  02 00 00 00 00 01  81 00 00 05  08 00"
                  "45 00 00 88  00 00 40 00  40 11 78 64  c0 00 02 01  ff ff ff ff"
                  "00 09 9c 40  00 74 3f 5f") +
                  magic_sequence + hex("73 65 63 72 65 74"));
}

TEST(Builders, WhatIsBuiltParsesAsWhatItIs) {
    for (const TagStack tags : {TagStack{}, TagStack{.outer = 5}, TagStack{.outer = 0xe064, .inner = 7}}) {
        const std::pair<Bytes, L3> cases[] = {
            {build_arp_announcement(host_mac, host4, tags), L3::arp},
            {build_arp_request(gateway_mac, gateway4, host4, tags), L3::arp},
            {build_unsolicited_na(host_mac, host_mac, host6, true, tags), L3::ipv6},
            {build_neighbor_solicitation(gateway_mac, gateway6, host6, tags), L3::ipv6},
            {build_neighbor_solicitation(host_mac, IpAddress::v6({}), host6, tags), L3::ipv6},
            {build_mld_report(gateway_mac, gateway6, std::array{solicited_node_group(host6)}, tags), L3::ipv6},
            {build_tcp(ends4, 40000, 22, 0x10, tags), L3::ipv4},
            {build_tcp(ends6, 40000, 22, 0x10, tags), L3::ipv6},
            {build_udp(ends4, 40000, 22, tags), L3::ipv4},
            {build_udp(ends6, 40000, 22, tags), L3::ipv6},
            {build_echo_request(ends4, 1, 2, tags), L3::ipv4},
            {build_echo_request(ends6, 1, 2, tags), L3::ipv6},
            {build_magic_ethernet(gateway_mac, host_mac, password, tags), L3::magic},
            {build_magic_udp(gateway_mac, gateway4, host_mac, 9, password, tags), L3::ipv4},
        };
        for (const auto& [frame, l3] : cases) {
            const auto parsed = parse_frame(frame);
            EXPECT_EQ(parsed.status, ParseStatus::ok);
            EXPECT_EQ(parsed.l3, l3);
            EXPECT_EQ(parsed.outer_vid, tags.outer & 0xfff);
            EXPECT_EQ(parsed.inner_vid, tags.inner);
            Bytes completed = frame;
            EXPECT_EQ(complete_checksum(completed), l3 == L3::ipv4 || l3 == L3::ipv6);
            EXPECT_EQ(completed, frame) << "the checksum was right";
        }
    }
}

} // namespace
} // namespace pz
