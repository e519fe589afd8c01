// SPDX-License-Identifier: Apache-2.0
// Router Advertisements pass, and the daemon has their bytes: they say how long hosts' addresses are valid.
#include "harness.h"

namespace pz::test {
namespace {

class RouterTest : public DataPathTest {};

TEST_F(RouterTest, AnAdvertisementPassesAndIsHandedOn) {
    const auto packet = router_advertisement();
    for (int i = 0; i < 2; i++) {
        const auto outcome = check(
            packet, {.verdict = XDP_PASS, .reasons = {PZ_REASON_NOBODY}, .overheard = {{.kind = PZ_EVENT_ROUTER}}});
        ASSERT_EQ(outcome.overheard.size(), 1U);
        EXPECT_EQ(outcome.overheard[0].frame, packet.bytes());
        EXPECT_EQ(outcome.overheard[0].header.segment, segment_lan);
    }
}

TEST_F(RouterTest, OthersAreNot) {
    const auto from = Ip6{.source = "fe80::1"_ip6, .destination = all_nodes(), .hop_limit = 255};
    const Ether all{.destination = group_mac(all_nodes()), .source = gateway_mac};
    check(all / from / Icmp6{.type = 133}, passed());
    check(all / from / Icmp6{.type = 137}, passed());
    check(all / from / Udp{} / Raw{24, 134}, passed());
}

TEST_F(RouterTest, AFloodLeavesHalfOfTheRing) {
    const auto bytes = router_advertisement().bytes();
    Bytes out;
    for (std::size_t i = 0; i < kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE; i++)
        ASSERT_EQ(kernel().run_quickly(bytes, out), std::uint32_t{XDP_PASS});
    const auto events = kernel().waiting_overheard();
    EXPECT_GT(events, kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE / 3);
    EXPECT_LE(events, kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE / 2 + 1);
}

} // namespace
} // namespace pz::test
