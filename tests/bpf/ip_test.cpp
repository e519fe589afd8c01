// SPDX-License-Identifier: Apache-2.0
// What is ignored and counted: ill-formed packets, fragments, source routes, unknown frames; and what passes untouched
// (ECMA-393 R1, R36-R38, RFC 791, RFC 8200).
#include "harness.h"

namespace pz::test {
namespace {

class IpTest : public DataPathTest {};

const Tcp syn{};

// ---- R1: Ethernet --------------------------------------------------------------------------------------------------

TEST_F(IpTest, R1_UnknownEtherTypesPass) {
    for (const auto type : U16{0x0600, 0x0801, 0x0805, 0x0807, 0x22f0, 0x86dc, 0x8808, 0x8809, 0x888e, 0x88cc, 0x88e5,
                               0x8906, 0x9000, 0xffff})
        for (const auto& destination : {host_mac, broadcast_mac, gateway_mac, "01:80:c2:00:00:0e"_mac})
            check(Ether{.destination = destination, .type = type} / Raw{46, 0x45}, passed({PZ_REASON_UNKNOWN_L2}));
}

TEST_F(IpTest, R1_LengthFramesPass) {
    // IEEE 802.3 length instead of a type: LLC, SNAP
    for (const auto length : U16{0, 3, 38, 46, 1500, 1501, 1535})
        check(Ether{.type = length} / Raw{Bytes{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}} / Raw{38, 0x45},
              passed({PZ_REASON_UNKNOWN_L2}));
}

TEST_F(IpTest, R1_TagsWithoutAPayloadPass) {
    check(Ether{.type = 0x8100}, passed({PZ_REASON_TOO_SHORT}));
    check(Ether{.type = 0x8100} / Raw{Bytes{0}}, passed({PZ_REASON_TOO_SHORT}));
    check(Ether{.type = 0x8100} / Raw{Bytes{0, 100, 8}}, passed({PZ_REASON_TOO_SHORT}));
    check(Ether{.type = 0x88a8} / Raw{Bytes{0, 100, 0x81, 0, 0}}, passed({PZ_REASON_TOO_SHORT}));
}

TEST_F(IpTest, R1_UnknownTypeBehindATagPasses) {
    check(Ether{.type = 0x8100} / Vlan{.vid = 100, .type = 0x88cc} / Raw{46, 0}, passed({PZ_REASON_UNKNOWN_L2}));
}

TEST_F(IpTest, R1_UntaggedServiceSegmentMustBeKnown) {
    kernel().reset();
    Host host{.segment = segment_vlan100};
    sleeper(host);
    check(Ether{.type = 0x8100} / Vlan{.vid = 100} / Ip4{} / Icmp4{},
          answered(PZ_REASON_ECHO_ANSWERED,
                   (Ether{.destination = client_mac, .source = host_mac, .type = 0x8100} / Vlan{.vid = 100} /
                    Ip4{.source = host_ip4, .destination = client_ip4} / Icmp4{.type = 0})
                       .bytes()));
    check(Ether{.type = 0x8100} / Vlan{.vid = 99} / Ip4{} / Icmp4{}, passed({PZ_REASON_NO_SEGMENT}));
    check(Ether{.type = 0x8100} / Vlan{.vid = 100} / Vlan{.vid = 201} / Ip4{} / Icmp4{},
          passed({PZ_REASON_NO_SEGMENT}));
}

// ---- everybody else's traffic --------------------------------------------------------------------------------------

TEST_F(IpTest, TrafficOfOthersPassesUntouched) {
    const std::vector<Packet> others = {
        Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Tcp{.flags = 0x10} / Raw{1460, 0x61},
        Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Tcp{},
        Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Udp{} / Raw{"data"},
        Ether{.destination = gateway_mac} / Ip6{.destination = other_ip6()} / Tcp{.flags = 0x18} / Raw{1440, 0x61},
        Ether{.destination = gateway_mac} / Ip6{.destination = other_ip6()} / Udp{} / Raw{"data"},
        Ether{.destination = broadcast_mac} / Ip4{.source = "0.0.0.0"_ip4, .destination = "255.255.255.255"_ip4} /
            Udp{.source_port = 68, .destination_port = 67} / Raw{300, 0},
        Ether{.destination = "01:00:5e:00:00:fb"_mac} / Ip4{.destination = "224.0.0.251"_ip4} /
            Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 0},
        Ether{.destination = "01:00:5e:00:00:16"_mac} / Ip4{.destination = "224.0.0.22"_ip4, .protocol = proto_igmp} /
            Raw{16, 0},
        Ether{.destination = host_mac} / Ip4{.destination = other_ip4} / Tcp{},
    };
    for (const auto& packet : others)
        check(packet, passed({PZ_REASON_NOBODY}));
}

TEST_F(IpTest, JumboFramesOfOthersPassUntouched) {
    check(Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Tcp{.flags = 0x10} / Raw{8900, 0x61},
          passed({PZ_REASON_NOBODY}));
}

TEST_F(IpTest, SickPacketsOfOthersPass) {
    const std::vector<Packet> others = {
        Ether{} / Ip4{.destination = other_ip4, .checksum = 0x1111} / Tcp{},
        Ether{} / Ip4{.destination = other_ip4, .fragment = 0x2000} / Udp{} / Raw{8, 0},
        Ether{} / Ip4{.destination = other_ip4, .header_words = 4} / Tcp{},
        Ether{} / Ip4{.destination = other_ip4, .options = {131, 7, 4, 192, 0, 2, 1, 0}} / Tcp{},
        Ether{} / Ip4{.destination = other_ip4, .total_length = 9000} / Tcp{},
        Ether{} / Ip6{.destination = other_ip6()} / Fragment{.offset_flags = 1} / Tcp{},
        Ether{} / Ip6{.destination = other_ip6(), .payload_length = 9000} / Tcp{},
        Ether{} / Ip6{.destination = other_ip6()} / Ext{.kind = ext_routing, .body = {0, 1, 0, 0, 0, 0}} / Tcp{},
    };
    for (const auto& packet : others)
        check(packet, passed());
}

// ---- R36: ill-formed IPv4 ------------------------------------------------------------------------------------------

TEST_F(IpTest, R36_WrongHeaderChecksumIsIgnored) {
    const auto good = (Ether{} / Ip4{} / Icmp4{} / Raw{"data"}).bytes();
    for (std::size_t bit = 0; bit < 16; bit++) {
        auto frame = good;
        frame[14 + 10 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        kernel().check(frame, dropped({PZ_REASON_IP_CHECKSUM}));
    }
    check(Ether{} / Ip4{.checksum = 0} / Icmp4{}, dropped({PZ_REASON_IP_CHECKSUM}));
    check(Ether{} / Ip4{.checksum = 0} / syn, dropped({PZ_REASON_IP_CHECKSUM}));
    // the options are part of the header
    auto frame = (Ether{} / Ip4{.options = {148, 4, 0, 0}} / syn).bytes();
    frame[14 + 20 + 3] ^= 1;
    kernel().check(frame, dropped({PZ_REASON_IP_CHECKSUM}));
}

TEST_F(IpTest, R36_HeaderLengthBelowFiveIsIgnored) {
    for (std::uint8_t words = 0; words < 5; words++)
        check(Ether{} / Ip4{.header_words = words} / syn, dropped({PZ_REASON_IP_MALFORMED}));
}

TEST_F(IpTest, R36_HeaderLongerThanThePacketIsIgnored) {
    check(Ether{} / Ip4{.header_words = 15} / Icmp4{}, dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
    check(Ether{} / Ip4{.header_words = 15} / Icmp4{} / Trailer{60, 0},
          dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
}

TEST_F(IpTest, R36_TotalLengthBeyondTheFrameIsIgnored) {
    for (const auto length : U16{41, 42, 1500, 0xffff})
        check(Ether{} / Ip4{.total_length = length} / syn, dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
}

TEST_F(IpTest, R36_TotalLengthBelowTheHeaderIsIgnored) {
    for (const auto length : U16{0, 1, 19})
        check(Ether{} / Ip4{.total_length = length} / syn, dropped({PZ_REASON_IP_MALFORMED}));
    check(Ether{} / Ip4{.options = Bytes(8, 1), .total_length = 27} / syn, dropped({PZ_REASON_IP_MALFORMED}));
}

TEST_F(IpTest, R36_OtherVersionsAreNotAnswered) {
    for (const auto version : U8{0, 1, 2, 3, 5, 6, 7, 15}) {
        auto outcome = kernel().run((Ether{} / Ip4{.version = version} / Icmp4{}).bytes());
        EXPECT_TRUE(outcome.verdict == XDP_PASS || outcome.verdict == XDP_DROP) << outcome.to_string();
        outcome = kernel().run((Ether{} / Ip4{.version = version} / syn).bytes());
        EXPECT_TRUE(outcome.triggers.empty()) << outcome.to_string();
    }
    for (const auto version : U8{0, 4, 5, 7, 15}) {
        auto outcome = kernel().run((Ether{} / Ip6{.version = version} / Icmp6{}).bytes());
        EXPECT_TRUE(outcome.verdict == XDP_PASS || outcome.verdict == XDP_DROP) << outcome.to_string();
        outcome = kernel().run((Ether{} / Ip6{.version = version} / syn).bytes());
        EXPECT_TRUE(outcome.triggers.empty()) << outcome.to_string();
    }
}

TEST_F(IpTest, R36_OptionsThatContradictThemselvesAreIgnored) {
    // RFC 791 §3.1: an option's length counts its type and length bytes and ends inside the header
    const std::vector<Bytes> bad = {{7, 0, 0, 0}, {7, 1, 0, 0},  {1, 1, 1, 7},
                                    {7, 5, 4, 0}, {1, 7, 40, 0}, {148, 255, 0, 0}};
    for (const auto& options : bad)
        check(Ether{} / Ip4{.options = options} / syn, dropped({PZ_REASON_IP_MALFORMED}));
}

TEST_F(IpTest, R30_HarmlessOptionsAreWalked) {
    const std::vector<Bytes> good = {{1, 1, 1, 1},                      // No Operation
                                     {0, 131, 3, 4},                    // nothing after End of Option List counts
                                     {148, 4, 0, 0},                    // Router Alert
                                     {7, 7, 4, 0, 0, 0, 0},             // Record Route
                                     {68, 8, 5, 0, 0, 0, 0, 0},         // Timestamp
                                     {134, 6, 0, 0, 0, 1, 1, 0},        // CIPSO with a NOP behind it
                                     Bytes(40, 1)};
    for (const auto& options : good)
        check(Ether{} / Ip4{.options = options} / syn,
              triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4, .port = 22, .protocol = proto_tcp}));
}

// ---- R37 -----------------------------------------------------------------------------------------------------------

TEST_F(IpTest, R37_FragmentsAreIgnored) {
    // more fragments, both, an offset alone, with and without DF
    for (const auto fragment : U16{0x2000, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x6000, 0x4001}) {
        check(Ether{} / Ip4{.fragment = fragment} / Icmp4{} / Raw{"data"}, dropped({PZ_REASON_IP_FRAGMENT}));
        check(Ether{} / Ip4{.fragment = fragment} / syn, dropped({PZ_REASON_IP_FRAGMENT}));
        check(Ether{} / Ip4{.fragment = fragment} / Udp{} / Raw{"data"}, dropped({PZ_REASON_IP_FRAGMENT}));
        check(Ether{} / Ip4{.fragment = fragment} / Udp{.destination_port = 9} / Raw{magic()},
              dropped({PZ_REASON_IP_FRAGMENT}));
    }
}

TEST_F(IpTest, R37_DontFragmentIsNoFragment) {
    for (const auto fragment : U16{0x0000, 0x4000})
        check(Ether{} / Ip4{.fragment = fragment} / Icmp4{},
              answered(PZ_REASON_ECHO_ANSWERED,
                       (Ether{.destination = client_mac, .source = host_mac} /
                        Ip4{.source = host_ip4, .destination = client_ip4, .fragment = fragment} / Icmp4{.type = 0})
                           .bytes()));
}

TEST_F(IpTest, R37_Ipv6FragmentsAreIgnored) {
    for (const auto offset_flags : U16{0x0000, 0x0001, 0x0008, 0xfff8}) {
        check(Ether{} / Ip6{} / Fragment{.offset_flags = offset_flags} / Icmp6{}, dropped({PZ_REASON_IP_FRAGMENT}));
        check(Ether{} / Ip6{} / Fragment{.offset_flags = offset_flags} / syn, dropped({PZ_REASON_IP_FRAGMENT}));
        check(Ether{} / Ip6{} / Ext{} / Fragment{.offset_flags = offset_flags} / syn, dropped({PZ_REASON_IP_FRAGMENT}));
    }
}

// ---- R38 -----------------------------------------------------------------------------------------------------------

TEST_F(IpTest, R38_SourceRoutesAreIgnored) {
    const std::vector<Bytes> routes = {
        {131, 7, 4, 192, 0, 2, 1, 0},                                     // loose
        {137, 7, 4, 192, 0, 2, 1, 0},                                     // strict
        {131, 3, 4, 0},                                                   // empty
        {131, 7, 8, 192, 0, 2, 1, 0},                                     // used up
        {1, 137, 11, 4, 192, 0, 2, 1, 192, 0, 2, 2},                      // behind a NOP
        {7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 192, 0, 2, 1, 0, 0},             // behind Record Route
        {148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 137, 3, 4},             // the last bytes
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,   1, 1,      // behind 37 NOPs
         1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 131, 3, 4},
    };
    for (const auto& options : routes) {
        check(Ether{} / Ip4{.options = options} / Icmp4{}, dropped({PZ_REASON_IP_SOURCE_ROUTE}));
        check(Ether{} / Ip4{.options = options} / syn, dropped({PZ_REASON_IP_SOURCE_ROUTE}));
    }
}

TEST_F(IpTest, R38_Ipv6RoutingHeaderWithSegmentsLeftIsIgnored) {
    for (const auto type : U8{0, 2, 3, 4, 253})
        for (const auto segments_left : U8{1, 3, 255}) {
            const Ext routing{.kind = ext_routing, .body = {type, segments_left, 0, 0, 0, 0}};
            check(Ether{} / Ip6{} / routing / syn, dropped({PZ_REASON_IP_SOURCE_ROUTE}));
            check(Ether{} / Ip6{} / routing / Icmp6{}, dropped({PZ_REASON_IP_SOURCE_ROUTE}));
            check(Ether{} / Ip6{} / Ext{} / routing / syn, dropped({PZ_REASON_IP_SOURCE_ROUTE}));
        }
}

// ---- R36: ill-formed IPv6 and L4 -----------------------------------------------------------------------------------

TEST_F(IpTest, R36_PayloadLengthBeyondTheFrameIsIgnored) {
    for (const auto length : U16{21, 1500, 0xffff})
        check(Ether{} / Ip6{.payload_length = length} / syn, dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
}

TEST_F(IpTest, R36_ExtensionHeaderBeyondThePayloadIsIgnored) {
    for (const auto length : U8{3, 40, 255})
        check(Ether{} / Ip6{} / Ext{.length = length} / syn, dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
    // the header fits the frame, not the packet
    check(Ether{} / Ip6{.payload_length = 12} / Ext{.length = 1} / syn,
          dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
    check(Ether{} / Ip6{.next = ext_destination, .payload_length = 0} / Trailer{40, 0},
          dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT, PZ_REASON_UNICAST_IGNORED}));
}

TEST_F(IpTest, TooManyExtensionHeadersAreIgnored) {
    Packet eight = Ext{};
    for (int i = 1; i < 8; i++)
        eight = eight / Ext{};
    check(Ether{} / Ip6{} / eight / syn,
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip6(), .port = 22, .protocol = proto_tcp}));
    check(Ether{} / Ip6{} / eight / Ext{} / syn, dropped({PZ_REASON_IP_EXT_TOO_MANY}));
}

TEST_F(IpTest, NoNextHeaderIsIgnored) {
    check(Ether{} / Ip6{.next = ext_none} / Raw{40, 0}, dropped({PZ_REASON_UNICAST_IGNORED}));
    check(Ether{} / Ip6{} / Ext{.next = ext_none} / syn, dropped({PZ_REASON_UNICAST_IGNORED}));
}

TEST_F(IpTest, OtherProtocolsToTheSleeperAreIgnored) {
    for (const auto protocol : U8{4, 27, 41, 47, 50, 89, 103, 132, 136, 253, 255}) {
        check(Ether{} / Ip4{.protocol = protocol} / Raw{40, 0}, dropped({PZ_REASON_UNICAST_IGNORED}));
        check(Ether{} / Ip6{.next = protocol} / Raw{40, 0}, dropped({PZ_REASON_UNICAST_IGNORED}));
    }
}

TEST_F(IpTest, R36_ShortTcpHeaderIsIgnored) {
    for (std::uint8_t words = 0; words < 5; words++) {
        check(Ether{} / Ip4{} / Tcp{.data_offset = words}, dropped({PZ_REASON_L4_MALFORMED}));
        check(Ether{} / Ip6{} / Tcp{.data_offset = words}, dropped({PZ_REASON_L4_MALFORMED}));
    }
    // options beyond the segment
    check(Ether{} / Ip4{} / Tcp{.data_offset = 6}, dropped({PZ_REASON_L4_MALFORMED}));
    check(Ether{} / Ip6{} / Tcp{.data_offset = 15} / Raw{39, 1}, dropped({PZ_REASON_L4_MALFORMED}));
    // fewer than 20 bytes of TCP, more of frame
    const auto segment = (syn / Raw{}).bytes();
    for (std::size_t length = 0; length < 20; length++) {
        Bytes part(segment.begin(), segment.begin() + static_cast<std::ptrdiff_t>(length));
        check(Ether{} / Ip4{.protocol = proto_tcp} / Raw{part} / Trailer{40, 0}, dropped({PZ_REASON_L4_MALFORMED}));
        check(Ether{} / Ip6{.next = proto_tcp} / Raw{part} / Trailer{40, 0}, dropped({PZ_REASON_L4_MALFORMED}));
    }
}

TEST_F(IpTest, R36_UdpLengthMustFit) {
    for (const auto length : U16{0, 1, 7, 13, 100, 0xffff}) {
        check(Ether{} / Ip4{} / Udp{.length = length} / Raw{"data"}, dropped({PZ_REASON_L4_MALFORMED}));
        check(Ether{} / Ip6{} / Udp{.length = length} / Raw{"data"}, dropped({PZ_REASON_L4_MALFORMED}));
    }
    for (std::size_t length = 0; length < 8; length++) {
        check(Ether{} / Ip4{.protocol = proto_udp} / Raw{length, 1} / Trailer{40, 0},
              dropped({PZ_REASON_L4_MALFORMED}));
        check(Ether{} / Ip6{.next = proto_udp} / Raw{length, 1} / Trailer{40, 0}, dropped({PZ_REASON_L4_MALFORMED}));
    }
}

TEST_F(IpTest, ReleasedHostGetsItsTraffic) {
    kernel().put_released(Host{}.id, Host{}.generation);
    for (const auto& packet : {Ether{} / Ip4{} / syn, Ether{} / Ip6{} / syn, Ether{} / Ip4{} / Tcp{.flags = 0x10},
                               Ether{} / Ip4{} / Udp{} / Raw{"data"}, Ether{} / Ip4{.fragment = 0x2000} / syn})
        check(packet, passed({PZ_REASON_RELEASED}));
}

TEST_F(IpTest, HostFallingAsleepGetsItsTraffic) {
    Host host;
    host.stage = PZ_STAGE_ARMING;
    sleeper(host);
    for (const auto& packet : {Ether{} / Ip4{} / syn, Ether{} / Ip6{} / syn, Ether{} / Ip4{} / Tcp{.flags = 0x10},
                               echo4(), echo6(), Ether{} / Ip4{.fragment = 0x2000} / syn})
        check(packet, passed());
}

} // namespace
} // namespace pz::test
