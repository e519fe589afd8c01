// SPDX-License-Identifier: Apache-2.0
#include "net/router_advertisement.h"

#include <gtest/gtest.h>

#include <netinet/icmp6.h>

#include <algorithm>
#include <array>

namespace pz {
namespace {

using namespace std::chrono_literals;

const IpAddress router = IpAddress::parse("fe80::1").value();
const IpAddress prefix = IpAddress::parse("2001:db8:0:1::").value();

struct PrefixOption {
    std::uint8_t type = ND_OPT_PREFIX_INFORMATION;
    std::uint8_t units = 4;
    std::uint8_t length = 64;
    std::uint8_t flags = ND_OPT_PI_FLAG_ONLINK | ND_OPT_PI_FLAG_AUTO;
    std::uint32_t valid = 1800;
    std::uint32_t preferred = 600;
    IpAddress prefix = pz::prefix;

    Bytes bytes() const {
        Bytes out{type, units, length, flags};
        for (const std::uint32_t number : {valid, preferred, 0U})
            for (const int shift : {24, 16, 8, 0})
                out.push_back(static_cast<std::uint8_t>(number >> shift));
        out.insert(out.end(), prefix.bytes.begin(), prefix.bytes.end());
        return out;
    }
};

/// A Router Advertisement with the right lengths and checksum, unless told otherwise.
struct Advertisement {
    IpAddress source = router;
    std::uint8_t hop_limit = 255;
    std::uint8_t type = ND_ROUTER_ADVERT;
    std::uint8_t code = 0;
    Bytes options = PrefixOption{}.bytes();
    bool complete = true;

    Bytes frame() const {
        Bytes out{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0};
        const std::size_t length = sizeof(nd_router_advert) + options.size();
        for (const std::size_t byte : {length >> 8, length & 0xff, std::size_t{58}, std::size_t{hop_limit}})
            out.push_back(static_cast<std::uint8_t>(byte));
        out.insert(out.end(), source.bytes.begin(), source.bytes.end());
        const auto all_nodes = IpAddress::parse("ff02::1").value();
        out.insert(out.end(), all_nodes.bytes.begin(), all_nodes.bytes.end());
        for (const int byte : {int{type}, int{code}, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0})
            out.push_back(static_cast<std::uint8_t>(byte));
        out.insert(out.end(), options.begin(), options.end());
        if (complete)
            complete_checksum(out);
        return out;
    }
};

std::size_t prefixes_of(const Advertisement& advertisement) {
    return advertised_prefixes(advertisement.frame()).size();
}
std::size_t prefixes_of(const PrefixOption& option) {
    return prefixes_of(Advertisement{.options = option.bytes()});
}

TEST(RouterAdvertisement, ItsAutonomousPrefixesAreFound) {
    auto options = PrefixOption{}.bytes();
    const Bytes mtu{5, 1, 0, 0, 0, 0, 5, 0xdc};
    options.insert(options.end(), mtu.begin(), mtu.end());
    const auto other = IpAddress::parse("2001:db8:0:2::").value();
    const auto second = PrefixOption{.valid = 0xffffffff, .preferred = 0xffffffff, .prefix = other}.bytes();
    options.insert(options.end(), second.begin(), second.end());
    const auto found = advertised_prefixes(Advertisement{.options = options}.frame());
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].prefix, prefix);
    EXPECT_EQ(found[0].valid, 1800s);
    EXPECT_EQ(found[1].prefix, other);
    EXPECT_EQ(found[1].valid, std::nullopt);
}

TEST(RouterAdvertisement, BitsBehindThePrefixDoNotCount) {
    const auto found = advertised_prefixes(
        Advertisement{.options = PrefixOption{.prefix = IpAddress::parse("2001:db8:0:1::5").value()}.bytes()}.frame());
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].prefix, prefix);
}

TEST(RouterAdvertisement, OtherPrefixesAreNone) {
    EXPECT_EQ(prefixes_of(PrefixOption{.flags = ND_OPT_PI_FLAG_ONLINK}), 0U);
    EXPECT_EQ(prefixes_of(PrefixOption{.length = 48}), 0U);
    EXPECT_EQ(prefixes_of(PrefixOption{.valid = 10, .preferred = 11}), 0U);
    EXPECT_EQ(prefixes_of(PrefixOption{.prefix = IpAddress::parse("fe80::").value()}), 0U);
    EXPECT_EQ(prefixes_of(PrefixOption{.type = ND_OPT_MTU}), 0U);
    EXPECT_EQ(prefixes_of(Advertisement{.options = {}}), 0U);
}

TEST(RouterAdvertisement, WhatFailsACheckIsNone) {
    ASSERT_EQ(prefixes_of(Advertisement{}), 1U);
    EXPECT_EQ(prefixes_of(Advertisement{.source = IpAddress::parse("2001:db8::1").value()}), 0U);
    EXPECT_EQ(prefixes_of(Advertisement{.hop_limit = 254}), 0U);
    EXPECT_EQ(prefixes_of(Advertisement{.type = ND_ROUTER_SOLICIT}), 0U);
    EXPECT_EQ(prefixes_of(Advertisement{.code = 1}), 0U);
    EXPECT_EQ(prefixes_of(Advertisement{.complete = false}), 0U);
    auto no_length = PrefixOption{}.bytes();
    no_length.insert(no_length.end(), {1, 0, 0, 0, 0, 0, 0, 0});
    EXPECT_EQ(prefixes_of(Advertisement{.options = no_length}), 0U);
    auto too_long = PrefixOption{}.bytes();
    too_long.insert(too_long.end(), {1, 2, 0, 0, 0, 0, 0, 0});
    EXPECT_EQ(prefixes_of(Advertisement{.options = too_long}), 0U);
    auto half = PrefixOption{}.bytes();
    half.push_back(1);
    EXPECT_EQ(prefixes_of(Advertisement{.options = half}), 0U);
    const auto whole = Advertisement{}.frame();
    for (std::size_t size = 0; size < whole.size(); size++)
        EXPECT_TRUE(advertised_prefixes(ByteView(whole).first(size)).empty()) << size;
}

} // namespace
} // namespace pz
