// SPDX-License-Identifier: Apache-2.0
// The wake policy: every rule and its edges, under virtual time.
#include "hosts/wake_policy.h"

#include <random>

#include <gtest/gtest.h>

namespace pz {
namespace {

using Rule = Refusal::Rule;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Instant start{hours(1000)};

IpAddress ip(const char* text) {
    return *IpAddress::parse(text);
}
Network net(const char* text) {
    return *Network::parse(text);
}
Trigger from(const char* source, bool is_again = false) {
    return {.source = ip(source), .mac = {}, .is_known = true, .is_again = is_again};
}
Trigger from(std::uint32_t number) {
    const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(number >> shift); };
    return {.source = IpAddress::v4({byte(24), byte(16), byte(8), byte(0)})};
}
std::optional<Rule> rule(const std::optional<Refusal>& refusal) {
    return refusal ? std::optional(refusal->rule) : std::nullopt;
}
/// Asks, and spends if it is allowed.
std::optional<Rule> wake(const WakePolicy& policy, WakeBudget& budget, const Trigger& trigger, Instant now) {
    const auto refusal = refuse_wake(policy, trigger, budget, now, 0);
    if (!refusal)
        budget.add(trigger, now);
    return rule(refusal);
}

// ---- sources ----

TEST(WakePolicySource, WithoutAnyRuleEverybodyMay) {
    EXPECT_FALSE(refuse_source({}, {}, from("198.51.100.7")));
    EXPECT_FALSE(refuse_source({}, {}, from("2001:db8::7")));
    EXPECT_FALSE(refuse_source({}, {}, {.is_known = false}));
}

TEST(WakePolicySource, AllowedNetworksAlone) {
    const WakePolicy policy{.allow_from = {net("192.0.2.0/28"), net("2001:db8:1::/64")}};
    EXPECT_FALSE(refuse_source(policy, {}, from("192.0.2.0")));
    EXPECT_FALSE(refuse_source(policy, {}, from("192.0.2.15")));
    EXPECT_EQ(rule(refuse_source(policy, {}, from("192.0.2.16"))), Rule::allow_from);
    EXPECT_FALSE(refuse_source(policy, {}, from("2001:db8:1::ffff")));
    EXPECT_EQ(rule(refuse_source(policy, {}, from("2001:db8:2::1"))), Rule::allow_from);
}

TEST(WakePolicySource, DeniedWinsOverAllowed) {
    const WakePolicy policy{.allow_from = {net("192.0.2.0/24")}, .deny_from = {net("192.0.2.9"), net("::/0")}};
    EXPECT_FALSE(refuse_source(policy, {}, from("192.0.2.8")));
    const auto refusal = refuse_source(policy, {}, from("192.0.2.9"));
    ASSERT_TRUE(refusal);
    EXPECT_EQ(to_string(*refusal), "192.0.2.9 is in deny-from 192.0.2.9/32");
    EXPECT_EQ(rule_of(*refusal), "deny-from 192.0.2.9/32");
    EXPECT_EQ(rule(refuse_source(policy, {}, from("fe80::1"))), Rule::deny_from);
}

TEST(WakePolicySource, TheDaemonsOwnRuleComesFirst) {
    const WakePolicy policy{.allow_from = {net("192.0.2.0/24")}};
    const auto refusal = refuse_source(policy, {net("192.0.2.128/25")}, from("192.0.2.200"));
    ASSERT_TRUE(refusal);
    EXPECT_EQ(rule_of(*refusal), "no-wake-from 192.0.2.128/25");
}

TEST(WakePolicySource, AMagicPacketInEthernetHasNoneAndMay) {
    const WakePolicy policy{.allow_from = {net("192.0.2.0/24")}, .deny_from = {net("0.0.0.0/0")}};
    EXPECT_FALSE(refuse_source(policy, {net("0.0.0.0/0")}, {.mac = {{2, 0, 0, 0, 0, 1}}}));
}

TEST(WakePolicySource, WhoIsNotKnownMayNotWhereItMatters) {
    const Trigger lost{.is_known = false};
    EXPECT_EQ(rule(refuse_source({.allow_from = {net("192.0.2.0/24")}}, {}, lost)), Rule::allow_from);
    EXPECT_EQ(rule(refuse_source({.deny_from = {net("192.0.2.0/24")}}, {}, lost)), Rule::allow_from);
    EXPECT_EQ(rule(refuse_source({}, {net("192.0.2.9")}, lost)), Rule::allow_from);
}

TEST(WakePolicySource, IsReadFromTheFrame) {
    const Ends ends{.source_mac = {{2, 0, 0, 0, 0, 1}},
                    .destination_mac = {{2, 0, 0, 0, 0, 2}},
                    .source = ip("192.0.2.7"),
                    .destination = ip("192.0.2.50")};
    const auto trigger = trigger_of(build_tcp(ends, 40'000, 22, 2, {}), ends.source_mac, true);
    EXPECT_EQ(trigger.source, ends.source);
    EXPECT_TRUE(trigger.is_known && trigger.is_again);
    const auto magic =
        trigger_of(build_magic_ethernet(ends.source_mac, ends.destination_mac, {}, {}), ends.source_mac, false);
    EXPECT_FALSE(magic.source);
    EXPECT_TRUE(magic.is_known);
    EXPECT_FALSE(trigger_of({}, ends.source_mac, false).is_known);
}

// ---- quiet hours ----

TEST(WakePolicyQuiet, FromIsIncludedAndToIsNot) {
    const WakePolicy policy{.quiet = {{.from = 9 * 60, .to = 10 * 60}}};
    const auto at = [&](unsigned minute) { return rule(refuse_wake(policy, from("192.0.2.7"), {}, start, minute)); };
    EXPECT_FALSE(at(9 * 60 - 1));
    EXPECT_EQ(at(9 * 60), Rule::quiet);
    EXPECT_EQ(at(10 * 60 - 1), Rule::quiet);
    EXPECT_FALSE(at(10 * 60));
}

TEST(WakePolicyQuiet, OverMidnight) {
    const WakePolicy policy{.quiet = {{.from = 23 * 60, .to = 7 * 60}}};
    const auto at = [&](unsigned minute) { return rule(refuse_wake(policy, from("192.0.2.7"), {}, start, minute)); };
    EXPECT_FALSE(at(22 * 60 + 59));
    for (const unsigned minute : {23U * 60, 24U * 60 - 1, 0U, 6U * 60 + 59})
        EXPECT_EQ(at(minute), Rule::quiet) << minute;
    EXPECT_FALSE(at(7 * 60));
    EXPECT_EQ(to_string(*refuse_wake(policy, from("192.0.2.7"), {}, start, 0)), "quiet hours 23:00-07:00");
}

TEST(WakePolicyQuiet, UntilMidnightAndSeveral) {
    const WakePolicy policy{.quiet = {{.from = 23 * 60, .to = 0}, {.from = 60, .to = 61}}};
    const auto at = [&](unsigned minute) { return rule(refuse_wake(policy, from("192.0.2.7"), {}, start, minute)); };
    EXPECT_EQ(at(24 * 60 - 1), Rule::quiet);
    EXPECT_FALSE(at(0));
    EXPECT_EQ(at(60), Rule::quiet);
    EXPECT_FALSE(at(61));
}

TEST(WakePolicyQuiet, AsAPersonWritesIt) {
    EXPECT_EQ(*parse_quiet("23:00-07:30"), (QuietHours{.from = 23 * 60, .to = 7 * 60 + 30}));
    EXPECT_EQ(to_string(*parse_quiet("00:00-23:59")), "00:00-23:59");
    for (const char* wrong : {"", "-", "23:00", "23:00-", "24:00-07:00", "23:60-07:00", "7:00-8:00", "07:00-07:00",
                              "07:00-08:00-09:00", " 07:00-08:00", "07:00 -08:00", "0a:00-08:00"}) {
        const auto parsed = parse_quiet(wrong);
        ASSERT_FALSE(parsed) << wrong;
        EXPECT_NE(parsed.error().message.find("as in 23:00-07:00"), std::string::npos) << parsed.error().message;
    }
}

// ---- how often ----

TEST(WakePolicyBudget, AWindowOfAnHourThatSlides) {
    const WakePolicy policy{.wakes_per_hour = 2, .wakes_per_source = 0};
    WakeBudget budget;
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1", true), start));
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.2", true), start + minutes(30)));
    EXPECT_EQ(wake(policy, budget, from("192.0.2.3", true), start + minutes(31)), Rule::wakes_per_hour);
    EXPECT_EQ(wake(policy, budget, from("192.0.2.3", true), start + hours(1) - Duration(1)), Rule::wakes_per_hour);
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.3", true), start + hours(1)));
    EXPECT_EQ(wake(policy, budget, from("192.0.2.3", true), start + hours(1)), Rule::wakes_per_hour);
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.3", true), start + minutes(90)));
}

TEST(WakePolicyBudget, HalfOfItIsForWhoAsksAgain) {
    const WakePolicy policy{.wakes_per_hour = 5, .wakes_per_source = 0};
    WakeBudget budget;
    for (std::uint32_t i = 0; i < 3; i++)
        EXPECT_FALSE(wake(policy, budget, from(i), start));
    const auto refusal = refuse_wake(policy, from("192.0.2.1"), budget, start, 0);
    ASSERT_EQ(rule(refusal), Rule::first_asked);
    EXPECT_EQ(to_string(*refusal), "3 wakes in the last hour of wakes-per-hour 5: the others are for who asks again");
    EXPECT_EQ(rule_of(*refusal), "wakes-per-hour 5");
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1", true), start));
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1", true), start));
    EXPECT_EQ(wake(policy, budget, from("192.0.2.1", true), start), Rule::wakes_per_hour);
}

TEST(WakePolicyBudget, ABudgetOfOneIsForAnybody) {
    const WakePolicy policy{.wakes_per_hour = 1};
    WakeBudget budget;
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    EXPECT_EQ(wake(policy, budget, from("192.0.2.1", true), start), Rule::wakes_per_hour);
}

TEST(WakePolicyBudget, OneSourceLeavesTheRestToOthers) {
    const WakePolicy policy{.wakes_per_hour = 10, .wakes_per_source = 2};
    WakeBudget budget;
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    const auto refusal = refuse_wake(policy, from("192.0.2.1", true), budget, start, 0);
    ASSERT_EQ(rule(refusal), Rule::wakes_per_source);
    EXPECT_EQ(to_string(*refusal), "2 wakes by 192.0.2.1 in the last hour, wakes-per-source allows 2");
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.2"), start));
}

TEST(WakePolicyBudget, WhoHasNoAddressIsKnownByItsMac) {
    const WakePolicy policy{.wakes_per_source = 1};
    WakeBudget budget;
    const Trigger one{.mac = {{2, 0, 0, 0, 0, 1}}}, other{.mac = {{2, 0, 0, 0, 0, 2}}};
    EXPECT_FALSE(wake(policy, budget, one, start));
    EXPECT_EQ(wake(policy, budget, one, start), Rule::wakes_per_source);
    EXPECT_FALSE(wake(policy, budget, other, start));
}

TEST(WakePolicyBudget, NoLimitIsNone) {
    const WakePolicy policy{.wakes_per_hour = 0, .wakes_per_source = 0};
    WakeBudget budget;
    for (int i = 0; i < 10'000; i++)
        EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    EXPECT_LE(budget.size(), max_wakes_per_hour);
}

TEST(WakePolicyBudget, TimeBetweenTwoWakes) {
    const WakePolicy policy{.min_wake_interval = seconds(60)};
    WakeBudget budget;
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    const auto refusal = refuse_wake(policy, from("192.0.2.2"), budget, start + seconds(60) - Duration(1), 0);
    ASSERT_EQ(rule(refusal), Rule::min_wake_interval);
    EXPECT_EQ(to_string(*refusal), "the last wake was 59 s ago, min-wake-interval is 60 s");
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.2"), start + seconds(60)));
}

TEST(WakePolicyBudget, AnIntervalLongerThanAnHourIsKept) {
    const WakePolicy policy{.min_wake_interval = hours(3)};
    WakeBudget budget;
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start));
    EXPECT_EQ(wake(policy, budget, from("192.0.2.1"), start + hours(3) - seconds(1)), Rule::min_wake_interval);
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.1"), start + hours(3)));
}

TEST(WakePolicyBudget, AMillionForgedSourcesLeaveNoTraceAndRoomForAClient) {
    const WakePolicy policy; // the defaults
    WakeBudget budget;
    std::size_t woken = 0;
    Instant now = start;
    for (std::uint32_t i = 0; i < 1'000'000; i++, now += std::chrono::milliseconds(1))
        if (!wake(policy, budget, from(i), now))
            ++woken;
    EXPECT_EQ(woken, policy.wakes_per_hour / 2) << "in 1000 s";
    EXPECT_EQ(budget.size(), woken);
    EXPECT_EQ(wake(policy, budget, from("192.0.2.7"), now), Rule::first_asked);
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.7", true), now + seconds(1)));
}

TEST(WakePolicyBudget, AScannerThatAsksAgainAndAgainLeavesRoomForAClient) {
    const WakePolicy policy;
    WakeBudget budget;
    std::size_t woken = 0;
    for (int i = 0; i < 10'000; i++)
        if (!wake(policy, budget, from("198.51.100.7", true), start + std::chrono::milliseconds(100 * i)))
            ++woken;
    EXPECT_EQ(woken, policy.wakes_per_source);
    EXPECT_FALSE(wake(policy, budget, from("192.0.2.7", true), start + seconds(1000)));
}

// ---- checks ----

std::string complaint(const WakePolicy& policy) {
    const auto checked = validate(policy);
    return checked ? "" : checked.error().field + ": " + checked.error().message;
}

// ---- every packet may, so that nobody has to be asked ----

TEST(WakePolicyEvery, ByDefaultUntilHalfOfItsBudgetIsSpent) {
    const WakePolicy policy;
    WakeBudget budget;
    for (std::uint32_t wakes = 0; wakes < 30; wakes++) {
        EXPECT_TRUE(allows_every(policy, {}, budget, start)) << wakes;
        budget.add(from(wakes), start);
    }
    EXPECT_FALSE(allows_every(policy, {}, budget, start));
    EXPECT_TRUE(allows_every(policy, {}, budget, start + hours(1)));
}

TEST(WakePolicyEvery, NotWhereItMattersWhoOrWhen) {
    EXPECT_FALSE(allows_every({.allow_from = {net("0.0.0.0/0")}}, {}, {}, start));
    EXPECT_FALSE(allows_every({.deny_from = {net("192.0.2.9")}}, {}, {}, start));
    EXPECT_FALSE(allows_every({}, {net("192.0.2.9")}, {}, start));
    EXPECT_FALSE(allows_every({.quiet = {{.from = 1, .to = 2}}}, {}, {}, start));
    WakeBudget budget;
    budget.add(from("192.0.2.9"), start);
    const WakePolicy rarely{.min_wake_interval = minutes(5)};
    EXPECT_FALSE(allows_every(rarely, {}, budget, start + minutes(4)));
    EXPECT_TRUE(allows_every(rarely, {}, budget, start + minutes(5)));
    EXPECT_FALSE(allows_every({.wakes_per_source = 1}, {}, budget, start)) << "it may be the same one who asks";
}

TEST(WakePolicyEvery, WhoeverAsksNextIsNotRefused) {
    std::mt19937 random(1);
    const auto any = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    std::size_t allowed = 0;
    for (int i = 0; i < 20'000; i++) {
        const WakePolicy policy{
            .wakes_per_hour = any(8), .wakes_per_source = any(5), .min_wake_interval = minutes(any(3) * 20)};
        WakeBudget budget;
        Instant now = start;
        for (auto wakes = any(10); wakes > 0; wakes--)
            budget.add(from(any(3)), now += minutes(any(40)));
        now += minutes(any(40));
        if (!allows_every(policy, {}, budget, now))
            continue;
        ++allowed;
        const Trigger trigger = from(any(3));
        EXPECT_FALSE(refuse_source(policy, {}, trigger));
        EXPECT_FALSE(refuse_wake(policy, trigger, budget, now + minutes(any(120)), 0));
    }
    EXPECT_GT(allowed, 1000U);
}

TEST(WakePolicyCheck, NamesTheFieldTheValueAndWhatWouldBeRight) {
    EXPECT_EQ(complaint({}), "");
    EXPECT_EQ(complaint({.wakes_per_hour = 3601}),
              "wakes-per-hour: wakes-per-hour 3601: must be 1 to 3600, or 0 for no limit");
    EXPECT_EQ(complaint({.wakes_per_source = 3601}),
              "wakes-per-source: wakes-per-source 3601: must be 1 to 3600, or 0 for no limit");
    EXPECT_EQ(complaint({.min_wake_interval = hours(25)}),
              "min-wake-interval: min-wake-interval 90000: must be 1 to 86400 seconds, or 0 for no limit");
    EXPECT_NE(complaint({.deny_from = {{.address = ip("192.0.2.1"), .length = 24}}}), "");
    EXPECT_NE(complaint({.allow_from = {{.address = ip("192.0.2.1"), .length = 33}}}), "");
    EXPECT_NE(complaint({.allow_from = std::vector(max_networks + 1, net("192.0.2.1"))}), "");
    EXPECT_NE(complaint({.quiet = {{.from = 1440, .to = 0}}}), "");
    EXPECT_NE(complaint({.quiet = {{.from = 5, .to = 5}}}), "");
    EXPECT_NE(complaint({.quiet = std::vector(max_quiet + 1, QuietHours{.from = 0, .to = 1})}), "");
}

TEST(Networks, AsAPersonWritesThem) {
    EXPECT_EQ(net("192.0.2.7").to_string(), "192.0.2.7/32");
    EXPECT_EQ(net("2001:db8::/32").to_string(), "2001:db8::/32");
    EXPECT_TRUE(net("0.0.0.0/0").contains(ip("203.0.113.1")));
    EXPECT_FALSE(net("0.0.0.0/0").contains(ip("::1")));
    EXPECT_TRUE(net("192.0.2.128/25").contains(ip("192.0.2.255")));
    EXPECT_FALSE(net("192.0.2.128/25").contains(ip("192.0.2.127")));
    EXPECT_TRUE(net("2001:db8::/31").contains(ip("2001:db9::1")));
    EXPECT_EQ(Network::parse("192.0.2.7/24").error().message,
              "\"192.0.2.7/24\" has bits set behind its prefix: 192.0.2.0/24 would be right");
    for (const char* wrong : {"", "/24", "192.0.2.0/", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/24/1", "lan",
                              "192.0.2.0/-1", "192.0.2/24"})
        EXPECT_FALSE(Network::parse(wrong)) << wrong;
}

} // namespace
} // namespace pz
