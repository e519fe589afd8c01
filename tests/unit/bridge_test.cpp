// SPDX-License-Identifier: Apache-2.0
// A real bridge in a network namespace, where that is allowed.
#include "net/bridge.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "../support/net_namespace.h"
#include "net/link.h"

namespace pz {
namespace {

class RealBridge : public test::NetworkNamespace {
protected:
    void SetUp() override {
        NetworkNamespace::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        run("ip link add br0 index 300 up type bridge stp_state 1 forward_delay 3000");
        run("ip link add br1 index 301 up type bridge stp_state 0");
        run("ip link add pz0 index 100 type veth peer name pz1 index 200 && ip link set pz1 master br1 up && "
            "ip link set pz0 master br0 up");
        for (int i = 0; i < 200 && !find_link("pz1").value().up; i++) // the carrier comes up to a second later
            ::usleep(20'000);
    }
};

TEST_F(RealBridge, SpanningTreeHoldsAPortBack) {
    const auto held = read_bridge(300);
    ASSERT_TRUE(held) << held.error().message;
    ASSERT_TRUE(held->ports.contains(100));
    EXPECT_TRUE(held->ports.at(100).held_back);
    EXPECT_FALSE(held->ports.contains(200)) << "another bridge's";
    const auto free = read_bridge(301);
    ASSERT_TRUE(free) << free.error().message;
    ASSERT_TRUE(free->ports.contains(200));
    EXPECT_FALSE(free->ports.at(200).held_back);
    EXPECT_FALSE(free->filters_vlans);
}

TEST_F(RealBridge, AMissingOneIsAnError) {
    const auto none = read_bridge(999);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::not_found);
}

} // namespace
} // namespace pz
