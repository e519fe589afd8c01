// SPDX-License-Identifier: Apache-2.0
// A host that is looked for: nothing is answered in its name and nothing is kept from it, who looks for it is reported,
// and its first frame ends it.
#include "harness.h"

namespace pz::test {
namespace {

class UnansweredTest : public DataPathTest {
protected:
    void SetUp() override {
        DataPathTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure())
            sleeper({.stage = PZ_STAGE_UNANSWERED});
    }

    /// Passes as it came in, and is reported for the host.
    static void expect_sought(const Packet& packet) {
        kernel().put_live(Host{}.id, {});
        const auto outcome = check(packet, passed({PZ_REASON_UNANSWERED}));
        ASSERT_EQ(outcome.non_wakes.size(), 1U) << packet.scapy();
        EXPECT_EQ(outcome.non_wakes[0].header.reason, std::uint32_t{PZ_REASON_UNANSWERED});
        EXPECT_EQ(outcome.non_wakes[0].header.host, Host{}.id);
        EXPECT_EQ(outcome.non_wakes[0].header.generation, Host{}.generation);
    }
};

TEST_F(UnansweredTest, NothingIsAnsweredAndWhoLooksForTheHostIsReported) {
    expect_sought(arp_request());
    expect_sought(arp_request({.sender_ip = {}}));
    expect_sought(Ether{} / Arp{});
    expect_sought(solicitation());
    expect_sought(solicitation_headers(host_ip6(), unspecified()) / Ns{});
    expect_sought(echo4());
    expect_sought(echo6());
    expect_sought(Ether{} / Ip4{} / Tcp{});
    expect_sought(Ether{} / Ip6{} / Tcp{.destination_port = 23});
    expect_sought(Ether{} / Ip4{} / Udp{} / Raw{"data"});
}

TEST_F(UnansweredTest, WhatIsWrongPassesForItsReason) {
    const auto outcome = check(Ether{} / Ip4{.checksum = 0x1234} / Tcp{}, passed({PZ_REASON_IP_CHECKSUM}));
    EXPECT_TRUE(outcome.non_wakes.empty());
    EXPECT_TRUE(kernel().run((Ether{} / Ip4{.fragment = 0x2000} / Udp{}).bytes()).non_wakes.empty());
}

TEST_F(UnansweredTest, AFloodIsReportedSparingly) {
    std::size_t told = 0;
    for (int i = 0; i < 100; i++)
        told += kernel().run(arp_request().bytes()).non_wakes.size();
    EXPECT_EQ(told, 8U);
}

TEST_F(UnansweredTest, AMagicPacketOfSomebodyElsePasses) {
    expect_sought(Ether{.destination = broadcast_mac, .type = 0x0842} / Raw{magic()});
    expect_sought(Ether{.type = 0x0842} / Raw{magic()});
    expect_sought(Ether{.destination = broadcast_mac} / Ip4{.destination = "255.255.255.255"_ip4} /
                  Udp{.destination_port = 9} / Raw{magic()});
}

TEST_F(UnansweredTest, AnyPacketFromItsAddressReleasesIt) {
    const auto outcome = check(Ether{.destination = gateway_mac, .source = host_mac} /
                                   Ip4{.source = host_ip4, .destination = client_ip4} / Tcp{.flags = 0x10},
                               {.verdict = XDP_PASS,
                                .reasons = {PZ_REASON_SIGN_OF_LIFE},
                                .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_IP, .address = host_ip4}}});
    EXPECT_EQ(kernel().live(Host{}.id).released, Host{}.generation);
    check(arp_request(), passed({PZ_REASON_RELEASED}));
}

TEST_F(UnansweredTest, ItsReplyToAProbeIsProof) {
    check(Ether{.destination = gateway_mac, .source = host_mac} /
              Arp{.operation = 2, .sender_mac = host_mac, .sender_ip = host_ip4},
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_OWNER_SEEN},
           .triggers = {{.kind = PZ_EVENT_PROOF, .detail = PZ_SIGN_REPLY, .address = host_ip4}}});
}

} // namespace
} // namespace pz::test
