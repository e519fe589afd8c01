// SPDX-License-Identifier: Apache-2.0
// The owner's own frames: signs of life release on that very packet, proofs of address follow, a NIC's automatic
// answers prove nothing; and strangers who claim a held address (design §6, RFC 5227 §2.4, RFC 4861 §7.2.5, ECMA-393
// R32).
#include <algorithm>
#include <cstring>

#include "harness.h"

namespace pz::test {
namespace {

class OwnerTest : public DataPathTest {
protected:
    void stage(pz_stage stage) {
        Host host;
        host.stage = static_cast<std::uint8_t>(stage);
        host.macs = {host_mac, host_second_mac};
        sleeper(host);
    }
};

const Ether from_owner_to_all{.destination = broadcast_mac, .source = host_mac};
const Ether from_owner{.destination = gateway_mac, .source = host_mac};
const Mac all_nodes_mac = {{0x33, 0x33, 0, 0, 0, 1}};

Arp owner_arp(std::uint16_t operation, const Ip4Address& sender, const Ip4Address& target) {
    return {.operation = operation, .sender_mac = host_mac, .sender_ip = sender, .target_mac = {}, .target_ip = target};
}
const Ip4Address none4{};

struct Sign {
    std::string what;
    Packet frame;
    pz_sign sign;
    Address address; // the record's address that the event names
};

/// DHCP, IGMP and MLD need no address that works: whether their event names the source is left open.
std::optional<Address> named_address(const Sign& sign) {
    if (sign.address != Address{} && (sign.sign == PZ_SIGN_DHCP || sign.sign == PZ_SIGN_GROUP))
        return std::nullopt;
    return sign.address;
}

/// Everything that design §6 calls a sign of life.
std::vector<Sign> signs() {
    const Ip6 nd{.source = host_ip6(), .destination = solicited_node(other_ip6()), .hop_limit = 255};
    const Ether group6{.destination = group_mac(solicited_node(other_ip6())), .source = host_mac};
    return {
        {"ARP request", from_owner_to_all / owner_arp(1, host_ip4, client_ip4), PZ_SIGN_ARP_REQUEST, host_ip4},
        {"ARP request by unicast", from_owner / owner_arp(1, host_ip4, client_ip4), PZ_SIGN_ARP_REQUEST, host_ip4},
        {"ARP probe", from_owner_to_all / owner_arp(1, none4, host_ip4), PZ_SIGN_ARP_PROBE, host_ip4},
        {"ARP announcement", from_owner_to_all / owner_arp(1, host_ip4, host_ip4), PZ_SIGN_ARP_ANNOUNCEMENT, host_ip4},
        {"DAD",
         Ether{.destination = group_mac(solicited_node(host_ip6())), .source = host_mac} /
             Ip6{.source = unspecified(), .destination = solicited_node(host_ip6()), .hop_limit = 255} / Ns{},
         PZ_SIGN_DAD, host_ip6()},
        {"DAD with nonce",
         Ether{.destination = group_mac(solicited_node(host_link_local())), .source = host_mac} /
             Ip6{.source = unspecified(), .destination = solicited_node(host_link_local()), .hop_limit = 255} /
             Ns{.target = host_link_local()} / nonce_option(),
         PZ_SIGN_DAD, host_link_local()},
        {"NS for another", group6 / nd / Ns{.target = other_ip6()} / source_lla(host_mac), PZ_SIGN_ND, host_ip6()},
        {"RS",
         Ether{.destination = group_mac("ff02::2"_ip6), .source = host_mac} /
             Ip6{.source = host_link_local(), .destination = "ff02::2"_ip6, .hop_limit = 255} /
             Icmp6{.type = 133, .word = 0} / source_lla(host_mac),
         PZ_SIGN_ND, host_link_local()},
        {"RS from ::",
         Ether{.destination = group_mac("ff02::2"_ip6), .source = host_mac} /
             Ip6{.source = unspecified(), .destination = "ff02::2"_ip6, .hop_limit = 255} /
             Icmp6{.type = 133, .word = 0},
         PZ_SIGN_ND, Address{}},
        {"DHCP",
         from_owner_to_all / Ip4{.source = none4, .destination = "255.255.255.255"_ip4} /
             Udp{.source_port = 68, .destination_port = 67} / Raw{300, 1},
         PZ_SIGN_DHCP, Address{}},
        {"DHCPv6",
         Ether{.destination = "33:33:00:01:00:02"_mac, .source = host_mac} /
             Ip6{.source = host_link_local(), .destination = "ff02::1:2"_ip6} /
             Udp{.source_port = 546, .destination_port = 547} / Raw{60, 1},
         PZ_SIGN_DHCP, host_link_local()},
        {"IGMP",
         Ether{.destination = "01:00:5e:00:00:16"_mac, .source = host_mac} /
             Ip4{.source = host_ip4,
                 .destination = "224.0.0.22"_ip4,
                 .protocol = proto_igmp,
                 .ttl = 1,
                 .options = {148, 4, 0, 0}} /
             Raw{Bytes{0x22, 0, 0xf9, 0xfc, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251}},
         PZ_SIGN_GROUP, host_ip4},
        {"MLD",
         Ether{.destination = "33:33:00:00:00:16"_mac, .source = host_mac} /
             Ip6{.source = host_link_local(), .destination = "ff02::16"_ip6, .hop_limit = 1} /
             Ext{.kind = ext_hop_by_hop, .body = {5, 2, 0, 0, 1, 0}} / Icmp6{.type = 143, .word = 1} / Raw{20, 0},
         PZ_SIGN_GROUP, host_link_local()},
        {"MLD from ::",
         Ether{.destination = "33:33:00:00:00:16"_mac, .source = host_mac} /
             Ip6{.source = unspecified(), .destination = "ff02::16"_ip6, .hop_limit = 1} /
             Ext{.kind = ext_hop_by_hop, .body = {5, 2, 0, 0, 1, 0}} / Icmp6{.type = 143, .word = 1} / Raw{20, 0},
         PZ_SIGN_GROUP, Address{}},
        {"TCP from its address", from_owner / Ip4{.source = host_ip4, .destination = client_ip4} / Tcp{.flags = 0x10},
         PZ_SIGN_IP, host_ip4},
        {"UDP by multicast",
         Ether{.destination = "01:00:5e:00:00:fb"_mac, .source = host_mac} /
             Ip4{.source = host_ip4, .destination = "224.0.0.251"_ip4} /
             Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 0},
         PZ_SIGN_IP, host_ip4},
        {"TCP over IPv6", from_owner / Ip6{.source = host_temporary_ip6(), .destination = client_ip6()} / Tcp{},
         PZ_SIGN_IP, host_temporary_ip6()},
        {"ping of the gateway", from_owner / Ip4{.source = host_ip4, .destination = other_ip4} / Icmp4{}, PZ_SIGN_IP,
         host_ip4},
        {"ESP", from_owner / Ip4{.source = host_ip4, .destination = client_ip4, .protocol = 50} / Raw{60, 3},
         PZ_SIGN_IP, host_ip4},
    };
}

TEST_F(OwnerTest, R32_EverySignOfLifeReleasesOnThatPacket) {
    for (const auto asleep : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& sign : signs()) {
            SCOPED_TRACE(sign.what);
            kernel().reset();
            stage(asleep);
            check(sign.frame, {.verdict = XDP_PASS,
                               .reasons = {PZ_REASON_SIGN_OF_LIFE},
                               .triggers = {{.kind = PZ_EVENT_RELEASE,
                                             .reason = PZ_REASON_SIGN_OF_LIFE,
                                             .detail = static_cast<std::uint8_t>(sign.sign),
                                             .address = named_address(sign),
                                             .mac = host_mac,
                                             .check_frame = true}}});
            const auto live = kernel().live(Host{}.id);
            EXPECT_EQ(live.released, Host{}.generation);
            EXPECT_NE(live.last_seen_ns, 0U);
            // and at once nothing is answered any more
            check(arp_request(), passed({PZ_REASON_RELEASED}));
            check(solicitation(), passed({PZ_REASON_RELEASED}));
        }
}

TEST_F(OwnerTest, R32_SecondMacOfTheRecordReleases) {
    stage(PZ_STAGE_ASLEEP);
    auto request = owner_arp(1, host_ip4, client_ip4);
    request.sender_mac = host_second_mac;
    check(Ether{.destination = broadcast_mac, .source = host_second_mac} / request,
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .mac = host_second_mac}}});
}

TEST_F(OwnerTest, R32_ArpSenderHardwareAddressIsEnough) {
    // relayed by an access point: another Ethernet source
    check(Ether{.destination = broadcast_mac, .source = stranger_mac} / owner_arp(1, host_ip4, client_ip4),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_ARP_REQUEST, .address = host_ip4}}});
}

TEST_F(OwnerTest, R32_TaggedSignOfLife) {
    kernel().reset();
    sleeper({.id = 6, .generation = 3, .segment = segment_vlan100});
    check(Ether{.destination = broadcast_mac, .source = host_mac, .type = 0x8100} / Vlan{.vid = 100} /
              owner_arp(1, host_ip4, client_ip4),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .check_frame = true}}});
    EXPECT_EQ(kernel().live(6).released, 3U);
}

TEST_F(OwnerTest, OwnersProbeAndDadAreNeverAnswered) {
    // the very thing that would make the host give up its address
    check(from_owner_to_all / owner_arp(1, none4, host_ip4),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_ARP_PROBE}}});
    // again, as RFC 5227 §2.1.1 repeats it
    const auto outcome = kernel().run((from_owner_to_all / owner_arp(1, none4, host_ip4)).bytes());
    EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << outcome.to_string();
    check(solicitation_headers(host_ip6(), unspecified()) / Ns{}, passed({PZ_REASON_RELEASED}));
}

TEST_F(OwnerTest, ReleaseIsReportedOnce) {
    const auto frame = from_owner_to_all / owner_arp(1, host_ip4, client_ip4);
    check(frame, {.verdict = XDP_PASS, .reasons = {PZ_REASON_SIGN_OF_LIFE}, .triggers = {{.kind = PZ_EVENT_RELEASE}}});
    const auto before = kernel().live(Host{}.id).last_seen_ns;
    check(frame, {.verdict = XDP_PASS,
                  .reasons = {PZ_REASON_OWNER_SEEN},
                  .triggers = {{.kind = PZ_EVENT_PROOF, .address = host_ip4}}});
    EXPECT_GE(kernel().live(Host{}.id).last_seen_ns, before);
}

TEST_F(OwnerTest, R32_FragmentFromItsAddressIsASign) {
    // design §6: any IP frame with a held source address
    check(from_owner / Ip4{.source = host_ip4, .destination = client_ip4, .fragment = 0x2000} / Udp{} / Raw{8, 0},
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_IP, .address = host_ip4}}});
}

TEST_F(OwnerTest, R18_R32_OwnersRequestForAnotherSleeperReleasesAndIsAnswered) {
    Host other{.id = 4, .macs = {stranger_mac}, .answer_mac = stranger_mac};
    other.ip4 = {other_ip4};
    other.ip6 = {};
    sleeper(other);
    // RFC 826: a host that is up asks for another sleeper like everybody else
    check(from_owner_to_all / owner_arp(1, host_ip4, other_ip4),
          {.verdict = XDP_TX,
           .reasons = {PZ_REASON_ARP_ANSWERED},
           .frame = arp_reply(stranger_mac, other_ip4, host_mac, host_ip4).padded(),
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_ARP_REQUEST, .address = host_ip4}}});
    EXPECT_EQ(kernel().live(Host{}.id).released, Host{}.generation);
    EXPECT_EQ(kernel().live(other.id).released, 0U);
}

TEST_F(OwnerTest, AwakeOwnerIsAnsweredForOtherSleepers) {
    Host other{.id = 4, .macs = {stranger_mac}, .answer_mac = stranger_mac};
    other.ip4 = {other_ip4};
    other.ip6 = {};
    sleeper(other);
    kernel().put_released(Host{}.id, Host{}.generation);
    auto expected = answered(PZ_REASON_ARP_ANSWERED, arp_reply(stranger_mac, other_ip4, host_mac, host_ip4).padded());
    expected.triggers = {{.kind = PZ_EVENT_PROOF, .address = host_ip4}};
    check(from_owner_to_all / owner_arp(1, host_ip4, other_ip4), expected);
}

TEST_F(OwnerTest, ArmingOwnerIsAnsweredForOtherSleepers) {
    Host other{.id = 4, .macs = {stranger_mac}, .answer_mac = stranger_mac};
    other.ip4 = {other_ip4};
    other.ip6 = {};
    sleeper(other);
    stage(PZ_STAGE_ARMING);
    check(from_owner_to_all / owner_arp(1, host_ip4, other_ip4),
          answered(PZ_REASON_ARP_ANSWERED, arp_reply(stranger_mac, other_ip4, host_mac, host_ip4).padded()));
}

// ---- no sign of life -----------------------------------------------------------------------------------------------

/// ARP replies and Advertisements: also what firmware sends, asked or to defend an address.
std::vector<Sign> automatic_answers() {
    auto reply = owner_arp(2, host_ip4, client_ip4);
    reply.target_mac = client_mac;
    const Ether to_client{.destination = client_mac, .source = host_mac};
    return {
        {"ARP reply", to_client / reply, PZ_SIGN_REPLY, host_ip4},
        {"ARP reply by broadcast", from_owner_to_all / reply, PZ_SIGN_REPLY, host_ip4},
        {"gratuitous ARP reply", from_owner_to_all / owner_arp(2, host_ip4, host_ip4), PZ_SIGN_REPLY, host_ip4},
        {"unsolicited NA",
         Ether{.destination = all_nodes_mac, .source = host_mac} /
             Ip6{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255} / Na{.solicited = false} /
             target_lla(),
         PZ_SIGN_REPLY, host_ip6()},
        {"solicited NA",
         to_client / Ip6{.source = host_ip6(), .destination = client_ip6(), .hop_limit = 255} / Na{} / target_lla(),
         PZ_SIGN_REPLY, host_ip6()},
        {"solicited NA without option",
         to_client / Ip6{.source = host_link_local(), .destination = client_ip6(), .hop_limit = 255} /
             Na{.target = host_link_local()},
         PZ_SIGN_REPLY, host_link_local()},
    };
}

TEST_F(OwnerTest, R32_AutomaticAnswersOfTheNicAreNoSign) {
    for (const auto& answer : automatic_answers()) {
        SCOPED_TRACE(answer.what);
        kernel().reset();
        stage(PZ_STAGE_ASLEEP);
        check(answer.frame, {.verdict = XDP_PASS,
                             .reasons = {PZ_REASON_NIC_ANSWERS},
                             .overheard = {{.kind = PZ_EVENT_NIC_ANSWERS,
                                            .reason = PZ_REASON_NIC_ANSWERS,
                                            .address = answer.address,
                                            .mac = host_mac}}});
        EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
        check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
    }
}

TEST_F(OwnerTest, R32_AnswerToAProbeOfAWakingHostIsProofAndNoSign) {
    // design §6: its reply to our probe; whether a NIC gives such replies by itself is known to the daemon
    for (const auto& answer : automatic_answers()) {
        SCOPED_TRACE(answer.what);
        kernel().reset();
        stage(PZ_STAGE_WAKING);
        check(answer.frame, {.verdict = XDP_PASS,
                             .reasons = {PZ_REASON_OWNER_SEEN},
                             .triggers = {{.kind = PZ_EVENT_PROOF,
                                           .reason = PZ_REASON_OWNER_SEEN,
                                           .detail = PZ_SIGN_REPLY,
                                           .address = answer.address,
                                           .mac = host_mac}}});
        EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
        check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
    }
}

TEST_F(OwnerTest, LinkLevelChatterIsNoSign) {
    // what NICs, management engines and switches send for a sleeping host, and packets from other addresses
    const std::vector<Packet> chatter = {
        Ether{.destination = "01:80:c2:00:00:0e"_mac, .source = host_mac, .type = 0x88cc} / Raw{60, 0},  // LLDP
        Ether{.destination = "01:80:c2:00:00:01"_mac, .source = host_mac, .type = 0x8808} / Raw{46, 0},  // pause
        Ether{.destination = "01:80:c2:00:00:03"_mac, .source = host_mac, .type = 0x888e} / Raw{46, 0},  // EAPOL
        Ether{.destination = broadcast_mac, .source = host_mac, .type = 0x0842} / Raw{magic(stranger_mac)},
        from_owner / Ip4{.source = other_ip4, .destination = client_ip4} / Tcp{},
        from_owner / Ip6{.source = other_ip6(), .destination = client_ip6()} / Tcp{},
    };
    for (const auto& packet : chatter) {
        check(packet, passed());
        EXPECT_EQ(kernel().live(Host{}.id).released, 0U) << packet.scapy();
    }
}

TEST_F(OwnerTest, OwnerOfAnotherSegmentIsNobodyHere) {
    check(Ether{.destination = broadcast_mac, .source = host_mac, .type = 0x8100} / Vlan{.vid = 100} /
              owner_arp(1, host_ip4, client_ip4),
          passed({PZ_REASON_NOBODY}));
    EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
}

// ---- falling asleep ------------------------------------------------------------------------------------------------

TEST_F(OwnerTest, R32_OwnersFramesWhileItFallsAsleepRestartTheTimer) {
    for (const auto& sign : signs()) {
        if (sign.sign == PZ_SIGN_ARP_PROBE || sign.sign == PZ_SIGN_DAD)
            continue;
        SCOPED_TRACE(sign.what);
        kernel().reset();
        stage(PZ_STAGE_ARMING);
        check(sign.frame, passed({PZ_REASON_OWNER_ARMING}));
        const auto live = kernel().live(Host{}.id);
        EXPECT_EQ(live.released, 0U);
        EXPECT_NE(live.last_seen_ns, 0U);
    }
}

TEST_F(OwnerTest, R32_OfAnAgentlessHostThatIsAwakeOnlyTheTimeOfItsLastFrameIsKept) {
    for (const auto& sign : signs())
        for (const std::uint32_t released : {0U, Host{}.generation}) { // it may have been in care before
            SCOPED_TRACE(sign.what);
            kernel().reset();
            stage(PZ_STAGE_WATCHED);
            pz_live live{};
            live.released = released;
            kernel().put_live(Host{}.id, live);
            check(sign.frame, passed({PZ_REASON_OWNER_WATCHED}));
            live = kernel().live(Host{}.id);
            EXPECT_EQ(live.released, released);
            EXPECT_NE(live.last_seen_ns, 0U);
        }
}

// ---- addresses in use ----------------------------------------------------------------------------------------------

class LearnTest : public OwnerTest {
protected:
    /// Awake, and its addresses are to be learned: in the maps there are none.
    void awake(std::uint8_t flags = PZ_POLICY_LEARN) {
        kernel().reset();
        Host host;
        host.stage = PZ_STAGE_WATCHED;
        host.flags = flags;
        host.ip4 = {};
        host.ip6 = {};
        host.macs = {host_mac, host_second_mac};
        sleeper(host);
    }
    void told(const Packet& frame, const Address& address, pz_sign sign, const Mac& mac = host_mac) {
        awake();
        check(frame, {.verdict = XDP_PASS,
                      .reasons = {PZ_REASON_OWNER_WATCHED},
                      .overheard = {{.kind = PZ_EVENT_ADDRESS,
                                     .reason = PZ_REASON_OWNER_WATCHED,
                                     .detail = static_cast<std::uint8_t>(sign),
                                     .address = address,
                                     .mac = mac,
                                     .check_frame = true}}});
        EXPECT_NE(kernel().live(Host{}.id).last_seen_ns, 0U);
    }
    void not_told(const Packet& frame) {
        awake();
        check(frame, {.verdict = XDP_PASS});
    }
};

TEST_F(LearnTest, WhatAnAwakeHostSaysOfItsOwnMacIsTold) {
    for (const auto& sign : signs()) {
        SCOPED_TRACE(sign.what);
        if (sign.sign == PZ_SIGN_ARP_REQUEST || sign.sign == PZ_SIGN_ARP_ANNOUNCEMENT ||
            (sign.sign == PZ_SIGN_ND && sign.what.starts_with("NS")))
            told(sign.frame, sign.address, sign.sign);
        else
            not_told(sign.frame);
    }
    for (const auto& answer : automatic_answers()) {
        SCOPED_TRACE(answer.what);
        if (answer.what.find("without option") != std::string::npos)
            not_told(answer.frame);
        else
            told(answer.frame, answer.address,
                 answer.what == "gratuitous ARP reply" ? PZ_SIGN_ARP_ANNOUNCEMENT : PZ_SIGN_REPLY);
    }
    told(Ether{.destination = broadcast_mac, .source = host_second_mac} /
             Arp{.operation = 1, .sender_mac = host_second_mac, .sender_ip = host_ip4, .target_ip = client_ip4},
         host_ip4, PZ_SIGN_ARP_REQUEST, host_second_mac);
}

TEST_F(LearnTest, NothingElseIs) {
    const Ip6 nd{.source = host_ip6(), .destination = solicited_node(other_ip6()), .hop_limit = 255};
    const Ether to_group{.destination = group_mac(solicited_node(other_ip6())), .source = host_mac};
    const Ether to_all{.destination = all_nodes_mac, .source = host_mac};
    const Ip6 na{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255};
    auto far = nd;
    far.hop_limit = 254;
    const std::vector<std::pair<std::string, Packet>> frames{
        {"ARP of another sender", from_owner_to_all / Arp{.sender_mac = stranger_mac, .sender_ip = host_ip4}},
        {"ARP about the host by another sender",
         Ether{.destination = broadcast_mac, .source = stranger_mac} / owner_arp(1, host_ip4, client_ip4)},
        {"NS without option", to_group / nd / Ns{.target = other_ip6()}},
        {"NS with another's option", to_group / nd / Ns{.target = other_ip6()} / source_lla(stranger_mac)},
        {"NS from afar", to_group / far / Ns{.target = other_ip6()} / source_lla(host_mac)},
        {"NA with another's option", to_all / na / Na{.solicited = false} / target_lla(stranger_mac)},
        {"NA for who it stands in for",
         to_all / na / Na{.target = other_ip6(), .solicited = false, .override_flag = false} / target_lla()},
        {"what it routes", from_owner / Ip4{.source = "203.0.113.9"_ip4, .destination = client_ip4} / Tcp{}},
    };
    for (const auto& [what, frame] : frames) {
        SCOPED_TRACE(what);
        not_told(frame);
    }
    awake(0); // nobody wants to know
    check(from_owner_to_all / owner_arp(1, host_ip4, client_ip4), passed({PZ_REASON_OWNER_WATCHED}));
}

TEST_F(LearnTest, OnlyWhileItIsAwake) {
    for (const auto stage : {PZ_STAGE_NONE, PZ_STAGE_ARMING, PZ_STAGE_ASLEEP, PZ_STAGE_WAKING, PZ_STAGE_UNANSWERED}) {
        kernel().reset();
        Host host;
        host.stage = static_cast<std::uint8_t>(stage);
        host.flags = PZ_POLICY_LEARN;
        sleeper(host);
        const auto outcome = kernel().run((from_owner_to_all / owner_arp(1, other_ip4, client_ip4)).bytes());
        EXPECT_TRUE(outcome.overheard.empty()) << outcome.to_string();
    }
}

TEST_F(LearnTest, AFloodOfUsesLeavesTheRingToOthers) {
    awake();
    const auto begin = monotonic_ns();
    std::size_t events = 0;
    for (int i = 0; i < 200; i++) { // ever new addresses
        const Ip4Address address{{10, 0, static_cast<std::uint8_t>(i), 7}};
        const auto outcome = kernel().run((from_owner_to_all / owner_arp(1, address, client_ip4)).bytes());
        EXPECT_EQ(outcome.verdict, XDP_PASS);
        EXPECT_EQ(outcome.counted, (std::map<std::uint32_t, std::uint64_t>{{PZ_REASON_OWNER_WATCHED, 1}}));
        events += outcome.overheard.size();
    }
    constexpr std::uint64_t interval = 100'000'000;
    EXPECT_GE(events, 2U);
    EXPECT_LE(events, PZ_CONFLICT_SLOTS * (2 + (monotonic_ns() - begin) / interval));
}

TEST_F(OwnerTest, R32_OwnersProbeOrDadWhileItFallsAsleepReleases) {
    for (const auto& sign : signs()) {
        if (sign.sign != PZ_SIGN_ARP_PROBE && sign.sign != PZ_SIGN_DAD)
            continue;
        SCOPED_TRACE(sign.what);
        kernel().reset();
        stage(PZ_STAGE_ARMING);
        check(sign.frame, {.verdict = XDP_PASS,
                           .reasons = {PZ_REASON_SIGN_OF_LIFE},
                           .triggers = {{.kind = PZ_EVENT_RELEASE,
                                         .detail = static_cast<std::uint8_t>(sign.sign),
                                         .address = sign.address}}});
        EXPECT_EQ(kernel().live(Host{}.id).released, Host{}.generation);
    }
}

TEST_F(OwnerTest, R32_OwnersProbeWhileItsAddressesAreNotYetServedReleases) {
    // while it falls asleep the daemon has put its MACs into the maps and no address yet (stage `arming`)
    kernel().reset();
    Host host;
    host.stage = PZ_STAGE_ARMING;
    host.ip4 = {};
    host.ip6 = {};
    sleeper(host);
    check(from_owner_to_all / owner_arp(1, none4, host_ip4),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_ARP_PROBE}}});
}

TEST_F(OwnerTest, AutomaticAnswersWhileItFallsAsleepArePassed) {
    stage(PZ_STAGE_ARMING);
    for (const auto& answer : automatic_answers()) {
        SCOPED_TRACE(answer.what);
        check(answer.frame, passed({PZ_REASON_OWNER_ARMING}));
        EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
    }
}

// ---- proof of address ----------------------------------------------------------------------------------------------

TEST_F(OwnerTest, AfterReleaseTheOwnersFramesProveAddresses) {
    // also in stage ASLEEP: the daemon has not yet seen the release
    auto frames = automatic_answers();
    for (const auto& sign : signs())
        if (sign.sign != PZ_SIGN_ARP_PROBE && sign.sign != PZ_SIGN_DAD && sign.address != Address{} &&
            named_address(sign))
            frames.push_back(sign);
    for (const auto stage_now : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& frame : frames) {
            SCOPED_TRACE(frame.what);
            kernel().reset();
            stage(stage_now);
            kernel().put_released(Host{}.id, Host{}.generation);
            check(frame.frame, {.verdict = XDP_PASS,
                                .reasons = {PZ_REASON_OWNER_SEEN},
                                .triggers = {{.kind = PZ_EVENT_PROOF,
                                              .reason = PZ_REASON_OWNER_SEEN,
                                              .address = frame.address,
                                              .mac = host_mac}}});
        }
}

TEST_F(OwnerTest, BulkTrafficAfterReleaseDoesNotFloodTheTriggerRing) {
    // a ring full of proofs would lose somebody else's wake
    kernel().put_released(Host{}.id, Host{}.generation);
    const auto data =
        (from_owner / Ip4{.source = host_ip4, .destination = client_ip4} / Tcp{.flags = 0x10} / Raw{1400, 1}).bytes();
    kernel().drain();
    const auto full = kernel().counters().at(PZ_REASON_RING_FULL);
    Bytes out;
    for (int i = 0; i < 20'000; i++)
        kernel().run_quickly(data, out);
    EXPECT_EQ(kernel().counters().at(PZ_REASON_RING_FULL), full);
    EXPECT_LT(kernel().run((Ether{} / Ip4{.destination = other_ip4} / Tcp{}).bytes()).triggers.size(), 1U);
    EXPECT_EQ(kernel().live(Host{}.id).lost, 0U);
}

TEST_F(OwnerTest, ProbesAndDadProveNothing) {
    // RFC 5227 §2.1.1, RFC 4862 §5.4: the address is still tentative
    for (const auto& sign : signs()) {
        if (sign.sign != PZ_SIGN_ARP_PROBE && sign.sign != PZ_SIGN_DAD)
            continue;
        SCOPED_TRACE(sign.what);
        kernel().reset();
        stage(PZ_STAGE_WAKING);
        kernel().put_released(Host{}.id, Host{}.generation);
        check(sign.frame, passed({PZ_REASON_OWNER_SEEN}));
    }
}

TEST_F(OwnerTest, FramesWithoutAnAddressProveNothing) {
    stage(PZ_STAGE_WAKING);
    kernel().put_released(Host{}.id, Host{}.generation);
    for (const auto& sign : signs())
        if (sign.address == Address{})
            check(sign.frame, passed({PZ_REASON_OWNER_SEEN}));
}

TEST_F(OwnerTest, ForeignSourceIsReportedAsWhatItIs) {
    // the kernel may report a source that is not the record's; the daemon's table knows what it waits for
    for (const auto& source : {other_ip4, "10.0.0.1"_ip4}) {
        kernel().reset();
        stage(PZ_STAGE_WAKING);
        kernel().put_released(Host{}.id, Host{}.generation);
        const auto outcome =
            kernel().run((from_owner / Ip4{.source = source, .destination = client_ip4} / Tcp{.flags = 0x10}).bytes());
        EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS});
        for (const auto& event : outcome.triggers) {
            EXPECT_EQ(event.header.kind, std::uint32_t{PZ_EVENT_PROOF});
            EXPECT_TRUE(std::ranges::equal(source.bytes, std::span(event.header.address).first<4>()));
        }
    }
}

TEST_F(OwnerTest, ProofsAreForADaemonThatIsThere) {
    // nobody reads the ring: an awake host's traffic must not fill it while the daemon is away
    kernel().put_released(Host{}.id, Host{}.generation);
    kernel().put_daemon(10'000'000'000);
    for (const auto& sign : signs())
        check(sign.frame, passed({PZ_REASON_OWNER_SEEN}));
}

TEST_F(OwnerTest, R30_R32_TriggersAndReleasesWaitForTheDaemon) {
    kernel().put_daemon(10'000'000'000);
    check(Ether{} / Ip4{} / Tcp{}, triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4, .port = 22}));
    check(from_owner_to_all / owner_arp(1, host_ip4, client_ip4),
          {.verdict = XDP_PASS, .reasons = {PZ_REASON_SIGN_OF_LIFE}, .triggers = {{.kind = PZ_EVENT_RELEASE}}});
}

TEST_F(OwnerTest, AwakeOwnersFramesPass) {
    stage(PZ_STAGE_NONE);
    for (const auto& sign : signs())
        check(sign.frame, passed());
    EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
}

TEST_F(OwnerTest, DaemonGoneForTooLongPassesEverything) {
    kernel().put_daemon(61'000'000'000, 60'000'000'000);
    check(from_owner_to_all / owner_arp(1, host_ip4, client_ip4), passed({PZ_REASON_DAEMON_GONE}));
}

// ---- conflicts -----------------------------------------------------------------------------------------------------

Arp claim(std::uint16_t operation, const Ip4Address& target) {
    return {.operation = operation,
            .sender_mac = stranger_mac,
            .sender_ip = host_ip4,
            .target_mac = {},
            .target_ip = target};
}

TEST_F(OwnerTest, ArpThatClaimsAHeldAddressIsAConflict) {
    // RFC 5227 §2.4: any ARP packet, request or reply, with the address as sender and another hardware address
    const Ether from_stranger{.destination = broadcast_mac, .source = stranger_mac};
    const std::vector<Packet> claims = {
        from_stranger / claim(1, host_ip4),                                           // announcement
        from_stranger / claim(2, host_ip4),                                           // gratuitous reply
        from_stranger / claim(1, client_ip4),                                         // request for somebody
        from_stranger / claim(2, client_ip4),                                         // reply to somebody
        Ether{.destination = host_mac, .source = stranger_mac} / claim(2, host_ip4),  // straight to the sleeper
        Ether{.destination = gateway_mac, .source = stranger_mac} / claim(1, "192.0.2.1"_ip4),
        Ether{.destination = broadcast_mac, .source = client_mac} / claim(1, host_ip4), // relayed: sha counts
    };
    for (const auto stage_now : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& packet : claims) {
            kernel().reset();
            stage(stage_now);
            check(packet, {.verdict = XDP_PASS,
                           .reasons = {PZ_REASON_CONFLICT},
                           .overheard = {{.kind = PZ_EVENT_CONFLICT,
                                          .reason = PZ_REASON_CONFLICT,
                                          .address = host_ip4,
                                          .mac = stranger_mac}}});
            EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
        }
}

TEST_F(OwnerTest, AdvertisementThatClaimsAHeldAddressIsAConflict) {
    const Ip6 to_all{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255};
    const Ip6 to_client{.source = host_ip6(), .destination = client_ip6(), .hop_limit = 255};
    const Ether group{.destination = all_nodes_mac, .source = stranger_mac};
    const std::vector<Packet> claims = {
        group / to_all / Na{.solicited = false} / target_lla(stranger_mac),
        group / to_all / Na{.solicited = false, .override_flag = false} / target_lla(stranger_mac),
        group / to_all / Na{.router = true, .solicited = false} / nonce_option() / target_lla(stranger_mac),
        Ether{.destination = gateway_mac, .source = stranger_mac} / to_client / Na{} / target_lla(stranger_mac),
        group / to_all / Na{.solicited = false},
        group / to_all / Ext{} / Na{.solicited = false} / target_lla(stranger_mac),
    };
    for (const auto& packet : claims) {
        kernel().put_live(Host{}.id, {}); // as if no claim had been reported yet
        check(packet, {.verdict = XDP_PASS,
                       .reasons = {PZ_REASON_CONFLICT},
                       .overheard = {{.kind = PZ_EVENT_CONFLICT,
                                      .reason = PZ_REASON_CONFLICT,
                                      .address = host_ip6(),
                                      .mac = stranger_mac}}});
    }
}

TEST_F(OwnerTest, AFloodOfClaimsIsReportedOnceInAWhile) {
    const auto packet = Ether{.destination = broadcast_mac, .source = stranger_mac} / claim(1, host_ip4);
    constexpr std::uint64_t interval = 100'000'000;
    const auto begin = monotonic_ns();
    std::size_t events = 0;
    for (int i = 0; i < 20; i++) {
        const auto outcome = kernel().run(packet.bytes());
        EXPECT_EQ(outcome.verdict, XDP_PASS);
        EXPECT_EQ(outcome.counted, (std::map<std::uint32_t, std::uint64_t>{{PZ_REASON_CONFLICT, 1}})) << "all counted";
        events += outcome.overheard.size();
    }
    EXPECT_GE(events, 1U);
    EXPECT_LE(events, 2 + (monotonic_ns() - begin) / interval);

    auto live = kernel().live(Host{}.id);
    EXPECT_EQ(std::ranges::count(live.conflict_ms, 0U), PZ_CONFLICT_SLOTS - 1);
    for (auto& last : live.conflict_ms)
        last = static_cast<std::uint32_t>((monotonic_ns() - 2 * interval) / 1'000'000);
    kernel().put_live(Host{}.id, live);
    EXPECT_EQ(kernel().run(packet.bytes()).overheard.size(), 1U);
}

TEST_F(OwnerTest, R24_AClaimOfOneAddressDoesNotHideThatOfAnother) {
    const auto claim_of = [](const Ip6Address& address) {
        return Ether{.destination = all_nodes_mac, .source = stranger_mac} /
               Ip6{.source = address, .destination = all_nodes(), .hop_limit = 255} /
               Na{.target = address, .solicited = false} / target_lla(stranger_mac);
    };
    const auto slot_of = [](const Ip6Address& address) {
        std::uint64_t high = 0;
        std::uint64_t low = 0;
        std::memcpy(&high, address.bytes.data(), 8);
        std::memcpy(&low, address.bytes.data() + 8, 8);
        return pz_bucket_of(pz_hash6(high, low), PZ_CONFLICT_SLOTS);
    };
    Host host;
    host.ip6 = {host_ip6()};
    auto other = host_ip6();
    do
        other.bytes[15]++;
    while (slot_of(other) == slot_of(host_ip6()));
    host.ip6.push_back(other);
    sleeper(host);
    EXPECT_EQ(kernel().run(claim_of(host_ip6()).bytes()).overheard.size(), 1U);
    EXPECT_EQ(kernel().run(claim_of(other).bytes()).overheard.size(), 1U);
    // and however many claims there are, what is reported is bounded
    std::size_t events = 0;
    const auto begin = monotonic_ns();
    for (int i = 0; i < 30; i++)
        for (const auto& address : host.ip6)
            events += kernel().run(claim_of(address).bytes()).overheard.size();
    EXPECT_LE(events, 2 * (1 + (monotonic_ns() - begin) / 100'000'000));
}

// ---- what proxies send in the host's name --------------------------------------------------------------------------

const Mac other_gateway_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x02}};

Packet announcement(const Mac& mac, const Mac& gateway) {
    return Ether{.destination = broadcast_mac, .source = mac} /
           Arp{.sender_mac = mac, .sender_ip = host_ip4, .target_ip = host_ip4} / arp_mark(gateway);
}
Packet unsolicited(const Mac& mac, const Mac& gateway) {
    return Ether{.destination = all_nodes_mac, .source = mac} /
           Ip6{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255} / Na{.solicited = false} /
           target_lla(mac) / mark_option(gateway);
}

TEST_F(OwnerTest, EveryAnswerThatComesBackIsAnOwnFrame) {
    const std::vector<Packet> questions = {
        arp_request(),
        Ether{.destination = host_mac} / Arp{},
        arp_request({.sender_ip = none4}),
        solicitation(),
        solicitation_headers(host_ip6(), unspecified()) / Ns{},
        echo4(),
        echo6(),
    };
    for (const auto stage_now : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& question : questions) {
            SCOPED_TRACE(question.scapy());
            kernel().reset();
            stage(stage_now);
            const auto answer = kernel().run(question.bytes());
            ASSERT_EQ(answer.verdict, std::uint32_t{XDP_TX});
            kernel().check(answer.frame, passed({PZ_REASON_OWN_FRAME}));
            EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
        }
}

TEST_F(OwnerTest, AnAnnouncementThatComesBackIsAnOwnFrame) {
    for (const auto stage_now : {PZ_STAGE_ARMING, PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& packet : {announcement(host_mac, gateway_mac), unsolicited(host_mac, gateway_mac)}) {
            kernel().reset();
            stage(stage_now);
            check(packet, passed({PZ_REASON_OWN_FRAME}));
            EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
            EXPECT_EQ(kernel().live(Host{}.id).last_seen_ns, 0U) << "the silence of 3 s goes on";
        }
}

TEST_F(OwnerTest, R32_TheHostsOwnTwinOfAnAnnouncementIsItsSignOfLife) {
    // the same bytes, but for the padding, a moment after ours
    check(announcement(host_mac, gateway_mac), passed({PZ_REASON_OWN_FRAME}));
    check(Ether{.destination = broadcast_mac, .source = host_mac} / owner_arp(1, host_ip4, host_ip4),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SIGN_OF_LIFE},
           .triggers = {{.kind = PZ_EVENT_RELEASE, .detail = PZ_SIGN_ARP_ANNOUNCEMENT, .address = host_ip4}}});
}

TEST_F(OwnerTest, AnotherGatewaysMarkIsASecondProxy) {
    for (const auto stage_now : {PZ_STAGE_ASLEEP, PZ_STAGE_WAKING})
        for (const auto& mac : {host_mac, other_gateway_mac}) // it answers with the host's MAC, or with its own
            for (const bool v4 : {true, false}) {
                kernel().reset();
                stage(stage_now);
                const Address address = v4 ? Address(host_ip4) : Address(host_ip6());
                check(v4 ? announcement(mac, other_gateway_mac) : unsolicited(mac, other_gateway_mac),
                      {.verdict = XDP_PASS,
                       .reasons = {PZ_REASON_SECOND_PROXY},
                       .overheard = {{.kind = PZ_EVENT_SECOND_PROXY,
                                      .reason = PZ_REASON_SECOND_PROXY,
                                      .address = address,
                                      .mac = other_gateway_mac}}});
                EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
                // sparingly
                check(v4 ? announcement(mac, other_gateway_mac) : unsolicited(mac, other_gateway_mac),
                      passed({PZ_REASON_SECOND_PROXY}));
            }
}

TEST_F(OwnerTest, ASecondProxysAnswerToOurProbeIsNoProof) {
    stage(PZ_STAGE_WAKING);
    check(Ether{.destination = gateway_mac, .source = host_mac} /
              Arp{.operation = 2, .sender_mac = host_mac, .sender_ip = host_ip4, .target_mac = gateway_mac} /
              arp_mark(other_gateway_mac),
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_SECOND_PROXY},
           .overheard = {{.kind = PZ_EVENT_SECOND_PROXY, .mac = other_gateway_mac}}});
}

TEST_F(OwnerTest, AMarkThatIsNotTheSendersExcusesNoClaim) {
    for (const auto& mark : {gateway_mac, other_gateway_mac}) {
        kernel().put_live(Host{}.id, {});
        check(announcement(stranger_mac, mark), {.verdict = XDP_PASS,
                                                 .reasons = {PZ_REASON_CONFLICT},
                                                 .overheard = {{.kind = PZ_EVENT_CONFLICT, .mac = stranger_mac}}});
    }
}

TEST_F(OwnerTest, EchoRepliesOfASleeperMayBeOurs) {
    const auto reply = [] { return echo4_reply(); };
    check(reply(), passed({PZ_REASON_OWN_FRAME}));
    check(echo6_reply(), passed({PZ_REASON_OWN_FRAME}));
    EXPECT_EQ(kernel().live(Host{}.id).released, 0U);
    // nothing is answered while the host falls asleep or is back: then they are its own
    stage(PZ_STAGE_ARMING);
    check(reply(), passed({PZ_REASON_OWNER_ARMING}));
    kernel().put_released(Host{}.id, Host{}.generation);
    stage(PZ_STAGE_WAKING);
    check(reply(), {.verdict = XDP_PASS,
                    .reasons = {PZ_REASON_OWNER_SEEN},
                    .triggers = {{.kind = PZ_EVENT_PROOF, .address = host_ip4}}});
}

TEST_F(OwnerTest, R36_InvalidAdvertisementsAreNoConflict) {
    // RFC 4861 §7.1.2, one check at a time
    const Ip6 ip{.source = host_ip6(), .destination = all_nodes(), .hop_limit = 255};
    auto far = ip;
    far.hop_limit = 254;
    const Ether group{.destination = all_nodes_mac, .source = stranger_mac};
    const Na na{.solicited = false};
    const auto lla = target_lla(stranger_mac);
    check(group / far / na / lla, passed({PZ_REASON_ND_MALFORMED}));
    check(group / ip / Na{.solicited = false, .code = 1} / lla, passed({PZ_REASON_ND_MALFORMED}));
    check(group / ip / Na{.solicited = false, .checksum = 0x1234} / lla, passed({PZ_REASON_ND_CHECKSUM}));
    check(group / ip / Na{.solicited = true} / lla, passed({PZ_REASON_ND_MALFORMED})); // S=1 to a group
    check(group / ip / na / NdOption{.type = 2, .body = Bytes(6), .units = 0}, passed({PZ_REASON_ND_MALFORMED}));
    check(group / ip / na / lla / NdOption{.type = 14, .body = Bytes(6), .units = 0}, passed({PZ_REASON_ND_MALFORMED}));
    check(group / ip / Fragment{} / na / lla, passed({PZ_REASON_ND_FRAGMENTED, PZ_REASON_NOBODY}));
    check(group / ip / Icmp6{.type = 136, .word = 0x20000000} /
              Raw{Bytes(host_ip6().bytes.begin(), host_ip6().bytes.begin() + 15)} / Trailer{1, 0x10},
          passed());
}

TEST_F(OwnerTest, AdvertisementThatNamesTheRecordsMacIsNoConflict) {
    // another proxy or a relay says the same as we do
    check(Ether{.destination = all_nodes_mac, .source = stranger_mac} /
              Ip6{.source = other_ip6(), .destination = all_nodes(), .hop_limit = 255} / Na{.solicited = false} /
              target_lla(host_mac),
          passed({PZ_REASON_ND_NOT_SOLICITATION}));
}

TEST_F(OwnerTest, ArpThatNamesTheRecordsSecondMacIsNoConflict) {
    stage(PZ_STAGE_ASLEEP);
    auto reply = owner_arp(2, host_ip4, client_ip4);
    reply.sender_mac = host_second_mac;
    check(Ether{.destination = client_mac, .source = host_second_mac} / reply,
          {.verdict = XDP_PASS,
           .reasons = {PZ_REASON_NIC_ANSWERS},
           .overheard = {{.kind = PZ_EVENT_NIC_ANSWERS, .mac = host_second_mac}}});
}

TEST_F(OwnerTest, ConflictWithAReleasedHostIsItsOwnBusiness) {
    kernel().put_released(Host{}.id, Host{}.generation);
    check(Ether{.destination = broadcast_mac, .source = stranger_mac} / claim(1, host_ip4), passed());
}

TEST_F(OwnerTest, MalformedClaimsAreNoConflict) {
    const Ether from_stranger{.destination = broadcast_mac, .source = stranger_mac};
    auto arp = claim(1, host_ip4);
    arp.hardware_type = 6;
    check(from_stranger / arp, passed({PZ_REASON_ARP_MALFORMED}));
    arp = claim(1, host_ip4);
    arp.sender_mac = broadcast_mac;
    check(from_stranger / arp, passed({PZ_REASON_ARP_MALFORMED}));
}

} // namespace
} // namespace pz::test
