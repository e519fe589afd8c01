// SPDX-License-Identifier: Apache-2.0
// The presence table under virtual time: every edge of docs/states.md, every timer, and a long random walk against a
// model of what the effects leave in the kernel.
#include "hosts/table.h"

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

namespace pz {
namespace {

using namespace std::chrono_literals;
using Kind = Effect::Kind;
using Lines = std::vector<std::string>;
using Ips = std::vector<IpAddress>;

constexpr SegmentId lan = 1;
const IpAddress a1 = IpAddress::v4({192, 0, 2, 1});
const IpAddress a2 = IpAddress::v4({192, 0, 2, 2});
const IpAddress a6 = IpAddress::parse("2001:db8::1").value();
const Instant start{1'000'000s};

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

std::string_view word(Kind kind) {
    switch (kind) {
    case Kind::watch:
        return "watch";
    case Kind::watch_awake:
        return "watch_awake";
    case Kind::serve:
        return "serve";
    case Kind::serve_unanswered:
        return "serve_unanswered";
    case Kind::stage_waking:
        return "stage_waking";
    case Kind::stage_unanswered:
        return "stage_unanswered";
    case Kind::stop_answering:
        return "stop_answering";
    case Kind::forget:
        return "forget";
    case Kind::announce:
        return "announce";
    case Kind::defend:
        return "defend";
    case Kind::hand_back:
        return "hand_back";
    case Kind::refresh:
        return "refresh";
    case Kind::send_magic:
        return "send_magic";
    case Kind::probe:
        return "probe";
    case Kind::deliver:
        return "deliver";
    case Kind::drop_held:
        return "drop_held";
    case Kind::notice:
        return "notice";
    case Kind::edge:
        return "edge";
    }
    return "?";
}

std::string_view word(Effect::Notice notice) {
    switch (notice) {
    case Effect::Notice::sleep_abandoned:
        return "sleep-abandoned";
    case Effect::Notice::unreachable:
        return "unreachable";
    case Effect::Notice::address_not_back:
        return "address-not-back";
    case Effect::Notice::address_expired:
        return "address-expired";
    case Effect::Notice::address_learned:
        return "address-learned";
    case Effect::Notice::address_forgotten:
        return "address-forgotten";
    case Effect::Notice::not_learned:
        return "not-learned";
    case Effect::Notice::no_address:
        return "no-address";
    case Effect::Notice::none:
        break;
    }
    return "?";
}

/// "probe 192.0.2.1", "notice unreachable"
std::string line(const Effect& effect) {
    std::string out(word(effect.kind));
    if (effect.address)
        out += " " + effect.address->to_string();
    if (effect.kind == Kind::notice)
        out += " " + std::string(word(effect.notice));
    return out;
}

Lines lines(const Effects& effects) {
    Lines out;
    for (const Effect& effect : effects)
        if (effect.kind != Kind::edge) // those are what state() says
            out.push_back(line(effect));
    return out;
}
Lines lines(const Result<Effects>& effects) {
    return effects ? lines(*effects) : Lines{"error " + effects.error().message};
}

/// What run_until() says of a wake: `others`, and after those of the same time a probe for each of `asked`, every
/// 500 ms from `first` to `last` after the start.
Lines with_probes(const Lines& others, Duration first, Duration last, const Ips& asked) {
    std::multimap<double, std::string> all; // what has the same key stays in order
    for (const std::string& text : others)
        all.emplace(std::stod(text), text);
    for (Duration at = first; at <= last; at += 500ms)
        for (const IpAddress& ip : asked) {
            const double when = std::chrono::duration<double>(at).count();
            all.emplace(when, fmt::format("{:g} probe {}", when, ip.to_string()));
        }
    Lines out;
    for (const auto& [when, text] : all)
        out.push_back(text);
    return out;
}

HostConfig config(std::string name, std::uint8_t number, std::vector<HostAddress> addresses) {
    HostConfig out;
    out.name = std::move(name);
    out.macs = {{{2, 0, 0, 0, 0, number}}};
    out.addresses = std::move(addresses);
    return out;
}

/// One table, one host `desk` with three addresses, a clock, and a kernel that saw the owner last at `seen`.
class Table : public testing::Test {
protected:
    PresenceTable table{TableOptions{}};
    Instant now = start;
    Instant seen = start - 1h;

    void SetUp() override { add(config("desk", 1, {{a1}, {a2}, {a6}})); }

    HostId add(HostConfig host, SegmentId segment = lan) {
        const Result<HostId> id = table.set(std::move(host), segment, false, now);
        EXPECT_TRUE(id.has_value()) << id.error().message;
        return id.value_or(0);
    }
    const Host& desk() const { return *table.find("desk"); }
    HostState state() const { return desk().state; }
    std::uint32_t generation() const { return desk().generation; }

    Effects tick() {
        return table.tick(now, [this](HostId) { return seen; });
    }
    /// Ticks exactly at each deadline up to `until` after the start; "seconds effect" for everything that happened.
    /// Also asks a nanosecond before each: nothing may happen early.
    Lines run_until(Duration until) {
        Lines out;
        while (const std::optional<Instant> due = table.next_deadline()) {
            EXPECT_GT(*due, now) << "a deadline in the past";
            if (*due <= now || *due > start + until)
                break;
            now = *due - 1ns;
            EXPECT_EQ(lines(tick()), Lines{}) << "before its time";
            now = *due;
            for (const std::string& text : lines(tick()))
                out.push_back(fmt::format("{:g} {}", std::chrono::duration<double>(now - start).count(), text));
        }
        now = start + until;
        return out;
    }

    Effects trigger(std::optional<IpAddress> held = std::nullopt, bool magic_sent = false) {
        return table.on_trigger(desk().id, generation(), held, magic_sent, now);
    }
    Effects release(pz_sign sign, std::optional<IpAddress> address = std::nullopt) {
        return table.on_owner(desk().id, generation(), PZ_EVENT_RELEASE, sign, address, now);
    }
    Effects proof(pz_sign sign, std::optional<IpAddress> address) {
        return table.on_owner(desk().id, generation(), PZ_EVENT_PROOF, sign, address, now);
    }

    Effects claim(const IpAddress& address) { return table.on_conflict(desk().id, generation(), address, now); }

    void to_arming() { ASSERT_TRUE(table.request_sleep("desk", now).has_value()); }
    void to_asleep() {
        to_arming();
        now += 3s;
        tick();
        ASSERT_EQ(state(), HostState::asleep);
    }
    void to_waking(std::optional<IpAddress> held = std::nullopt) {
        to_asleep();
        trigger(held);
        ASSERT_EQ(state(), HostState::waking);
    }
    void to_unreachable() {
        to_waking();
        now += 60s;
        tick();
        ASSERT_EQ(state(), HostState::unreachable);
    }
    /// Awake, while a packet to a1 waits for its address.
    void to_returning() {
        to_waking(a1);
        release(PZ_SIGN_DAD, a1);
        ASSERT_EQ(state(), HostState::awake);
        ASSERT_EQ(desk().extra->awaited, (Ips{a1}));
    }
};

// ---- restored ------------------------------------------------------------------------------------------------------

class Restored : public Table {
protected:
    /// The next daemon, for whose predecessor the kernel watched like this.
    Lines restart(pz_stage stage, Duration pause = 2s) {
        const Host kept = desk();
        now += pause;
        table = PresenceTable(TableOptions{});
        return lines(table.restore(kept, stage, now));
    }
};

const Lines look_for_it{"serve_unanswered"};
const Lines ask_for_all{"probe 192.0.2.1", "probe 192.0.2.2", "probe 2001:db8::1"};

TEST_F(Restored, AnAwakeHostIsAsItWas) {
    const Host before = desk();
    EXPECT_EQ(restart(PZ_STAGE_NONE), Lines{});
    EXPECT_EQ(desk().config(), before.config());
    EXPECT_EQ(desk().id, before.id);
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Restored, R2_ASleeperThatTheKernelWatchedIsServedAtOnce) {
    to_asleep();
    const auto old = generation();
    EXPECT_EQ(restart(PZ_STAGE_ASLEEP), Lines{"serve"});
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(generation(), old);
    EXPECT_EQ(lines(tick()), Lines{"refresh"});
    trigger();
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Restored, R2_ASleeperThatNobodyWatchedIsLookedForThenServed) {
    to_asleep();
    EXPECT_EQ(restart(PZ_STAGE_NONE, 10min), look_for_it);
    EXPECT_EQ(state(), HostState::asleep);
    now += 20s; // until replies can be heard
    EXPECT_EQ(lines(tick()), ask_for_all);
    now += 2900ms;
    for (const auto& line : lines(tick()))
        EXPECT_TRUE(line.starts_with("probe ")) << line;
    now += 100ms;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

TEST_F(Restored, R32_TheAnswerToTheProbeOfASleeperThatNobodyWatchedReleasesIt) {
    to_asleep();
    restart(PZ_STAGE_NONE);
    proof(PZ_SIGN_REPLY, a1);
    EXPECT_EQ(state(), HostState::awake);
}

TEST_F(Restored, AnotherStageOfTheKernelIsNoWatch) {
    to_asleep();
    EXPECT_EQ(restart(PZ_STAGE_UNANSWERED), look_for_it) << "its link was lost";
    EXPECT_EQ(restart(PZ_STAGE_ARMING), look_for_it);
}

TEST_F(Restored, AHostThatFellAsleepOrWasWokenUnnoticedGoesOnAsTheKernelHasIt) {
    to_arming();
    EXPECT_EQ(restart(PZ_STAGE_ASLEEP), Lines{"serve"});
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(restart(PZ_STAGE_WAKING), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Restored, AHostThatFallsAsleepGetsItsTimeAnew) {
    to_arming();
    EXPECT_EQ(restart(PZ_STAGE_ARMING), Lines{"watch"});
    EXPECT_EQ(state(), HostState::arming);
    now += 2900ms;
    EXPECT_EQ(lines(tick()), Lines{});
    now += 100ms;
    tick();
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Restored, WhoWasToFallAsleepWhenNobodyWatchedIsLookedFor) {
    to_arming();
    EXPECT_EQ(restart(PZ_STAGE_NONE), look_for_it);
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Restored, R35_AWakeGoesOn) {
    to_waking(a1);
    EXPECT_EQ(restart(PZ_STAGE_WAKING), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_TRUE(desk().extra->awaited.empty() || desk().extra->awaited == Ips{a1});
    now += 60s;
    tick();
    EXPECT_EQ(state(), HostState::unreachable) << "its limit counts anew";
    EXPECT_EQ(restart(PZ_STAGE_UNANSWERED), Lines{"serve_unanswered"});
    EXPECT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(lines(table.on_sought(desk().id, generation(), now)).front(), "send_magic");
}

TEST_F(Restored, WithoutALinkEverythingWaitsForIt) {
    to_asleep();
    const Host kept = desk();
    table = PresenceTable(TableOptions{});
    table.link_lost(lan);
    EXPECT_EQ(lines(table.restore(kept, PZ_STAGE_ASLEEP, now)), look_for_it);
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    table.link_back(lan, now);
    EXPECT_EQ(lines(tick()), ask_for_all);
}

TEST_F(Restored, AnAddressThatEndedMeanwhileIsNotServed) {
    to_asleep();
    Host kept = desk();
    kept.extra.edit().valid_until = {std::nullopt, now + 1s, std::nullopt};
    now += 2s;
    table = PresenceTable(TableOptions{});
    EXPECT_EQ(lines(table.restore(kept, PZ_STAGE_ASLEEP, now)), (Lines{"notice address-expired", "serve"}));
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a6}));
}

TEST_F(Restored, WhatIsSaidToHappenLaterHasHappened) { // by a wall clock that was ahead, or is behind
    to_asleep();
    Host kept = desk();
    kept.since = now + 100h;
    kept.configured = now + 100h;
    table = PresenceTable(TableOptions{});
    ASSERT_TRUE(table.restore(kept, PZ_STAGE_ASLEEP, now));
    EXPECT_EQ(desk().since, now);
    EXPECT_EQ(desk().configured, now);
}

TEST_F(Restored, IdsAndGenerationsGoOn) {
    to_asleep();
    Host kept = desk();
    kept.id = 7;
    kept.generation = 41;
    table = PresenceTable(TableOptions{});
    ASSERT_TRUE(table.restore(kept, PZ_STAGE_ASLEEP, now));
    EXPECT_EQ(desk().id, 7U);
    EXPECT_EQ(add(config("b", 2, {{IpAddress::v4({192, 0, 2, 20})}})), 0U) << "the lowest free one";
    ASSERT_TRUE(table.request_sleep("b", now));
    EXPECT_EQ(table.find("b")->generation, 42U);
    table.skip_generations(100);
    ASSERT_TRUE(table.request_release("desk", now));
    to_arming();
    EXPECT_EQ(generation(), 101U);
    // an id that is taken, or that there is no room for: another one, which the kernel did not watch
    kept.configure(config("c", 3, {{IpAddress::v4({192, 0, 2, 30})}}));
    EXPECT_EQ(lines(table.restore(kept, PZ_STAGE_ASLEEP, now)), look_for_it);
    kept.configure(config("d", 4, {{IpAddress::v4({192, 0, 2, 40})}}));
    kept.id = 4'000'000'000U;
    ASSERT_TRUE(table.restore(kept, PZ_STAGE_NONE, now));
    EXPECT_LT(table.find("d")->id, 10U);
    EXPECT_FALSE(table.restore(kept, PZ_STAGE_NONE, now)) << "it is there";
}

// ---- the record ----------------------------------------------------------------------------------------------------

TEST_F(Table, ANewHostIsAwakeAndNothingIsPending) {
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "configured");
    EXPECT_EQ(desk().generation, 0U);
    EXPECT_EQ(desk().identity, Identity::host);
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    EXPECT_EQ(table.in_care(), 0U);
    EXPECT_EQ(table.size(), 1U);
    EXPECT_EQ(table.get(desk().id), table.find("desk"));
    EXPECT_EQ(table.find("des"), nullptr);
    EXPECT_EQ(table.get(17), nullptr);
}

TEST_F(Table, IdsAreTheLowestFreeOnes) {
    EXPECT_EQ(add(config("b", 2, {{IpAddress::v4({192, 0, 2, 20})}})), 1U);
    EXPECT_EQ(add(config("c", 3, {{IpAddress::v4({192, 0, 2, 30})}})), 2U);
    EXPECT_EQ(add(config("d", 4, {{IpAddress::v4({192, 0, 2, 40})}})), 3U);
    ASSERT_TRUE(table.remove("c").has_value());
    ASSERT_TRUE(table.remove("desk").has_value());
    EXPECT_EQ(add(config("e", 5, {{IpAddress::v4({192, 0, 2, 50})}})), 0U);
    EXPECT_EQ(add(config("f", 6, {{IpAddress::v4({192, 0, 2, 60})}})), 2U);
    EXPECT_EQ(add(config("g", 7, {{IpAddress::v4({192, 0, 2, 70})}})), 4U);
    EXPECT_EQ(table.names(), (Lines{"b", "d", "e", "f", "g"}));
}

TEST_F(Table, AReusedIdGetsANewGeneration) {
    to_asleep();
    const std::uint32_t old = generation();
    const HostId id = desk().id;
    ASSERT_TRUE(table.remove("desk").has_value());
    EXPECT_EQ(add(config("desk", 9, {{a1}})), id);
    EXPECT_EQ(generation(), 0U);
    EXPECT_EQ(lines(table.on_trigger(id, 0, a1, false, now)), (Lines{"drop_held 192.0.2.1"})) << "0 is no generation";
    to_arming();
    EXPECT_GT(generation(), old);
}

TEST_F(Table, EverySleepGetsANewGenerationFromOneCounter) {
    add(config("b", 2, {{IpAddress::v4({192, 0, 2, 20})}}));
    std::uint32_t last = 0;
    for (int i = 0; i < 5; ++i)
        for (const char* name : {"desk", "b"}) {
            ASSERT_TRUE(table.request_sleep(name, now).has_value());
            EXPECT_GT(table.find(name)->generation, last);
            last = table.find(name)->generation;
            ASSERT_TRUE(table.request_release(name, now).has_value());
            EXPECT_EQ(table.find(name)->generation, last);
        }
}

/// `refused` is refused with `code` and `field`, the message names `value`, and the table is as before.
void expect_refused(PresenceTable& table, const HostConfig& refused, bool replace, Errc code, const char* field,
                    const std::string& value, Instant now, SegmentId segment = lan) {
    const Lines names = table.names();
    const Host* const host = table.find(refused.name);
    const HostConfig config_before = host != nullptr ? host->config() : HostConfig{};
    const Instant configured_before = host != nullptr ? host->configured : Instant{};
    const Result<HostId> result = table.set(refused, segment, replace, now);
    ASSERT_FALSE(result.has_value()) << value;
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_EQ(result.error().field, field) << result.error().message;
    EXPECT_TRUE(result.error().message.starts_with(field)) << result.error().message;
    EXPECT_TRUE(contains(result.error().message, value)) << result.error().message;
    EXPECT_EQ(table.names(), names);
    if (host != nullptr) {
        EXPECT_EQ(table.find(refused.name)->config(), config_before);
        EXPECT_EQ(table.find(refused.name)->configured, configured_before);
    }
}

TEST_F(Table, RefusesWhatIsTakenOnTheSameNetworkAndNamesTheOwner) {
    now += 1s;
    const IpAddress free = IpAddress::v4({192, 0, 2, 20});
    expect_refused(table, config("desk", 2, {{free}}), false, Errc::exists, "name", "'desk'", now);
    expect_refused(table, config("b", 1, {{free}}), false, Errc::exists, "mac", "02:00:00:00:00:01", now);
    expect_refused(table, config("b", 1, {{free}}), false, Errc::exists, "mac", "'desk'", now);
    expect_refused(table, config("b", 2, {{free}, {a2}}), false, Errc::exists, "ip", "192.0.2.2", now);
    expect_refused(table, config("b", 2, {{free}, {a6}}), false, Errc::exists, "ip", "2001:db8::1", now);
    expect_refused(table, config("b", 2, {{free}}), false, Errc::invalid, "interface", "''", now, PZ_NO_SEGMENT);
    expect_refused(table, config("", 2, {{free}}), false, Errc::invalid, "name", "''", now);
    // A second MAC counts as much as the first.
    HostConfig two = config("b", 2, {{free}});
    two.macs.push_back({{2, 0, 0, 0, 0, 1}});
    expect_refused(table, two, false, Errc::exists, "mac", "02:00:00:00:00:01", now);
    // Nothing of what was refused is left behind.
    add(config("b", 2, {{free}}));
}

TEST_F(Table, AnotherNetworkMayUseTheSameMacAndAddresses) {
    add(config("b", 1, {{a1}, {a6}}), lan + 1);
    EXPECT_EQ(table.find("b")->segment, lan + 1);
}

TEST_F(Table, C29_C32_NamesAndServicesAreUniqueOnANetwork) {
    HostConfig desk = config("desk", 1, {{a1}, {a2}, {a6}});
    desk.offers = {
        .hostnames = {"desk.local", "Files.office.local"},
        .services = {{.type = "_ssh._tcp", .port = 22}, {.type = "_ipp._tcp", .port = 631, .instance = "P"}}};
    ASSERT_TRUE(table.set(desk, lan, true, now));
    const auto with = [](HostOffers offers) {
        HostConfig other = config("b", 2, {{IpAddress::v4({192, 0, 2, 20})}});
        other.offers = std::move(offers);
        return other;
    };
    const auto refused = [&](HostOffers offers, const char* field, const char* value) {
        expect_refused(table, with(std::move(offers)), false, Errc::exists, field, value, now);
    };
    refused({.hostnames = {"b", "DESK.local"}}, "hostname",
            "'DESK.local': host 'desk' on the same network has 'desk.local'");
    refused({.hostnames = {"desk"}}, "hostname", "'desk.local' already");
    refused({.hostnames = {"files.local"}}, "hostname", "'Files.office.local' already");
    refused({.hostnames = {"b.local"}, .services = {{.type = "_IPP._tcp", .port = 1, .instance = "p"}}}, "service",
            "'_IPP._tcp': host 'desk' on the same network has the instance 'p' already");
    refused({.hostnames = {"b.local"}, .services = {{.type = "_ssh._tcp", .port = 1, .instance = "desk"}}}, "service",
            "the instance 'desk' already");

    add(with({.hostnames = {"b.local"}, .services = {{.type = "_ssh._tcp", .port = 22}}}), lan + 1);
    ASSERT_TRUE(table.remove("b"));
    add(with({.hostnames = {"b.local"},
              .services = {{.type = "_ssh._tcp", .port = 22}, {.type = "_http._tcp", .port = 80, .instance = "P"}}}));
    desk.offers.hostnames = {"other.local"}; // gives up two, takes one
    ASSERT_TRUE(table.set(desk, lan, true, now));
    EXPECT_EQ(table.find("desk")->config(), desk);
    ASSERT_TRUE(table.set(with({.hostnames = {"desk", "files.local"}}), lan, true, now));
    expect_refused(table, desk, false, Errc::exists, "name", "'desk'", now);
    desk.offers.hostnames = {"files"};
    desk.offers.services.clear();
    expect_refused(table, desk, true, Errc::exists, "hostname", "host 'b'", now);
    ASSERT_TRUE(table.remove("b"));
    ASSERT_TRUE(table.set(desk, lan, true, now));
}

TEST(TableBounds, C29_ManyNamesAndServicesAreFoundAtOnce) {
    PresenceTable table{TableOptions{.max_hosts = 200'000, .max_addresses4 = 200'000, .max_macs = 200'000}};
    const auto host = [](std::uint32_t i, std::uint32_t number) {
        HostConfig out;
        out.name = fmt::format("h{}", i);
        out.macs = {{{2, 0, 0, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8),
                      static_cast<std::uint8_t>(i)}}};
        out.addresses = {{IpAddress::v4({10, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8),
                                         static_cast<std::uint8_t>(i)})}};
        out.offers = {.hostnames = {fmt::format("h{}.local", number)}, .services = {{.type = "_ssh._tcp", .port = 22}}};
        return out;
    };
    constexpr std::uint32_t many = 100'000; // each compared with each other one would take minutes
    for (std::uint32_t i = 0; i < many; ++i)
        ASSERT_TRUE(table.set(host(i, i), lan, false, start));
    EXPECT_EQ(table.set(host(many, 77'777), lan, false, start).error().field, "hostname");
    EXPECT_TRUE(table.set(host(many, many), lan, false, start));
}

TEST_F(Table, WhatAHostOffersCostsNothingWhereThereIsNothing) {
    EXPECT_EQ(sizeof(Host::offers), sizeof(void*));
    HostConfig desk = config("desk", 1, {{a1}});
    desk.offers.service_ports_wake = false;
    ASSERT_TRUE(table.set(desk, lan, true, now));
    EXPECT_EQ(table.find("desk")->config(), desk);
    ASSERT_TRUE(table.set(config("desk", 1, {{a1}}), lan, true, now));
    EXPECT_EQ(table.find("desk")->config(), config("desk", 1, {{a1}}));
}

TEST_F(Table, ReplaceAddsOrChangesTheAwakeHost) {
    const HostId id = desk().id;
    to_asleep();
    trigger();
    now += 2s;
    release(PZ_SIGN_IP, a1);
    now += 1s;
    HostConfig changed = config("desk", 7, {{a2}, {IpAddress::v4({192, 0, 2, 9})}});
    changed.identity = Identity::proxy;
    const Result<HostId> set = table.set(changed, lan, true, now);
    ASSERT_TRUE(set.has_value()) << set.error().message;
    EXPECT_EQ(*set, id);
    EXPECT_EQ(desk().config(), changed);
    EXPECT_EQ(desk().configured, now);
    EXPECT_EQ(desk().identity, Identity::proxy);
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(desk().extra->last_wake_latency, 2s);
    // What it gave up is free, what it kept is not.
    add(config("b", 1, {{a1}, {a6}}));
    expect_refused(table, config("c", 3, {{a2}}), false, Errc::exists, "ip", "192.0.2.2", now);
    ASSERT_TRUE(table.set(config("new", 4, {{IpAddress::v4({192, 0, 2, 40})}}), lan, true, now).has_value());
    EXPECT_NE(table.find("new"), nullptr);
}

TEST_F(Table, AHostInCareIsNotChanged) {
    const HostConfig changed = config("desk", 7, {{a2}});
    to_arming();
    expect_refused(table, changed, true, Errc::busy, "name", "arming", now);
    now += 3s;
    tick();
    expect_refused(table, changed, true, Errc::busy, "name", "asleep", now);
    trigger(a1);
    expect_refused(table, changed, true, Errc::busy, "name", "waking", now);
    release(PZ_SIGN_DAD, a1);
    expect_refused(table, changed, true, Errc::busy, "name", "packets wait", now);
    proof(PZ_SIGN_REPLY, a1);
    EXPECT_TRUE(table.set(changed, lan, true, now).has_value());
}

TEST_F(Table, AnUnreachableHostIsNotChanged) {
    to_unreachable();
    expect_refused(table, config("desk", 7, {{a2}}), true, Errc::busy, "name", "release it first", now);
}

TEST(TableBounds, HostsAndAddressesOfEachFamilyAreCounted) {
    PresenceTable table{TableOptions{.max_hosts = 3, .max_addresses4 = 3, .max_addresses6 = 2}};
    const auto v4 = [](std::uint8_t n) { return HostAddress{IpAddress::v4({192, 0, 2, n})}; };
    const auto v6 = [](std::uint8_t n) {
        return HostAddress{IpAddress::v6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n})};
    };
    const auto set = [&](HostConfig c, bool replace = false) {
        return table.set(std::move(c), lan, replace, start).has_value();
    };
    ASSERT_TRUE(set(config("a", 1, {v4(1), v4(2), v6(1)})));
    expect_refused(table, config("b", 2, {v4(3), v4(4)}), false, Errc::limit, "ip",
                   "the 2 IPv4 addresses of host 'b' do not fit", start);
    expect_refused(table, config("b", 2, {v6(2), v6(3)}), false, Errc::limit, "ip", "2 IPv6 addresses", start);
    ASSERT_TRUE(set(config("b", 2, {v4(3), v6(2)})));
    expect_refused(table, config("c", 3, {v4(4)}), false, Errc::limit, "ip", "3 of 3", start);
    // A replaced host's own addresses count for it.
    ASSERT_TRUE(set(config("a", 1, {v4(5), v4(6), v6(5)}), true));
    expect_refused(table, config("a", 1, {v4(5), v4(6), v4(7)}), true, Errc::limit, "ip", "3 IPv4 addresses", start);
    ASSERT_TRUE(set(config("a", 1, {v4(5)}), true));
    ASSERT_TRUE(set(config("c", 3, {v4(4), v6(4)})));
    expect_refused(table, config("d", 4, {v4(9)}), false, Errc::limit, "name", "full with 3", start);
    ASSERT_TRUE(table.remove("b").has_value());
    EXPECT_TRUE(set(config("d", 4, {v4(9)})));
    EXPECT_EQ(table.find("d")->id, 1U);
}

TEST(TableBounds, MacsAreCounted) {
    PresenceTable table{TableOptions{.max_macs = 2}};
    const auto with_macs = [](std::string name, std::initializer_list<std::uint8_t> macs) {
        HostConfig c = config(std::move(name), 0, {{IpAddress::v4({192, 0, 2, *macs.begin()})}});
        c.macs.clear();
        for (const auto n : macs)
            c.macs.push_back({{2, 0, 0, 0, 0, n}});
        return c;
    };
    expect_refused(table, with_macs("a", {1, 2, 3}), false, Errc::limit, "mac",
                   "the 3 MACs of host 'a' do not fit, the table holds 0 of 2", start);
    ASSERT_TRUE(table.set(with_macs("a", {1}), lan, false, start));
    expect_refused(table, with_macs("b", {2, 3}), false, Errc::limit, "mac", "1 of 2", start);
    ASSERT_TRUE(table.set(with_macs("a", {1, 4}), lan, true, start)); // a replaced host's own count for it
    expect_refused(table, with_macs("b", {2}), false, Errc::limit, "mac", "2 of 2", start);
}

TEST(TableBounds, TheDefaultIdentityIsTheDaemonsChoice) {
    PresenceTable table{TableOptions{.default_identity = Identity::proxy}};
    ASSERT_TRUE(table.set(config("a", 1, {{a1}}), lan, false, start).has_value());
    HostConfig own = config("b", 2, {{a2}});
    own.identity = Identity::host;
    ASSERT_TRUE(table.set(own, lan, false, start).has_value());
    EXPECT_EQ(table.find("a")->identity, Identity::proxy);
    EXPECT_EQ(table.find("b")->identity, Identity::host);
}

TEST_F(Table, RequestsForAnUnknownHostNameIt) {
    for (const Result<Effects>& result : {table.request_sleep("x", now), table.request_release("x", now),
                                          table.request_wake("x", now), table.remove("x")}) {
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().code, Errc::not_found);
        EXPECT_EQ(result.error().field, "name");
        EXPECT_TRUE(contains(result.error().message, "'x'")) << result.error().message;
    }
}

// ---- awake -> arming -> asleep -------------------------------------------------------------------------------------

TEST_F(Table, R32_SleepDirectiveStartsProxyOperationOnceTheHostIsSilent) {
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"watch"}));
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_EQ(desk().since_reason.get(), "sleep requested");
    EXPECT_EQ(table.in_care(), 1U);
    EXPECT_EQ(run_until(3s),
              (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1", "3 announce"}));
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(desk().since, start + 3s);
}

TEST_F(Table, ASecondSleepRequestChangesNothing) {
    to_arming();
    const std::uint32_t first = generation();
    now += 1s;
    EXPECT_EQ(lines(table.request_sleep("desk", now)), Lines{});
    EXPECT_EQ(table.next_deadline(), start + 3s);
    now = start + 3s;
    tick();
    EXPECT_EQ(lines(table.request_sleep("desk", now)), Lines{});
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(generation(), first);
}

TEST_F(Table, TheOwnersFramesRestartTheSilence) {
    to_arming();
    seen = start + 1s;
    EXPECT_EQ(table.next_deadline(), start + 3s);
    now = start + 3s;
    EXPECT_EQ(lines(tick()), Lines{});
    EXPECT_EQ(table.next_deadline(), start + 4s);
    seen = start + 3900ms;
    now = start + 4s;
    EXPECT_EQ(lines(tick()), Lines{});
    EXPECT_EQ(run_until(10s), (Lines{"6.9 serve", "6.9 probe 192.0.2.1", "6.9 probe 192.0.2.2", "6.9 probe 2001:db8::1",
                                     "6.9 announce", "8.9 announce"}));
}

TEST_F(Table, FramesBeforeTheSleepRequestDoNotShortenTheSilence) {
    seen = start - 2900ms;
    to_arming();
    EXPECT_EQ(run_until(3s),
              (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1", "3 announce"}));
}

TEST_F(Table, AHostThatNeverFallsSilentIsAwakeAgain) {
    to_arming();
    Lines out;
    while (state() == HostState::arming) {
        now = *table.next_deadline();
        seen = now - 100ms;
        for (const std::string& text : lines(tick()))
            out.push_back(text);
    }
    EXPECT_EQ(now, start + 60s);
    EXPECT_EQ(out, (Lines{"forget", "notice sleep-abandoned"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "sleep abandoned");
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Table, SilenceAtTheVeryLimitIsSleep) {
    to_arming();
    seen = start + 57s;
    now = start + 60s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "probe 192.0.2.1", "probe 192.0.2.2", "probe 2001:db8::1", "announce"}));
}

TEST_F(Table, TheLastFrameBeforeTheLimitStillCounts) {
    to_arming();
    now = start + 58s;
    seen = start + 57500ms;
    EXPECT_EQ(lines(tick()), Lines{});
    EXPECT_EQ(table.next_deadline(), start + 60s) << "the limit comes before 3 s of silence";
}

TEST_F(Table, ProbeOrDadWhileArmingEndsIt) {
    for (const pz_sign sign : {PZ_SIGN_ARP_PROBE, PZ_SIGN_DAD}) {
        to_arming();
        EXPECT_EQ(lines(release(sign, a1)), (Lines{"forget"}));
        EXPECT_EQ(state(), HostState::awake);
        EXPECT_TRUE(desk().since_reason.get().starts_with("sign of life: ")) << desk().since_reason.get();
        EXPECT_EQ(table.next_deadline(), std::nullopt);
    }
    EXPECT_EQ(desk().since_reason.get(), "sign of life: duplicate address detection");
}

TEST_F(Table, R32_ReleaseDirectiveWhileArmingEndsIt) {
    to_arming();
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "release requested");
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Table, R35_WakeWhileArmingIsKeptForWhenTheHostSleeps) {
    to_arming();
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"send_magic"})) << "it may be asleep already";
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_EQ(run_until(3s),
              (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1", "3 announce"}));
    EXPECT_EQ(run_until(4s), (Lines{"4 stage_waking", "4 send_magic"})) << "after the base line";
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().since_reason.get(), "wake requested");
    EXPECT_EQ(desk().wakes, 1U);
}

TEST_F(Table, AWakeWhileArmingDoesNotOutliveTheStay) {
    to_arming();
    ASSERT_TRUE(table.request_wake("desk", now).has_value());
    release(PZ_SIGN_DAD, a1);
    ASSERT_EQ(state(), HostState::awake);
    to_asleep();
    now += 1h;
    tick();
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Table, EventsWhileArmingThatEndNothing) {
    to_arming();
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), Lines{});
    EXPECT_EQ(lines(trigger()), Lines{});
    EXPECT_EQ(lines(trigger(a1)), (Lines{"drop_held 192.0.2.1"}));
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_EQ(table.next_deadline(), start + 3s);
}

// ---- asleep --------------------------------------------------------------------------------------------------------

TEST_F(Table, AnnouncesTwiceThenKeepsTheSwitchAwake) {
    to_arming();
    EXPECT_EQ(run_until(730s), (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1",
                                      "3 announce", "5 announce", "245 refresh", "485 refresh", "725 refresh"}));
}

TEST_F(Table, EachSleepAsksAnewWhetherTheNicAnswers) {
    const Lines asleep = {"serve", "probe 192.0.2.1", "probe 192.0.2.2", "probe 2001:db8::1", "announce"};
    for (int i = 0; i < 2; ++i) {
        to_arming();
        now += 3s - 1ns;
        EXPECT_EQ(lines(tick()), Lines{});
        now += 1ns;
        const Effects effects = tick();
        EXPECT_EQ(lines(effects), asleep);
        for (const Effect& effect : effects)
            EXPECT_EQ(effect.host, desk().id);
        release(PZ_SIGN_IP, a1);
    }
}

TEST_F(Table, TheGroupsAreRefreshedWithTheGatewaysOwnMacToo) {
    HostConfig proxied = desk().config();
    proxied.identity = Identity::proxy;
    ASSERT_TRUE(table.set(proxied, lan, true, now).has_value());
    to_arming();
    EXPECT_EQ(run_until(300s), (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1",
                                      "3 announce", "5 announce", "245 refresh"}));
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Table, ALateTickDoesEachThingOnce) {
    to_asleep();
    now += 1h;
    EXPECT_EQ(lines(tick()), (Lines{"announce"}));
    EXPECT_EQ(table.next_deadline(), now + 240s);
    now += 1h;
    EXPECT_EQ(lines(tick()), (Lines{"refresh"}));
    EXPECT_EQ(table.next_deadline(), now + 240s);
}

TEST_F(Table, ASignOfLifeWhileAsleepEndsProxyOperation) {
    const std::vector<std::pair<pz_sign, const char*>> signs = {
        {PZ_SIGN_ARP_REQUEST, "ARP request"},
        {PZ_SIGN_ARP_PROBE, "ARP probe"},
        {PZ_SIGN_ARP_ANNOUNCEMENT, "ARP announcement"},
        {PZ_SIGN_DAD, "duplicate address detection"},
        {PZ_SIGN_ND, "Neighbour Discovery"},
        {PZ_SIGN_DHCP, "DHCP"},
        {PZ_SIGN_GROUP, "IGMP or MLD"},
        {PZ_SIGN_IP, "IP packet"},
    };
    for (const auto& [sign, name] : signs) {
        to_asleep();
        EXPECT_EQ(lines(release(sign)), (Lines{"stop_answering", "forget"})) << name;
        EXPECT_EQ(state(), HostState::awake) << name;
        EXPECT_EQ(desk().since_reason.get(), fmt::format("sign of life: {}", name));
        EXPECT_EQ(table.next_deadline(), std::nullopt) << name;
    }
    EXPECT_EQ(desk().extra->last_wake_latency, Duration::zero()) << "it woke by itself";
    EXPECT_EQ(desk().wakes, 0U);
}

TEST_F(Table, R32_ReleaseDirectiveWhileAsleepEndsProxyOperation) {
    to_asleep();
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "release requested");
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    EXPECT_EQ(lines(table.request_release("desk", now)), Lines{});
}

// ---- asleep -> waking ----------------------------------------------------------------------------------------------

TEST_F(Table, ATriggerWakesAndTheMagicPacketIsRepeatedWithBackOff) {
    to_asleep();
    run_until(10s);
    EXPECT_EQ(lines(trigger(a1)), (Lines{"stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().since_reason.get(), "trigger: packet to 192.0.2.1");
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(desk().activity->triggered, now);
    EXPECT_EQ(desk().extra->awaited, (Ips{a1}));
    EXPECT_EQ(run_until(200s),
              with_probes({"11 send_magic", "13 send_magic", "17 send_magic", "25 send_magic", "41 send_magic",
                           "57 send_magic", "70 stage_unanswered", "70 drop_held", "70 notice unreachable"},
                          10500ms, 69500ms, {a1}));
    EXPECT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(desk().since_reason.get(), "did not wake in time");
    EXPECT_EQ(desk().extra->awaited, Ips{});
}

TEST_F(Table, TheFirstMagicPacketIsNotSentTwice) {
    to_asleep();
    EXPECT_EQ(lines(trigger(std::nullopt, true)), (Lines{"stage_waking"}));
    EXPECT_EQ(desk().since_reason.get(), "trigger");
    EXPECT_EQ(run_until(5s), with_probes({"4 send_magic"}, 3500ms, 5s, {a1}));
}

TEST_F(Table, FurtherTriggersOnlyAddTheAddressesAwaited) {
    to_waking(a1);
    const Instant triggered = desk().activity->triggered;
    now += 400ms;
    EXPECT_EQ(lines(trigger(a1, true)), Lines{});
    EXPECT_EQ(lines(trigger(a6)), Lines{});
    EXPECT_EQ(lines(trigger()), Lines{});
    EXPECT_EQ(desk().extra->awaited, (Ips{a1, a6}));
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(desk().activity->triggered, triggered);
    EXPECT_EQ(run_until(5s), with_probes({"4 send_magic"}, 3500ms, 5s, {a1, a6}));
}

TEST_F(Table, WakingMakesTheSecondAnnouncementUnnecessary) {
    to_waking();
    for (const std::string& text : run_until(1h))
        EXPECT_FALSE(contains(text, "announce") || contains(text, "refresh")) << text;
}

// ---- identity proxy: the neighbours learn the host's own MAC again ------------------------------------------------

class ProxyIdentity : public Table {
protected:
    void SetUp() override {
        auto host = config("desk", 1, {{a1}, {a2}, {a6}});
        host.identity = Identity::proxy;
        add(std::move(host));
    }
};

TEST_F(ProxyIdentity, AnAddressIsHandedBackWhenItsOwnerUsesIt) {
    to_waking(a1);
    EXPECT_EQ(lines(release(PZ_SIGN_DAD, a1)), (Lines{"stop_answering", "probe 192.0.2.1"}))
        << "an announcement now would contradict the host's DAD";
    EXPECT_EQ(lines(proof(PZ_SIGN_ARP_ANNOUNCEMENT, a1)),
              (Lines{"hand_back 192.0.2.1", "deliver 192.0.2.1", "forget"}));
}

TEST_F(ProxyIdentity, TheOtherAddressesAreHandedBackWhenProbingMustBeOver) {
    to_waking();
    EXPECT_EQ(lines(release(PZ_SIGN_ND, a6)), (Lines{"stop_answering", "hand_back 2001:db8::1", "forget"}));
    EXPECT_EQ(run_until(1h), (Lines{"11 hand_back 192.0.2.1", "11 hand_back 192.0.2.2"}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(ProxyIdentity, AHostThatSleepsAgainIsNotHandedBack) {
    to_waking();
    release(PZ_SIGN_ND, a6);
    to_asleep();
    now += 1h;
    for (const std::string& text : lines(tick()))
        EXPECT_FALSE(contains(text, "hand_back")) << text;
}

TEST_F(ProxyIdentity, AChangedHostIsNotHandedBack) {
    to_waking();
    release(PZ_SIGN_ND, a6);
    ASSERT_TRUE(table.set(config("desk", 1, {{a1}}), lan, true, now).has_value());
    EXPECT_EQ(run_until(1h), Lines{});
}

TEST_F(Table, R35_WakeRequestWakesASleepingHost) {
    to_asleep();
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().since_reason.get(), "wake requested");
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(run_until(6s), with_probes({"4 send_magic", "6 send_magic"}, 3500ms, 6s, {a1}));
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_REQUEST, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(desk().extra->last_wake_latency, 3s);
}

TEST_F(Table, WakeRequestWhileWakingSendsAtOnceAndKeepsTheBackOff) {
    to_waking(a1);
    run_until(3700ms);
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"send_magic"}));
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(run_until(6s), with_probes({"4 send_magic", "6 send_magic"}, 4s, 6s, {a1})) << "nor are the probes moved";
}

TEST_F(Table, AWakingHostIsAskedEveryHalfSecondForTheAwaitedAddresses) {
    to_waking(a6);
    trigger(a2);
    const Instant woken = now;
    EXPECT_EQ(table.next_deadline(), woken + 500ms);
    now = woken + 500ms - 1ns;
    EXPECT_EQ(lines(tick()), Lines{});
    now = woken + 500ms;
    EXPECT_EQ(lines(tick()), (Lines{"probe 2001:db8::1", "probe 192.0.2.2"}));
    EXPECT_EQ(lines(tick()), Lines{}) << "once";
    EXPECT_EQ(table.next_deadline(), woken + 1s);
    now = woken + 1s - 1ns;
    EXPECT_EQ(lines(tick()), Lines{});
    now = woken + 1s;
    EXPECT_EQ(lines(tick()), (Lines{"send_magic", "probe 2001:db8::1", "probe 192.0.2.2"}));
    EXPECT_EQ(table.next_deadline(), woken + 1500ms);
    // After a late tick the next is a full interval away, and what was missed is not made up for.
    now = woken + 1900ms;
    EXPECT_EQ(lines(tick()), (Lines{"probe 2001:db8::1", "probe 192.0.2.2"}));
    EXPECT_EQ(table.next_deadline(), woken + 2400ms);
}

TEST_F(Table, AWakingHostThatNothingWaitsForIsAskedForItsFirstAddress) {
    to_waking();
    EXPECT_EQ(run_until(4s), (Lines{"3.5 probe 192.0.2.1", "4 send_magic", "4 probe 192.0.2.1"}));
    EXPECT_EQ(lines(trigger(a6)), Lines{}) << "the next probe is soon enough";
    EXPECT_EQ(run_until(5s), (Lines{"4.5 probe 2001:db8::1", "5 probe 2001:db8::1"}));
}

TEST_F(Table, TheFirstProbeOfAWakeIsHalfASecondAfterItsTriggerAlsoWithoutAMagicPacketOfOurs) {
    to_asleep();
    run_until(4s);
    EXPECT_EQ(lines(trigger(a2, true)), (Lines{"stage_waking"}));
    EXPECT_EQ(run_until(5s), (Lines{"4.5 probe 192.0.2.2", "5 send_magic", "5 probe 192.0.2.2"}));
}

TEST_F(Table, TheProbesOfAWakeEndWithTheSignOfLife) {
    to_waking(a1);
    run_until(3600ms);
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    now += 1h;
    EXPECT_EQ(lines(tick()), Lines{});
}

TEST_F(Table, AfterTheSignOfLifeTheReturnsOwnIntervalHolds) {
    to_waking(a1);
    run_until(3600ms);
    EXPECT_EQ(lines(release(PZ_SIGN_DHCP)), (Lines{"stop_answering", "probe 192.0.2.1"}));
    EXPECT_EQ(run_until(4200ms), (Lines{"3.8 probe 192.0.2.1", "4 probe 192.0.2.1", "4.2 probe 192.0.2.1"}));
}

TEST_F(Table, TheProbesOfAWakeEndWhenTheHostIsUnreachable) {
    to_waking(a1);
    const Lines out = run_until(1h);
    ASSERT_GT(out.size(), 4U);
    EXPECT_EQ(Lines(out.end() - 4, out.end()),
              (Lines{"62.5 probe 192.0.2.1", "63 stage_unanswered", "63 drop_held", "63 notice unreachable"}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Table, TheProbesOfAWakeEndWithASleepRequest) {
    to_waking(a1);
    run_until(3600ms);
    ASSERT_TRUE(table.request_sleep("desk", now).has_value());
    EXPECT_EQ(table.next_deadline(), start + 6600ms);
}

TEST_F(Table, WakeRequestForAnAwakeHostIsRefused) {
    const Result<Effects> result = table.request_wake("desk", now);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::busy);
    EXPECT_EQ(result.error().field, "name");
    EXPECT_TRUE(contains(result.error().message, "awake")) << result.error().message;
    to_returning();
    EXPECT_FALSE(table.request_wake("desk", now).has_value());
}

// ---- waking -> awake: held packets and their addresses -------------------------------------------------------------

TEST_F(Table, TheSignThatUsesTheAddressDeliversAtOnce) {
    for (const pz_sign sign : {PZ_SIGN_ARP_REQUEST, PZ_SIGN_ARP_ANNOUNCEMENT, PZ_SIGN_ND, PZ_SIGN_IP}) {
        to_waking(a1);
        now += 700ms;
        EXPECT_EQ(lines(release(sign, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"})) << sign;
        EXPECT_EQ(state(), HostState::awake);
        EXPECT_EQ(desk().extra->last_wake_latency, 700ms);
        EXPECT_EQ(table.next_deadline(), std::nullopt);
    }
    EXPECT_EQ(desk().wakes, 4U);
}

TEST_F(Table, ASignThatDoesNotProveTheAddressLeadsToProbes) {
    for (const pz_sign sign : {PZ_SIGN_ARP_PROBE, PZ_SIGN_DAD, PZ_SIGN_DHCP, PZ_SIGN_GROUP}) {
        to_waking(a1);
        EXPECT_EQ(lines(release(sign, a1)), (Lines{"stop_answering", "probe 192.0.2.1"})) << sign;
        EXPECT_EQ(state(), HostState::awake);
        EXPECT_EQ(table.next_deadline(), now + 200ms);
        now += 200ms;
        EXPECT_EQ(lines(tick()), (Lines{"probe 192.0.2.1"}));
        EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"})) << sign;
        EXPECT_EQ(table.next_deadline(), std::nullopt);
    }
}

TEST_F(Table, EveryAddressWaitsForItsOwnProof) {
    to_waking(a1);
    trigger(a2);
    trigger(a6);
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a2)),
              (Lines{"stop_answering", "deliver 192.0.2.2", "probe 192.0.2.1", "probe 2001:db8::1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a2)), Lines{});
    EXPECT_EQ(lines(proof(PZ_SIGN_ND, a6)), (Lines{"deliver 2001:db8::1"}));
    EXPECT_EQ(run_until(3500ms), (Lines{"3.2 probe 192.0.2.1", "3.4 probe 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(Table, ProofIsAnyUseOfTheAddressButAProbe) {
    for (const pz_sign sign : {PZ_SIGN_ARP_REQUEST, PZ_SIGN_ARP_ANNOUNCEMENT, PZ_SIGN_ND, PZ_SIGN_DHCP, PZ_SIGN_GROUP,
                               PZ_SIGN_IP, PZ_SIGN_REPLY}) {
        to_returning();
        EXPECT_EQ(lines(proof(PZ_SIGN_ARP_PROBE, a1)), Lines{});
        EXPECT_EQ(lines(proof(PZ_SIGN_DAD, a1)), Lines{});
        EXPECT_EQ(lines(proof(sign, std::nullopt)), Lines{});
        EXPECT_EQ(lines(proof(sign, a2)), Lines{});
        EXPECT_EQ(lines(proof(sign, a1)), (Lines{"deliver 192.0.2.1", "forget"})) << sign;
    }
}

TEST_F(Table, AnAddressThatDoesNotComeBackLosesItsPackets) {
    to_waking(a1);
    trigger(a2);
    release(PZ_SIGN_DHCP);
    proof(PZ_SIGN_IP, a2);
    const Lines out = run_until(20s);
    ASSERT_EQ(out.size(), 49U + 3U);
    EXPECT_EQ(out.front(), "3.2 probe 192.0.2.1");
    EXPECT_EQ(out[48], "12.8 probe 192.0.2.1");
    EXPECT_EQ(out[49], "13 drop_held 192.0.2.1");
    EXPECT_EQ(out[50], "13 notice address-not-back");
    EXPECT_EQ(out[51], "13 forget");
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    EXPECT_EQ(state(), HostState::awake);
}

TEST_F(Table, RepeatedReleaseEventsAfterTheReleaseAreProofsOrNothing) {
    to_returning();
    EXPECT_EQ(lines(release(PZ_SIGN_DAD, a1)), Lines{});
    EXPECT_EQ(lines(release(PZ_SIGN_DHCP, a1)), Lines{});
    EXPECT_EQ(table.next_deadline(), now + 200ms) << "they do not put the probes off";
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), Lines{});
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), Lines{});
}

TEST_F(Table, AProofThatOvertakesItsReleaseReleases) {
    to_waking(a1);
    now += 1s;
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().extra->last_wake_latency, 1s);
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_PROBE, a1)), Lines{});
}

TEST_F(Table, AReplyIsNotASignOfLifeOfAHostThatNobodyWoke) {
    to_arming();
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), Lines{});
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_EQ(table.next_deadline(), start + 3s);
    now += 3s;
    tick();
    ASSERT_EQ(state(), HostState::asleep);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), Lines{});
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(table.next_deadline(), start + 5s);
    EXPECT_EQ(desk().extra->proven, Ips{});
    // Nor does it count later.
    trigger(a1);
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().extra->awaited, (Ips{a1}));
    EXPECT_EQ(desk().extra->last_wake_latency, Duration::zero());
}

TEST_F(Table, AReplyWhileWakingReleasesAndDelivers) {
    to_waking(a1);
    now += 500ms;
    EXPECT_EQ(lines(tick()), (Lines{"probe 192.0.2.1"}));
    now += 3ms;
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "sign of life: reply");
    EXPECT_EQ(desk().extra->last_wake_latency, 503ms);
    EXPECT_EQ(desk().extra->proven, (Ips{a1}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), Lines{}) << "once";
}

TEST_F(Table, AReplyWhileWakingProvesItsOwnAddressOnly) {
    to_waking(a1);
    trigger(a2);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a2)), (Lines{"stop_answering", "deliver 192.0.2.2", "probe 192.0.2.1"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(Table, AReplyWhileWakingReleasesAHostThatNothingWaitsFor) {
    to_waking();
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Table, AReplyThatTheBaseLineDoesNotCoverIsNotASignOfLife) {
    to_waking(a1);
    now += 100ms;
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, IpAddress::parse("fe80::1").value())), Lines{});
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, std::nullopt)), Lines{});
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().extra->last_wake_latency, Duration::zero());
    EXPECT_EQ(desk().extra->awaited, (Ips{a1}));
    EXPECT_EQ(table.next_deadline(), start + 3500ms);
}

TEST_F(Table, WhatTheKernelReleasedIsReleasedWhateverTheSign) {
    for (const pz_sign sign : {PZ_SIGN_NONE, PZ_SIGN_REPLY}) {
        to_waking(a1);
        EXPECT_EQ(lines(release(sign, a1)), (Lines{"stop_answering", "probe 192.0.2.1"})) << sign;
        EXPECT_EQ(state(), HostState::awake);
    }
}

TEST_F(Table, AReleaseStampedBeforeItsTriggerHasNoNegativeLatency) {
    to_waking();
    now -= 1ms;
    release(PZ_SIGN_IP, a1);
    EXPECT_EQ(desk().extra->last_wake_latency, Duration::zero());
}

TEST_F(Table, OnlyTheHostsOwnAddressesAreRememberedAsProven) {
    to_returning();
    proof(PZ_SIGN_IP, IpAddress::v4({192, 0, 2, 200}));
    EXPECT_EQ(desk().extra->proven, Ips{});
    proof(PZ_SIGN_IP, a2);
    proof(PZ_SIGN_IP, a2);
    EXPECT_EQ(desk().extra->proven, (Ips{a2}));
    to_arming();
    EXPECT_EQ(desk().extra->proven, Ips{});
}

TEST_F(Table, TheTimeLimitOfAReturnIsExactAfterALateProbe) {
    to_returning();
    const Instant released = now;
    now += 9900ms;
    EXPECT_EQ(lines(tick()), (Lines{"probe 192.0.2.1"}));
    EXPECT_EQ(table.next_deadline(), released + 10s);
}

TEST_F(Table, R32_ReleaseDirectiveWhileWakingLeadsToProbesBeforeDelivery) {
    to_waking(a1);
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"stop_answering", "probe 192.0.2.1"}));
    EXPECT_EQ(desk().since_reason.get(), "release requested");
    EXPECT_EQ(lines(table.request_release("desk", now)), Lines{});
    // The kernel was not told by a frame: the owner's first one is a release event.
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_ANNOUNCEMENT, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(Table, ASleepRequestEndsAReturnOrAWake) {
    to_returning();
    const std::uint32_t before = generation();
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"forget", "drop_held", "watch"}));
    EXPECT_GT(generation(), before);
    EXPECT_EQ(desk().extra->awaited, Ips{});
    EXPECT_EQ(table.next_deadline(), now + 3s);
    now += 3s;
    tick();
    trigger(a1);
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"forget", "drop_held", "watch"}));
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_EQ(desk().extra->awaited, Ips{});
}

// ---- triggers that come too late -----------------------------------------------------------------------------------

TEST_F(Table, APacketHeldDuringTheReleaseIsDeliveredIfItsAddressIsProven) {
    to_waking(a1);
    release(PZ_SIGN_IP, a1);
    EXPECT_EQ(lines(trigger(a1, true)), (Lines{"deliver 192.0.2.1"}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Table, APacketHeldDuringTheReleaseIsNotLostThoughTheHostWasForgotten) {
    to_asleep();
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_PROBE)), (Lines{"stop_answering", "forget"}));
    now += 1ms;
    EXPECT_EQ(lines(trigger(a1, true)), (Lines{"watch", "stage_waking", "probe 192.0.2.1"}));
    EXPECT_EQ(desk().activity->state_deadline, now + 10s);
    EXPECT_EQ(table.next_deadline(), now + 200ms);
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().wakes, 0U);
    EXPECT_EQ(lines(trigger(a1, true)), Lines{});
    EXPECT_EQ(lines(trigger(a6, true)), (Lines{"probe 2001:db8::1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a6)), (Lines{"deliver 2001:db8::1", "forget"}));
}

TEST_F(Table, APacketHeldLateKeepsTheTimeLimitOfTheReturn) {
    to_returning();
    const Instant released = now;
    now += 5s;
    tick();
    trigger(a2);
    Lines out;
    while (table.next_deadline()) {
        now = *table.next_deadline();
        out = lines(tick());
    }
    EXPECT_EQ(now, released + 10s);
    EXPECT_EQ(out, (Lines{"drop_held 192.0.2.1", "notice address-not-back", "drop_held 192.0.2.2",
                          "notice address-not-back", "forget"}));
}

TEST_F(Table, ATriggerOfAnEarlierCareChangesNothingAndItsPacketIsDropped) {
    to_asleep();
    const std::uint32_t stale = generation();
    release(PZ_SIGN_IP, a2);
    to_asleep();
    EXPECT_EQ(lines(table.on_trigger(desk().id, stale, a1, true, now)), (Lines{"drop_held 192.0.2.1"}));
    EXPECT_EQ(lines(table.on_trigger(desk().id, stale, std::nullopt, true, now)), Lines{});
    EXPECT_EQ(lines(table.on_trigger(desk().id, generation() + 1, std::nullopt, true, now)), Lines{});
    EXPECT_EQ(state(), HostState::asleep);
    trigger(a1);
    // It waits in the same queue as those of the present wake: dropping it would drop them.
    EXPECT_EQ(lines(table.on_trigger(desk().id, stale, a1, true, now)), Lines{});
}

TEST_F(Table, ATriggerForARemovedHostDropsItsPacket) {
    to_asleep();
    const HostId id = desk().id;
    const std::uint32_t last = generation();
    ASSERT_TRUE(table.remove("desk").has_value());
    const Effects effects = table.on_trigger(id, last, a1, true, now);
    EXPECT_EQ(lines(effects), (Lines{"drop_held 192.0.2.1"}));
    EXPECT_EQ(effects[0].host, id);
    EXPECT_EQ(lines(table.on_trigger(id, last, std::nullopt, true, now)), Lines{});
}

TEST_F(Table, APacketToAnAddressThatIsNotTheHostsIsDropped) {
    to_asleep();
    const IpAddress strange = IpAddress::v4({192, 0, 2, 200});
    EXPECT_EQ(lines(trigger(strange)), (Lines{"stage_waking", "send_magic", "drop_held 192.0.2.200"}));
    EXPECT_EQ(desk().extra->awaited, Ips{});
}

TEST_F(Table, OwnerEventsOfAnotherGenerationOrHostAreIgnored) {
    to_waking(a1);
    for (const std::uint32_t other : {0U, generation() - 1, generation() + 1})
        EXPECT_EQ(lines(table.on_owner(desk().id, other, PZ_EVENT_RELEASE, PZ_SIGN_IP, a1, now)), Lines{});
    EXPECT_EQ(lines(table.on_owner(desk().id + 1, generation(), PZ_EVENT_RELEASE, PZ_SIGN_IP, a1, now)), Lines{});
    EXPECT_EQ(lines(table.on_owner(desk().id, generation(), PZ_EVENT_TRIGGER, PZ_SIGN_IP, a1, now)), Lines{});
    EXPECT_EQ(lines(table.on_owner(desk().id, generation(), PZ_EVENT_CONFLICT, PZ_SIGN_IP, a1, now)), Lines{});
    EXPECT_EQ(state(), HostState::waking);
}

// ---- unreachable ---------------------------------------------------------------------------------------------------

TEST_F(Table, AnUnreachableHostIsWokenAgainOnRequest) {
    to_waking();
    run_until(63s);
    ASSERT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    EXPECT_EQ(table.in_care(), 1U);
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().wakes, 2U);
    EXPECT_EQ(run_until(68s), with_probes({"64 send_magic", "66 send_magic"}, 63500ms, 68s, {a1}))
        << "the back-off and the probes start anew";
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_REQUEST, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(desk().extra->last_wake_latency, 5s);
}

TEST_F(Table, ALateSignOfLifeOfAnUnreachableHostMakesItAwake) {
    to_unreachable();
    now += 1h;
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_ANNOUNCEMENT, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "sign of life: ARP announcement");
}

TEST_F(Table, WhoeverLooksForAnUnreachableHostHasItWokenAtGrowingIntervals) {
    table.set(config("desk", 1, {{a1}, {a6}}), lan, true, now).value();
    to_unreachable();
    const auto sought = [&] { return lines(table.on_sought(desk().id, generation(), now)); };
    const Lines attempt{"send_magic", "probe 192.0.2.1", "probe 2001:db8::1"};
    EXPECT_EQ(sought(), Lines{}) << "it was just woken in vain";
    for (const auto interval : {30s, 60s, 120s, 240s, 480s, 900s, 900s}) {
        now += interval - 1ns;
        EXPECT_EQ(sought(), Lines{}) << interval.count();
        now += 1ns;
        EXPECT_EQ(sought(), attempt) << interval.count();
        EXPECT_EQ(sought(), Lines{});
    }
    EXPECT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(table.next_deadline(), std::nullopt) << "nobody looks for it, nothing is sent";
    EXPECT_EQ(lines(table.on_sought(desk().id, generation() + 1, now + 1h)), Lines{});
    EXPECT_EQ(lines(table.on_sought(desk().id + 1, generation(), now + 1h)), Lines{});
}

TEST_F(Table, OnlyAnUnreachableHostIsSought) {
    const auto sought = [&] { return lines(table.on_sought(desk().id, generation(), now + 1h)); };
    EXPECT_EQ(sought(), Lines{});
    to_arming();
    EXPECT_EQ(sought(), Lines{});
    to_asleep();
    EXPECT_EQ(sought(), Lines{});
    trigger();
    EXPECT_EQ(sought(), Lines{});
}

TEST_F(Table, AnUnreachableHostThatAnswersTheProbeIsAwake) {
    to_unreachable();
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, IpAddress::v4({192, 0, 2, 99}))), Lines{}) << "not an address of its own";
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(desk().since_reason.get(), "sign of life: reply");
}

TEST_F(Table, R32_DirectivesReachAnUnreachableHost) {
    to_unreachable();
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"forget", "drop_held", "watch"}));
    EXPECT_EQ(state(), HostState::arming);
    ASSERT_TRUE(table.remove("desk").has_value());
    add(config("desk", 1, {{a1}}));
    to_unreachable();
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
}

TEST_F(Table, APacketHeldJustAsTheHostBecameUnreachableIsDropped) {
    to_unreachable();
    EXPECT_EQ(lines(trigger(a1, true)), (Lines{"drop_held 192.0.2.1"}));
    EXPECT_EQ(state(), HostState::unreachable);
}

// ---- addresses that a host has to renew -----------------------------------------------------------------------------

TEST_F(Table, R41_AHostIsWokenBeforeItsAddressEnds) {
    table.set(config("desk", 1, {{a1, false, 3600s}, {a6}}), lan, true, now).value();
    to_asleep();
    EXPECT_EQ(table.next_deadline(), start + 5s);
    const Lines all = run_until(3481s);
    const auto wake = std::ranges::find(all, "3480 stage_waking");
    ASSERT_NE(wake, all.end());
    EXPECT_EQ(*(wake + 1), "3480 send_magic");
    EXPECT_EQ(desk().since_reason.get(), "192.0.2.1 is to be renewed");
    EXPECT_EQ(lines(release(PZ_SIGN_DHCP)), (Lines{"stop_answering", "forget"}));
}

TEST_F(Table, R41_AShortValidityLeavesAQuarterForTheRenewal) {
    table.set(config("desk", 1, {{a1, false, 100s}}), lan, true, now).value();
    to_asleep();
    run_until(75s - 1ns);
    EXPECT_EQ(state(), HostState::asleep);
    run_until(75s);
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Table, R41_AHostThatDoesNotRenewIsWokenOnceAndItsAddressEnds) {
    table.set(config("desk", 1, {{a1, false, 400s}, {a6}}), lan, true, now).value();
    to_asleep();
    run_until(300s);
    ASSERT_EQ(state(), HostState::waking);
    release(PZ_SIGN_IP, a1);
    to_asleep();
    const Lines all = run_until(500s);
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_NE(std::ranges::find(all, "400 stop_answering 192.0.2.1"), all.end());

    table.request_release("desk", now).value();
    table.set(desk().config(), lan, true, now).value();
    to_asleep();
    run_until(800s + 3s);
    EXPECT_EQ(state(), HostState::waking) << "configured anew";
}

TEST_F(Table, R41_AHostThatDoesNotWakeLosesTheAddressWhenItEnds) {
    table.set(config("desk", 1, {{a1, false, 480s}, {a6}}), lan, true, now).value();
    to_asleep();
    run_until(360s);
    ASSERT_EQ(state(), HostState::waking);
    run_until(430s);
    ASSERT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(run_until(500s),
              (Lines{"480 stop_answering 192.0.2.1", "480 drop_held 192.0.2.1", "480 notice address-expired"}));
}

TEST_F(Table, ATemporaryAddressEndsWithoutAWake) {
    table.set(config("desk", 1, {{a1}, {a6, true, 100s}}), lan, true, now).value();
    to_asleep();
    const Lines all = run_until(200s);
    EXPECT_NE(std::ranges::find(all, "100 stop_answering 2001:db8::1"), all.end());
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Table, AHostThatFallsAsleepWithItsAddressAboutToEndIsWokenAfterTheBaseLine) {
    table.set(config("desk", 1, {{a1, false, 100s}}), lan, true, now).value();
    run_until(90s);
    to_asleep(); // at 93 s
    EXPECT_EQ(table.next_deadline(), start + 94s);
    run_until(94s);
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Table, R41_AnExtensionOfOneAddressIsNoReasonToWakeForAnotherAgain) {
    const IpAddress prefix = IpAddress::parse("2001:db8::").value();
    table.set(config("desk", 1, {{a1, false, 400s}, {a6, false, 4h}}), lan, true, now).value();
    to_asleep();
    run_until(300s);
    ASSERT_EQ(state(), HostState::waking);
    release(PZ_SIGN_IP, a1);
    table.on_prefix(lan, prefix, 5h, now);
    to_asleep();
    run_until(399s);
    EXPECT_EQ(state(), HostState::asleep) << "it was woken for this address before";
}

// ---- router advertisements -----------------------------------------------------------------------------------------

class Prefix : public Table {
protected:
    const IpAddress prefix = IpAddress::parse("2001:db8::").value();
    const IpAddress temporary = IpAddress::parse("2001:db8::7").value();
    const IpAddress elsewhere = IpAddress::parse("2001:db8:0:1::1").value();

    void SetUp() override {
        add(config("desk", 1, {{a1, false, 3h}, {a6, false, 3h}, {temporary, true, 3h}, {elsewhere, false, 3h}}));
    }
    void advertise(std::optional<std::chrono::seconds> valid) { table.on_prefix(lan, prefix, valid, now); }
    /// After the start; of a1, a6, temporary, elsewhere.
    std::vector<std::optional<Duration>> until() const {
        std::vector<std::optional<Duration>> all;
        for (const auto& each : desk().extra->valid_until)
            all.push_back(each ? std::optional<Duration>(*each - start) : std::nullopt);
        return all;
    }
    using Ends = std::vector<std::optional<Duration>>;
};

TEST_F(Prefix, AnAdvertisementExtendsTheAddressesInItsPrefix) {
    now += 1h;
    advertise(4h);
    EXPECT_EQ(until(), (Ends{3h, 5h, 5h, 3h}));
    table.on_prefix(lan + 1, prefix, 9h, now);
    EXPECT_EQ(until(), (Ends{3h, 5h, 5h, 3h})) << "another link";
    table.on_prefix(lan, IpAddress::parse("2001:db8:0:2::").value(), 6h, now);
    EXPECT_EQ(until(), (Ends{3h, 5h, 5h, 3h})) << "no prefix of ours";
}

TEST_F(Prefix, ALongerOneMayShortenIt) {
    advertise(10h);
    advertise(2h + 1s);
    EXPECT_EQ(until(), (Ends{3h, 2h + 1s, 2h + 1s, 3h}));
}

TEST_F(Prefix, AShortOneLeavesTwoHours) {
    advertise(0s);
    EXPECT_EQ(until(), (Ends{3h, 2h, 2h, 3h})) << "RFC 4862 section 5.5.3 e 3";
    now += 1h;
    advertise(60s);
    EXPECT_EQ(until(), (Ends{3h, 2h, 2h, 3h})) << "RFC 4862 section 5.5.3 e 2: less than two hours are left";
    advertise(61min);
    EXPECT_EQ(until(), (Ends{3h, 2h + 1min, 2h + 1min, 3h})) << "section 5.5.3 e 1: longer than what is left";
}

TEST_F(Prefix, AnInfiniteOneIsForEverButNotForTemporaryAddresses) {
    advertise(std::nullopt);
    EXPECT_EQ(until(), (Ends{3h, std::nullopt, 48h, 3h}));
    advertise(100h);
    EXPECT_EQ(until(), (Ends{3h, std::nullopt, 48h, 3h})) << "what is valid for ever does not age";
}

TEST_F(Prefix, AddressesWithoutValidityAndExpiredOnesAreLeftAlone) {
    table.set(config("desk", 1, {{a6}, {temporary, true, 10s}}), lan, true, now).value();
    to_asleep();
    run_until(20s);
    advertise(3h);
    EXPECT_EQ(until(), (Ends{std::nullopt, 10s}));
    EXPECT_EQ(desk().extra->expired, (Ips{temporary}));
}

TEST_F(Prefix, AsLongAsRoutersAdvertiseNobodyIsWokenForTheAddress) {
    table.set(config("desk", 1, {{a6, false, 600s}}), lan, true, now).value();
    to_asleep();
    for (auto at = 100s; at <= 3000s; at += 200s) {
        run_until(at);
        ASSERT_EQ(state(), HostState::asleep);
        advertise(600s);
    }
    run_until(2900s + 480s - 1ns);
    EXPECT_EQ(state(), HostState::asleep);
    run_until(2900s + 480s);
    EXPECT_EQ(state(), HostState::waking);
}

// ---- remove --------------------------------------------------------------------------------------------------------

TEST_F(Table, RemoveLeavesNothingFromAnyState) {
    const auto remove_and_add = [&] {
        EXPECT_EQ(lines(table.remove("desk")), (Lines{"forget", "drop_held"}));
        EXPECT_EQ(table.size(), 0U);
        EXPECT_EQ(table.find("desk"), nullptr);
        EXPECT_EQ(table.next_deadline(), std::nullopt);
        add(config("desk", 1, {{a1}, {a2}, {a6}}));
    };
    remove_and_add();
    to_arming();
    remove_and_add();
    to_asleep();
    remove_and_add();
    to_waking(a1);
    remove_and_add();
    to_returning();
    remove_and_add();
    to_unreachable();
    remove_and_add();
}

// ---- conflicts -----------------------------------------------------------------------------------------------------

TEST_F(Table, R24_ASingleClaimIsDefendedAndTheHostSleepsOn) {
    to_asleep();
    EXPECT_EQ(lines(claim(a1)), (Lines{"defend 192.0.2.1"}));
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a2, a6}));
}

TEST_F(Table, R24_ASecondClaimWithinTenSecondsLetsTheAddressGoAndWakesTheHost) {
    to_asleep();
    claim(a1);
    now += 10s - 1ns;
    EXPECT_EQ(table.defence(desk(), a1, now), Defence::let_go);
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1", "stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().since_reason.get(), "conflict: another node uses 192.0.2.1");
    EXPECT_EQ(desk().wakes, 1U);
    EXPECT_EQ(answered_addresses(desk()), (Ips{a2, a6}));
    EXPECT_EQ(lines(claim(a1)), Lines{}) << "it is no longer ours";
    EXPECT_EQ(table.defence(desk(), a1, now), Defence::none);
}

TEST_F(Table, R24_ClaimsThatAreTenSecondsApartAreDefendedEachTime) {
    to_asleep();
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(lines(claim(a1)), (Lines{"defend 192.0.2.1"}));
        now += 10s;
    }
    EXPECT_EQ(state(), HostState::asleep);
    claim(a1);
    now += 9s;
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1", "stage_waking", "send_magic"}))
        << "counted from the last claim";
}

TEST_F(Table, R24_EachAddressIsDefendedForItself) {
    to_asleep();
    EXPECT_EQ(lines(claim(a1)), (Lines{"defend 192.0.2.1"}));
    EXPECT_EQ(lines(claim(a6)), (Lines{"defend 2001:db8::1"}));
    now += 1s;
    EXPECT_EQ(lines(claim(a6)), (Lines{"stop_answering 2001:db8::1", "stage_waking", "send_magic"}));
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a2}));
}

TEST_F(Table, R24_WhileWakingClaimsAreMetTheSameWayWithoutAnotherWake) {
    to_waking();
    EXPECT_EQ(lines(claim(a2)), (Lines{"defend 192.0.2.2"}));
    now += 100ms;
    EXPECT_EQ(lines(claim(a2)), (Lines{"stop_answering 192.0.2.2"}));
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(desk().wakes, 1U);
}

TEST_F(Table, R24_AClaimWhileAsleepCountsOnceTheHostIsWoken) {
    to_asleep();
    claim(a1);
    now += 1s;
    trigger(a2);
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1"}));
}

TEST_F(Table, AnUnreachableHostsAddressIsLetGoAtTheFirstClaim) {
    to_unreachable();
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1"}));
    EXPECT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(answered_addresses(desk()), (Ips{a2, a6}));
}

TEST_F(Table, ClaimsOfWhatIsNotAnsweredForChangeNothing) {
    EXPECT_EQ(lines(claim(a1)), Lines{}) << "awake";
    to_arming();
    EXPECT_EQ(lines(claim(a1)), Lines{}) << "arming";
    EXPECT_EQ(lines(claim(a1)), Lines{});
    EXPECT_EQ(state(), HostState::arming);
    now += 3s;
    tick();
    EXPECT_EQ(lines(claim(IpAddress::v4({192, 0, 2, 77}))), Lines{}) << "not its address";
    EXPECT_EQ(lines(table.on_conflict(desk().id, generation() - 1, a1, now)), Lines{}) << "an earlier stay";
    EXPECT_EQ(lines(table.on_conflict(99, generation(), a1, now)), Lines{});
    release(PZ_SIGN_IP, a1);
    EXPECT_EQ(lines(claim(a1)), Lines{}) << "the owner is back and looks after itself";
    EXPECT_EQ(desk().extra->claims.size(), 0U);
    EXPECT_EQ(desk().extra->let_go, Ips{});
}

TEST_F(Table, ClaimsOfAnEarlierStayDoNotCount) {
    to_asleep();
    claim(a1);
    release(PZ_SIGN_IP, a1);
    to_asleep();
    ASSERT_LT(now - start, 10s);
    EXPECT_EQ(lines(claim(a1)), (Lines{"defend 192.0.2.1"}));
}

/// desk is waking, a1 was let go because of a conflict.
class LetGo : public Table {
protected:
    void SetUp() override {
        Table::SetUp();
        to_asleep();
        claim(a1);
        claim(a1);
        ASSERT_EQ(state(), HostState::waking);
        ASSERT_EQ(desk().extra->let_go, (Ips{a1}));
    }
    void to_asleep_again() {
        ASSERT_TRUE(table.request_sleep("desk", now).has_value());
        now += 3s;
        tick();
        ASSERT_EQ(state(), HostState::asleep);
    }
};

TEST_F(LetGo, TheOwnerThatUsesTheAddressHasItAgain) {
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_ANNOUNCEMENT, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(desk().extra->let_go, Ips{});
    to_arming();
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a2, a6}));
}

TEST_F(LetGo, AnOwnerThatIsBackIsAskedForTheAddress) {
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_PROBE, a1)), (Lines{"stop_answering", "probe 192.0.2.1"})) << "not yet used";
    EXPECT_EQ(desk().extra->let_go, (Ips{a1}));
    now += 100ms;
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(desk().extra->let_go, Ips{});
}

TEST_F(LetGo, AnAddressThatTheOwnerIsNotSeenToUseStaysLetGo) {
    release(PZ_SIGN_DHCP);
    now += 10s;
    EXPECT_EQ(lines(tick()), (Lines{"drop_held 192.0.2.1", "notice address-not-back", "forget"}));
    EXPECT_EQ(desk().extra->let_go, (Ips{a1}));
    to_asleep();
    EXPECT_EQ(answered_addresses(desk()), (Ips{a2, a6}));
    EXPECT_TRUE(contains(desk().since_reason.get(), "192.0.2.1 is not answered for")) << desk().since_reason.get();
    EXPECT_EQ(lines(claim(a1)), Lines{}) << "not defended either";
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), (Lines{"stop_answering", "stage_waking", "deliver 192.0.2.1", "forget"}));
    to_asleep();
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a2, a6}));
    EXPECT_FALSE(contains(desk().since_reason.get(), "192.0.2.1")) << desk().since_reason.get();
}

TEST_F(LetGo, IfTheHostDoesNotWakeTheAddressStaysLetGo) {
    now += 60s;
    tick();
    ASSERT_EQ(state(), HostState::unreachable);
    EXPECT_EQ(lines(table.request_wake("desk", now)), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(answered_addresses(desk()), (Ips{a2, a6}));
    to_asleep_again();
    EXPECT_EQ(answered_addresses(desk()), (Ips{a2, a6}));
}

TEST_F(LetGo, ConfiguringAgainAnswersForTheAddressAgain) {
    release(PZ_SIGN_DHCP);
    now += 10s;
    tick();
    ASSERT_TRUE(table.set(desk().config(), lan, true, now).has_value());
    EXPECT_EQ(desk().extra->let_go, Ips{});
}

TEST_F(LetGo, PacketsGoOnWaitingForTheOwner) {
    trigger(a1); // it came before the address was let go
    EXPECT_EQ(desk().extra->awaited, (Ips{a1}));
    EXPECT_EQ(lines(release(PZ_SIGN_DAD, a1)), (Lines{"stop_answering", "probe 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(LetGo, AHostWithNoOtherAddressIsStillAskedWhetherItIsAwake) {
    EXPECT_EQ(lines((now += 500ms, tick())), (Lines{"probe 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
}

TEST_F(LetGo, AnExpiredAddressIsNotAskedForAgain) {
    ASSERT_TRUE(table.request_release("desk", now).has_value());
    now += 10s;
    tick();
    ASSERT_TRUE(table.set(config("desk", 1, {{a1, false, 30s}}), lan, true, now).has_value());
    to_asleep();
    claim(a1);
    claim(a1);
    now += 30s;
    tick();
    EXPECT_EQ(desk().extra->expired, (Ips{a1}));
    EXPECT_EQ(lines(release(PZ_SIGN_DHCP)), (Lines{"stop_answering", "forget"}));
}

TEST_F(LetGo, WithIdentityProxyItIsNotHandedBackUnlessTheOwnerUsesIt) {
    ASSERT_TRUE(table.request_release("desk", now).has_value());
    now += 10s;
    tick();
    HostConfig as_proxy = config("desk", 1, {{a1}, {a2}});
    as_proxy.identity = Identity::proxy;
    ASSERT_TRUE(table.set(as_proxy, lan, true, now).has_value());
    to_asleep();
    claim(a1);
    claim(a1);
    release(PZ_SIGN_DHCP);
    now += 8s;
    const Lines handed = lines(tick());
    EXPECT_TRUE(std::ranges::find(handed, "hand_back 192.0.2.2") != handed.end());
    EXPECT_TRUE(std::ranges::find(handed, "hand_back 192.0.2.1") == handed.end()) << "the other node uses it";
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), (Lines{"hand_back 192.0.2.1", "deliver 192.0.2.1", "forget"}));
}

// ---- addresses that age --------------------------------------------------------------------------------------------

/// Hosts that are not woken for their addresses' sake.
class Ageing : public Table {
protected:
    void SetUp() override {
        table = PresenceTable({.timers = {.renew_ahead = 0s}});
        add(config("desk", 1, {{a1}, {a2, false, 10s}, {a6, true, 20s}}));
    }
};

TEST_F(Ageing, AnAddressPastItsValidityIsNoLongerAnswered) {
    to_arming();
    EXPECT_EQ(run_until(100s),
              (Lines{"3 serve", "3 probe 192.0.2.1", "3 probe 192.0.2.2", "3 probe 2001:db8::1", "3 announce",
                     "5 announce", "10 stop_answering 192.0.2.2", "10 drop_held 192.0.2.2", "10 notice address-expired",
                     "20 stop_answering 2001:db8::1", "20 drop_held 2001:db8::1", "20 notice address-expired"}));
    EXPECT_EQ(desk().extra->expired, (Ips{a2, a6}));
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(table.next_deadline(), start + 245s);
}

TEST_F(Ageing, AnExpiryWhileArmingDoesNotShortenTheSilence) {
    run_until(9s);
    to_arming();
    EXPECT_EQ(run_until(12s),
              (Lines{"10 stop_answering 192.0.2.2", "10 drop_held 192.0.2.2", "10 notice address-expired", "12 serve",
                     "12 probe 192.0.2.1", "12 probe 2001:db8::1", "12 announce"}));
}

TEST_F(Ageing, ItIsNotServedAtALaterSleepEither) {
    run_until(15s);
    EXPECT_EQ(table.next_deadline(), std::nullopt) << "an awake host looks after its addresses itself";
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"notice address-expired", "watch"}));
    EXPECT_EQ(desk().extra->expired, (Ips{a2}));
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"forget"}));
    now = start + 17s;
    EXPECT_EQ(lines(table.request_sleep("desk", now)), (Lines{"watch"})) << "said once";
    EXPECT_EQ(run_until(23s),
              (Lines{"20 stop_answering 2001:db8::1", "20 drop_held 2001:db8::1", "20 notice address-expired",
                     "20 serve", "20 probe 192.0.2.1", "20 announce", "22 announce"}));
}

TEST_F(Ageing, WithEveryAddressExpiredNobodyIsAskedForButMagicPacketsGoOn) {
    ASSERT_TRUE(table.set(config("desk", 1, {{a1, false, 3s}, {a6, true, 2s}}), lan, true, now).has_value());
    to_arming();
    EXPECT_EQ(run_until(3s), (Lines{"2 stop_answering 2001:db8::1", "2 drop_held 2001:db8::1",
                                    "2 notice address-expired", "3 stop_answering 192.0.2.1", "3 drop_held 192.0.2.1",
                                    "3 notice address-expired", "3 serve", "3 announce"}));
    EXPECT_EQ(lines(trigger()), (Lines{"stage_waking", "send_magic"}));
    EXPECT_EQ(run_until(10s), (Lines{"4 send_magic", "6 send_magic", "10 send_magic"}));
}

TEST_F(Ageing, AWakingHostIsAskedForTheFirstAddressThatHasNotExpired) {
    ASSERT_TRUE(table.set(config("desk", 1, {{a1, false, 4s}, {a2, false, 6s}, {a6}}), lan, true, now).has_value());
    to_waking();
    EXPECT_EQ(run_until(6500ms),
              (Lines{"3.5 probe 192.0.2.1", "4 stop_answering 192.0.2.1", "4 drop_held 192.0.2.1",
                     "4 notice address-expired", "4 send_magic", "4 probe 192.0.2.2", "4.5 probe 192.0.2.2",
                     "5 probe 192.0.2.2", "5.5 probe 192.0.2.2", "6 stop_answering 192.0.2.2", "6 drop_held 192.0.2.2",
                     "6 notice address-expired", "6 send_magic", "6 probe 2001:db8::1", "6.5 probe 2001:db8::1"}));
}

TEST_F(Ageing, AReplyFromAnExpiredAddressIsNotASignOfLife) {
    to_waking();
    run_until(12s);
    ASSERT_EQ(desk().extra->expired, (Ips{a2}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a2)), Lines{});
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "forget"}));
}

TEST_F(Ageing, ConfiguringAgainStartsTheValidityAnew) {
    to_asleep();
    run_until(12s);
    release(PZ_SIGN_IP, a1);
    ASSERT_TRUE(table.set(desk().config(), lan, true, now).has_value());
    EXPECT_EQ(desk().extra->expired, Ips{});
    to_asleep();
    EXPECT_EQ(run_until(22s), (Lines{"17 announce", "22 stop_answering 192.0.2.2", "22 drop_held 192.0.2.2",
                                     "22 notice address-expired"}));
}

TEST_F(Ageing, APacketHeldForAnExpiredAddressIsDropped) {
    to_waking(a2);
    trigger(a1);
    Lines expected = with_probes({"4 send_magic", "6 send_magic"}, 3500ms, 9500ms, {a2, a1});
    for (const char* text : {"10 stop_answering 192.0.2.2", "10 drop_held 192.0.2.2", "10 notice address-expired",
                             "10 send_magic", "10 probe 192.0.2.1"})
        expected.emplace_back(text);
    EXPECT_EQ(run_until(10s), expected);
    EXPECT_EQ(desk().extra->awaited, (Ips{a1}));
    EXPECT_EQ(lines(trigger(a2)), (Lines{"drop_held 192.0.2.2"}));
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
}

TEST_F(Ageing, AnUnreachableHostsAddressesExpireToo) {
    ASSERT_TRUE(table.set(config("desk", 1, {{a1, false, 100s}}), lan, true, now).has_value());
    to_unreachable();
    EXPECT_EQ(table.next_deadline(), start + 100s);
    EXPECT_EQ(run_until(100s),
              (Lines{"100 stop_answering 192.0.2.1", "100 drop_held 192.0.2.1", "100 notice address-expired"}));
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Ageing, TheLongestValidityDoesNotOverflow) {
    ASSERT_TRUE(
        table.set(config("desk", 1, {{a1, false, std::chrono::seconds(4'294'967'295)}}), lan, true, now).has_value());
    to_asleep();
    EXPECT_EQ(table.next_deadline(), start + 5s);
    EXPECT_EQ(desk().extra->expired, Ips{});
}

// ---- links ----------------------------------------------------------------------------------------------------------

class Links : public Table {
protected:
    Effects lose() { return table.link_lost(lan); }
    /// With what follows at once.
    Effects regain() {
        Effects effects = table.link_back(lan, now);
        std::ranges::copy(tick(), std::back_inserter(effects));
        return effects;
    }
    /// Nothing is due and nothing happens, however long the link is away.
    void expect_rest(Duration away = 10min) {
        EXPECT_EQ(table.next_deadline(), std::nullopt);
        now += away;
        EXPECT_EQ(lines(tick()), Lines{});
    }
};

TEST_F(Links, R2_R34_ASleeperIsNeitherAnsweredForNorAnnouncedNorWokenWithoutALink) {
    to_asleep();
    EXPECT_EQ(lines(lose()), Lines{"stage_unanswered"});
    expect_rest();
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(lines(lose()), Lines{}) << "it is lost already";
}

TEST_F(Links, R2_ASleeperWhoseLinkIsBackIsLookedForThenServedAndAnnouncedForAMinute) {
    to_asleep();
    lose();
    now = start + 1h;
    EXPECT_EQ(lines(regain()), (Lines{"probe 192.0.2.1", "probe 192.0.2.2", "probe 2001:db8::1"}));
    EXPECT_EQ(lines(regain()), Lines{}) << "it is back already";
    const double t = 3600;
    Lines expected;
    const std::array in_turn{"192.0.2.1", "192.0.2.2", "2001:db8::1"};
    for (std::size_t i = 0; i < 5; ++i)
        expected.push_back(fmt::format("{:g} probe {}", t + 0.5 * static_cast<double>(i + 1), in_turn[i % 3]));
    expected.push_back(fmt::format("{:g} serve", t + 3));
    for (const double at : {3.0, 4.0, 6.0, 10.0, 18.0, 34.0, 66.0})
        expected.push_back(fmt::format("{:g} announce", t + at));
    EXPECT_EQ(run_until(1h + 70s), expected);
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(run_until(1h + 66s + 240s), (Lines{fmt::format("{:g} refresh", t + 66 + 240)}));
}

TEST_F(Links, AHostThatAnswersWhenItsLinkIsBackIsAwake) {
    to_asleep();
    lose();
    now += 1min;
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), Lines{}) << "nobody asked yet";
    regain();
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, IpAddress::v4({192, 0, 2, 99}))), Lines{}) << "nobody asked for that";
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a2)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(state(), HostState::awake);
    expect_rest();
}

TEST_F(Links, ASignOfLifeWithoutALinkOrWhenItIsBackReleases) {
    for (const bool back : {false, true}) {
        to_asleep();
        lose();
        if (back)
            regain();
        EXPECT_EQ(lines(release(PZ_SIGN_DAD, a1)), (Lines{"stop_answering", "forget"}));
        EXPECT_EQ(state(), HostState::awake);
        expect_rest();
        regain();
    }
}

TEST_F(Links, AReplyAfterTheHostIsServedAgainIsTheNics) {
    to_asleep();
    lose();
    regain();
    now += 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), Lines{});
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Links, R33_AnotherNetworkGoesOn) {
    add(config("other", 1, {{a1}}), lan + 1);
    to_arming();
    ASSERT_TRUE(table.request_sleep("other", now).has_value());
    lose();
    EXPECT_EQ(run_until(5s), (Lines{"3 serve", "3 probe 192.0.2.1", "3 announce", "5 announce"}));
    EXPECT_EQ(table.find("other")->state, HostState::asleep);
    EXPECT_EQ(state(), HostState::arming);
    EXPECT_TRUE(table.request_wake("other", now).has_value());
}

TEST_F(Links, R2_ALinkThatIsLostAgainWhileTheSleeperIsLookedForStopsThat) {
    to_asleep();
    lose();
    regain();
    now += 1s;
    EXPECT_EQ(lines(lose()), Lines{"stage_unanswered"});
    expect_rest();
    EXPECT_EQ(lines(regain()).size(), 3U);
    now += 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

TEST_F(Links, ArmingStartsAgainWhenTheLinkIsBack) {
    to_arming();
    now += 2s;
    EXPECT_EQ(lines(lose()), Lines{}) << "it is watched already";
    expect_rest();
    EXPECT_EQ(state(), HostState::arming) << "neither asleep nor abandoned";
    EXPECT_EQ(lines(regain()), Lines{});
    const Instant back = now;
    EXPECT_EQ(table.next_deadline(), back + 3s);
    for (; now < back + 60s; now += 2s) {
        seen = now;
        tick();
        EXPECT_EQ(state(), HostState::arming);
    }
    now = back + 60s;
    EXPECT_EQ(lines(tick()), (Lines{"forget", "notice sleep-abandoned"}));
}

TEST_F(Links, AWakeThatWasRequestedWhileArmingIsKeptToo) {
    to_arming();
    ASSERT_TRUE(table.request_wake("desk", now).has_value());
    now += 3s;
    tick();
    lose();
    expect_rest();
    regain();
    now += 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Links, R41_ARenewalThatFellDueWithoutALinkIsMadeWhenTheHostIsServedAgain) {
    table.set(config("desk", 1, {{a1, false, 400s}}), lan, true, now).value();
    to_asleep();
    lose();
    now = start + 310s;
    regain();
    now += 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "stage_waking", "send_magic"}));
    EXPECT_EQ(desk().since_reason.get(), "192.0.2.1 is to be renewed");
}

TEST_F(Links, ASleepRequestWithoutALinkWaitsForIt) {
    lose();
    EXPECT_EQ(lines(table.request_sleep("desk", now)), Lines{"watch"});
    expect_rest();
    regain();
    now += 3s;
    tick();
    EXPECT_EQ(state(), HostState::asleep);
}

TEST_F(Links, R34_AWakingHostIsNotGivenUpAndIsWokenAgainWhenItsLinkIsBack) {
    to_waking();
    now += 30s;
    tick();
    EXPECT_EQ(lines(lose()), Lines{"stage_unanswered"});
    expect_rest();
    EXPECT_EQ(state(), HostState::waking);
    EXPECT_EQ(lines(regain()), (Lines{"send_magic", "probe 192.0.2.1"}));
    const Instant back = now;
    Lines seen_lines;
    while (now < back + 4s) {
        now = *table.next_deadline();
        for (const std::string& text : lines(tick()))
            if (!text.starts_with("probe"))
                seen_lines.push_back(fmt::format("{:g} {}", std::chrono::duration<double>(now - back).count(), text));
    }
    EXPECT_EQ(seen_lines, (Lines{"1 send_magic", "3 serve", "3 stage_waking", "3 send_magic"}));
    now = back + 60s;
    tick();
    EXPECT_EQ(state(), HostState::unreachable);
}

TEST_F(Links, AHeldPacketKeepsItsTimeLimitWithoutALink) {
    to_waking(a1);
    const Instant triggered = now;
    now += 10s;
    tick();
    lose();
    EXPECT_EQ(table.next_deadline(), triggered + 60s);
    now = triggered + 60s;
    EXPECT_EQ(lines(tick()), Lines{"drop_held 192.0.2.1"});
    EXPECT_EQ(state(), HostState::waking);
    expect_rest();
}

TEST_F(Links, AHeldPacketIsDeliveredWhenTheLinkIsBackInTime) {
    to_waking(a1);
    const Instant triggered = now;
    now += 10s;
    lose();
    now += 10s;
    EXPECT_EQ(lines(regain()), (Lines{"send_magic", "probe 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"stop_answering", "deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(desk().extra->last_wake_latency, now - triggered);
}

TEST_F(Links, AHeldPacketIsDroppedAtItsLimitAndALaterOneAtTheLimitOfTheNewWake) {
    to_waking(a1);
    const Instant triggered = now;
    now += 40s;
    tick();
    lose();
    now += 10s;
    regain();
    const Instant back = now;
    while (now < triggered + 60s) {
        now = *table.next_deadline();
        const Lines happened = lines(tick());
        EXPECT_EQ(std::ranges::find(happened, "drop_held 192.0.2.1") != happened.end(), now == triggered + 60s);
    }
    EXPECT_EQ(state(), HostState::waking);
    trigger(a2);
    while (state() == HostState::waking) {
        now = *table.next_deadline();
        const Lines happened = lines(tick());
        EXPECT_EQ(std::ranges::find(happened, "drop_held") != happened.end(), now == back + 60s);
        EXPECT_EQ(std::ranges::find(happened, "drop_held 192.0.2.2"), happened.end());
    }
    EXPECT_EQ(now, back + 60s);
}

TEST_F(Links, R35_AWakeRequestWithoutALinkIsRefused) {
    const auto refused = [&](const char* part) {
        const auto wake = table.request_wake("desk", now);
        ASSERT_FALSE(wake.has_value());
        EXPECT_EQ(wake.error().code, Errc::busy);
        EXPECT_TRUE(contains(wake.error().message, part)) << wake.error().message;
    };
    lose();
    refused("awake");
    ASSERT_TRUE(table.request_sleep("desk", now).has_value());
    refused("no link");
    regain();
    to_asleep();
    lose();
    refused("no link");
    EXPECT_EQ(state(), HostState::asleep);
    regain();
    EXPECT_EQ(lines(table.request_wake("desk", now)), Lines{"send_magic"})
        << "not answered for before it was looked for";
}

TEST_F(Links, ATriggerThatWasOnItsWayWakesWhenTheLinkIsBack) {
    to_asleep();
    lose();
    EXPECT_EQ(lines(trigger(a1)), Lines{}) << "it is not answered for before it was looked for";
    EXPECT_EQ(state(), HostState::waking);
    now += 5s;
    EXPECT_EQ(lines(tick()), Lines{});
    EXPECT_EQ(lines(regain()), (Lines{"send_magic", "probe 192.0.2.1"}));
}

TEST_F(Links, AReturnWaitsForItsAddressUpToItsLimitAndAsksWhenTheLinkIsBack) {
    to_returning();
    const Instant released = now;
    EXPECT_EQ(lines(lose()), Lines{});
    now += 1s;
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), Lines{}) << "it could not be delivered";
    EXPECT_EQ(table.next_deadline(), released + 10s);
    EXPECT_EQ(lines(regain()), Lines{"probe 192.0.2.1"});
    EXPECT_EQ(table.next_deadline(), now + 200ms);
    lose();
    now = released + 10s;
    EXPECT_EQ(lines(tick()), (Lines{"drop_held 192.0.2.1", "notice address-not-back", "forget"}));
    expect_rest();
}

TEST_F(Links, AReleaseWithoutALinkSendsNothingAndDeliversLater) {
    to_waking(a1);
    lose();
    EXPECT_EQ(lines(release(PZ_SIGN_IP, a1)), Lines{"stop_answering"});
    EXPECT_EQ(lines(regain()), Lines{"probe 192.0.2.1"});
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(Links, APacketHeldLateWithoutALinkWaitsForItsProof) {
    to_asleep();
    release(PZ_SIGN_IP, a1);
    lose();
    EXPECT_EQ(lines(trigger(a1)), (Lines{"watch", "stage_waking"})) << "proven, but it could not be delivered";
    EXPECT_EQ(lines(regain()), Lines{"probe 192.0.2.1"});
    EXPECT_EQ(lines(proof(PZ_SIGN_REPLY, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
}

TEST_F(Links, AnAddressExpiresWithoutALinkAndIsNotServedAfterwards) {
    add(config("aging", 2, {{IpAddress::v4({192, 0, 2, 20}), false, 100s}, {IpAddress::v4({192, 0, 2, 21})}}));
    ASSERT_TRUE(table.request_sleep("aging", now).has_value());
    now += 3s;
    tick();
    lose();
    now += 97s;
    EXPECT_EQ(lines(tick()), (Lines{"stop_answering 192.0.2.20", "drop_held 192.0.2.20", "notice address-expired"}));
    EXPECT_EQ(lines(regain()), (Lines{"probe 192.0.2.21"}));
}

TEST_F(Links, AnUnreachableHostIsLeftAlone) {
    to_unreachable();
    EXPECT_EQ(lines(lose()), Lines{});
    expect_rest();
    EXPECT_EQ(lines(regain()), Lines{});
    expect_rest();
}

TEST_F(Links, AHandBackWaitsForTheLink) {
    HostConfig host = config("proxied", 2, {{IpAddress::v4({192, 0, 2, 20})}});
    host.identity = Identity::proxy;
    const HostId id = add(host);
    ASSERT_TRUE(table.request_sleep("proxied", now).has_value());
    now += 3s;
    tick();
    ASSERT_TRUE(table.request_release("proxied", now).has_value());
    lose();
    expect_rest();
    regain();
    now += 8s;
    EXPECT_EQ(lines(tick()), Lines{"hand_back 192.0.2.20"});
    EXPECT_EQ(table.get(id)->state, HostState::awake);
}

TEST_F(Table, AHandBackIsOwedUntilTheHostSleepsAgain) {
    HostConfig proxied = desk().config();
    proxied.identity = Identity::proxy;
    ASSERT_TRUE(table.set(proxied, lan, true, now).has_value());
    const Lines all{"hand_back 192.0.2.1", "hand_back 192.0.2.2", "hand_back 2001:db8::1"};
    for (const bool returned : {false, true}) {
        to_waking();
        if (returned)
            release(PZ_SIGN_DHCP);
        to_arming(); // and then it goes on talking
        EXPECT_EQ(lines(release(PZ_SIGN_ARP_PROBE, a1)), Lines{"forget"});
        const Instant awake = now;
        EXPECT_EQ(table.next_deadline(), awake + 8s);
        now += 8s;
        EXPECT_EQ(lines(tick()), all) << returned;
    }
    to_waking();
    release(PZ_SIGN_DHCP);
    to_asleep();
    release(PZ_SIGN_DHCP);
    EXPECT_EQ(table.next_deadline(), now + 8s) << "of this return alone";
}

TEST_F(Links, AHostThatIsConfiguredOnANetworkWithoutALinkWaitsToo) {
    table.link_lost(lan + 1);
    add(config("new", 2, {{a1}}), lan + 1);
    ASSERT_TRUE(table.request_sleep("new", now).has_value());
    expect_rest();
    EXPECT_EQ(table.find("new")->state, HostState::arming);
}

// ---- many hosts ----------------------------------------------------------------------------------------------------

TEST(TableScale, TickLooksOnlyAtHostsThatAreDue) {
    constexpr std::uint32_t count = 65'536;
    PresenceTable table{TableOptions{}};
    for (std::uint32_t i = 0; i < count; ++i) {
        HostConfig host;
        host.name = fmt::format("h{}", i);
        host.macs = {{{2, 0, 0, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8),
                       static_cast<std::uint8_t>(i)}}};
        host.addresses = {{IpAddress::v4({10, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)})}};
        ASSERT_TRUE(table.set(std::move(host), lan, false, start).has_value());
    }
    EXPECT_EQ(table.size(), count);
    HostConfig more = config("more", 1, {{IpAddress::v4({11, 0, 0, 1})}});
    more.macs = {{{6, 0, 0, 0, 0, 1}}};
    EXPECT_EQ(table.set(more, lan, false, start).error().code, Errc::limit);

    for (std::uint32_t i = 0; i < count; ++i) // one each microsecond
        ASSERT_TRUE(table.request_sleep(fmt::format("h{}", i), start + i * 1us).has_value());
    EXPECT_EQ(table.in_care(), count);
    std::size_t asked = 0;
    const auto last_seen = [&](HostId) {
        ++asked;
        return Instant{};
    };
    EXPECT_EQ(table.tick(start + 3s - 1ns, last_seen).size(), 0U);
    EXPECT_EQ(asked, 0U);
    EXPECT_EQ(table.tick(start + 3s, last_seen).size(), 4U);
    EXPECT_EQ(asked, 1U);
    EXPECT_EQ(table.tick(start + 3s + 9us, last_seen).size(), 36U);
    EXPECT_EQ(asked, 10U);
    EXPECT_EQ(table.next_deadline(), start + 3s + 10us);
    constexpr std::size_t most = PresenceTable::hosts_at_a_time;
    EXPECT_EQ(table.tick(start + 4s, last_seen).size(), 4 * most) << "others get their turn";
    EXPECT_EQ(asked, 10 + most);
    EXPECT_EQ(table.next_deadline(), start + 3s + (10 + most) * 1us) << "in order";
    while (table.next_deadline().value() <= start + 4s)
        table.tick(start + 4s, last_seen);
    EXPECT_EQ(asked, count);
}

/// What can wait does not keep others unanswered for: neither announcements nor the probes after the first ones.
TEST(TableScale, AllAreAskedForAndAnsweredForBeforeAnyIsAnnouncedOrAskedAgain) {
    constexpr std::uint32_t count = 4 * PresenceTable::hosts_at_a_time;
    PresenceTable table{TableOptions{}};
    for (std::uint32_t i = 0; i < count; ++i) {
        Host host;
        host.id = i;
        host.generation = i + 1;
        host.segment = lan;
        host.state = HostState::asleep;
        host.configure(
            config(fmt::format("h{}", i), 1,
                   {{IpAddress::v4({10, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)})}}));
        host.macs = {{{6, 0, 0, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)}}};
        ASSERT_TRUE(table.restore(host, PZ_STAGE_NONE, start).has_value());
    }
    const auto last_seen = [](HostId) { return Instant{}; };
    /// Of the next so many hosts, in order, what they have in turns that are late.
    const auto turns = [&](std::size_t hosts, Instant now) {
        std::vector<std::pair<Kind, std::size_t>> runs;
        for (std::size_t i = 0; i < hosts / PresenceTable::hosts_at_a_time; ++i)
            for (const Effect& effect : table.tick(now, last_seen)) {
                if (runs.empty() || runs.back().first != effect.kind)
                    runs.emplace_back(effect.kind, 0);
                ++runs.back().second;
            }
        return runs;
    };
    using Runs = std::vector<std::pair<Kind, std::size_t>>;
    EXPECT_EQ(turns(count / 2, start), (Runs{{Kind::probe, count / 2}}));
    EXPECT_EQ(turns(count, start + 1s), (Runs{{Kind::probe, count}})) << "the others, then those again";
    for (HostId id = 0; id < count; ++id)
        EXPECT_NE(table.get(id)->activity->resumes, Instant::max()) << "not asked yet";
    EXPECT_EQ(turns(count / 2, start + 3s), (Runs{{Kind::serve, count / 2}}));
    EXPECT_EQ(turns(count, start + 4s), (Runs{{Kind::serve, count / 2}, {Kind::announce, count / 2}}));
}

// ---- learned addresses ----------------------------------------------------------------------------------------------

const IpAddress a3 = IpAddress::v4({192, 0, 2, 3});
const IpAddress link_local6 = IpAddress::parse("fe80::1").value();

/// `desk` is to be learned, and nothing of it is configured but its MACs.
class Learning : public Table {
protected:
    HostConfig learning = config("desk", 1, {});

    void SetUp() override {
        learning.learn = true;
        learning.macs.push_back({{2, 0, 0, 0, 0, 2}});
        add(learning);
        ASSERT_EQ(lines(tick()), Lines{"watch_awake"});
    }
    Lines use(const IpAddress& ip, bool answered = false) {
        return lines(table.on_use(desk().id, lan, desk().macs.front(), ip, answered, now));
    }
    void learn(const IpAddress& ip) { ASSERT_EQ(use(ip), Lines{"notice address-learned"}) << ip.to_string(); }
    Ips learned() const { return held_addresses(desk()); }
    /// Until then it talks and answers for `answered`; what it was asked for.
    Lines talk(Duration until, const Ips& answered) {
        Lines out;
        while (table.next_deadline() && *table.next_deadline() <= start + until) {
            seen = now = *table.next_deadline();
            for (const Effect& effect : tick()) {
                out.push_back(line(effect));
                if (effect.kind == Kind::probe && std::ranges::find(answered, *effect.address) != answered.end()) {
                    EXPECT_EQ(use(*effect.address, true), Lines{});
                }
            }
        }
        seen = now = start + until;
        return out;
    }
};

TEST_F(Learning, WhatItUsesIsAnsweredForWhenItSleeps) {
    learn(a1);
    learn(a6);
    learn(link_local6);
    EXPECT_EQ(use(a1), Lines{}) << "told once";
    EXPECT_EQ(table.find(lan, a6), &desk());
    to_arming();
    EXPECT_EQ(use(a2), Lines{}) << "it is awake no more";
    now += 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "probe 192.0.2.1", "probe 2001:db8::1", "probe fe80::1"}));
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a6, link_local6}));
    EXPECT_EQ(run_until(3s + 4s + 1ms), (Lines{"5 announce", "7 announce"}))
        << "when another node that has one by now would have answered";
    // its packets wait, and prove it
    EXPECT_EQ(lines(trigger(a6)), (Lines{"stage_waking", "send_magic"}));
    EXPECT_EQ(lines(release(PZ_SIGN_ND, a6)), (Lines{"stop_answering", "deliver 2001:db8::1", "forget"}));
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
    EXPECT_EQ(learned(), (Ips{a1, a6, link_local6}));
}

TEST_F(Learning, WithoutAnAddressItSleepsUnanswered) {
    to_asleep();
    EXPECT_EQ(answered_addresses(desk()), Ips{});
    EXPECT_EQ(lines(trigger()), (Lines{"stage_waking", "send_magic"})) << "a Magic Packet";
    EXPECT_EQ(lines(release(PZ_SIGN_DHCP)), (Lines{"stop_answering", "forget"}));
}

TEST_F(Learning, NotWithoutTheWord) {
    add(config("tv", 9, {{a2}}));
    const Host& tv = *table.find("tv");
    EXPECT_EQ(lines(table.on_use(tv.id, lan, tv.macs.front(), a1, false, now)), Lines{});
    EXPECT_EQ(held_addresses(tv), Ips{a2});
}

TEST_F(Learning, OnlyByItsOwnMacOnItsOwnNetwork) {
    const auto use_by = [&](SegmentId segment, std::uint8_t number) {
        return lines(table.on_use(desk().id, segment, {{2, 0, 0, 0, 0, number}}, a1, false, now));
    };
    EXPECT_EQ(use_by(lan, 7), Lines{});
    EXPECT_EQ(use_by(lan + 1, 1), Lines{});
    EXPECT_EQ(lines(table.on_use(4711, lan, {{2, 0, 0, 0, 0, 1}}, a1, false, now)), Lines{});
    EXPECT_EQ(use_by(lan, 2), Lines{"notice address-learned"}) << "any of its MACs";
}

TEST_F(Learning, AnAnswerTeachesNothingNew) {
    EXPECT_EQ(use(a1, true), Lines{}) << "a router with proxy ARP answers for others";
    EXPECT_EQ(learned(), Ips{});
}

TEST_F(Learning, OnlyWhatAHostCanHave) {
    for (const char* never : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"})
        EXPECT_EQ(use(IpAddress::parse(never).value()), Lines{}) << never;
    EXPECT_EQ(learned(), Ips{});
}

TEST_F(Learning, AnAddressOfAnotherHostIsToldAndLeftToIt) {
    add(config("tv", 9, {{a2}}));
    EXPECT_EQ(use(a2), Lines{"notice not-learned"});
    EXPECT_EQ(learned(), Ips{});
    EXPECT_EQ(table.find(lan, a2)->name, "tv");
    // one that was learned goes to who uses it now, unless its host sleeps
    HostConfig other = config("printer", 8, {});
    other.learn = true;
    add(other);
    const Host& printer = *table.find("printer");
    const auto use_by_printer = [&](const IpAddress& ip) {
        return lines(table.on_use(printer.id, lan, printer.macs.front(), ip, false, now));
    };
    learn(a1);
    EXPECT_EQ(use_by_printer(a1), (Lines{"notice address-forgotten", "notice address-learned"}));
    EXPECT_EQ(learned(), Ips{});
    learn(a3);
    to_asleep();
    EXPECT_EQ(use_by_printer(a3), Lines{"notice not-learned"}) << "the kernel tells of the conflict";
    EXPECT_EQ(learned(), Ips{a3});
}

TEST_F(Learning, ConfigurationGoesBefore) {
    learn(a1);
    learn(a6);
    // of another host, also while it sleeps
    to_asleep();
    const HostConfig tv = config("tv", 9, {{a1}});
    EXPECT_EQ(lines(table.make_way(tv, lan + 1)), Lines{}) << "elsewhere";
    EXPECT_EQ(lines(table.make_way(config("desk", 1, {{a1}}), lan)), Lines{}) << "it stays its own";
    EXPECT_EQ(lines(table.make_way(tv, lan)), (Lines{"stop_answering 192.0.2.1", "notice address-forgotten"}));
    add(tv);
    EXPECT_EQ(answered_addresses(desk()), Ips{a6});
    // and of its own
    EXPECT_EQ(lines(table.request_release("desk", now)), (Lines{"stop_answering", "forget"}));
    learning.addresses = {{a6}};
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    EXPECT_EQ(learned(), Ips{a6});
    EXPECT_TRUE(desk().extra->learned.empty());
    // what is learned stays with the machine and the network
    learn(a2);
    learning.echo = EchoMode::ignore;
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    EXPECT_EQ(learned(), (Ips{a6, a2}));
    learning.macs.pop_back();
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    EXPECT_EQ(learned(), Ips{a6});
    EXPECT_EQ(table.find(lan, a2), nullptr);
}

TEST_F(Learning, OfTooManyTheOneThatWasNotUsedForTheLongestTimeGoes) {
    const auto ip = [](int number) { return IpAddress::parse(fmt::format("2001:db8::{:x}", number)).value(); };
    for (int i = 1; i <= static_cast<int>(max_addresses); ++i, now += 1s)
        learn(ip(i));
    EXPECT_EQ(use(ip(1)), Lines{});
    EXPECT_EQ(use(ip(100)), (Lines{"notice address-forgotten", "notice address-learned"}));
    EXPECT_EQ(table.find(lan, ip(2)), nullptr);
    EXPECT_NE(table.find(lan, ip(1)), nullptr);
    EXPECT_EQ(learned().size(), max_addresses);
}

TEST_F(Learning, AFullTableLearnsNothing) {
    table = PresenceTable(TableOptions{.max_addresses4 = 1});
    add(learning);
    learn(a1);
    EXPECT_EQ(use(a2), Lines{"notice not-learned"});
    EXPECT_EQ(learned(), Ips{a1});
}

TEST_F(Learning, AnAddressThatIsUsedNoMoreIsForgotten) {
    learn(a1);
    learn(a6);
    // each hour one question for each, answered for one of them
    EXPECT_EQ(talk(1h - 1s, {}), Lines{});
    EXPECT_EQ(talk(1h + 12s, {a1}), (Lines{"probe 192.0.2.1", "probe 2001:db8::1"}));
    EXPECT_EQ(talk(1h + 1min, {a1}), (Lines{"probe 2001:db8::1", "probe 2001:db8::1", "notice address-forgotten"}));
    EXPECT_EQ(learned(), Ips{a1});
    EXPECT_EQ(table.find(lan, a6), nullptr);
    EXPECT_EQ(use(a1), Lines{});
    EXPECT_EQ(talk(2h, {a1}), Lines{}) << "it is used";
}

TEST_F(Learning, AfterANewIpv4AddressTheOldOneIsAskedForAtOnce) {
    learn(a1);
    learn(a6);
    now += 1min;
    learn(a2);
    EXPECT_EQ(talk(3min, {a2, a6}),
              (Lines{"probe 192.0.2.1", "probe 192.0.2.1", "probe 192.0.2.1", "notice address-forgotten"}));
    EXPECT_EQ(learned(), (Ips{a6, a2}));
    EXPECT_LE(now - start, 3min);
}

TEST_F(Learning, WhoIsSilentMayBeOffAndForgetsNothing) {
    learn(a1);
    EXPECT_EQ(run_until(4h), (Lines{"3600 probe 192.0.2.1", "7200 probe 192.0.2.1", "10800 probe 192.0.2.1",
                                    "14400 probe 192.0.2.1"}));
    EXPECT_EQ(learned(), Ips{a1});
}

TEST_F(Learning, AsleepNothingIsForgotten) {
    learn(a1);
    to_asleep();
    seen = now;
    run_until(100h);
    EXPECT_EQ(answered_addresses(desk()), Ips{a1});
}

TEST_F(Learning, AQuestionThatCouldNotBeSentSaysNothing) {
    learn(a6);
    int asked = 0;
    while (now < start + 24h) {
        seen = now = *table.next_deadline();
        for (const Effect& effect : tick()) {
            ASSERT_EQ(line(effect), "probe 2001:db8::1");
            table.not_probed(desk().id, *effect.address);
            ++asked;
        }
    }
    EXPECT_EQ(learned(), Ips{a6});
    EXPECT_LE(asked, 24);
}

TEST_F(Learning, AskingCostsLessThanAPacketIn10Seconds) {
    for (int i = 1; i <= static_cast<int>(max_addresses); ++i)
        learn(IpAddress::parse(fmt::format("2001:db8::{:x}", i)).value());
    Instant last = start;
    while (!desk().extra->learned.empty()) {
        seen = now = *table.next_deadline();
        for (const std::string& text : lines(tick()))
            if (text.starts_with("probe ")) {
                EXPECT_GE(now - std::exchange(last, now), 12s);
            }
    }
}

TEST_F(Learning, R24_AnAddressThatAnotherNodeUsesWasLearnedByMistakeOrHasMoved) {
    learn(a1);
    learn(a6);
    to_asleep();
    EXPECT_EQ(table.defence(desk(), a1, now), Defence::forget);
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1", "notice address-forgotten"}));
    EXPECT_EQ(state(), HostState::asleep) << "nobody is woken for it";
    EXPECT_EQ(answered_addresses(desk()), Ips{a6});
    trigger(a6);
    EXPECT_EQ(lines(claim(a6)),
              (Lines{"stop_answering 2001:db8::1", "drop_held 2001:db8::1", "notice address-forgotten"}));
    EXPECT_EQ(table.find(lan, a6), nullptr);
    EXPECT_EQ(state(), HostState::waking);
}

TEST_F(Learning, R24_AnAddressThatMovedWhileNobodyWatchedIsForgottenBeforeItIsServed) {
    learn(a1);
    learn(a6);
    to_asleep();
    table.link_lost(lan);
    now += 10min;
    table.link_back(lan, now);
    EXPECT_EQ(lines(tick()), (Lines{"probe 192.0.2.1", "probe 2001:db8::1"}));
    EXPECT_EQ(lines(claim(a1)), (Lines{"stop_answering 192.0.2.1", "notice address-forgotten"})) << "its reply";
    EXPECT_EQ(answered_addresses(desk()), Ips{a6});
}

TEST_F(Learning, WhatIsRefusedForgetsNothing) {
    learn(a1);
    HostConfig other = config("tv", 1, {{a1}}); // a MAC of desk's
    EXPECT_EQ(table.check(other, lan, false).error().code, Errc::exists);
    EXPECT_EQ(learned(), Ips{a1});
    other.macs = {{{2, 0, 0, 0, 0, 9}}};
    EXPECT_TRUE(table.check(other, lan, false)) << "what is learned gives way";
    EXPECT_EQ(table.set(other, lan, false, now).error().code, Errc::exists) << "when it is told to";
    EXPECT_EQ(lines(table.make_way(other, lan)), Lines{"notice address-forgotten"});
    EXPECT_TRUE(table.set(other, lan, false, now));
}

TEST_F(Learning, AReturningHostWaitsForNoAddressThatIsAnothers) {
    learn(a1);
    to_returning();
    EXPECT_EQ(lines(table.make_way(config("tv", 9, {{a1}}), lan)),
              (Lines{"drop_held 192.0.2.1", "forget", "notice address-forgotten"}));
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
}

TEST_F(Learning, RoutersSayNothingOfWhatHasNoValidity) {
    learn(a6);
    EXPECT_TRUE(table.on_prefix(lan, IpAddress::parse("2001:db8::").value(), 1s, now).empty());
    to_asleep();
    now += 3h;
    tick();
    EXPECT_EQ(answered_addresses(desk()), Ips{a6});
}

TEST_F(Learning, IsThereAfterARestart) {
    learn(a1);
    learn(a6);
    to_asleep();
    Host kept = desk();
    table = PresenceTable(TableOptions{});
    EXPECT_EQ(lines(table.restore(kept, PZ_STAGE_ASLEEP, now)), Lines{"serve"});
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a6}));
    // unless it is another host's meanwhile
    table = PresenceTable(TableOptions{});
    add(config("tv", 9, {{a1}}));
    ASSERT_TRUE(table.restore(kept, PZ_STAGE_ASLEEP, now).has_value());
    EXPECT_EQ(answered_addresses(desk()), Ips{a6});
    kept.configure(config("radio", 7, {{a6}}));
    kept.extra.edit().learned.clear();
    kept.id = 5;
    EXPECT_EQ(lines(table.restore(kept, PZ_STAGE_ASLEEP, now)),
              (Lines{"stop_answering 2001:db8::1", "notice address-forgotten", "serve"}));
}

TEST_F(Learning, AnotherConfigurationIsFollowed) {
    learn(a1);
    learning.learn = false;
    learning.addresses = {{a2}};
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    EXPECT_EQ(learned(), Ips{a2});
    EXPECT_EQ(lines(tick()), Lines{"forget"});
}

TEST_F(Learning, AgentlessTheLastQuestionBeforeSleepIsForTheAddressThatItUsedLast) {
    learning.agentless = true;
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    ASSERT_EQ(lines(tick()), Lines{"watch_awake"});
    for (const IpAddress& ip : {a1, a2, a3, a6}) {
        learn(ip);
        now += 1s;
    }
    use(a2);
    EXPECT_EQ(run_until(47s), (Lines{"12 probe 192.0.2.1", "24 probe 192.0.2.2", "36 probe 192.0.2.2"}));
    EXPECT_EQ(run_until(48s).front(), "48 serve");
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a2, a3, a6}));
}

TEST_F(Learning, AgentlessWithoutAnAddressItIsNeverFoundAsleepAndThatIsToldOnce) {
    learning.agentless = true;
    ASSERT_TRUE(table.set(learning, lan, true, now).has_value());
    ASSERT_EQ(lines(tick()), Lines{"watch_awake"});
    EXPECT_EQ(run_until(1h), Lines{"12 notice no-address"});
    EXPECT_EQ(state(), HostState::awake);
    learn(a1);
    EXPECT_EQ(run_until(1h + 1min).front(), "3612 probe 192.0.2.1");
}

// ---- hosts without an agent -----------------------------------------------------------------------------------------

/// `desk` has no agent.
class Agentless : public Table {
protected:
    HostConfig agentless = config("desk", 1, {{a1}, {a2}, {a6}});

    void SetUp() override {
        agentless.agentless = true;
        add(agentless);
        ASSERT_EQ(lines(tick()), Lines{"watch_awake"});
    }
    void found_asleep() {
        run_until(now - start + 48s);
        ASSERT_EQ(state(), HostState::asleep);
    }
};

TEST_F(Agentless, IsAsleepAfterThreeProbesWithoutAnAnswer) {
    EXPECT_EQ(run_until(47s), (Lines{"12 probe 192.0.2.1", "24 probe 192.0.2.2", "36 probe 2001:db8::1"}));
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(run_until(48s),
              (Lines{"48 serve", "48 probe 192.0.2.1", "48 probe 192.0.2.2", "48 probe 2001:db8::1", "48 announce"}));
    EXPECT_EQ(state(), HostState::asleep);
    EXPECT_EQ(generation(), 1U);
    EXPECT_EQ(desk().since_reason.get(), "3 probes without an answer, silent for 48 s");
}

TEST_F(Agentless, AnyFrameOfItsOwnBeginsTheSilenceAnew) {
    run_until(36s); // the third probe
    seen = start + 40s;
    EXPECT_EQ(run_until(99s), (Lines{"52 probe 192.0.2.1", "64 probe 192.0.2.2", "76 probe 2001:db8::1", "88 serve",
                                     "88 probe 192.0.2.1", "88 probe 192.0.2.2", "88 probe 2001:db8::1", "88 announce",
                                     "90 announce"}));
}

TEST_F(Agentless, WhoTalksIsNeverProbed) {
    for (int i = 0; i < 600; ++i) {
        now += 1s;
        seen = now;
        EXPECT_EQ(lines(tick()), Lines{});
    }
    EXPECT_EQ(state(), HostState::awake);
}

TEST_F(Agentless, ProbingCostsLessThanAPacketIn10Seconds) {
    int probes = 0;
    while (now < start + 1h) {
        now = *table.next_deadline();
        for (const std::string& text : lines(tick())) {
            EXPECT_TRUE(text.starts_with("probe ")) << text; // it answers each
            seen = now + 1ms;
            ++probes;
        }
    }
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_NEAR(probes, 300, 1);
}

TEST_F(Agentless, AProbeThatCouldNotBeSentIsNotOneWithoutAnAnswer) {
    Lines asked;
    while (now < start + 1h) { // the gateway has no IPv6 address
        now = *table.next_deadline();
        for (const Effect& effect : tick()) {
            if (state() != HostState::awake)
                break;
            asked.push_back(line(effect));
            if (effect.address == a6) {
                EXPECT_FALSE(table.not_probed(desk().id, a6)) << "another one is asked for";
            }
        }
        if (state() != HostState::awake)
            break;
    }
    EXPECT_EQ(asked, (Lines{"probe 192.0.2.1", "probe 192.0.2.2", "probe 2001:db8::1", "probe 192.0.2.1"}));
    EXPECT_EQ(now - start, 48s);
}

TEST_F(Agentless, IsNeverFoundAsleepIfItCannotBeProbed) {
    int told = 0;
    int refused = 0;
    while (now < start + 1h) {
        now = *table.next_deadline();
        for (const Effect& effect : tick())
            if (effect.kind == Kind::probe) {
                told += table.not_probed(desk().id, *effect.address) ? 1 : 0;
                ++refused;
            }
    }
    EXPECT_EQ(state(), HostState::awake);
    EXPECT_EQ(refused / 3, told) << "once for all its addresses";
    EXPECT_GT(told, 100);
}

TEST_F(Agentless, IsForgottenByTheKernelIfItIsNoneAnyMoreWhenItsLinkIsBack) {
    run_until(1s);
    table.link_lost(lan);
    HostConfig told = desk().config();
    told.agentless = false;
    ASSERT_TRUE(table.set(told, lan, true, now).has_value());
    table.link_back(lan, now);
    EXPECT_EQ(lines(tick()), Lines{"forget"});
}

/// Nobody told that it sleeps.
TEST_F(Agentless, IsNotAnsweredForBeforeItCouldBeAskedWhenItsLinkIsBack) {
    found_asleep();
    table.link_lost(lan);
    now += 10min;
    table.link_back(lan, now);
    const auto pass = [&](Duration time, auto can_ask) {
        for (const Instant until = now + time; table.next_deadline().value() <= until;) {
            now = *table.next_deadline();
            for (const Effect& effect : tick()) {
                EXPECT_EQ(effect.kind, Kind::probe);
                if (!can_ask(*effect.address))
                    table.not_probed(desk().id, *effect.address);
            }
        }
    };
    pass(10min, [](const IpAddress&) { return false; });
    EXPECT_TRUE(desk().activity->resumes);
    const Instant last = desk().activity->next_probe; // from here on it can be asked, if only for one of its addresses
    pass(last + 2900ms - now, [](const IpAddress& ip) { return ip == a6; });
    now = last + 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

/// Two of three addresses cannot be asked for, so the third is in each round.
TEST_F(Agentless, IsAskedForAnotherAddressInTheSameTurnWhenItsLinkIsBack) {
    found_asleep();
    table.link_lost(lan);
    table.link_back(lan, now);
    const Instant back = now;
    Lines asked;
    while (table.next_deadline().value() < back + 3s) {
        now = std::max(now, *table.next_deadline());
        for (const Effect& effect : tick())
            if (effect.address != a6)
                EXPECT_FALSE(table.not_probed(desk().id, *effect.address));
            else
                asked.push_back(fmt::format("{:g}", std::chrono::duration<double>(now - back).count()));
    }
    EXPECT_EQ(asked, (Lines{"0", "0.5", "1", "1.5", "2", "2.5"}));
    now = back + 3s;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

TEST_F(Agentless, IsNotAnsweredForWhileItWakesBeforeItCouldBeAsked) {
    found_asleep();
    table.link_lost(lan);
    trigger(a1);
    table.link_back(lan, now);
    for (const Instant end = now + 60s; state() == HostState::waking; now = *table.next_deadline()) {
        ASSERT_LE(now, end);
        for (const Effect& effect : tick()) {
            EXPECT_NE(effect.kind, Kind::serve);
            if (effect.kind == Kind::probe)
                table.not_probed(desk().id, *effect.address);
        }
        if (state() == HostState::unreachable)
            break;
    }
    EXPECT_EQ(state(), HostState::unreachable);
}

TEST_F(Agentless, WhoSaidThatItSleepsIsAnsweredForThoughItCouldNotBeAsked) {
    add(config("agent", 2, {{IpAddress::v4({192, 0, 2, 20})}}));
    ASSERT_TRUE(table.request_sleep("agent", now).has_value());
    now += 3s;
    tick();
    table.link_lost(lan);
    table.link_back(lan, now);
    for (int round = 0; round < 6; ++round, now += 500ms)
        for (const Effect& effect : tick())
            if (effect.kind == Kind::probe) {
                EXPECT_FALSE(table.not_probed(effect.host, *effect.address));
            }
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

TEST_F(Links, R2_ASleeperForWhoseProbesThereWasNoRoomIsAskedAgainBeforeItIsServed) {
    to_asleep();
    lose();
    now += 1min;
    ASSERT_EQ(regain().size(), 3U);
    const IpAddress ips[] = {a1, a2, a6};
    for (const IpAddress& ip : ips)
        EXPECT_EQ(table.not_probed(desk().id, ip, true), ip == a6);
    now += 500ms;
    EXPECT_EQ(lines(tick()), ask_for_all);
    now += 2900ms;
    for (const auto& line : lines(tick()))
        EXPECT_TRUE(line.starts_with("probe ")) << line;
    now += 100ms;
    EXPECT_EQ(lines(tick()), (Lines{"serve", "announce"}));
}

TEST_F(Agentless, IsWatchedAgainWhenItIsBack) {
    found_asleep();
    now += 10s;
    EXPECT_EQ(lines(release(PZ_SIGN_ARP_REQUEST, a1)), (Lines{"stop_answering", "forget"}));
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
    found_asleep();
    EXPECT_EQ(generation(), 2U);
}

TEST_F(Agentless, IsNotProbedWhilePacketsWaitForItsAddress) {
    found_asleep();
    trigger(a1);
    EXPECT_EQ(lines(release(PZ_SIGN_GROUP)), (Lines{"stop_answering", "probe 192.0.2.1"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a1)), (Lines{"deliver 192.0.2.1", "forget"}));
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
    // one that was held late: what the kernel watches for is changed, and changed back
    EXPECT_EQ(lines(trigger(a2)), (Lines{"watch", "stage_waking", "probe 192.0.2.2"}));
    EXPECT_EQ(lines(proof(PZ_SIGN_IP, a2)), (Lines{"deliver 192.0.2.2", "forget"}));
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
}

TEST_F(Agentless, WithoutALinkNobodyIsSilent) {
    run_until(36s);
    EXPECT_EQ(lines(table.link_lost(lan)), Lines{});
    EXPECT_EQ(table.next_deadline(), std::nullopt);
    now += 10min;
    EXPECT_EQ(lines(table.link_back(lan, now)), Lines{});
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
    EXPECT_EQ(table.next_deadline(), now + 12s);
}

TEST_F(Agentless, AnOperatorNeedNotWaitForTheProbes) {
    EXPECT_EQ(lines(table.request_sleep("desk", now)), Lines{"watch"});
    EXPECT_EQ(state(), HostState::arming);
}

TEST_F(Agentless, AnotherConfigurationIsFollowed) {
    agentless.macs = {{{2, 0, 0, 0, 0, 9}}};
    ASSERT_TRUE(table.set(agentless, lan, true, now).has_value());
    EXPECT_EQ(lines(tick()), Lines{"watch_awake"});
    agentless.agentless = false;
    ASSERT_TRUE(table.set(agentless, lan, true, now).has_value());
    EXPECT_EQ(lines(tick()), Lines{"forget"});
    EXPECT_EQ(table.next_deadline(), std::nullopt);
}

TEST_F(Agentless, WhatEndedIsNotServed) {
    agentless.addresses[1].valid_for = 30s;
    ASSERT_TRUE(table.set(agentless, lan, true, now).has_value());
    tick();
    found_asleep();
    EXPECT_EQ(answered_addresses(desk()), (Ips{a1, a6}));
}

// ---- a random walk -------------------------------------------------------------------------------------------------

/// What the effects leave in the kernel and in the hold queue, and what the kernel then reports: with delays, twice,
/// and in another order.
class Walk {
public:
    explicit Walk(std::uint64_t seed) : random_(seed) {}

    void steps(int count) {
        for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
            SCOPED_TRACE(fmt::format("step {}", i));
            step();
            check();
            if (i % 512 == 0)
                check_unique();
        }
    }

    /// Without new events everything comes to rest: nobody is on the way between states, nothing is held.
    void settle() {
        quiet_ = true;
        for (const SegmentId segment : std::set(lost_))
            a_link_is_back(segment);
        for (int i = 0; i < 2000 && !testing::Test::HasFailure(); ++i) {
            if (!pending_.empty())
                report_one();
            advance(200ms);
            check();
        }
        EXPECT_TRUE(pending_.empty());
        EXPECT_TRUE(held_.empty());
        for (const std::string& name : table_.names()) {
            const Host& host = *table_.find(name);
            EXPECT_NE(host.state, HostState::arming) << name;
            EXPECT_NE(host.state, HostState::waking) << name;
            EXPECT_TRUE(host.extra->awaited.empty()) << name;
        }
    }

    std::map<std::string, int> seen_; // how often each transition and effect happened: the walk must reach them all

private:
    enum class Stage { watched, arming, asleep, waking, unanswered };
    struct Kernel {
        std::uint32_t generation = 0;
        Stage stage = Stage::arming;
        bool released = false; // live.released is the generation
        std::set<IpAddress> answered;
        Instant asked{}; // while waking: the last probe, or the wake
    };
    struct Event {
        HostId host = 0;
        std::uint32_t generation = 0;
        int kind = 0;
        pz_sign sign = PZ_SIGN_NONE;
        std::optional<IpAddress> address;
        bool magic_sent = false;
    };

    std::size_t roll(std::size_t below) { return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_); }
    bool chance(std::size_t percent) { return roll(100) < percent; }
    std::string a_name() { return fmt::format("h{}", roll(12)); }

    HostConfig a_config(std::string name) {
        HostConfig out;
        out.name = std::move(name);
        // Few values, so that they collide between hosts.
        for (std::size_t i = 0, n = 1 + roll(2); i < n; ++i)
            out.macs.push_back({{2, 0, 0, 0, 0, static_cast<std::uint8_t>(roll(30) + 1)}});
        for (std::size_t i = 0, n = 1 + roll(3); i < n; ++i) {
            HostAddress address{IpAddress::v4({192, 0, 2, static_cast<std::uint8_t>(roll(40) + 1)})};
            if (chance(30))
                address.ip = IpAddress::v6(
                    {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(roll(40))});
            if (chance(20))
                address.valid_for = std::chrono::seconds(1 + roll(300));
            out.addresses.push_back(address);
        }
        if (chance(30))
            out.identity = Identity::proxy;
        out.agentless = chance(20);
        out.learn = chance(30);
        if (out.learn && chance(50))
            out.addresses.clear();
        return out;
    }

    void step() {
        const std::size_t what = roll(100);
        if (what < 3) {
            const std::string name = a_name();
            const Host* const before = table_.find(name);
            const bool untouchable =
                before != nullptr && (before->state != HostState::awake || !before->extra->awaited.empty());
            HostConfig wanted = a_config(name);
            const auto segment = static_cast<SegmentId>(1 + roll(2));
            apply(table_.make_way(wanted, segment));
            const auto set = table_.set(std::move(wanted), segment, chance(50), now_);
            EXPECT_FALSE(set && untouchable);
            if (set) {
                EXPECT_LT(*set, max_hosts);
            }
        } else if (what < 4) {
            apply(table_.remove(a_name()));
        } else if (what < 14) {
            apply(table_.request_sleep(a_name(), now_));
        } else if (what < 16) {
            apply(table_.request_release(a_name(), now_));
        } else if (what < 19) {
            apply(table_.request_wake(a_name(), now_));
        } else if (what < 40) {
            a_client_packet();
        } else if (what < 59) {
            an_owner_frame();
        } else if (what < 60) {
            a_claim();
        } else if (what < 64) {
            chance(80) ? junk() : a_router();
        } else if (what < 69) {
            a_link_changes();
        } else if (what < 82) {
            if (!pending_.empty())
                report_one();
        } else if (what < 99) {
            advance(Duration(static_cast<std::int64_t>(roll(800)) * 1ms));
        } else {
            advance(Duration(static_cast<std::int64_t>(roll(chance(20) ? 900 : 100)) * 1s));
        }
    }

    /// Links are seldom lost and soon back.
    void a_link_changes() {
        const auto segment = static_cast<SegmentId>(1 + roll(2));
        if (!lost_.contains(segment) && chance(30)) {
            lost_.insert(segment);
            apply(table_.link_lost(segment));
        } else {
            a_link_is_back(segment);
        }
    }
    void a_link_is_back(SegmentId segment) {
        if (lost_.erase(segment) == 0)
            return;
        for (const auto& [id, kernel] : kernel_)
            if (const Host& host = *table_.get(id);
                host.segment == segment && (host.state == HostState::asleep || host.state == HostState::waking)) {
                ++seen_["link back"];
                resumed_[id] = now_;
                turns_.erase(id);
            }
        apply(table_.link_back(segment, now_));
        tick();
    }
    bool has_link(const Host& host) const { return !lost_.contains(host.segment); }
    /// The host may be back: nobody answers for it.
    bool is_looked_for(const Host& host) const {
        return (host.state == HostState::asleep || host.state == HostState::waking) &&
               (!has_link(host) || resumed_.contains(host.id));
    }

    bool is_just_resumed(HostId id) const {
        const auto resumed = resumed_.find(id);
        return resumed != resumed_.end() && resumed->second == now_;
    }

    /// A packet to an address that the kernel answers for: held by the trigger thread, reported some time later.
    void a_client_packet() {
        if (kernel_.empty())
            return;
        auto it = kernel_.begin();
        std::advance(it, roll(kernel_.size()));
        const auto& [id, kernel] = *it;
        if (kernel.released || kernel.answered.empty())
            return;
        if (kernel.stage == Stage::unanswered) {
            apply(table_.on_sought(id, kernel.generation, now_));
            return;
        }
        auto address = kernel.answered.begin();
        std::advance(address, roll(kernel.answered.size()));
        Event event{id, kernel.generation, PZ_EVENT_TRIGGER, PZ_SIGN_NONE, std::nullopt, chance(50)};
        if (chance(80)) {
            held_.emplace(id, *address);
            event.address = *address;
        }
        pending_.push_back(event);
    }

    void an_owner_frame() {
        const std::vector<std::string> names = table_.names();
        if (names.empty())
            return;
        const Host& host = *table_.find(names[roll(names.size())]);
        const auto found = kernel_.find(host.id);
        if (found == kernel_.end())
            return;
        if (found->second.stage != Stage::arming && !resumed_.contains(host.id) && chance(60))
            return; // sleepers speak less than hosts that are falling asleep
        Kernel& kernel = found->second;
        if (kernel.stage == Stage::watched) {
            last_seen_[host.id] = now_;
            a_use(host);
            return;
        }
        // who is looked for answers, more often than not
        const auto sign = resumed_.contains(host.id) && chance(70) ? PZ_SIGN_REPLY : static_cast<pz_sign>(1 + roll(9));
        last_seen_[host.id] = now_;
        Event event{host.id, kernel.generation, PZ_EVENT_RELEASE, sign, std::nullopt, false};
        if (chance(80))
            event.address = any_of(held_addresses(host));
        if (kernel.stage == Stage::arming) {
            if (sign != PZ_SIGN_ARP_PROBE && sign != PZ_SIGN_DAD)
                return;
            kernel.released = true;
        } else if (sign == PZ_SIGN_REPLY && kernel.stage == Stage::asleep) {
            if (!kernel.released && chance(30))
                nic_answers_.insert(kernel.generation);
            return;
        } else if (sign == PZ_SIGN_REPLY && nic_answers_.contains(kernel.generation)) {
            return; // the daemon withholds it
        } else if (sign == PZ_SIGN_REPLY) {
            event.kind = PZ_EVENT_PROOF;
        } else if (!kernel.released) {
            kernel.released = true;
        } else if (kernel.stage == Stage::waking) {
            event.kind = PZ_EVENT_PROOF;
        } else {
            return;
        }
        pending_.push_back(event);
        if (chance(10))
            pending_.push_back(event);
    }

    IpAddress any_of(const Ips& ips) { return ips.empty() ? a1 : ips[roll(ips.size())]; }

    /// Of its own addresses, of others', and what is none.
    void a_use(const Host& host) {
        const bool mine = chance(40);
        const std::string before = fmt::format("{}", fmt::join(texts(held_addresses(host)), " "));
        const IpAddress ip = mine         ? any_of(held_addresses(host))
                             : chance(50) ? IpAddress::v4({192, 0, 2, static_cast<std::uint8_t>(roll(90))})
                                          : IpAddress::parse(fmt::format("2001:db8::{:x}", 1 + roll(90))).value();
        const Host* const other = table_.find(host.segment, ip);
        const bool taken = other != nullptr && other != &host;
        const bool yields = taken && other->state == HostState::awake &&
                            std::ranges::find(other->addresses, ip, &OwnAddress::ip) == other->addresses.end();
        const bool answered = chance(30);
        const HostId id = host.id;
        const bool learns = host.options.get().learn && host.state == HostState::awake;
        apply(table_.on_use(id, chance(95) ? host.segment : 3 - host.segment,
                            chance(95) ? host.macs.front() : MacAddress{{2, 0, 0, 0, 9, 9}}, ip, answered, now_));
        const auto held = held_addresses(*table_.get(id));
        if (!learns || answered || (taken && !yields)) {
            EXPECT_EQ(before, fmt::format("{}", fmt::join(texts(held), " ")));
        }
    }
    static Lines texts(const Ips& ips) {
        Lines out;
        for (const IpAddress& ip : ips)
            out.push_back(ip.to_string());
        return out;
    }

    void a_router() {
        std::optional<std::chrono::seconds> valid;
        if (chance(80))
            valid = std::chrono::seconds(roll(20'000));
        table_.on_prefix(static_cast<SegmentId>(1 + roll(2)), IpAddress::parse("2001:db8::").value(), valid, now_);
    }

    /// Another node claims an address that the kernel answers for, once or several times.
    void a_claim() {
        if (kernel_.empty())
            return;
        auto it = kernel_.begin();
        std::advance(it, roll(kernel_.size()));
        const auto& [id, kernel] = *it;
        if (kernel.released || kernel.answered.empty())
            return;
        const IpAddress address = *kernel.answered.begin();
        const std::uint32_t generation = kernel.generation;
        for (std::size_t i = 0, n = 1 + roll(3); i < n; ++i) {
            apply(table_.on_conflict(id, generation, address, now_));
            advance(Duration(static_cast<std::int64_t>(roll(12)) * 1s));
        }
    }

    /// Events that the kernel would not send.
    void junk() {
        const auto id = static_cast<HostId>(roll(14));
        const Host* const host = table_.get(id);
        const std::uint32_t generation =
            host != nullptr && chance(50) ? host->generation : static_cast<std::uint32_t>(roll(100));
        std::optional<IpAddress> address;
        if (chance(50))
            address = IpAddress::v4({192, 0, 2, static_cast<std::uint8_t>(roll(40) + 1)});
        if (host != nullptr && chance(30)) {
            address = any_of(held_addresses(*host));
            on_owner({id, host->generation, PZ_EVENT_PROOF, PZ_SIGN_REPLY, address, false});
        } else if (chance(50)) {
            on_trigger({id, generation, PZ_EVENT_TRIGGER, PZ_SIGN_NONE, address, chance(50)});
        } else {
            on_owner({id, generation, static_cast<int>(1 + roll(6)), static_cast<pz_sign>(roll(11)), address, false});
        }
    }

    void report_one() {
        // Mostly in order.
        const std::size_t which = chance(80) ? 0 : roll(pending_.size());
        const Event event = pending_[which];
        pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(which));
        event.kind == PZ_EVENT_TRIGGER ? on_trigger(event) : on_owner(event);
    }
    void on_trigger(const Event& event) {
        apply(table_.on_trigger(event.host, event.generation, event.address, event.magic_sent, now_));
    }
    void on_owner(const Event& event) {
        const bool proves =
            event.address &&
            (event.sign == PZ_SIGN_ARP_REQUEST || event.sign == PZ_SIGN_ARP_ANNOUNCEMENT || event.sign == PZ_SIGN_ND ||
             event.sign == PZ_SIGN_IP ||
             (event.kind == PZ_EVENT_PROOF && event.sign != PZ_SIGN_ARP_PROBE && event.sign != PZ_SIGN_DAD));
        if (proves)
            proven_.insert({event.generation, *event.address});
        const Host* const host = table_.get(event.host);
        const bool reply = host != nullptr && host->generation == event.generation && event.generation != 0 &&
                           event.kind == PZ_EVENT_PROOF && event.sign == PZ_SIGN_REPLY;
        const HostState before = host != nullptr ? host->state : HostState::awake;
        const Ips answerable = host != nullptr ? served(*host) : Ips{};
        const bool asked = before == HostState::waking || before == HostState::unreachable ||
                           (before == HostState::asleep && resumed_.contains(event.host));
        const bool answers = asked && host != nullptr && has_link(*host) && event.address &&
                             std::ranges::find(answerable, *event.address) != answerable.end();
        const Effects effects = table_.on_owner(event.host, event.generation, static_cast<pz_event_kind>(event.kind),
                                                event.sign, event.address, now_);
        if (reply && before != HostState::awake) {
            EXPECT_EQ(host->state, answers ? HostState::awake : before) << "a reply while " << to_string(before);
            EXPECT_EQ(effects.empty(), !answers);
            ++seen_[fmt::format("{} while {}", answers ? "reply" : "idle reply", to_string(before))];
        }
        apply(effects);
    }

    void advance(Duration by) {
        const Instant until = now_ + by;
        while (table_.next_deadline() && *table_.next_deadline() <= until) {
            now_ = std::max(now_, *table_.next_deadline());
            if (!quiet_ && chance(5))
                now_ = std::min(until, now_ + 3s); // a late tick
            tick();
            if (testing::Test::HasFailure())
                return;
        }
        now_ = until;
        tick();
    }
    void tick() {
        apply(table_.tick(now_, [this](HostId id) {
            const Host& host = *table_.get(id);
            EXPECT_TRUE(host.state == HostState::arming ||
                        (host.state == HostState::awake && (host.options.get().agentless || host.options.get().learn)));
            return chatty_.contains(table_.get(id)->generation) ? now_ - 1s : last_seen_[id];
        }));
        if (const auto due = table_.next_deadline()) {
            EXPECT_GT(*due, now_);
        }
    }

    void apply(const Result<Effects>& effects) {
        if (effects)
            apply(*effects);
    }
    void apply(const Effects& effects) {
        for (const Effect& effect : effects) {
            SCOPED_TRACE(fmt::format("host {}: {}", effect.host, line(effect)));
            ++seen_[std::string(word(effect.kind))];
            apply(effect);
        }
        check_probes(effects);
    }
    /// Who is asked for what, and where among the other effects.
    void check_probes(const Effects& effects) {
        std::map<HostId, Ips> asked;
        for (const Effect& effect : effects)
            if (effect.kind == Kind::probe)
                asked[effect.host].push_back(*effect.address);
        for (const auto& [id, ips] : asked) {
            const Host& host = *table_.get(id);
            SCOPED_TRACE(fmt::format("host {} is {}", id, to_string(host.state)));
            switch (host.state) {
            case HostState::awake:
                if (host.extra->awaited.empty()) {
                    ++seen_[host.options.get().agentless ? "probe of the agentless" : "probe of a learned address"];
                    EXPECT_TRUE(host.options.get().agentless || host.options.get().learn);
                    EXPECT_EQ(ips.size(), 1U);
                    EXPECT_GE(now_ - std::exchange(kernel_.at(id).asked, now_), 12s) << "too early";
                    break;
                }
                for (const IpAddress& ip : ips)
                    EXPECT_NE(std::ranges::find(host.extra->awaited, ip), host.extra->awaited.end())
                        << "nobody waits for it";
                break;
            case HostState::asleep:
                if (resumed_.contains(id)) { // all addresses, then each in its turn
                    const auto [turn, is_first] = turns_.try_emplace(id, 0);
                    EXPECT_EQ(ips, is_first ? served(host) : Ips{served(host)[turn->second++ % served(host).size()]});
                    ++seen_[is_first ? "looked for" : "looked for again"];
                    break;
                }
                ++seen_["base line"];
                break; // below
            case HostState::waking:
                ++seen_[host.extra->awaited.empty() ? "probe for nobody" : "probe for a packet"];
                EXPECT_EQ(ips, host.extra->awaited.empty() ? Ips{served(host).front()} : host.extra->awaited);
                EXPECT_TRUE(now_ - kernel_.at(id).asked >= 500ms || is_just_resumed(id)) << "too early";
                kernel_.at(id).asked = now_;
                break;
            case HostState::unreachable:
                ++seen_["probe for who looks for it"];
                EXPECT_EQ(ips, served(host));
                break;
            case HostState::arming:
                ADD_FAILURE() << "asked";
                break;
            }
        }
        for (std::size_t i = 0; i < effects.size(); ++i) {
            const Host* const host = table_.get(effects[i].host);
            if (effects[i].kind != Kind::serve || host->state != HostState::asleep)
                continue;
            const bool falls_asleep = i > 0 && effects[i - 1].kind == Kind::edge && effects[i - 1].host == host->id;
            Lines expected;
            if (falls_asleep)
                for (const IpAddress& ip : served(*host))
                    expected.push_back("probe " + ip.to_string());
            if (!falls_asleep || host->extra->learned.empty()) // else when another node would have answered the probes
                expected.emplace_back("announce");
            Lines after;
            for (std::size_t j = i + 1; j < effects.size(); ++j)
                if (effects[j].host == host->id)
                    after.push_back(line(effects[j]));
            EXPECT_EQ(after, expected);
        }
    }
    static bool is_let_go(const Host& host, const IpAddress& ip) {
        return std::ranges::find(host.extra->let_go, ip) != host.extra->let_go.end();
    }
    static Ips served(const Host& host) {
        Ips out;
        for (const IpAddress& ip : held_addresses(host))
            if (std::ranges::find(host.extra->expired, ip) == host.extra->expired.end())
                out.push_back(ip);
        return out;
    }
    void apply(const Effect& effect) {
        const Host* const host = table_.get(effect.host);
        const auto found = kernel_.find(effect.host);
        Kernel* const kernel = found == kernel_.end() ? nullptr : &found->second;
        if (host != nullptr && !has_link(*host)) {
            EXPECT_FALSE(effect.kind == Kind::announce || effect.kind == Kind::hand_back ||
                         effect.kind == Kind::refresh || effect.kind == Kind::send_magic ||
                         effect.kind == Kind::probe || effect.kind == Kind::deliver || effect.kind == Kind::defend)
                << "sent to nobody";
            EXPECT_NE(effect.kind, Kind::serve);
        }
        switch (effect.kind) {
        case Kind::watch:
            ASSERT_NE(host, nullptr);
            ASSERT_TRUE(kernel == nullptr || kernel->stage == Stage::watched)
                << "something of an earlier care is still there";
            for (const auto& [id, address] : held_)
                EXPECT_TRUE(id != effect.host || host->state == HostState::awake || is_pending(id, address))
                    << "a packet of an earlier care is still held";
            if (host->state == HostState::arming) {
                EXPECT_GT(host->generation, last_generation_);
                last_generation_ = host->generation;
                if (chance(10))
                    chatty_.insert(host->generation);
            }
            kernel_[effect.host] =
                Kernel{host->generation, Stage::arming, released_.contains(host->generation), {}, {}};
            break;
        case Kind::watch_awake:
            ASSERT_NE(host, nullptr);
            EXPECT_EQ(host->state, HostState::awake);
            ASSERT_TRUE(kernel == nullptr || kernel->stage == Stage::watched);
            kernel_[effect.host] = Kernel{host->generation, Stage::watched, false, {}, now_};
            break;
        case Kind::serve: {
            ASSERT_NE(kernel, nullptr) << "not watched before";
            if (kernel->stage == Stage::watched) {
                EXPECT_GT(host->generation, last_generation_);
                EXPECT_GE(now_ - last_seen_[effect.host], 48s);
                last_generation_ = kernel->generation = host->generation;
            }
            if (const auto resumed = resumed_.find(effect.host); resumed != resumed_.end()) {
                EXPECT_GE(now_ - resumed->second, 3s) << "answered for before it was looked for";
                resumed_.erase(resumed);
            }
            if (kernel->stage == Stage::unanswered)
                kernel->answered.clear();
            ASSERT_TRUE(kernel->answered.empty());
            for (const IpAddress& ip : answered_addresses(*host))
                kernel->answered.insert(ip);
            kernel->stage = Stage::asleep;
            break;
        }
        case Kind::serve_unanswered:
            ADD_FAILURE() << "nothing is restored here";
            break;
        case Kind::stage_waking:
            ASSERT_NE(kernel, nullptr);
            kernel->stage = Stage::waking;
            if (host->state != HostState::waking || host->since == now_) // else it is asked as before
                kernel->asked = now_;
            break;
        case Kind::stage_unanswered:
            ASSERT_NE(kernel, nullptr);
            if (host->state != HostState::unreachable) {
                ++seen_["link lost"];
                EXPECT_FALSE(has_link(*host));
            }
            kernel->stage = Stage::unanswered;
            break;
        case Kind::stop_answering:
            ASSERT_NE(kernel, nullptr);
            if (effect.address)
                kernel->answered.erase(*effect.address);
            else
                kernel->answered.clear();
            break;
        case Kind::forget:
            if (kernel != nullptr && kernel->released)
                released_.insert(kernel->generation);
            kernel_.erase(effect.host);
            resumed_.erase(effect.host);
            break;
        case Kind::announce:
        case Kind::refresh:
            ASSERT_NE(kernel, nullptr) << "a frame in the name of a host that is not in care";
            EXPECT_EQ(kernel->stage, Stage::asleep);
            EXPECT_EQ(host->state, HostState::asleep);
            break;
        case Kind::defend:
            ASSERT_NE(kernel, nullptr);
            EXPECT_TRUE(kernel->answered.contains(effect.address.value()));
            break;
        case Kind::hand_back:
            ASSERT_NE(host, nullptr);
            ASSERT_TRUE(effect.address.has_value());
            EXPECT_EQ(host->identity, Identity::proxy);
            EXPECT_EQ(host->state, HostState::awake);
            EXPECT_TRUE(kernel == nullptr || kernel->answered.empty()) << "both MACs are named";
            EXPECT_TRUE(proven_.contains({host->generation, *effect.address}) || now_ >= host->since + 8s)
                << "its owner may be in DAD";
            break;
        case Kind::send_magic:
            ASSERT_NE(host, nullptr);
            EXPECT_NE(host->state, HostState::asleep);
            break;
        case Kind::probe:
            ASSERT_NE(kernel, nullptr) << "nobody listens for the reply";
            ASSERT_TRUE(effect.address.has_value());
            EXPECT_EQ(kernel->stage == Stage::asleep, host->state == HostState::asleep && !is_looked_for(*host))
                << "the reply would be taken for another";
            EXPECT_EQ(kernel->answered.contains(*effect.address),
                      host->state != HostState::awake && !is_let_go(*host, *effect.address));
            break;
        case Kind::deliver:
            ASSERT_TRUE(effect.address.has_value());
            EXPECT_TRUE(kernel == nullptr || kernel->answered.empty()) << "the packet would come back";
            EXPECT_TRUE(proven_.contains({host->generation, *effect.address}))
                << "delivered before its address was proven";
            held_.erase({effect.host, *effect.address});
            break;
        case Kind::drop_held:
            if (effect.address) {
                held_.erase({effect.host, *effect.address});
            } else {
                std::erase_if(held_, [&](const auto& packet) { return packet.first == effect.host; });
            }
            break;
        case Kind::notice:
            EXPECT_FALSE(effect.text.empty());
            ++seen_[std::string(word(effect.notice))];
            break;
        case Kind::edge:
            if (effect.to != HostState::waking)
                resumed_.erase(effect.host);
            EXPECT_EQ(told_[effect.host], effect.from);
            if (effect.to == HostState::waking && kernel != nullptr)
                kernel->asked = now_;
            EXPECT_NE(effect.from, effect.to);
            EXPECT_FALSE(effect.text.empty());
            told_[effect.host] = effect.to;
            break;
        }
    }

    void check() {
        for (const auto& [id, kernel] : kernel_) {
            const Host* const host = table_.get(id);
            ASSERT_NE(host, nullptr) << "host " << id << " is gone but not forgotten";
            EXPECT_EQ(kernel.generation, host->generation);
        }
        std::erase_if(told_, [&](const auto& each) { return table_.get(each.first) == nullptr; });
        for (const std::string& name : table_.names()) {
            const Host& host = *table_.find(name);
            SCOPED_TRACE(fmt::format("{} is {}", name, to_string(host.state)));
            EXPECT_EQ(told_[host.id], host.state) << "an edge was not told";
            ++seen_[std::string(to_string(host.state))];
            const auto found = kernel_.find(host.id);
            if (host.state == HostState::awake && host.extra->awaited.empty()) {
                EXPECT_TRUE(found == kernel_.end() ? !host.activity->next_check
                                                   : found->second.stage == Stage::watched);
                continue;
            }
            ASSERT_NE(found, kernel_.end());
            const Kernel& kernel = found->second;
            const Ips listed = answered_addresses(host);
            const std::set<IpAddress> answerable(listed.begin(), listed.end());
            if (!host.extra->let_go.empty())
                ++seen_[fmt::format("let go while {}", to_string(host.state))];
            switch (host.state) {
            case HostState::awake:
                ++seen_["returning"];
                EXPECT_GE(kernel.stage, Stage::waking);
                EXPECT_TRUE(kernel.answered.empty());
                break;
            case HostState::arming:
                EXPECT_EQ(kernel.stage, Stage::arming);
                EXPECT_TRUE(kernel.answered.empty());
                break;
            case HostState::asleep:
                EXPECT_EQ(kernel.stage, is_looked_for(host) ? Stage::unanswered : Stage::asleep);
                EXPECT_EQ(kernel.answered, answerable);
                EXPECT_TRUE(host.extra->awaited.empty());
                break;
            case HostState::waking:
                EXPECT_EQ(kernel.stage, is_looked_for(host) ? Stage::unanswered : Stage::waking);
                EXPECT_EQ(kernel.answered, answerable);
                EXPECT_TRUE(served(host).empty() || !has_link(host) || now_ - kernel.asked < 500ms)
                    << "not asked in time";
                break;
            case HostState::unreachable:
                EXPECT_EQ(kernel.stage, Stage::unanswered);
                EXPECT_EQ(kernel.answered, answerable);
                EXPECT_TRUE(host.extra->awaited.empty());
                break;
            }
            const Ips held = held_addresses(host);
            for (const IpAddress& ip : host.extra->awaited)
                EXPECT_NE(std::ranges::find(held, ip), held.end());
        }
        // No packet is left behind: its trigger is on the way, or its host waits for its address.
        for (const auto& [id, address] : held_) {
            const Host* const host = table_.get(id);
            EXPECT_TRUE(
                (host != nullptr && std::ranges::find(host->extra->awaited, address) != host->extra->awaited.end()) ||
                is_pending(id, address))
                << "host " << id << " " << address.to_string();
        }
    }

    bool is_pending(HostId id, const IpAddress& address) const {
        return std::ranges::any_of(pending_, [&](const Event& event) {
            return event.kind == PZ_EVENT_TRIGGER && event.host == id && event.address == address;
        });
    }
    void check_unique() {
        std::set<std::pair<SegmentId, MacAddress>> macs;
        std::set<std::pair<SegmentId, IpAddress>> addresses;
        std::set<HostId> ids;
        for (const std::string& name : table_.names()) {
            const Host& host = *table_.find(name);
            EXPECT_TRUE(ids.insert(host.id).second);
            EXPECT_LT(host.id, max_hosts);
            for (const MacAddress& mac : host.macs)
                EXPECT_TRUE(macs.insert({host.segment, mac}).second) << mac.to_string();
            for (const IpAddress& ip : held_addresses(host)) {
                EXPECT_TRUE(addresses.insert({host.segment, ip}).second) << ip.to_string();
                EXPECT_EQ(table_.find(host.segment, ip), &host);
            }
            EXPECT_TRUE(host.options.get().learn || host.extra->learned.empty());
            EXPECT_LE(held_addresses(host).size(), max_addresses);
        }
    }

    static constexpr std::uint32_t max_hosts = 9;
    PresenceTable table_{TableOptions{.max_hosts = max_hosts}};
    Instant now_ = start;
    bool quiet_ = false;
    std::mt19937_64 random_;
    std::map<HostId, Kernel> kernel_;
    std::map<HostId, HostState> told_; // by the edges so far
    std::set<std::uint32_t> released_; // generations that the kernel released and then forgot
    std::set<SegmentId> lost_; // segments without a link
    std::map<HostId, Instant> resumed_; // looked for since
    std::map<HostId, std::size_t> turns_; // of those that were asked for all their addresses: how often since then
    std::set<std::uint32_t> chatty_; // generations in which the owner never falls silent
    std::set<std::uint32_t> nic_answers_; // generations in which the NIC answers by itself
    std::map<HostId, Instant> last_seen_;
    std::set<std::pair<HostId, IpAddress>> held_;
    std::set<std::pair<std::uint32_t, IpAddress>> proven_;
    std::deque<Event> pending_;
    std::uint32_t last_generation_ = 0;
};

TEST(TableWalk, KernelAndQueueAlwaysFitTheStates) {
    std::map<std::string, int> seen;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        SCOPED_TRACE(fmt::format("seed {}", seed));
        Walk walk(seed);
        walk.steps(25'000);
        if (testing::Test::HasFailure())
            return;
        walk.settle();
        for (const auto& [what, count] : walk.seen_)
            seen[what] += count;
    }
    for (const char* what : {"awake",
                             "arming",
                             "asleep",
                             "waking",
                             "unreachable",
                             "returning",
                             "watch",
                             "serve",
                             "stage_waking",
                             "stage_unanswered",
                             "stop_answering",
                             "forget",
                             "announce",
                             "refresh",
                             "send_magic",
                             "probe",
                             "deliver",
                             "drop_held",
                             "sleep-abandoned",
                             "address-not-back",
                             "address-expired",
                             "defend",
                             "let go while awake",
                             "let go while arming",
                             "let go while asleep",
                             "let go while waking",
                             "let go while unreachable",
                             "base line",
                             "watch_awake",
                             "probe of the agentless",
                             "probe of a learned address",
                             "address-learned",
                             "address-forgotten",
                             "not-learned",
                             "no-address",
                             "probe for nobody",
                             "probe for a packet",
                             "probe for who looks for it",
                             "reply while unreachable",
                             "link lost",
                             "link back",
                             "looked for",
                             "looked for again",
                             "reply while asleep",
                             "reply while waking",
                             "idle reply while waking",
                             "idle reply while asleep",
                             "idle reply while arming"})
        EXPECT_GT(seen[what], 20) << what << " was hardly reached: the walk proves nothing about it";
}

} // namespace
} // namespace pz
