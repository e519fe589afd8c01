// SPDX-License-Identifier: Apache-2.0
// What a dry run found, in the daemon's words: names, states, rules, and what comes next, which has to be what the
// presence table then does.
#include "daemon/explain.h"

#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>

#include <gtest/gtest.h>

#include <proxzzy/abi/reasons.h>

namespace pz {
namespace {

using namespace std::chrono_literals;
using control::Explanation;
using control::FrameVerdict;
using Kind = Effect::Kind;

constexpr SegmentId lan = 1;
constexpr MacAddress desk_mac{{0x02, 0, 0, 0, 0, 0x50}};
constexpr MacAddress client_mac{{0x02, 0, 0, 0, 0, 0x0c}};
const IpAddress desk_ip = *IpAddress::parse("192.0.2.80");
const IpAddress desk_ip6 = *IpAddress::parse("2001:db8::50");
const IpAddress client_ip = *IpAddress::parse("192.0.2.12");
const Bytes syn = build_tcp({client_mac, desk_mac, client_ip, desk_ip}, 40000, 22, TH_SYN, {.outer = 20});

class DaemonExplain : public ::testing::Test {
protected:
    void SetUp() override {
        HostConfig config;
        config.name = "desk";
        config.macs = {desk_mac};
        config.addresses = {{.ip = desk_ip, .valid_for = 1h}, {.ip = desk_ip6}};
        config.wake = {{IPPROTO_TCP, 22}, {IPPROTO_UDP, 0}};
        config.echo = EchoMode::wake;
        id_ = table_.set(config, lan, false, now_).value();
    }
    const Host& host() { return *table_.get(id_); }
    void tick(Duration later) {
        now_ += later;
        (void)table_.tick(now_, [](HostId) { return Instant{}; });
    }
    void to_arming() { ASSERT_TRUE(table_.request_sleep("desk", now_)); }
    void to_asleep() {
        to_arming();
        tick(3s);
        ASSERT_EQ(host().state, HostState::asleep);
    }
    void to_waking() {
        to_asleep();
        ASSERT_TRUE(table_.request_wake("desk", now_));
        ASSERT_EQ(host().state, HostState::waking);
    }
    [[nodiscard]] pz_party party() { return {.host = id_, .generation = host().generation}; }
    pz_event event(pz_event_kind kind, pz_reason reason, pz_sign sign = PZ_SIGN_NONE) {
        pz_event made{};
        made.kind = kind;
        made.reason = reason;
        made.host = id_;
        made.generation = host().generation;
        made.detail = static_cast<std::uint8_t>(sign);
        made.family = PZ_FAMILY_4;
        std::copy_n(desk_ip.bytes.begin(), 4, made.address);
        made.frame_captured = static_cast<std::uint32_t>(syn.size());
        return made;
    }
    Explanation trigger(pz_event made) {
        fastpath::Verdict verdict{.action = XDP_DROP, .frame = syn};
        verdict.found.reason = made.reason;
        verdict.found.segment = lan;
        verdict.found.target = party();
        verdict.found.events[PZ_SLOT_TARGET] = made;
        return told(verdict);
    }
    Explanation trigger() { return trigger(event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN)); }
    std::string next(pz_event made) {
        fastpath::Verdict verdict{.action = XDP_PASS, .frame = syn};
        verdict.found.sender = party();
        verdict.found.sign = made.detail;
        verdict.found.events[PZ_SLOT_SENDER] = made;
        const auto explanation = told(verdict);
        return explanation.events.size() == 1 ? explanation.events[0].next : "not one event";
    }
    Explanation told(const fastpath::Verdict& verdict, const Bytes& frame = syn) {
        return explain(
            verdict, frame, lan, table_, [this](HostId, std::uint32_t) { return nic_answers_; },
            [this](const pz_event&, const Host&) { return refusal_; }, now_);
    }
    static bool has(const Effects& effects, Kind kind) {
        return std::ranges::find(effects, kind, &Effect::kind) != effects.end();
    }

    PresenceTable table_{TableOptions{}};
    Instant now_ = Instant{} + 100h;
    HostId id_ = 0;
    bool nic_answers_ = false;
    std::optional<Refusal> refusal_ = std::nullopt;
};

TEST_F(DaemonExplain, WhatTheWakePolicyRefusesDoesNothing) {
    to_asleep();
    refusal_ =
        Refusal{.rule = Refusal::Rule::deny_from, .source = client_ip, .network = *Network::parse("192.0.2.0/24")};
    EXPECT_EQ(trigger(event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN)).events.at(0).next,
              "nothing: the wake policy of desk refuses the packet: 192.0.2.12 is in deny-from 192.0.2.0/24");
}

TEST_F(DaemonExplain, ATriggerWakesAndThePacketIsHeld) {
    to_asleep();
    fastpath::Verdict verdict{.action = XDP_DROP, .frame = syn};
    verdict.found.reason = PZ_REASON_TRIGGER_SYN;
    verdict.found.segment = lan;
    verdict.found.target = party();
    verdict.found.rule = {.port = 22, .protocol = IPPROTO_TCP, .action = PZ_RULE_WAKE};
    verdict.found.events[PZ_SLOT_TARGET] = event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN);
    const Explanation expected{
        .verdict = FrameVerdict::drop,
        .reason = "trigger-syn",
        .sentence = "TCP connection attempt: the host is woken (R30)",
        .interface = "",
        .vlan = {.outer = 20},
        .segment = lan,
        .host = "desk",
        .host_state = HostState::asleep,
        .rule = "tcp/22",
        .events = {{.kind = "trigger",
                    .host = "desk",
                    .address = desk_ip,
                    .next = "wakes desk by Magic Packets; holds the packet until desk is back with 192.0.2.80"}}};
    EXPECT_EQ(told(verdict), expected);
    // and that is what happens
    EXPECT_TRUE(has(table_.on_trigger(id_, host().generation, desk_ip, false, now_), Kind::send_magic));
    EXPECT_EQ(host().state, HostState::waking);
}

TEST_F(DaemonExplain, WhatBecomesAMagicPacketIsNoAnswer) {
    to_asleep();
    fastpath::Verdict verdict{.action = XDP_TX, .frame = syn};
    verdict.found.reason = PZ_REASON_TRIGGER_SYN;
    verdict.found.target = party();
    verdict.found.events[PZ_SLOT_TARGET] = event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN);
    verdict.found.events[PZ_SLOT_TARGET].at_once = 1;
    const auto explained = told(verdict);
    EXPECT_EQ(explained.verdict, FrameVerdict::drop);
    EXPECT_FALSE(explained.reply);
    EXPECT_EQ(explained.events.at(0).next, "wakes desk by Magic Packets, the first from the kernel at once; holds the "
                                           "packet until desk is back with 192.0.2.80");
}

TEST_F(DaemonExplain, WhatIsNotHeldIsSaid) {
    to_asleep();
    auto long_one = event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN);
    long_one.frame_captured = 0;
    EXPECT_EQ(trigger(long_one).events[0].next,
              "wakes desk by Magic Packets; the packet is too long to be held, and dropped");
    auto magic = event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_MAGIC);
    magic.family = PZ_FAMILY_NONE;
    const auto explained = trigger(magic);
    EXPECT_EQ(explained.events[0].next, "wakes desk by Magic Packets");
    EXPECT_EQ(explained.rule, "magic");
    EXPECT_EQ(trigger(event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_ECHO)).rule, "echo wake");
    tick(1h);
    EXPECT_EQ(trigger().events[0].next, "wakes desk by Magic Packets; drops the packet: 192.0.2.80 has expired");
    EXPECT_TRUE(has(table_.on_trigger(id_, host().generation, desk_ip, false, now_), Kind::drop_held));
}

TEST_F(DaemonExplain, AHostThatIsWokenAlreadyHoldsOn) {
    to_waking();
    EXPECT_EQ(trigger().events[0].next, "desk is already waking: holds the packet until desk is back with 192.0.2.80");
    EXPECT_TRUE(table_.on_trigger(id_, host().generation, desk_ip, false, now_).empty());
}

TEST_F(DaemonExplain, AClosedPortSaysWhichAreNot) {
    to_asleep();
    fastpath::Verdict verdict{.action = XDP_DROP, .frame = syn};
    verdict.found.reason = PZ_REASON_PORT_CLOSED;
    verdict.found.target = party();
    const auto explanation = told(verdict);
    EXPECT_TRUE(explanation.sentence.ends_with("; desk wakes for tcp/22, udp/any")) << explanation.sentence;
    EXPECT_EQ(explanation.rule, std::nullopt);
}

TEST_F(DaemonExplain, AnAnswerIsShown) {
    to_asleep();
    fastpath::Verdict verdict{.action = XDP_TX, .frame = Bytes(60, 7)};
    verdict.found.reason = PZ_REASON_ARP_ANSWERED;
    verdict.found.target = party();
    EXPECT_EQ(told(verdict).reply, control::Frame{Bytes(60, 7)});
    EXPECT_EQ(told(verdict).verdict, FrameVerdict::answer);
    verdict.action = XDP_PASS;
    EXPECT_EQ(told(verdict).reply, std::nullopt);
    EXPECT_EQ(told(verdict).verdict, FrameVerdict::pass);
}

TEST_F(DaemonExplain, TheOwnersFrames) {
    const auto release = [&] { return event(PZ_EVENT_RELEASE, PZ_REASON_SIGN_OF_LIFE, PZ_SIGN_ARP_REQUEST); };
    const auto reply = [&] { return event(PZ_EVENT_PROOF, PZ_REASON_OWNER_SEEN, PZ_SIGN_REPLY); };
    const std::string back = "desk is awake; it gets what is held for it, each packet when its address is proven";
    to_asleep();
    EXPECT_EQ(next(release()), back);
    EXPECT_EQ(next(reply()), "nothing: desk is asleep, and its reply proves nothing");
    EXPECT_TRUE(table_.on_owner(id_, host().generation, PZ_EVENT_PROOF, PZ_SIGN_REPLY, desk_ip, now_).empty());
    EXPECT_EQ(next(event(PZ_EVENT_NIC_ANSWERS, PZ_REASON_NIC_ANSWERS, PZ_SIGN_REPLY)),
              "remembers that the NIC of desk answers by itself");
    ASSERT_TRUE(table_.request_wake("desk", now_));
    EXPECT_EQ(next(reply()), back);
    nic_answers_ = true;
    EXPECT_EQ(next(reply()), "nothing: the NIC of desk answers by itself, which proves nothing");
    nic_answers_ = false;
    EXPECT_FALSE(table_.on_owner(id_, host().generation, PZ_EVENT_PROOF, PZ_SIGN_REPLY, desk_ip, now_).empty());
    EXPECT_EQ(host().state, HostState::awake);
    EXPECT_EQ(next(reply()), "delivers what is held for desk, if anything");
}

TEST_F(DaemonExplain, TheSenderIsNamedWithItsSign) {
    to_asleep();
    fastpath::Verdict verdict{.action = XDP_PASS, .frame = syn};
    verdict.found.sender = party();
    verdict.found.sign = PZ_SIGN_DAD;
    auto explanation = told(verdict, build_arp_request(client_mac, client_ip, client_ip, {}));
    EXPECT_EQ(explanation.sender, "desk");
    EXPECT_EQ(explanation.sender_state, HostState::asleep);
    EXPECT_EQ(explanation.sign, "duplicate address detection");
    EXPECT_EQ(explanation.host, std::nullopt);
}

TEST_F(DaemonExplain, R24_AClaimIsDefendedOnceAndThenWakes) {
    to_asleep();
    const auto claim = [&] { return trigger(event(PZ_EVENT_CONFLICT, PZ_REASON_CONFLICT)).events.at(0); };
    EXPECT_EQ(claim().kind, "conflict");
    EXPECT_EQ(claim().next, "defends 192.0.2.80 once; desk stays asleep");
    EXPECT_TRUE(has(table_.on_conflict(id_, host().generation, desk_ip, now_), Kind::defend));
    EXPECT_EQ(claim().next, "no longer answers for 192.0.2.80, and wakes desk");
    EXPECT_TRUE(has(table_.on_conflict(id_, host().generation, desk_ip, now_), Kind::stop_answering));
    EXPECT_EQ(claim().next, "reports the conflict; desk stays waking");
    EXPECT_TRUE(table_.on_conflict(id_, host().generation, desk_ip, now_).empty());
}

TEST_F(DaemonExplain, AHostThatTheKernelDoesNotKnowIsNamedByItsAddress) {
    fastpath::Verdict verdict{.action = XDP_PASS, .frame = syn};
    const MacAddress anybody = MacAddress::broadcast();
    for (const auto& frame : {syn, build_arp_request(client_mac, client_ip, desk_ip, {}),
                              build_neighbor_solicitation(client_mac, IpAddress::v6({}), desk_ip6, {}),
                              build_udp({client_mac, anybody, *IpAddress::parse("2001:db8::c"), desk_ip6}, 1, 2, {})}) {
        EXPECT_EQ(told(verdict, frame).host, "desk");
        EXPECT_EQ(told(verdict, frame).host_state, HostState::awake);
        EXPECT_EQ(explain(verdict, frame, lan + 1, table_, {}, {}, now_).host, std::nullopt) << "another segment";
    }
    to_arming();
    EXPECT_EQ(told(verdict).host_state, HostState::arming);
    EXPECT_EQ(told(verdict, build_magic_ethernet(client_mac, desk_mac, std::nullopt, {})).host, std::nullopt);
    EXPECT_EQ(told(verdict, Bytes(14)).host, std::nullopt);
    // a Neighbour Solicitation that ends before its target
    auto cut = build_neighbor_solicitation(client_mac, client_ip, desk_ip6, {});
    cut.resize(14 + 40 + 8);
    cut[14 + 5] = 8;
    EXPECT_EQ(told(verdict, cut).host, std::nullopt);
}

TEST_F(DaemonExplain, AnEarlierStayInProxyCareIsNobodys) {
    to_asleep();
    auto stale = event(PZ_EVENT_TRIGGER, PZ_REASON_TRIGGER_SYN);
    stale.generation--;
    const auto explanation = trigger(stale);
    ASSERT_EQ(explanation.events.size(), 1U);
    EXPECT_EQ(explanation.events[0].host, std::nullopt);
    EXPECT_EQ(explanation.events[0].next, "nothing: the host has left proxy care");
}

} // namespace
} // namespace pz
