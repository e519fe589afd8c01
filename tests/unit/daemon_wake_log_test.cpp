// SPDX-License-Identifier: Apache-2.0
// The wake log under virtual time.
#include "daemon/wake_log.h"

#include <gtest/gtest.h>

namespace pz {
namespace {

using namespace std::chrono_literals;

const Instant start{1000s};

control::Wake packet(std::string text, std::uint64_t time_ns = 1, std::size_t captured = 60) {
    control::Wake wake;
    wake.time_ns = time_ns;
    wake.packet = std::move(text);
    wake.reason = "trigger-syn";
    wake.frame.bytes.resize(captured);
    return wake;
}

TEST(WakeLog, EachStepOfAWakeHasItsTime) {
    WakeLog log;
    log.begin(7, packet("syn"), start);
    EXPECT_EQ(log.of(7).at(0).outcome, "waking");
    log.magic_sent(7, start + 40us);
    log.magic_sent(7, start + 1s); // a repetition
    log.alive(7, "ARP probe", start + 300ms);
    log.alive(7, "IP packet", start + 400ms);
    log.outcome(7, "awake");
    log.delivered(7, start + 310ms);
    log.delivered(7, start + 320ms);
    log.dropped(7, 3);
    const auto wake = log.of(7).at(0);
    EXPECT_EQ(wake.outcome, "awake");
    EXPECT_EQ(wake.magic_after_us, 40U);
    EXPECT_EQ(wake.sign, "ARP probe");
    EXPECT_EQ(wake.alive_after_us, 300'000U);
    EXPECT_EQ(wake.delivered, 2U);
    EXPECT_EQ(wake.delivered_after_us, 310'000U);
    EXPECT_EQ(wake.dropped, 3U);
}

TEST(WakeLog, TheKernelsCoarseClockMayBeATickBehind) {
    WakeLog log;
    log.begin(7, packet("syn"), start);
    log.alive(7, "ARP probe", start - 3ms);
    EXPECT_EQ(log.of(7).at(0).alive_after_us, 0U);
}

TEST(WakeLog, AfterItsEndNothingIsAddedToAWake) {
    WakeLog log;
    log.magic_sent(7, start);
    log.outcome(7, "awake");
    log.end(7);
    EXPECT_TRUE(log.of(7).empty());
    log.begin(7, packet("syn"), start);
    log.outcome(7, "awake");
    log.end(7);
    log.dropped(7, 1);
    log.outcome(7, "released");
    EXPECT_EQ(log.of(7).at(0).outcome, "awake");
    EXPECT_EQ(log.of(7).at(0).dropped, 0U);
}

TEST(WakeLog, PacketsThatDidNotWakeAreCountedWhileTheyAreAlike) {
    WakeLog log;
    log.not_woken(7, packet("a", 1));
    log.not_woken(7, packet("a", 2));
    log.not_woken(7, packet("b", 3));
    log.not_woken(7, packet("a", 4));
    const auto all = log.of(7);
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0].outcome, "not-woken");
    EXPECT_EQ(all[0].count, 2U);
    EXPECT_EQ(all[0].time_ns, 2U);
    EXPECT_EQ(all[2].count, 1U);
}

TEST(WakeLog, OfAHostTheLastAreKeptInOrderOfTime) {
    WakeLog log({.wakes_per_host = 2, .non_wakes_per_host = 3});
    for (std::uint64_t i = 0; i < 10; ++i) {
        log.begin(7, packet("wake" + std::to_string(i), 2 * i), start);
        log.not_woken(7, packet("not" + std::to_string(i), 2 * i + 1));
    }
    std::vector<std::string> texts;
    for (const auto& wake : log.of(7))
        texts.push_back(wake.packet);
    EXPECT_EQ(texts, (std::vector<std::string>{"not7", "wake8", "not8", "wake9", "not9"}));
    log.forget(7);
    EXPECT_TRUE(log.of(7).empty());
    EXPECT_EQ(log.bytes(), 0U);
}

TEST(WakeLog, BytesAreBoundedOverAllHosts) {
    WakeLog log({.bytes = 100'000});
    for (HostId host = 0; host < 1000; ++host) {
        log.begin(host, packet("syn", host, 1500), start);
        ASSERT_LE(log.bytes(), 100'000U);
    }
    EXPECT_TRUE(log.of(0).empty()) << "the oldest go first";
    EXPECT_EQ(log.of(999).size(), 1U);
    std::size_t kept = 0;
    for (HostId host = 0; host < 1000; ++host)
        kept += log.of(host).size();
    EXPECT_GT(kept, 30U);
    log.magic_sent(0, start); // its record is gone
    for (HostId host = 0; host < 1000; ++host)
        log.forget(host);
    EXPECT_EQ(log.bytes(), 0U);
}

TEST(WakeLog, AWakeLargerThanTheBoundIsNotKept) {
    WakeLog log({.bytes = 100});
    log.begin(7, packet("syn", 1, 1500), start);
    log.outcome(7, "awake");
    EXPECT_TRUE(log.of(7).empty());
}

} // namespace
} // namespace pz
