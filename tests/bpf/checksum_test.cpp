// SPDX-License-Identifier: Apache-2.0
// Checksums over all 65,536 residues: requests are made so that each checksum field takes every value, and each reply
// is compared with one that is computed from scratch (RFC 1071, RFC 1624 §3).
#include <algorithm>

#include "harness.h"

namespace pz::test {
namespace {

class ChecksumTest : public DataPathTest {
protected:
    /// `request(i)` for i of 0..65535 through the program; every reply equal to `reply(i)`.  `field` is where the
    /// checksum that has to take every value stands: in the request, and in the reply.
    template <class Request, class Reply>
    void sweep(Request request, Reply reply, std::size_t request_field, std::size_t reply_field,
               std::size_t values_wanted) {
        std::vector<bool> in_request(65'536);
        std::vector<bool> in_reply(65'536);
        Bytes out;
        std::size_t wrong = 0;
        const auto before = kernel().counters();
        for (std::uint32_t i = 0; i < 65'536; i++) {
            const Bytes frame = request(i);
            const Bytes wanted = reply(i);
            in_request[static_cast<std::size_t>(frame[request_field] << 8 | frame[request_field + 1])] = true;
            in_reply[static_cast<std::size_t>(wanted[reply_field] << 8 | wanted[reply_field + 1])] = true;
            const auto verdict = kernel().run_quickly(frame, out);
            if ((verdict != XDP_TX || out != wanted) && ++wrong <= 3)
                ADD_FAILURE() << "residue " << i << ": verdict " << verdict << "\n" << hexdiff(wanted, out);
        }
        EXPECT_EQ(wrong, 0U) << "of 65536 replies";
        std::uint64_t counted = 0;
        for (const auto& [reason, count] : kernel().counters())
            counted += count - before.at(reason);
        EXPECT_EQ(counted, 65'536U);
        EXPECT_GE(static_cast<std::size_t>(std::ranges::count(in_request, true)), values_wanted)
            << "values of the request's checksum";
        EXPECT_GE(static_cast<std::size_t>(std::ranges::count(in_reply, true)), values_wanted)
            << "values of the reply's checksum";
    }
};

constexpr std::size_t ip4_checksum = 14 + 10, icmp4_checksum = 14 + 20 + 2, icmp6_checksum = 14 + 40 + 2;

Raw word(std::uint32_t value) {
    return Raw{Bytes{static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)}};
}

TEST_F(ChecksumTest, Icmp4EchoOverAllResidues) {
    // 65,535 values: a sum of bytes that are not all zero is never 0, so its complement is never 0xffff
    sweep([](std::uint32_t i) { return (Ether{} / Ip4{} / Icmp4{} / word(i)).bytes(); },
          [](std::uint32_t i) { return echo4_reply(word(i)).bytes(); }, icmp4_checksum, icmp4_checksum, 65'535);
}

TEST_F(ChecksumTest, Icmp4EchoWithTheOtherZero) {
    // 0xffff for 0x0000 is the one value left: as good in a request (RFC 1071), and the reply is canonical
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < 65'536; i++) {
        auto frame = (Ether{} / Ip4{} / Icmp4{} / word(i)).bytes();
        if (frame[icmp4_checksum] != 0 || frame[icmp4_checksum + 1] != 0)
            continue;
        frame[icmp4_checksum] = frame[icmp4_checksum + 1] = 0xff;
        kernel().check(frame, answered(PZ_REASON_ECHO_ANSWERED, echo4_reply(word(i)).bytes()));
        found++;
    }
    EXPECT_GE(found, 1U);
}

TEST_F(ChecksumTest, Icmp4EchoOfZerosOnly) {
    // the one reply whose bytes are all zero: its checksum is 0xffff, which an incremental update cannot know (RFC 1624
    // §3)
    for (const std::size_t length : {0U, 1U, 2U, 18U, 31U, 32U, 33U, 56U, 1472U}) {
        const Raw zeros{length, 0};
        check(Ether{} / Ip4{} / Icmp4{.id = 0, .sequence = 0} / zeros,
              answered(PZ_REASON_ECHO_ANSWERED, (Ether{.destination = client_mac, .source = host_mac} /
                                                 Ip4{.source = host_ip4, .destination = client_ip4} /
                                                 Icmp4{.type = 0, .id = 0, .sequence = 0} / zeros)
                                                    .bytes()));
        check(Ether{} / Ip6{} / Icmp6{.word = 0} / zeros,
              answered(PZ_REASON_ECHO_ANSWERED,
                       (Ether{.destination = client_mac, .source = host_mac} /
                        Ip6{.source = host_ip6(), .destination = client_ip6()} / Icmp6{.type = 129, .word = 0} / zeros)
                           .bytes()));
    }
}

TEST_F(ChecksumTest, Icmp4EchoWithIdentifiersOfAllResidues) {
    sweep(
        [](std::uint32_t i) {
            return (Ether{} / Ip4{} / Icmp4{.id = static_cast<std::uint16_t>(i), .sequence = 0}).bytes();
        },
        [](std::uint32_t i) {
            return (Ether{.destination = client_mac, .source = host_mac} /
                    Ip4{.source = host_ip4, .destination = client_ip4} /
                    Icmp4{.type = 0, .id = static_cast<std::uint16_t>(i), .sequence = 0})
                .bytes();
        },
        icmp4_checksum, icmp4_checksum, 65'535);
}

TEST_F(ChecksumTest, Ip4HeaderOverAllResidues) {
    for (const auto ttl : U8{1, 64, 255})
        sweep(
            [ttl](std::uint32_t i) {
                return (Ether{} / Ip4{.ttl = ttl, .id = static_cast<std::uint16_t>(i)} / Icmp4{}).bytes();
            },
            [](std::uint32_t i) {
                return (Ether{.destination = client_mac, .source = host_mac} /
                        Ip4{.source = host_ip4, .destination = client_ip4, .id = static_cast<std::uint16_t>(i)} /
                        Icmp4{.type = 0})
                    .bytes();
            },
            ip4_checksum, ip4_checksum, 65'535);
}

TEST_F(ChecksumTest, Icmp6EchoOverAllResidues) {
    sweep([](std::uint32_t i) { return (Ether{} / Ip6{} / Icmp6{} / word(i)).bytes(); },
          [](std::uint32_t i) { return echo6_reply(word(i)).bytes(); }, icmp6_checksum, icmp6_checksum, 65'535);
}

TEST_F(ChecksumTest, Icmp6EchoWithTheOtherZero) {
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < 65'536; i++) {
        auto frame = (Ether{} / Ip6{} / Icmp6{} / word(i)).bytes();
        if (frame[icmp6_checksum] != 0 || frame[icmp6_checksum + 1] != 0)
            continue;
        frame[icmp6_checksum] = frame[icmp6_checksum + 1] = 0xff;
        kernel().check(frame, answered(PZ_REASON_ECHO_ANSWERED, echo6_reply(word(i)).bytes()));
        found++;
    }
    EXPECT_GE(found, 1U);
}

/// The client's address with `i` in its last two bytes.
Ip6Address client(std::uint32_t i) {
    auto address = "2001:db8:0:7::"_ip6;
    address.bytes[14] = static_cast<std::uint8_t>(i >> 8);
    address.bytes[15] = static_cast<std::uint8_t>(i);
    return address;
}

TEST_F(ChecksumTest, R25_AdvertisementOverAllResidues) {
    // the solicitor's address is in both pseudo headers
    sweep([](std::uint32_t i) { return solicitation(host_ip6(), client(i)).bytes(); },
          [](std::uint32_t i) { return advertisement(host_ip6(), client(i)).bytes(); }, icmp6_checksum, icmp6_checksum,
          65'535);
}

TEST_F(ChecksumTest, R25_SolicitationOverAllResiduesOfItsOwn) {
    // a nonce in the request alone: every checksum there, one reply
    sweep(
        [](std::uint32_t i) {
            return (solicitation_headers() / Ns{} / source_lla() /
                    nonce_option({static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i), 3, 4, 5, 6}))
                .bytes();
        },
        [](std::uint32_t) { return advertisement().bytes(); }, icmp6_checksum, icmp6_checksum, 1);
}

TEST_F(ChecksumTest, R25_AdvertisementToAllNodesOverTargets) {
    // DAD for 4,096 targets, which are all one sleeper's
    Host host;
    host.ip6.clear();
    for (std::uint32_t i = 0; i < 4000; i++) {
        auto address = "2001:db8:0:9:1234:5678::"_ip6;
        address.bytes[13] = static_cast<std::uint8_t>(i * 7);
        address.bytes[14] = static_cast<std::uint8_t>(i >> 8);
        address.bytes[15] = static_cast<std::uint8_t>(i);
        host.ip6.push_back(address);
    }
    sleeper(host);
    for (const auto& target : host.ip6) {
        check(solicitation_headers(target, unspecified()) / Ns{.target = target},
              answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement(target).bytes()));
        if (HasFailure())
            break;
    }
}

} // namespace
} // namespace pz::test
