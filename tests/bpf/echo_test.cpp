// SPDX-License-Identifier: Apache-2.0
// Echo requests to a sleeper: answered, ignored or a trigger, as its policy says (RFC 792, RFC 4443 §4, RFC 1122
// §3.2.2.6).
#include "harness.h"

namespace pz::test {
namespace {

class EchoTest : public DataPathTest {};

Host with_echo(pz_echo_mode mode) {
    Host host;
    host.echo = static_cast<std::uint8_t>(mode);
    return host;
}

TEST_F(EchoTest, Ipv4EchoIsAnswered) {
    check(echo4(), answered(PZ_REASON_ECHO_ANSWERED, echo4_reply().bytes()));
}
TEST_F(EchoTest, Ipv6EchoIsAnswered) {
    check(echo6(), answered(PZ_REASON_ECHO_ANSWERED, echo6_reply().bytes()));
}

TEST_F(EchoTest, EchoToTheGatewaysMacIsAnsweredWithTheHostsMac) {
    check(Ether{.destination = gateway_mac} / Ip4{} / Icmp4{},
          answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(Raw{}).bytes()));
    check(Ether{.destination = gateway_mac} / Ip6{} / Icmp6{},
          answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(Raw{}).bytes()));
}

TEST_F(EchoTest, EchoToAnotherMacIsNotOurs) {
    check(Ether{.destination = stranger_mac} / Ip4{} / Icmp4{}, passed({PZ_REASON_NOT_ADDRESSED}));
    check(Ether{.destination = stranger_mac} / Ip6{} / Icmp6{}, passed({PZ_REASON_NOT_ADDRESSED}));
}

TEST_F(EchoTest, IdentityProxyAnswersWithTheGatewaysMac) {
    Host host;
    host.answer_mac = gateway_mac;
    host.index_flags = PZ_INDEX_IDENTITY_PROXY;
    sleeper(host);
    check(Ether{.destination = gateway_mac} / Ip4{} / Icmp4{},
          answered(PZ_REASON_ECHO_ANSWERED, (Ether{.destination = client_mac, .source = gateway_mac} /
                                             Ip4{.source = host_ip4, .destination = client_ip4} / Icmp4{.type = 0})
                                                .bytes()));
}

TEST_F(EchoTest, ReplyHasTtl64WhateverTheRequestHad) {
    for (const auto ttl : U8{1, 2, 63, 64, 65, 128, 255}) {
        check(Ether{} / Ip4{.ttl = ttl} / Icmp4{} / Raw{"data"},
              answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(Raw{"data"}).bytes()));
        check(Ether{} / Ip6{.hop_limit = ttl} / Icmp6{} / Raw{"data"},
              answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(Raw{"data"}).bytes()));
    }
}

TEST_F(EchoTest, EveryPayloadLengthUpToTheMtu) {
    // odd and even lengths, every remainder of the checksum loop
    Bytes payload;
    for (std::size_t length = 0; length <= 1472; length++) {
        check(echo4(Raw{payload}), answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(Raw{payload}).bytes()));
        if (length <= 1452)
            check(echo6(Raw{payload}), answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(Raw{payload}).bytes()));
        payload.push_back(static_cast<std::uint8_t>(length * 37 + 11));
        if (HasFailure())
            break;
    }
}

TEST_F(EchoTest, TwoTagsAndTheLongestPayload) {
    sleeper({.id = 8, .segment = segment_qinq});
    const auto headers = [](const Mac& destination, const Mac& source) {
        return Ether{.destination = destination, .source = source, .type = 0x88a8} /
               Vlan{.vid = 100, .priority = 4, .tpid = 0x88a8} / Vlan{.vid = 200, .priority = 1};
    };
    const Raw payload{1472, 0xfe};
    check(headers(host_mac, client_mac) / Ip4{} / Icmp4{} / payload,
          answered(PZ_REASON_ECHO_ANSWERED,
                   (headers(client_mac, host_mac) / Ip4{.source = host_ip4, .destination = client_ip4} /
                    Icmp4{.type = 0} / payload)
                       .bytes()));
}

TEST_F(EchoTest, JumboEchoIsAnsweredRightOrNotAtAll) {
    for (const std::size_t length : {1473U, 2000U, 3000U, 3400U, 3600U, 4000U, 8972U}) {
        const Raw payload{length, 0x3d};
        const auto outcome = kernel().run(echo4(payload).bytes());
        if (outcome.verdict == XDP_TX)
            check(echo4(payload), answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(payload).bytes()));
        else
            EXPECT_NE(outcome.verdict, std::uint32_t{XDP_ABORTED});
        const auto outcome6 = kernel().run(echo6(payload).bytes());
        if (outcome6.verdict == XDP_TX)
            check(echo6(payload), answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(payload).bytes()));
        else
            EXPECT_NE(outcome6.verdict, std::uint32_t{XDP_ABORTED});
    }
}

TEST_F(EchoTest, ShortFramesKeepTheirPadding) {
    // 42 bytes of packet in a minimum frame: the padding is outside the IP packet, and the frame stays 60 bytes
    kernel().check(echo4(Raw{}).padded(), answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(Raw{}).padded()));
}

TEST_F(EchoTest, WrongChecksumIsNotAnswered) {
    const auto good4 = echo4().bytes();
    const auto good6 = echo6().bytes();
    for (std::size_t bit = 0; bit < 16; bit++) {
        auto frame = good4;
        frame[14 + 20 + 2 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        kernel().check(frame, dropped({PZ_REASON_ECHO_CHECKSUM}));
        frame = good6;
        frame[14 + 40 + 2 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        kernel().check(frame, dropped({PZ_REASON_ECHO_CHECKSUM}));
    }
    // 0 is no "no checksum" in ICMP
    check(Ether{} / Ip4{} / Icmp4{.checksum = 0}, dropped({PZ_REASON_ECHO_CHECKSUM}));
    check(Ether{} / Ip6{} / Icmp6{.checksum = 0}, dropped({PZ_REASON_ECHO_CHECKSUM}));
}

TEST_F(EchoTest, EveryDamagedPayloadByteIsNoticed) {
    for (const std::size_t length : {1U, 2U, 63U, 64U, 1471U, 1472U}) {
        const auto good = echo4(Raw{length, 0x5c}).bytes();
        for (std::size_t at = 14 + 20 + 4; at < good.size(); at++) {
            auto frame = good;
            frame[at] ^= 0x10;
            Bytes out;
            ASSERT_EQ(kernel().run_quickly(frame, out), std::uint32_t{XDP_DROP}) << "byte " << at << " of " << length;
        }
    }
    const auto good = echo6(Raw{1401, 0x5c}).bytes();
    for (std::size_t at = 14 + 40 + 4; at < good.size(); at++) {
        auto frame = good;
        frame[at] ^= 0x10;
        Bytes out;
        ASSERT_EQ(kernel().run_quickly(frame, out), std::uint32_t{XDP_DROP}) << "byte " << at;
    }
}

TEST_F(EchoTest, PolicyIgnore) {
    sleeper(with_echo(PZ_ECHO_IGNORE));
    check(echo4(), dropped({PZ_REASON_ECHO_IGNORED}));
    check(echo6(), dropped({PZ_REASON_ECHO_IGNORED}));
}

TEST_F(EchoTest, PolicyWake) {
    sleeper(with_echo(PZ_ECHO_WAKE));
    check(echo4(), triggered(PZ_REASON_TRIGGER_ECHO,
                             {.address = host_ip4, .port = 0, .protocol = proto_icmp, .mac = client_mac}));
    check(echo6(), triggered(PZ_REASON_TRIGGER_ECHO,
                             {.address = host_ip6(), .port = 0, .protocol = proto_icmp6, .mac = client_mac}));
    EXPECT_NE(kernel().live(Host{}.id).last_trigger_ns, 0U);
}

TEST_F(EchoTest, PolicyWakeNeedsARightChecksum) {
    sleeper(with_echo(PZ_ECHO_WAKE));
    check(Ether{} / Ip4{} / Icmp4{.checksum = 0x1234}, dropped({PZ_REASON_ECHO_CHECKSUM}));
    check(Ether{} / Ip6{} / Icmp6{.checksum = 0x1234}, dropped({PZ_REASON_ECHO_CHECKSUM}));
    EXPECT_EQ(kernel().live(Host{}.id).last_trigger_ns, 0U);
}

TEST_F(EchoTest, OtherIcmpIsIgnored) {
    for (const auto type : U8{0, 3, 4, 5, 9, 10, 11, 12, 13, 15, 17})
        check(Ether{} / Ip4{} / Icmp4{.type = type} / Raw{28, 0}, dropped({PZ_REASON_UNICAST_IGNORED}));
    for (const auto type : U8{1, 2, 3, 4, 129, 139})
        check(Ether{} / Ip6{} / Icmp6{.type = type} / Raw{40, 0}, dropped({PZ_REASON_UNICAST_IGNORED}));
}

TEST_F(EchoTest, R36_ShortIcmpIsIgnored) {
    // fewer than the eight bytes of an echo header, by the IP header's length
    for (std::size_t length = 0; length < 8; length++) {
        Bytes icmp = {8, 0, 0xf7, 0xff, 0, 0, 0, 0};
        icmp.resize(length);
        check(Ether{} / Ip4{.protocol = proto_icmp} / Raw{icmp} / Trailer{18, 0}, dropped({PZ_REASON_L4_MALFORMED}));
        Bytes icmp6 = {128, 0, 0, 0, 0, 0, 0, 0};
        icmp6.resize(length);
        check(Ether{} / Ip6{.next = proto_icmp6} / Raw{icmp6} / Trailer{18, 0}, dropped({PZ_REASON_L4_MALFORMED}));
    }
}

TEST_F(EchoTest, LinkLayerBroadcastIsNotAnswered) {
    // RFC 1122 §3.3.6: a datagram to a unicast address that came by link-layer broadcast is silently discarded
    for (const auto& destination : {broadcast_mac, "01:00:5e:00:00:01"_mac}) {
        check(Ether{.destination = destination} / Ip4{} / Icmp4{}, passed());
        check(Ether{.destination = destination} / Ip6{} / Icmp6{}, passed());
    }
}

TEST_F(EchoTest, R36_InvalidSourcesAreNotAnswered) {
    // RFC 1122 §3.2.1.3 and §3.2.2.6, RFC 4443 §2.2: no reply goes to a group, to nobody, or to the sleeper itself
    for (const auto& source :
         {"0.0.0.0"_ip4, "255.255.255.255"_ip4, "224.0.0.1"_ip4, "239.1.2.3"_ip4, "127.0.0.1"_ip4}) {
        const auto outcome = kernel().run((Ether{} / Ip4{.source = source} / Icmp4{}).bytes());
        EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_DROP}) << to_string(source) << ": " << outcome.to_string();
    }
    for (const auto& source : {"::"_ip6, "ff02::1"_ip6, "ff0e::1234"_ip6, "::1"_ip6}) {
        const auto outcome = kernel().run((Ether{} / Ip6{.source = source} / Icmp6{}).bytes());
        EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_DROP}) << to_string(source) << ": " << outcome.to_string();
    }
}

TEST_F(EchoTest, R36_GroupEthernetSourceIsNotAnswered) {
    // IEEE 802.3 §3.2.3: a source address is never a group; the reply would go to everybody
    for (const auto& source : {broadcast_mac, "01:00:5e:00:53:0c"_mac, "33:33:00:00:00:01"_mac})
        for (const auto& packet :
             {Ether{.source = source} / Ip4{} / Icmp4{}, Ether{.source = source} / Ip6{} / Icmp6{}})
            EXPECT_NE(kernel().run(packet.bytes()).verdict, std::uint32_t{XDP_TX}) << packet.scapy();
}

TEST_F(EchoTest, OptionsAndExtensionHeadersAreNotReflected) {
    // ECMA-393 Annex A.2: the proxy must not be made to send IP options of the requester's choice
    for (const auto& payload : {Raw{}, Raw{"x"}, Raw{"even"}, Raw{1000, 0x81}}) {
        for (const auto& chain : {Packet{Ext{.kind = ext_hop_by_hop}}, Ext{.kind = ext_hop_by_hop} / Ext{},
                                  Packet{Ext{.kind = ext_routing, .body = {0, 0, 0, 0, 0, 0}}},
                                  Packet{Ext{.kind = ext_destination, .body = Bytes(254)}}})
            check(Ether{} / Ip6{} / chain / Icmp6{} / payload,
                  answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(payload).bytes()));
        for (const auto& options : {Bytes{148, 4, 0, 0}, Bytes{7, 7, 4, 0, 0, 0, 0, 0}, Bytes(40, 1)})
            check(Ether{} / Ip4{.options = options} / Icmp4{} / payload,
                  answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(payload).bytes()));
    }
}

TEST_F(EchoTest, PolicyWakeAlsoWithOptions) {
    sleeper(with_echo(PZ_ECHO_WAKE));
    check(Ether{} / Ip6{} / Ext{} / Icmp6{} / Raw{"x"},
          triggered(PZ_REASON_TRIGGER_ECHO, {.address = host_ip6(), .protocol = proto_icmp6}));
    check(Ether{} / Ip4{.options = {148, 4, 0, 0}} / Icmp4{} / Raw{"x"},
          triggered(PZ_REASON_TRIGGER_ECHO, {.address = host_ip4, .protocol = proto_icmp}));
}

TEST_F(EchoTest, ReleasedHostIsNotAnsweredFor) {
    kernel().put_released(Host{}.id, Host{}.generation);
    check(echo4(), passed({PZ_REASON_RELEASED}));
    check(echo6(), passed({PZ_REASON_RELEASED}));
}

TEST_F(EchoTest, OtherAddressesAreNobodys) {
    check(Ether{} / Ip4{.destination = other_ip4} / Icmp4{}, passed({PZ_REASON_NOBODY}));
    check(Ether{} / Ip6{.destination = other_ip6()} / Icmp6{}, passed({PZ_REASON_NOBODY}));
    check(Ether{.destination = group_mac(all_nodes())} / Ip6{.destination = all_nodes()} / Icmp6{},
          passed({PZ_REASON_NOBODY}));
    check(Ether{.destination = broadcast_mac} / Ip4{.destination = "255.255.255.255"_ip4} / Icmp4{},
          passed({PZ_REASON_NOBODY}));
}

TEST_F(EchoTest, DaemonGoneForTooLongPassesEverything) {
    kernel().put_daemon(61'000'000'000, 60'000'000'000);
    check(echo4(), passed({PZ_REASON_DAEMON_GONE}));
    check(echo6(), passed({PZ_REASON_DAEMON_GONE}));
}

} // namespace
} // namespace pz::test
