// SPDX-License-Identifier: Apache-2.0
// Packets that a sleeper sleeps on: which ones the daemon is told of, how much of them, and how many at most.
#include "harness.h"

#include <ctime>

namespace pz::test {
namespace {

constexpr std::uint64_t second = 1'000'000'000;

std::uint64_t now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * second + static_cast<std::uint64_t>(time.tv_nsec);
}

class NonWakeTest : public DataPathTest {
protected:
    /// With a whole allowance.
    static Outcome sleeps_on(const Packet& packet, std::uint32_t reason, std::uint32_t verdict = XDP_DROP) {
        kernel().put_live(Host{}.id, {});
        return check(packet, {.verdict = verdict, .reasons = {reason}});
    }
    static void expect_told(const Packet& packet, std::uint32_t reason, std::uint32_t verdict = XDP_DROP) {
        SCOPED_TRACE(packet.scapy());
        const auto outcome = sleeps_on(packet, reason, verdict);
        ASSERT_EQ(outcome.non_wakes.size(), 1U);
        const auto& told = outcome.non_wakes[0];
        EXPECT_EQ(told.header.reason, reason);
        EXPECT_EQ(told.header.host, Host{}.id);
        EXPECT_EQ(told.header.generation, Host{}.generation);
        EXPECT_EQ(told.header.frame_length, packet.bytes().size());
        EXPECT_EQ(told.record_size, std::size_t{PZ_EVENT_SMALL_SIZE});
    }
    static void expect_untold(const Packet& packet, std::uint32_t reason, std::uint32_t verdict) {
        SCOPED_TRACE(packet.scapy());
        EXPECT_TRUE(sleeps_on(packet, reason, verdict).non_wakes.empty());
    }
};

TEST_F(NonWakeTest, EveryReasonThatSomebodyMightAskForIsTold) {
    expect_told(Ether{} / Ip4{} / Tcp{.destination_port = 80}, PZ_REASON_PORT_CLOSED);
    expect_told(Ether{} / Ip6{} / Tcp{.destination_port = 80}, PZ_REASON_PORT_CLOSED);
    expect_told(Ether{} / Ip4{} / Udp{.destination_port = 80} / Raw{"data"}, PZ_REASON_PORT_CLOSED);
    expect_told(Ether{} / Ip4{} / Tcp{.flags = 0x10}, PZ_REASON_UNICAST_IGNORED);
    expect_told(Ether{} / Ip4{.fragment = 0x2000} / Tcp{}, PZ_REASON_IP_FRAGMENT);
    expect_told(Ether{} / Ip4{.checksum = 0x1234} / Tcp{}, PZ_REASON_IP_CHECKSUM);
    sleeper({.echo = PZ_ECHO_IGNORE});
    expect_told(echo4(), PZ_REASON_ECHO_IGNORED);
    expect_told(echo6(), PZ_REASON_ECHO_IGNORED);
}

TEST_F(NonWakeTest, AMagicPacketWithoutThePasswordIsToldAlsoAsBroadcast) {
    sleeper({.secureon = std::array<std::uint8_t, 6>{1, 2, 3, 4, 5, 6}});
    expect_told(Ether{.destination = host_mac, .type = 0x0842} / Raw{magic()}, PZ_REASON_MAGIC_PASSWORD);
    expect_told(Ether{.destination = broadcast_mac, .type = 0x0842} / Raw{magic()}, PZ_REASON_MAGIC_PASSWORD, XDP_PASS);
}

TEST_F(NonWakeTest, ABroadcastThatNamesNoHostIsNotTold) {
    // host 0 is somebody: nothing may be said of a host that was not found
    sleeper({.id = 0});
    const auto datagram = Udp{.destination_port = 9, .length = 4} / Raw{"data"};
    expect_untold(Ether{.destination = broadcast_mac} / Ip4{.destination = "192.0.2.255"_ip4} / datagram,
                  PZ_REASON_L4_MALFORMED, XDP_PASS);
}

TEST_F(NonWakeTest, AnswersTriggersAndOthersTrafficAreNotTold) {
    EXPECT_TRUE(kernel().run((Ether{} / Ip4{} / Tcp{}).bytes()).non_wakes.empty());
    EXPECT_TRUE(kernel().run(arp_request().bytes()).non_wakes.empty());
    EXPECT_TRUE(kernel().run(echo4().bytes()).non_wakes.empty());
    expect_untold(Ether{.destination = stranger_mac} / Ip4{} / Tcp{.destination_port = 80}, PZ_REASON_NOT_ADDRESSED,
                  XDP_PASS);
}

TEST_F(NonWakeTest, AHostThatIsBeingWokenIsNotTold) {
    sleeper({.stage = PZ_STAGE_WAKING});
    expect_untold(Ether{} / Ip4{} / Tcp{.destination_port = 80}, PZ_REASON_PORT_CLOSED, XDP_DROP);
}

TEST_F(NonWakeTest, OfALongPacketTheBeginningIsTold) {
    const auto packet = Ether{} / Ip4{} / Udp{.destination_port = 80} / Raw{1400, 7};
    expect_told(packet, PZ_REASON_PORT_CLOSED);
    EXPECT_EQ(sleeps_on(packet, PZ_REASON_PORT_CLOSED).non_wakes.at(0).frame.size(), PZ_EVENT_SMALL_FRAME);
}

TEST_F(NonWakeTest, AHostIsToldOfEightAtOnceAndThenOfOneASecond) {
    const auto packet = Ether{} / Ip4{} / Tcp{.destination_port = 80};
    std::size_t told = 0;
    for (int i = 0; i < 100; i++)
        told += kernel().run(packet.bytes()).non_wakes.size();
    EXPECT_EQ(told, 8U);
    // the allowance for triggers is another
    EXPECT_EQ(kernel().run((Ether{} / Ip4{} / Tcp{}).bytes()).triggers.size(), 1U);
    auto live = kernel().live(Host{}.id);
    live.non_wake_due_ms = static_cast<std::uint32_t>((now() + 7 * second) / 1'000'000) - 1;
    kernel().put_live(Host{}.id, live);
    EXPECT_EQ(kernel().run(packet.bytes()).non_wakes.size(), 1U) << "a second has passed";
    EXPECT_EQ(kernel().run(packet.bytes()).non_wakes.size(), 0U);
}

TEST_F(NonWakeTest, AFloodLeavesHalfOfTheRing) {
    const auto closed = (Ether{} / Ip4{} / Tcp{.destination_port = 80}).bytes();
    Bytes out;
    for (std::size_t i = 0; i < kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE; i++) {
        kernel().put_live(Host{}.id, {});
        ASSERT_EQ(kernel().run_quickly(closed, out), std::uint32_t{XDP_DROP});
    }
    const auto events = kernel().waiting_overheard();
    EXPECT_GT(events, kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE / 3);
    EXPECT_LE(events, kernel().overheard_ring_size() / PZ_EVENT_SMALL_SIZE / 2 + 1);
}

} // namespace
} // namespace pz::test
