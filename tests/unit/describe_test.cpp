// SPDX-License-Identifier: Apache-2.0
// A frame in one line.
#include "net/describe.h"

#include <gtest/gtest.h>

#include <random>

namespace pz {
namespace {

constexpr MacAddress client_mac{{0x02, 0, 0, 0, 0, 0x0c}};
constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x51}};
const IpAddress client4 = IpAddress::parse("192.0.2.12").value();
const IpAddress host4 = IpAddress::parse("192.0.2.81").value();

std::string described(const Bytes& frame) {
    return describe_frame(frame, frame.size());
}

/// TCP in IPv4 to the host, without right checksums.
Bytes tcp(std::uint8_t flags) {
    Bytes frame{2, 0,  0, 0, 0,  0x51, 2, 0, 0,   0, 0,    0x0c,  8,   0, 0x45, 0,  0,    40,
                0, 0,  0, 0, 64, 6,    0, 0, 192, 0, 2,    12,    192, 0, 2,    81, 0x9c, 0x40,
                0, 22, 0, 0, 0,  0,    0, 0, 0,   0, 0x50, flags, 0,   0, 0,    0,  0,    0};
    const auto sum = checksum_fold(checksum_add(ByteView(frame).subspan(14, 20)));
    frame[24] = static_cast<std::uint8_t>(sum >> 8);
    frame[25] = static_cast<std::uint8_t>(sum);
    return frame;
}

TEST(DescribeFrame, SaysWhoWhomAndWhat) {
    EXPECT_EQ(described(tcp(0x02)), "02:00:00:00:00:0c 192.0.2.12:40000 > 192.0.2.81:22 tcp syn 54 bytes");
    EXPECT_EQ(described(tcp(0xc2)), "02:00:00:00:00:0c 192.0.2.12:40000 > 192.0.2.81:22 tcp syn,ece,cwr 54 bytes");
    EXPECT_EQ(described(tcp(0)), "02:00:00:00:00:0c 192.0.2.12:40000 > 192.0.2.81:22 tcp none 54 bytes");
    EXPECT_EQ(described(build_arp_request(client_mac, client4, host4, {})),
              "02:00:00:00:00:0c 192.0.2.12 > 192.0.2.81 arp request 60 bytes");
    EXPECT_EQ(described(build_arp_announcement(host_mac, host4, {.outer = 20})),
              "02:00:00:00:00:51 vlan 20 arp announcement of 192.0.2.81 60 bytes");
    EXPECT_EQ(described(build_magic_ethernet(client_mac, host_mac, {}, {})),
              "02:00:00:00:00:0c > ff:ff:ff:ff:ff:ff magic for 02:00:00:00:00:51 116 bytes");
    EXPECT_EQ(described(build_magic_udp(client_mac, client4, host_mac, 9, {}, {})),
              "02:00:00:00:00:0c 192.0.2.12:9 > 255.255.255.255:9 udp magic for 02:00:00:00:00:51 144 bytes");
    EXPECT_EQ(described(build_neighbor_solicitation(client_mac, IpAddress::parse("fe80::1").value(),
                                                    IpAddress::parse("2001:db8::51").value(), {})),
              "02:00:00:00:00:0c fe80::1 > ff02::1:ff00:51 neighbour solicitation 86 bytes");
}

TEST(DescribeFrame, TheBeginningOfAFrameIsEnough) {
    const Bytes frame = tcp(0x02);
    EXPECT_EQ(describe_frame(ByteView(frame).first(48), 1500),
              "02:00:00:00:00:0c 192.0.2.12:40000 > 192.0.2.81:22 tcp syn 1500 bytes");
    EXPECT_EQ(describe_frame({}, 1500), "1500 bytes");
}

TEST(DescribeFrame, AnyBytesHaveADescription) {
    std::mt19937 random(1);
    for (const Bytes& seed : {tcp(2), build_magic_udp(client_mac, client4, host_mac, 9, {}, {}),
                              build_arp_request(client_mac, client4, host4, {.outer = 1, .inner = 2})})
        for (int i = 0; i < 5000; ++i) {
            Bytes frame = seed;
            for (int j = 0; j < 3; ++j)
                frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
            frame.resize(random() % (frame.size() + 1));
            EXPECT_TRUE(describe_frame(frame, frame.size() + random() % 100).ends_with(" bytes"));
        }
}

} // namespace
} // namespace pz
