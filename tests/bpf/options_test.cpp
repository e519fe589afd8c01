// SPDX-License-Identifier: Apache-2.0
// What the options in user space get to see: copies of multicast to groups that they listen to, and what is steered to
// them of a sleeper's unicast.
#include <sys/socket.h>

#include <cstring>

#include "base/fd.h"
#include "harness.h"

namespace pz::test {
namespace {

const Ip4Address llmnr_ip4 = {{224, 0, 0, 252}};
const Ip4Address all_systems = {{224, 0, 0, 1}};
const Mac llmnr_mac = {{0x01, 0x00, 0x5e, 0x00, 0x00, 0xfc}};
const Mac all_systems_mac = {{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}};
const auto mdns_ip6 = "ff02::fb"_ip6;
const auto llmnr_ip6 = "ff02::1:3"_ip6;
const auto a_group_ip6 = "ff05::1234"_ip6;
const Ip4Address a_group_ip4 = {{239, 1, 2, 3}};
const Mac a_group_mac = {{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03}};

Packet mdns_question6(Raw message = Raw{40, 1}, const Mac& source = client_mac) {
    return Ether{.destination = group_mac(mdns_ip6), .source = source} /
           Ip6{.destination = mdns_ip6, .hop_limit = 255} / Udp{.source_port = 5353, .destination_port = 5353} /
           std::move(message);
}
Packet llmnr_question(std::uint16_t source_port = 50001) {
    return Ether{.destination = llmnr_mac} / Ip4{.destination = llmnr_ip4, .ttl = 255} /
           Udp{.source_port = source_port, .destination_port = 5355} / Raw{30, 2};
}
/// To `group`, with Router Alert (RFC 2236, RFC 3376).
Packet igmp(std::uint8_t type, const Ip4Address& group, const Mac& mac, Bytes options = {0x94, 4, 0, 0}) {
    return Ether{.destination = mac} /
           Ip4{.destination = group, .protocol = proto_igmp, .ttl = 1, .options = std::move(options)} /
           Raw{Bytes{type, 0, 0, 0, 0, 0, 0, 0}};
}
/// To `group`, behind a hop-by-hop header with Router Alert (RFC 2710, RFC 3810).
Packet mld(std::uint8_t type, const Ip6Address& group) {
    return Ether{.destination = group_mac(group)} / Ip6{.source = "fe80::1"_ip6, .destination = group, .hop_limit = 1} /
           Ext{.kind = ext_hop_by_hop, .body = {5, 2, 0, 0, 1, 0}} / Icmp6{.type = type, .word = 0x03e80000} /
           Raw{16, 0};
}
/// To the sleeper's own address.
Packet mdns_to_host(const Ether& ether = {}) {
    return ether / Ip4{.ttl = 255} / Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 1};
}
Packet mdns_to_host6(const Ether& ether = {}) {
    return ether / Ip6{.hop_limit = 255} / Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 1};
}

Expected copied(std::uint8_t listener, const Address& address, std::uint32_t segment = segment_lan) {
    return {.verdict = XDP_PASS,
            .reasons = {PZ_REASON_MULTICAST_COPIED},
            .overheard = {{.kind = PZ_EVENT_OPTION,
                           .reason = PZ_REASON_MULTICAST_COPIED,
                           .detail = listener,
                           .address = address,
                           .segment = segment,
                           .check_frame = true}}};
}
Expected steered(const Address& address, std::uint8_t listener = PZ_LISTEN_MDNS) {
    return {.verdict = XDP_DROP,
            .reasons = {PZ_REASON_STEERED},
            .overheard = {{.kind = PZ_EVENT_OPTION,
                           .reason = PZ_REASON_STEERED,
                           .detail = listener,
                           .address = address,
                           .mac = client_mac,
                           .check_frame = true}}};
}

class OptionsTest : public DataPathTest {
protected:
    void SetUp() override {
        DataPathTest::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        for (const auto segment : {segment_lan, segment_vlan100}) {
            kernel().put_index(segment, mdns_ip4, listeners(PZ_LISTEN_MDNS | PZ_LISTEN_GROUPS));
            kernel().put_index(segment, mdns_ip6, listeners(PZ_LISTEN_MDNS | PZ_LISTEN_GROUPS));
            kernel().put_index(segment, llmnr_ip4, listeners(PZ_LISTEN_LLMNR));
            kernel().put_index(segment, llmnr_ip6, listeners(PZ_LISTEN_LLMNR));
        }
        kernel().put_index(segment_lan, all_systems, listeners(PZ_LISTEN_GROUPS));
        kernel().put_index(segment_lan, all_nodes(), listeners(PZ_LISTEN_GROUPS));
        kernel().put_index(segment_lan, a_group_ip4, listeners(PZ_LISTEN_GROUPS));
        kernel().put_index(segment_lan, a_group_ip6, listeners(PZ_LISTEN_GROUPS));
    }
    void TearDown() override { kernel().turn_to_ingress(); }

    /// The sleeper of most cases, whose mDNS is answered for it, and whom everything wakes.
    static Host with_mdns(std::uint8_t stage = PZ_STAGE_ASLEEP) {
        Host host;
        host.stage = stage;
        host.flags = PZ_POLICY_MDNS;
        host.rules = {{.port = 5353, .protocol = proto_udp, .action = PZ_RULE_WAKE},
                      {.port = 0, .protocol = proto_udp, .action = PZ_RULE_WAKE}};
        return host;
    }
    /// Leaves so many bytes of the ring of what is overheard in use.
    static void fill_ring(std::size_t wanted) {
        Bytes out;
        const auto jumbo = mdns_question(Raw{9000, 1}).bytes();
        const auto small = mdns_question().bytes();
        std::size_t used = 0;
        const auto add = [&](const Bytes& frame, std::size_t size) {
            for (; used + size <= wanted; used += size)
                (void)kernel().run_quickly(frame, out);
        };
        add(jumbo, PZ_EVENT_JUMBO_SIZE + BPF_RINGBUF_HDR_SZ);
        add(small, PZ_EVENT_SMALL_SIZE + BPF_RINGBUF_HDR_SZ);
    }
};

TEST_F(OptionsTest, R62_MdnsToItsGroupsIsCopiedAndPasses) {
    check(mdns_question(), copied(PZ_LISTEN_MDNS, mdns_ip4));
    check(mdns_question6(), copied(PZ_LISTEN_MDNS, mdns_ip6));
    // from any port: a one-shot question (RFC 6762 section 6.7)
    check(Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5353} / Raw{40, 1},
          copied(PZ_LISTEN_MDNS, mdns_ip4));
    // a responder's answer, with the checksum half done
    check(Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} /
              Udp{.source_port = 5353, .destination_port = 5353, .checksum = 0x1234} / Raw{40, 1},
          copied(PZ_LISTEN_MDNS, mdns_ip4));
    // as some access points send it, to each station
    check(Ether{.destination = gateway_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5353},
          copied(PZ_LISTEN_MDNS, mdns_ip4));
}

TEST_F(OptionsTest, R62_TheEventHasEveryByte) {
    const auto frame = mdns_question().bytes();
    const auto before = monotonic_ns();
    const auto outcome = kernel().run(frame);
    ASSERT_EQ(outcome.overheard.size(), 1U) << outcome.to_string();
    const auto& event = outcome.overheard[0];
    EXPECT_GE(event.header.time_ns, before);
    EXPECT_LE(event.header.time_ns, monotonic_ns());
    pz_event wanted{};
    wanted.time_ns = event.header.time_ns;
    wanted.kind = PZ_EVENT_OPTION;
    wanted.reason = PZ_REASON_MULTICAST_COPIED;
    wanted.segment = segment_lan;
    wanted.ifindex = test_ifindex;
    wanted.frame_length = wanted.frame_captured = static_cast<std::uint32_t>(frame.size());
    std::ranges::copy(client_mac.bytes, wanted.mac);
    wanted.family = PZ_FAMILY_4;
    wanted.detail = PZ_LISTEN_MDNS;
    std::ranges::copy(mdns_ip4.bytes, wanted.address);
    wanted.protocol = proto_udp;
    EXPECT_EQ(std::memcmp(&event.header, &wanted, sizeof wanted), 0) << outcome.to_string();
    EXPECT_EQ(event.frame, frame);
    EXPECT_EQ(event.record_size, std::size_t{PZ_EVENT_SMALL_SIZE});
    EXPECT_EQ(outcome.counted, (std::map<std::uint32_t, std::uint64_t>{{PZ_REASON_MULTICAST_COPIED, 1}}));
}

TEST_F(OptionsTest, R62_MessagesOf9000BytesArriveWhole) {
    Bytes message(9216 - 14 - 20 - 8);
    for (std::size_t i = 0; i < message.size(); i++)
        message[i] = static_cast<std::uint8_t>(i * 7);
    for (const std::size_t length : {142U, 143U, 500U, 1934U, 1935U, 1972U, 8972U, 9174U}) {
        SCOPED_TRACE(length);
        const auto outcome =
            check(mdns_question(Raw{Bytes(message.begin(), message.begin() + static_cast<long>(length))}),
                  copied(PZ_LISTEN_MDNS, mdns_ip4));
        ASSERT_EQ(outcome.overheard.size(), 1U);
    }
    // longer than any frame is
    check(mdns_question(Raw{9175, 1}), passed({PZ_REASON_OPTION_LOST}));
}

TEST_F(OptionsTest, R85_LlmnrToItsGroupsIsCopiedAndPasses) {
    check(llmnr_question(), copied(PZ_LISTEN_LLMNR, llmnr_ip4));
    check(llmnr_question(5355), copied(PZ_LISTEN_LLMNR, llmnr_ip4));
    check(Ether{.destination = group_mac(llmnr_ip6)} / Ip6{.destination = llmnr_ip6} / Udp{.destination_port = 5355} /
              Raw{30, 2},
          copied(PZ_LISTEN_LLMNR, llmnr_ip6));
}

TEST_F(OptionsTest, R86_LlmnrToTheSleeperItselfIsOrdinaryUnicast) {
    const auto question = Ether{} / Ip4{} / Udp{.source_port = 5355, .destination_port = 5355} / Raw{30, 2};
    Host host;
    host.flags = PZ_POLICY_MDNS;
    sleeper(host);
    check(question, dropped({PZ_REASON_PORT_CLOSED}));
    sleeper(with_mdns());
    check(question, triggered(PZ_REASON_TRIGGER_UDP, {.address = host_ip4, .port = 5355}));
}

TEST_F(OptionsTest, R86_WithLlmnrItIsTheOptionsToAnswerOrIgnoreAndWakesNobody) {
    Host host;
    host.flags = PZ_POLICY_LLMNR;
    host.rules = {{.port = 0, .protocol = proto_udp, .action = PZ_RULE_WAKE},
                  {.port = 0, .protocol = proto_tcp, .action = PZ_RULE_WAKE}};
    sleeper(host);
    check(Ether{} / Ip4{} / Udp{.source_port = 5355, .destination_port = 5355} / Raw{30, 2},
          steered(host_ip4, PZ_LISTEN_LLMNR));
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{30, 2},
          triggered(PZ_REASON_TRIGGER_UDP, {.address = host_ip4, .port = 5353}));
    check(Ether{} / Ip4{} / Tcp{.destination_port = 5355}, dropped({PZ_REASON_PORT_CLOSED}));
    host.flags = 0;
    sleeper(host);
    check(Ether{} / Ip4{} / Tcp{.destination_port = 5355},
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4, .port = 5355}));
}

TEST_F(OptionsTest, QueriesAndReportsOfGroupsAreCopied) {
    check(igmp(0x11, all_systems, all_systems_mac), copied(PZ_LISTEN_GROUPS, all_systems));
    check(igmp(0x11, all_systems, all_systems_mac, {}), copied(PZ_LISTEN_GROUPS, all_systems));
    check(igmp(0x16, mdns_ip4, mdns_mac), copied(PZ_LISTEN_GROUPS, mdns_ip4));
    check(igmp(0x17, a_group_ip4, a_group_mac), copied(PZ_LISTEN_GROUPS, a_group_ip4));
    for (const std::uint8_t type : U8{130, 131, 132, 143}) {
        check(mld(type, all_nodes()), copied(PZ_LISTEN_GROUPS, all_nodes()));
        check(mld(type, a_group_ip6), copied(PZ_LISTEN_GROUPS, a_group_ip6));
    }
}

TEST_F(OptionsTest, WhatNobodyListensForPassesUnseen) {
    const std::vector<Packet> frames = {
        // another group, another port of one, and a listener that is another one's
        Ether{.destination = a_group_mac} / Ip4{.destination = "239.1.2.4"_ip4} / Udp{.destination_port = 5353},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5354},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5355},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Tcp{.destination_port = 5353},
        igmp(0x11, llmnr_ip4, llmnr_mac),
        mld(130, llmnr_ip6),
        mld(129, all_nodes()),
        mld(133, all_nodes()),
        Ether{.destination = all_systems_mac} / Ip4{.destination = all_systems} / Icmp4{},
        Ether{.destination = group_mac(all_nodes())} / Ip6{.destination = all_nodes()} / Icmp6{},
        // to another station
        Ether{.destination = stranger_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5353},
        // the datagram ends early, or its header is none
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5353, .length = 7},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 5353, .length = 9},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .protocol = proto_udp} / Raw{7, 0},
        // bad IP header; source-routed
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .checksum = 1} / Udp{.destination_port = 5353},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .options = {131, 7, 4, 192, 0, 2, 1}} /
            Udp{.destination_port = 5353},
        // fragments, the first one too
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .fragment = 0x2000} /
            Udp{.destination_port = 5353} / Raw{40, 1},
        Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .fragment = 0x0010} /
            Udp{.destination_port = 5353} / Raw{40, 1},
        Ether{.destination = group_mac(mdns_ip6)} / Ip6{.destination = mdns_ip6} / Fragment{.offset_flags = 1} /
            Udp{.destination_port = 5353} / Raw{40, 1},
    };
    for (const auto& frame : frames)
        check(frame, passed({PZ_REASON_NOBODY}));
}

TEST_F(OptionsTest, EachSegmentHasListenersOfItsOwn) {
    const auto tagged = [](std::vector<Vlan> tags, const Ip4Address& group, const Mac& mac) {
        Packet packet = Ether{.destination = mac};
        for (auto& tag : tags)
            packet = std::move(packet) / std::move(tag);
        return std::move(packet) / Ip4{.destination = group} / Udp{.destination_port = 5353} / Raw{40, 1};
    };
    check(tagged({Vlan{.vid = 100}}, mdns_ip4, mdns_mac), copied(PZ_LISTEN_MDNS, mdns_ip4, segment_vlan100));
    check(tagged({Vlan{.vid = 0}}, mdns_ip4, mdns_mac), copied(PZ_LISTEN_MDNS, mdns_ip4)); // a priority
    check(tagged({Vlan{.vid = 100}, Vlan{.vid = 200}}, mdns_ip4, mdns_mac), passed({PZ_REASON_NOBODY}));
    check(tagged({Vlan{.vid = 7}}, mdns_ip4, mdns_mac), passed({PZ_REASON_NO_SEGMENT}));
}

TEST_F(OptionsTest, NothingAnswersForAGroup) {
    // by the short way and by the long one
    for (const std::size_t length : {60U, 61U})
        for (const auto& target : {mdns_ip4, all_systems, a_group_ip4}) {
            auto request = arp_request({.target_ip = target}).bytes();
            request.resize(length);
            kernel().check(request, passed({PZ_REASON_NOBODY}));
            auto probe = arp_request({.sender_ip = {}, .target_ip = target}).bytes();
            probe.resize(length);
            kernel().check(probe, passed({PZ_REASON_NOBODY}));
            auto claim = arp_request({.operation = 2, .sender_ip = target, .target_ip = target}).bytes();
            claim.resize(length);
            kernel().check(claim, passed({PZ_REASON_NOBODY}));
        }
    for (const auto& target : {mdns_ip6, all_nodes(), a_group_ip6}) {
        check(solicitation(target), passed({PZ_REASON_NOBODY}));
        check(solicitation_headers(target) / Ns{.target = target}, passed({PZ_REASON_NOBODY}));
        check(Ether{.destination = gateway_mac} / Ip6{.destination = other_ip6(), .hop_limit = 255} /
                  Ns{.target = target} / source_lla(),
              passed());
        check(Ether{.destination = group_mac(all_nodes())} / Ip6{.destination = all_nodes(), .hop_limit = 255} /
                  Na{.target = target, .solicited = false} / target_lla(stranger_mac),
              passed({PZ_REASON_NOBODY}));
    }
    // another gateway's mark makes no difference
    check(Ether{.destination = broadcast_mac, .source = stranger_mac} /
              Arp{.operation = 2, .sender_mac = stranger_mac, .sender_ip = mdns_ip4, .target_ip = mdns_ip4} /
              arp_mark(stranger_mac),
          passed({PZ_REASON_NOBODY}));
    // nor does somebody who pings it
    check(Ether{} / Ip4{.destination = mdns_ip4} / Icmp4{}, passed({PZ_REASON_NOBODY}));
}

TEST_F(OptionsTest, TheSenderIsLookedAtFirst) {
    const Ether from_owner{.destination = mdns_mac, .source = host_mac};
    const auto message = from_owner / Ip4{.source = host_ip4, .destination = mdns_ip4} /
                         Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 1};
    const ExpectedEvent copy{
        .kind = PZ_EVENT_OPTION, .reason = PZ_REASON_MULTICAST_COPIED, .mac = host_mac, .check_frame = true};
    const auto expect = [&](std::uint32_t reason) {
        const auto outcome = kernel().run(message.bytes());
        EXPECT_EQ(outcome.counted, (std::map<std::uint32_t, std::uint64_t>{{reason, 1}})) << outcome.to_string();
        EXPECT_EQ(outcome.overheard.size(), 1U) << outcome.to_string();
        EXPECT_EQ(outcome.overheard.at(0).header.reason, std::uint32_t{PZ_REASON_MULTICAST_COPIED});
        EXPECT_EQ(outcome.overheard.at(0).header.generation, 0U);
    };
    expect(PZ_REASON_SIGN_OF_LIFE);
    EXPECT_EQ(kernel().live(Host{}.id).released, Host{}.generation);
    expect(PZ_REASON_OWNER_SEEN);
    Host awake;
    awake.stage = PZ_STAGE_WATCHED;
    sleeper(awake);
    expect(PZ_REASON_OWNER_WATCHED);
    // an IGMP report is a sign of life too
    sleeper({});
    kernel().put_live(Host{}.id, {});
    check(from_owner / Ip4{.source = host_ip4, .destination = mdns_ip4, .protocol = proto_igmp, .ttl = 1} /
              Raw{Bytes{0x16, 0, 0, 0, 224, 0, 0, 251}},
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_GROUP}},
           .overheard = {copy}});
}

TEST_F(OptionsTest, WithoutADaemonNothingIsCopied) {
    kernel().put_daemon(700'000'000'000);
    check(mdns_question(), passed({PZ_REASON_DAEMON_GONE}));
}

TEST_F(OptionsTest, AMagicPacketToAGroupStillWakes) {
    // 40000 is looked into; nobody listens for it, but for the group
    check(Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4} / Udp{.destination_port = 40000} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, {}, XDP_PASS));
}

TEST_F(OptionsTest, AFloodLeavesThreeQuartersOfTheRingToOthers) {
    const auto ring = kernel().overheard_ring_size();
    for (const auto& frame :
         {mdns_question().bytes(), mdns_question(Raw{1000, 1}).bytes(), mdns_question(Raw{9000, 1}).bytes()}) {
        SCOPED_TRACE(frame.size());
        const std::size_t size = (frame.size() <= PZ_EVENT_SMALL_FRAME   ? PZ_EVENT_SMALL_SIZE
                                  : frame.size() <= PZ_EVENT_LARGE_FRAME ? PZ_EVENT_LARGE_SIZE
                                                                         : PZ_EVENT_JUMBO_SIZE) +
                                 BPF_RINGBUF_HDR_SZ;
        kernel().drain();
        const auto before = kernel().counters();
        Bytes out;
        const auto sent = ring / size + 10;
        for (std::size_t i = 0; i < sent; i++)
            ASSERT_EQ(kernel().run_quickly(frame, out), std::uint32_t{XDP_PASS});
        const auto room = ring / 4 / size + 1; // the one that crosses the line is the last one
        const auto after = kernel().counters();
        EXPECT_EQ(after.at(PZ_REASON_MULTICAST_COPIED) - before.at(PZ_REASON_MULTICAST_COPIED), room);
        EXPECT_EQ(after.at(PZ_REASON_OPTION_LOST) - before.at(PZ_REASON_OPTION_LOST), sent - room);
        // others still have their place
        const auto conflict = (Ether{.destination = broadcast_mac, .source = stranger_mac} /
                               Arp{.operation = 2, .sender_mac = stranger_mac, .sender_ip = host_ip4})
                                  .bytes();
        kernel().put_live(Host{}.id, {});
        (void)kernel().run_quickly(conflict, out);
        EXPECT_EQ(kernel().waiting_overheard(), room + 1);
    }
}

TEST_F(OptionsTest, ALostCopyIsCountedWhoeverSentIt) {
    Host awake;
    awake.stage = PZ_STAGE_WATCHED;
    sleeper(awake);
    fill_ring(kernel().overheard_ring_size() / 4 + 300);
    const auto before = kernel().counters();
    Bytes out;
    (void)kernel().run_quickly((Ether{.destination = mdns_mac, .source = host_mac} /
                                Ip4{.source = host_ip4, .destination = mdns_ip4} / Udp{.destination_port = 5353})
                                   .bytes(),
                               out);
    EXPECT_EQ(kernel().counters().at(PZ_REASON_OPTION_LOST), before.at(PZ_REASON_OPTION_LOST) + 1);
    kernel().drain();
}

TEST_F(OptionsTest, R63_MdnsToTheSleepersOwnAddressesIsSteered) {
    for (const auto stage : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING}) {
        sleeper(with_mdns(static_cast<std::uint8_t>(stage)));
        for (const auto& mac : {host_mac, gateway_mac}) {
            check(mdns_to_host({.destination = mac}), steered(host_ip4));
            check(mdns_to_host6({.destination = mac}), steered(host_ip6()));
        }
        // from any port, with the checksum half done
        check(Ether{} / Ip4{} / Udp{.destination_port = 5353, .checksum = 0x1234} / Raw{600, 1}, steered(host_ip4));
        check(Ether{} / Ip6{.destination = host_link_local()} / Udp{.destination_port = 5353},
              steered(host_link_local()));
        check(mdns_to_host({.destination = stranger_mac}), passed({PZ_REASON_NOT_ADDRESSED}));
    }
}

TEST_F(OptionsTest, R63_WhatIsNotForTheOptionIsOrdinary) {
    sleeper(with_mdns());
    check(Ether{} / Ip4{} / Udp{.destination_port = 5354}, triggered(PZ_REASON_TRIGGER_UDP, {.port = 5354}));
    check(Ether{} / Ip4{} / Udp{.source_port = 5353, .destination_port = 137},
          triggered(PZ_REASON_TRIGGER_UDP, {.port = 137}));
    // a Magic Packet wakes wherever it is (R31)
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, {.port = 5353}));
    check(Ether{} / Ip4{.fragment = 0x2000} / Udp{.destination_port = 5353} / Raw{40, 1},
          dropped({PZ_REASON_IP_FRAGMENT}));
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353, .length = 7}, dropped({PZ_REASON_L4_MALFORMED}));
    // without the option the wake rules are asked
    Host host = with_mdns();
    host.flags = 0;
    sleeper(host);
    check(mdns_to_host(), triggered(PZ_REASON_TRIGGER_UDP, {.port = 5353}));
    host.rules.clear();
    sleeper(host);
    check(mdns_to_host(), dropped({PZ_REASON_PORT_CLOSED}));
    // in other stages
    sleeper(with_mdns(PZ_STAGE_UNANSWERED));
    check(mdns_to_host(), passed({PZ_REASON_UNANSWERED}));
    sleeper(with_mdns(PZ_STAGE_ARMING));
    check(mdns_to_host(), passed({PZ_REASON_RELEASED}));
    sleeper(with_mdns());
    kernel().put_released(Host{}.id, Host{}.generation);
    check(mdns_to_host(), passed({PZ_REASON_RELEASED}));
}

TEST_F(OptionsTest, R63_ASocketOfTheQueueGetsTheFrameItself) {
    sleeper(with_mdns());
    const Fd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket)
        PZ_SKIP_OR_FAIL("no AF_XDP here");
    const Expected redirected{.verdict = XDP_REDIRECT, .reasons = {PZ_REASON_STEERED}};
    kernel().put_xsks(7, std::array{socket.get()});
    check(mdns_to_host(), redirected);
    check(mdns_to_host6(), redirected);
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{PZ_XSK_FRAME_ROOM - 42, 1}, redirected);
    // what does not fit into a frame of it comes by the ring
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{PZ_XSK_FRAME_ROOM - 41, 1}, steered(host_ip4));
    check(Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{6000, 1}, steered(host_ip4));
    // multicast is never taken away
    check(mdns_question(), copied(PZ_LISTEN_MDNS, mdns_ip4));
    // a device that has none for this queue, and one whose entry is empty
    kernel().put_xsks(7, {});
    check(mdns_to_host(), steered(host_ip4));
    kernel().put_xsks(8, std::array{socket.get()});
    kernel().put_segment(0, 0, segment_lan);
    check(mdns_to_host(), redirected);
}

TEST_F(OptionsTest, R63_AClosedSocketIsForgottenByTheKernel) {
    sleeper(with_mdns());
    Fd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket)
        PZ_SKIP_OR_FAIL("no AF_XDP here");
    kernel().put_xsks(20, std::array{socket.get()});
    check(mdns_to_host(), {.verdict = XDP_REDIRECT, .reasons = {PZ_REASON_STEERED}});
    socket = {};
    check(mdns_to_host(), steered(host_ip4));
}

TEST_F(OptionsTest, R63_WhatFindsNoRoomIsStillDropped) {
    sleeper(with_mdns());
    fill_ring(kernel().overheard_ring_size() / 4 + 300);
    const auto before = kernel().counters();
    Bytes out;
    EXPECT_EQ(kernel().run_quickly(mdns_to_host().bytes(), out), std::uint32_t{XDP_DROP});
    EXPECT_EQ(kernel().counters().at(PZ_REASON_OPTION_LOST), before.at(PZ_REASON_OPTION_LOST) + 1);
    kernel().drain();
}

TEST_F(OptionsTest, WhatLeavesIsCopiedAndSteeredByEvents) {
    kernel().turn_to_egress();
    const Ether from_gateway{.destination = mdns_mac, .source = gateway_mac};
    const auto question = from_gateway / Ip4{.destination = mdns_ip4} /
                          Udp{.source_port = 5353, .destination_port = 5353, .checksum = 0x1234} / Raw{40, 1};
    for (const auto& packet : {question, mdns_question6(Raw{3000, 1}, gateway_mac)}) {
        const auto outcome =
            check(packet, copied(PZ_LISTEN_MDNS, packet.bytes()[12] == 8 ? Address(mdns_ip4) : mdns_ip6));
        ASSERT_EQ(outcome.overheard.size(), 1U);
        EXPECT_EQ(outcome.overheard[0].header.leaves, 1);
    }
    check(mld(130, all_nodes()), copied(PZ_LISTEN_GROUPS, all_nodes()));
    // even as one of the host's other cards
    sleeper(with_mdns());
    const std::array<int, 0> none{};
    kernel().put_xsks(0, none);
    check(mdns_to_host({.destination = host_mac}), steered(host_ip4));
    // several packets in one: no message
    kernel().set_gso_size(100);
    check(question, passed({PZ_REASON_OPTION_LOST}));
    kernel().set_gso_size(0);
}

TEST_F(OptionsTest, WhatComesInDoesNotLeave) {
    const auto outcome = check(mdns_question(), copied(PZ_LISTEN_MDNS, mdns_ip4));
    ASSERT_EQ(outcome.overheard.size(), 1U);
    EXPECT_EQ(outcome.overheard[0].header.leaves, 0);
}

} // namespace
} // namespace pz::test
