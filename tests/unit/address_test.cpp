// SPDX-License-Identifier: Apache-2.0
// Addresses: text in and out, the classes of addresses, group addresses.
#include "net/address.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace pz {
namespace {

TEST(MacAddress, ParsesColonsAndDashesInEitherCase) {
    const MacAddress expected{{0x02, 0x0a, 0xbc, 0xde, 0xf0, 0xff}};
    for (const auto* text : {"02:0a:bc:de:f0:ff", "02-0A-BC-DE-F0-FF", "02:0A:bc:De:f0:Ff"}) {
        const auto mac = MacAddress::parse(text);
        ASSERT_TRUE(mac) << mac.error().message;
        EXPECT_EQ(*mac, expected) << text;
    }
}

TEST(MacAddress, TextIsLowerCaseWithColonsAndParsesBack) {
    for (const MacAddress mac : {MacAddress{}, MacAddress::broadcast(), MacAddress{{0x02, 0, 0x0a, 0xb0, 0, 0x51}}})
        EXPECT_EQ(MacAddress::parse(mac.to_string()).value(), mac);
    EXPECT_EQ((MacAddress{{0x02, 0, 0x0a, 0xb0, 0, 0x51}}).to_string(), "02:00:0a:b0:00:51");
}

TEST(MacAddress, BadTextIsRefusedNamingTheFormExpected) {
    using namespace std::string_view_literals;
    for (const auto text :
         {""sv, "02"sv, "02:00:00:00:00"sv, "02:00:00:00:00:01:02"sv, "2:0:0:0:0:1"sv, "02:00:00:00:00:1"sv,
          "02:00:00:00:00:0g"sv, "02:00:00:00:00:0x"sv, "02:00:00-00:00:01"sv, "02-00-00-00-00:01"sv,
          "02.00.00.00.00.01"sv, "020000000001"sv, "0200.0000.0001"sv, " 02:00:00:00:00:1"sv, "02:00:00:00:00:01 "sv,
          "02:00:00:00:00:-1"sv, "02:00:00:00:00:+1"sv, ":::::::::::::::::"sv, "02:00:00:00:00:0\0"sv}) {
        SCOPED_TRACE(text);
        const auto mac = MacAddress::parse(text);
        ASSERT_FALSE(mac);
        EXPECT_EQ(mac.error().code, Errc::invalid);
        for (const auto* words : {"is not a MAC address", "six pairs of hexadecimal digits", "02:00:00:00:00:01"})
            EXPECT_TRUE(mac.error().message.contains(words)) << mac.error().message;
    }
}

TEST(MacAddress, ErrorQuotesTheValue) {
    EXPECT_EQ(MacAddress::parse("02:00:00:00:00:0g").error().message,
              "\"02:00:00:00:00:0g\" is not a MAC address: six pairs of hexadecimal digits are expected, like "
              "02:00:00:00:00:01 or 02-00-00-00-00-01");
}

TEST(MacAddress, ErrorEscapesWhatWouldDisturbATerminal) {
    const auto message = MacAddress::parse("\x1b[2J\n").error().message;
    EXPECT_TRUE(message.starts_with(R"("\x1b[2J\n" is not)")) << message;
}

TEST(MacAddress, GroupBitAndZeroAreRecognised) {
    EXPECT_TRUE(MacAddress::broadcast().is_multicast());
    EXPECT_TRUE((MacAddress{{0x33, 0x33, 0, 0, 0, 1}}).is_multicast());
    EXPECT_FALSE((MacAddress{{0x02, 0xff, 0xff, 0xff, 0xff, 0xff}}).is_multicast());
    EXPECT_TRUE(MacAddress{}.is_zero());
    EXPECT_FALSE((MacAddress{{0, 0, 0, 0, 0, 1}}).is_zero());
}

TEST(IpAddress, Ipv4TextParsesAndComesBack) {
    for (const auto* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "10.20.30.40"}) {
        const auto address = IpAddress::parse(text);
        ASSERT_TRUE(address) << text;
        EXPECT_TRUE(address->is_v4());
        EXPECT_FALSE(address->is_v6());
        EXPECT_EQ(address->octets().size(), 4U);
        EXPECT_EQ(address->to_string(), text);
    }
    EXPECT_EQ(IpAddress::parse("192.0.2.1").value(), IpAddress::v4({192, 0, 2, 1}));
}

TEST(IpAddress, Ipv6TextParsesAndComesBackInCanonicalForm) {
    const std::pair<const char*, const char*> cases[] = {
        {"::", "::"},
        {"::1", "::1"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"}, // RFC 5952
        {"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"fe80::0200:00ff:fe00:51", "fe80::200:ff:fe00:51"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    for (const auto& [text, canonical] : cases) {
        const auto address = IpAddress::parse(text);
        ASSERT_TRUE(address) << text;
        EXPECT_TRUE(address->is_v6());
        EXPECT_FALSE(address->is_v4());
        EXPECT_EQ(address->octets().size(), 16U);
        EXPECT_EQ(address->to_string(), canonical);
        EXPECT_EQ(IpAddress::parse(address->to_string()).value(), *address);
    }
    EXPECT_EQ(IpAddress::parse("2001:db8::51").value(),
              IpAddress::v6({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51}));
}

TEST(IpAddress, BadTextIsRefusedNamingTheFormExpected) {
    using namespace std::string_view_literals;
    for (const auto text :
         {""sv, "host"sv, "192.0.2"sv, "192.0.2.256"sv, "192.0.2.1.1"sv, "192.0.2.01"sv, "192.0.2.1/24"sv,
          " 192.0.2.1"sv, "192.0.2.1 "sv, "0xc0000201"sv, "2001:db8::1/64"sv, "fe80::1%lan0"sv, "2001:db8:::1"sv,
          "1:2:3:4:5:6:7:8:9"sv, "12345::"sv, ":"sv, "[::1]"sv, "192.0.2.1\0"sv, "::1\0x"sv}) {
        SCOPED_TRACE(text);
        const auto address = IpAddress::parse(text);
        ASSERT_FALSE(address);
        EXPECT_EQ(address.error().code, Errc::invalid);
        for (const auto* words : {"is not an IP address", "192.0.2.1", "2001:db8::1", "without prefix length or zone"})
            EXPECT_TRUE(address.error().message.contains(words)) << address.error().message;
    }
}

TEST(IpAddress, ErrorQuotesTheValue) {
    EXPECT_EQ(
        IpAddress::parse("192.0.2.1/24").error().message,
        "\"192.0.2.1/24\" is not an IP address: IPv4 like 192.0.2.1 or IPv6 like 2001:db8::1 is expected, without "
        "prefix length or zone");
}

TEST(IpAddress, FromBytesTakesFourOrSixteenAndNothingElse) {
    const std::array<std::uint8_t, 17> bytes{0x20, 0x01, 0x0d, 0xb8, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    for (std::size_t size = 0; size <= bytes.size(); ++size)
        EXPECT_EQ(IpAddress::from_bytes(std::span(bytes).first(size)).has_value(), size == 4 || size == 16) << size;
    EXPECT_EQ(IpAddress::from_bytes(std::span(bytes).first(4)), IpAddress::v4({0x20, 0x01, 0x0d, 0xb8}));
    EXPECT_EQ(IpAddress::from_bytes(std::span(bytes).first(16)),
              IpAddress::v6({0x20, 0x01, 0x0d, 0xb8, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
}

struct Classes {
    const char* text;
    bool unspecified = false;
    bool multicast = false;
    bool loopback = false;
    bool link_local = false;
    bool limited_broadcast = false;
};

TEST(IpAddress, ClassesHoldAtBothSidesOfEachPrefix) {
    const Classes cases[] = {
        {.text = "0.0.0.0", .unspecified = true},
        {.text = "0.0.0.1"},
        {.text = "126.255.255.255"},
        {.text = "127.0.0.0", .loopback = true},
        {.text = "127.255.255.255", .loopback = true},
        {.text = "128.0.0.1"},
        {.text = "169.253.255.255"},
        {.text = "169.254.0.0", .link_local = true},
        {.text = "169.254.255.255", .link_local = true},
        {.text = "169.255.0.0"},
        {.text = "223.255.255.255"},
        {.text = "224.0.0.0", .multicast = true},
        {.text = "239.255.255.255", .multicast = true},
        {.text = "240.0.0.0"},
        {.text = "255.255.255.254"},
        {.text = "255.255.255.255", .limited_broadcast = true},
        {.text = "::", .unspecified = true},
        {.text = "::1", .loopback = true},
        {.text = "::2"},
        {.text = "1::1"},
        {.text = "7f00::"},
        {.text = "fe7f::1"},
        {.text = "fe80::", .link_local = true},
        {.text = "febf:ffff::", .link_local = true},
        {.text = "fec0::"},
        {.text = "a9fe::"},
        {.text = "e000::"},
        {.text = "feff::"},
        {.text = "ff00::", .multicast = true},
        {.text = "ff02::1", .multicast = true},
        {.text = "ffff:ffff::", .multicast = true},
    };
    for (const auto& c : cases) {
        const auto address = IpAddress::parse(c.text).value();
        EXPECT_EQ(address.is_unspecified(), c.unspecified) << c.text;
        EXPECT_EQ(address.is_multicast(), c.multicast) << c.text;
        EXPECT_EQ(address.is_loopback(), c.loopback) << c.text;
        EXPECT_EQ(address.is_link_local(), c.link_local) << c.text;
        EXPECT_EQ(address.is_limited_broadcast(), c.limited_broadcast) << c.text;
    }
}

TEST(IpAddress, SameOctetsOfDifferentFamiliesDiffer) {
    const auto v4 = IpAddress::v4({1, 2, 3, 4});
    const auto v6 = IpAddress::v6({1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    EXPECT_NE(v4, v6);
    EXPECT_LT(v4, v6);
    EXPECT_NE(std::hash<IpAddress>{}(v4), std::hash<IpAddress>{}(v6));
}

TEST(IpAddress, HashesKeepApartWhatDiffersInOneBit) {
    std::unordered_set<IpAddress> addresses;
    std::unordered_set<std::size_t> hashes;
    const auto add = [&](const IpAddress& address) {
        addresses.insert(address);
        hashes.insert(std::hash<IpAddress>{}(address));
    };
    add(IpAddress::v4({}));
    add(IpAddress::v6({}));
    for (std::size_t bit = 0; bit < 128; ++bit) {
        std::array<std::uint8_t, 16> octets{};
        octets[bit / 8] = static_cast<std::uint8_t>(1U << bit % 8);
        add(IpAddress::v6(octets));
        if (bit < 32)
            add(IpAddress::v4({octets[0], octets[1], octets[2], octets[3]}));
    }
    EXPECT_EQ(addresses.size(), 2U + 128U + 32U);
    EXPECT_EQ(hashes.size(), addresses.size());
}

TEST(MacAddress, HashesKeepApartWhatDiffersInOneBit) {
    std::unordered_set<std::size_t> hashes{std::hash<MacAddress>{}({})};
    for (std::size_t bit = 0; bit < 48; ++bit) {
        MacAddress mac;
        mac.bytes[bit / 8] = static_cast<std::uint8_t>(1U << bit % 8);
        hashes.insert(std::hash<MacAddress>{}(mac));
    }
    EXPECT_EQ(hashes.size(), 49U);
}

TEST(GroupAddress, SolicitedNodeGroupTakesTheLast24Bits) {
    EXPECT_EQ(solicited_node_group(IpAddress::parse("4037::01:800:200e:8c6c").value()).to_string(),
              "ff02::1:ff0e:8c6c"); // the example of RFC 4291 §2.7.1
    EXPECT_EQ(solicited_node_group(IpAddress::parse("2001:db8::51").value()).to_string(), "ff02::1:ff00:51");
}

TEST(GroupAddress, Ipv4GroupKeepsItsLow23Bits) {
    EXPECT_EQ(multicast_mac(IpAddress::v4({224, 0, 0, 251})).to_string(), "01:00:5e:00:00:fb");
    EXPECT_EQ(multicast_mac(IpAddress::v4({239, 255, 255, 250})).to_string(), "01:00:5e:7f:ff:fa");
    EXPECT_EQ(multicast_mac(IpAddress::v4({224, 128, 1, 2})).to_string(), "01:00:5e:00:01:02");
}

TEST(GroupAddress, Ipv6GroupKeepsItsLow32Bits) {
    EXPECT_EQ(multicast_mac(IpAddress::parse("ff02::1").value()).to_string(), "33:33:00:00:00:01");
    EXPECT_EQ(multicast_mac(IpAddress::parse("ff02::1:ff28:9c5a").value()).to_string(), "33:33:ff:28:9c:5a");
}

} // namespace
} // namespace pz
