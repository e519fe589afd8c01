// SPDX-License-Identifier: Apache-2.0
// Frames in one line.
#include "net/describe.h"

#include <gtest/gtest.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>

#include <random>

namespace pz {
namespace {

constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x51}};
constexpr MacAddress client_mac{{0x02, 0, 0, 0, 0, 0x0c}};
const IpAddress host4 = IpAddress::parse("192.0.2.81").value();
const IpAddress client4 = IpAddress::parse("192.0.2.12").value();
const IpAddress host6 = IpAddress::parse("2001:db8::51").value();
const IpAddress client6 = IpAddress::parse("2001:db8::c").value();
const Ends ends4{client_mac, host_mac, client4, host4};
const Ends ends6{client_mac, host_mac, client6, host6};

/// What is said behind the Ethernet addresses.
std::string said(const Bytes& frame) {
    const std::string all = describe(frame);
    const auto comma = all.find(", ");
    return comma == std::string::npos ? all : all.substr(comma + 2);
}

TEST(Describe, EthernetAddressesAndTagsComeFirst) {
    const std::string macs = "02:00:00:00:00:0c > 02:00:00:00:00:51";
    EXPECT_EQ(describe(build_udp(ends4, 1, 2, {})), macs + ", 192.0.2.12:1 > 192.0.2.81:2 UDP");
    EXPECT_EQ(describe(build_udp(ends4, 1, 2, {.outer = 20})), macs + " vlan 20, 192.0.2.12:1 > 192.0.2.81:2 UDP");
    EXPECT_EQ(describe(build_udp(ends6, 1, 2, {.outer = 20, .inner = 7})),
              macs + " vlan 20.7, [2001:db8::c]:1 > [2001:db8::51]:2 UDP");
}

TEST(Describe, EveryKindHasItsWords) {
    EXPECT_EQ(said(build_tcp(ends4, 40000, 22, TH_SYN, {})), "192.0.2.12:40000 > 192.0.2.81:22 TCP SYN");
    EXPECT_EQ(said(build_tcp(ends6, 40000, 22, TH_SYN | TH_ACK, {})),
              "[2001:db8::c]:40000 > [2001:db8::51]:22 TCP SYN ACK");
    EXPECT_EQ(said(build_tcp(ends4, 40000, 22, 0, {})), "192.0.2.12:40000 > 192.0.2.81:22 TCP without flags");
    EXPECT_EQ(said(build_echo_request(ends4, 1, 1, {})), "192.0.2.12 > 192.0.2.81 ICMP echo request");
    EXPECT_EQ(said(build_echo_request(ends6, 1, 1, {})), "2001:db8::c > 2001:db8::51 ICMPv6 echo request");
    EXPECT_EQ(said(build_arp_request(client_mac, client4, host4, {})), "ARP request of 192.0.2.12: who has 192.0.2.81");
    EXPECT_EQ(said(build_arp_request(client_mac, IpAddress::v4({}), host4, {})), "ARP probe for 192.0.2.81");
    EXPECT_EQ(said(build_arp_announcement(host_mac, host4, {})),
              "ARP announcement: 192.0.2.81 is at 02:00:00:00:00:51");
    Bytes reply = build_arp_request(host_mac, host4, client4, {});
    reply[21] = 2;
    EXPECT_EQ(said(reply), "ARP reply to 192.0.2.12: 192.0.2.81 is at 02:00:00:00:00:51");
    reply[21] = 9;
    EXPECT_EQ(said(reply), "ARP operation 9");
    EXPECT_EQ(said(build_neighbor_solicitation(client_mac, client6, host6, {})),
              "2001:db8::c > ff02::1:ff00:51 Neighbour Solicitation: who has 2001:db8::51");
    EXPECT_EQ(said(build_unsolicited_na(host_mac, host_mac, host6, true, {})),
              "2001:db8::51 > ff02::1 Neighbour Advertisement: 2001:db8::51 is at 02:00:00:00:00:51, S=0 O=1 R=0");
    EXPECT_EQ(said(build_magic_ethernet(client_mac, host_mac, std::nullopt, {})),
              "EtherType 0x0842 Magic Packet for 02:00:00:00:00:51");
    EXPECT_EQ(said(build_magic_udp(client_mac, client4, host_mac, 9, std::nullopt, {})),
              "192.0.2.12:9 > 255.255.255.255:9 UDP Magic Packet for 02:00:00:00:00:51");
    Bytes fifteen = build_magic_ethernet(client_mac, host_mac, std::nullopt, {});
    fifteen.pop_back();
    EXPECT_EQ(said(fifteen), "EtherType 0x0842") << "the MAC fifteen times and a bit is no Magic Packet";
    Bytes other = build_udp(ends4, 1, 2, {});
    other[14] = 0x46; // a longer header, so another checksum
    EXPECT_EQ(said(other), "IPv4 with a bad header");
    other[12] = 0x88;
    EXPECT_EQ(said(other), "another EtherType");
    EXPECT_EQ(describe(Bytes(13)), "13 bytes, shorter than an Ethernet header");
}

TEST(Describe, TheBeginningOfAFrameIsEnough) {
    const Bytes frame = build_tcp(ends4, 40000, 22, TH_SYN, {});
    EXPECT_EQ(describe_captured(frame, frame.size()), describe(frame) + ", " + std::to_string(frame.size()) + " bytes");
    EXPECT_EQ(describe_captured(ByteView(frame).first(54), 54), describe(frame) + ", 54 bytes");
    EXPECT_EQ(describe_captured(ByteView(frame).first(36), 54),
              "02:00:00:00:00:0c > 02:00:00:00:00:51, 192.0.2.12 > 192.0.2.81 IP protocol 6, 54 bytes");
}

TEST(Describe, AnyBytesAreDescribed) {
    std::mt19937 random(4711);
    const std::vector<Bytes> frames{
        build_tcp(ends4, 1, 2, TH_SYN, {}), build_unsolicited_na(host_mac, host_mac, host6, true, {}),
        build_arp_request(client_mac, client4, host4, {}), build_echo_request(ends6, 1, 1, {})};
    for (int i = 0; i < 20'000; i++) {
        Bytes frame = frames[random() % frames.size()];
        for (auto changes = random() % 4; changes-- > 0;)
            frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
        frame.resize(random() % (frame.size() + 1));
        EXPECT_FALSE(describe(frame).empty()); // and the sanitizers are content
        EXPECT_TRUE(describe_captured(frame, frame.size() + random() % 100).ends_with(" bytes"));
    }
}

} // namespace
} // namespace pz
