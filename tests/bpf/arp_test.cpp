// SPDX-License-Identifier: Apache-2.0
// ARP: requests and probes for a sleeper are answered in place; everything else is not (ECMA-393 R18-R22, RFC 826,
// 5227).
#include "harness.h"

namespace pz::test {
namespace {

class ArpTest : public DataPathTest {};

Packet tags(std::initializer_list<Vlan> list, const Mac& destination, const Mac& source) {
    Packet packet = Ether{.destination = destination,
                          .source = source,
                          .type = list.size() == 0 ? std::optional<std::uint16_t>{} : list.begin()->tpid};
    for (const auto& tag : list)
        packet = packet / tag;
    return packet;
}

TEST_F(ArpTest, R18_R20_R22_BroadcastRequestIsAnswered) {
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R18_RequestOf60BytesIsAnswered) {
    const auto frame = arp_request().padded();
    kernel().check(frame, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R18_GarbageInThePaddingIsNotReflected) {
    check(arp_request() / Trailer{18, 0xa5}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
    check(arp_request() / Trailer{7, 0xa5}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R18_LongPaddingIsCutTo60Bytes) {
    check(arp_request() / Trailer{19, 0xa5}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
    check(arp_request() / Trailer{1472, 0xa5}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R18_RequestOfEveryLengthBetween42And80IsAnsweredWith60Bytes) {
    for (std::size_t extra = 0; extra <= 38; extra++)
        check(arp_request() / Trailer{extra, 0x5a}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R19_UnicastRequestToTheHostIsAnswered) {
    check(Ether{.destination = host_mac} / Arp{.target_mac = host_mac},
          answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R19_UnicastRequestToTheGatewayIsAnswered) {
    check(Ether{.destination = gateway_mac} / Arp{}, answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, UnicastRequestToAnotherMacIsNotOurs) {
    check(Ether{.destination = stranger_mac} / Arp{}, passed({PZ_REASON_NOT_ADDRESSED}));
}

TEST_F(ArpTest, R20_TargetHardwareAddressOfARequestDoesNotMatter) {
    for (const auto& target : {Mac{}, broadcast_mac, host_mac, stranger_mac})
        check(arp_request({.target_mac = target}), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R21_ProbeIsAnswered) {
    check(arp_request({.sender_ip = {}}),
          answered(PZ_REASON_ARP_PROBE_ANSWERED, arp_reply(host_mac, host_ip4, client_mac, Ip4Address{}).padded()));
}

TEST_F(ArpTest, R21_UnicastProbeIsAnswered) {
    check(Ether{.destination = host_mac} / Arp{.sender_ip = {}},
          answered(PZ_REASON_ARP_PROBE_ANSWERED, arp_reply(host_mac, host_ip4, client_mac, Ip4Address{}).padded()));
}

TEST_F(ArpTest, R18_ReplyGoesToTheSenderHardwareAddress) {
    // RFC 826: the reply is for ar$sha, whoever relayed the request
    check(Ether{.destination = broadcast_mac, .source = stranger_mac} / Arp{},
          answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R22_EachAddressOfARecordIsAnsweredWithItsMac) {
    Host host;
    host.ip4 = {host_ip4, "192.0.2.200"_ip4, "169.254.7.9"_ip4};
    sleeper(host);
    for (const auto& address : host.ip4)
        check(arp_request({.target_ip = address}),
              answered(PZ_REASON_ARP_ANSWERED, arp_reply(host_mac, address).padded()));
}

TEST_F(ArpTest, IdentityProxyAnswersWithTheGatewaysMac) {
    Host host;
    host.answer_mac = gateway_mac;
    host.index_flags = PZ_INDEX_IDENTITY_PROXY;
    sleeper(host);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply(gateway_mac).padded()));
    check(Ether{.destination = gateway_mac} / Arp{}, answered(PZ_REASON_ARP_ANSWERED, arp_reply(gateway_mac).padded()));
}

TEST_F(ArpTest, R18_WakingHostIsAnsweredForUntilItsSignOfLife) {
    Host host;
    host.stage = PZ_STAGE_WAKING;
    sleeper(host);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, R18_ReleaseOfAnEarlierGenerationDoesNotCount) {
    kernel().put_released(Host{}.id, Host{}.generation - 1);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, ReleasedHostIsNotAnsweredFor) {
    kernel().put_released(Host{}.id, Host{}.generation);
    check(arp_request(), passed({PZ_REASON_RELEASED}));
    check(Ether{.destination = host_mac} / Arp{}, passed({PZ_REASON_RELEASED}));
}

TEST_F(ArpTest, HostFallingAsleepIsNotAnsweredFor) {
    Host host;
    host.stage = PZ_STAGE_ARMING;
    sleeper(host);
    check(arp_request(), passed());
}

TEST_F(ArpTest, HostThatIsAwakeIsNotAnsweredFor) {
    Host host;
    host.stage = PZ_STAGE_NONE;
    sleeper(host);
    check(arp_request(), passed());
}

TEST_F(ArpTest, RequestForAnotherAddressIsNobodys) {
    check(arp_request({.target_ip = other_ip4}), passed({PZ_REASON_NOBODY}));
    check(arp_request({.sender_ip = {}, .target_ip = other_ip4}), passed({PZ_REASON_NOBODY}));
}

TEST_F(ArpTest, CollisionInTheFilterIsNobodys) {
    kernel().set_bit(other_ip4);
    check(arp_request({.target_ip = other_ip4}), passed({PZ_REASON_NOBODY}));
    kernel().set_bit(client_mac);
    check(arp_request({.target_ip = other_ip4}), passed({PZ_REASON_NOBODY}));
}

TEST_F(ArpTest, CollisionOfTheSenderDoesNotStopTheAnswer) {
    kernel().set_bit(client_mac);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

TEST_F(ArpTest, DaemonGoneForTooLongPassesEverything) {
    kernel().put_daemon(61'000'000'000, 60'000'000'000);
    check(arp_request(), passed({PZ_REASON_DAEMON_GONE}));
}

TEST_F(ArpTest, R18_DaemonGoneForAWhileIsStillAnsweredFor) {
    kernel().put_daemon(30'000'000'000, 60'000'000'000);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
}

// ---- not answered --------------------------------------------------------------------------------------------------

/// By broadcast and by unicast to the sleeper.  ARP whose fields cannot be trusted names nobody, so it passes (design
/// §4: fail open).
void check_malformed(DataPath& kernel, const Arp& arp) {
    const auto broadcast = Ether{.destination = broadcast_mac} / arp;
    const auto unicast = Ether{.destination = host_mac} / arp;
    kernel.check(broadcast, passed({PZ_REASON_ARP_MALFORMED}));
    kernel.check(unicast, passed({PZ_REASON_ARP_MALFORMED}));
}
/// Well-formed, for the sleeper, and nothing to answer: passed as broadcast, dropped as unicast.
void check_ignored(DataPath& kernel, const Arp& arp, std::uint32_t reason) {
    const auto broadcast = Ether{.destination = broadcast_mac} / arp;
    const auto unicast = Ether{.destination = host_mac} / arp;
    kernel.check(broadcast, passed({reason}));
    kernel.check(unicast, dropped({reason}));
}

TEST_F(ArpTest, R36_OtherHardwareTypesAreIgnored) {
    for (const auto type : U16{0, 2, 6, 0x0100, 0xffff})
        check_malformed(kernel(), {.hardware_type = type});
}
TEST_F(ArpTest, R36_OtherProtocolTypesAreIgnored) {
    for (const auto type : U16{0, 0x0008, 0x0801, 0x86dd, 0xffff})
        check_malformed(kernel(), {.protocol_type = type});
}
TEST_F(ArpTest, R36_OtherHardwareLengthsAreIgnored) {
    for (const auto length : U8{0, 4, 5, 7, 8, 16, 255})
        check_malformed(kernel(), {.hardware_length = length});
}
TEST_F(ArpTest, R36_OtherProtocolLengthsAreIgnored) {
    for (const auto length : U8{0, 3, 5, 6, 16, 255})
        check_malformed(kernel(), {.protocol_length = length});
}
TEST_F(ArpTest, OtherOperationsAreIgnored) {
    for (const auto operation : U16{0, 3, 4, 8, 9, 0x0100, 0xffff})
        check_ignored(kernel(), {.operation = operation}, PZ_REASON_ARP_NOT_REQUEST);
}
TEST_F(ArpTest, R36_ImpossibleSenderHardwareAddressIsIgnored) {
    for (const auto& sender : {broadcast_mac, "01:00:5e:00:00:01"_mac, "33:33:00:00:00:01"_mac, Mac{}})
        check_malformed(kernel(), {.sender_mac = sender});
}

TEST_F(ArpTest, ReplyOfSomebodyElseAboutItsOwnAddressIsIgnored) {
    check_ignored(kernel(), {.operation = 2, .target_mac = host_mac}, PZ_REASON_ARP_NOT_REQUEST);
}

TEST_F(ArpTest, AnnouncementOfAnotherAddressIsNobodys) {
    check(arp_request({.target_ip = client_ip4}), passed({PZ_REASON_NOBODY}));
    check(arp_request({.operation = 2, .target_ip = client_ip4}), passed({PZ_REASON_NOBODY}));
}

TEST_F(ArpTest, RequestFromAGroupEthernetSourceIsNotAnswered) {
    // IEEE 802.3 §3.2.3: a source address is never a group; whatever is counted, nothing is sent
    const auto outcome = kernel().run((Ether{.destination = broadcast_mac, .source = "03:00:00:00:00:01"_mac} /
                                       Arp{.sender_mac = "03:00:00:00:00:01"_mac})
                                          .bytes());
    EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << outcome.to_string();
}

// ---- VLAN tags (R1) ------------------------------------------------------------------------------------------------

TEST_F(ArpTest, R1_R18_OneTag) {
    Host host{.id = 5, .segment = segment_vlan100};
    sleeper(host);
    const Vlan tag{.vid = 100, .priority = 5};
    const auto request = tags({tag}, broadcast_mac, client_mac) / Arp{};
    const auto reply = tags({tag}, client_mac, host_mac) / Arp{.operation = 2,
                                                               .sender_mac = host_mac,
                                                               .sender_ip = host_ip4,
                                                               .target_mac = client_mac,
                                                               .target_ip = client_ip4};
    check(request, answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
    kernel().check(request.padded(60), answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
    kernel().check(request.padded(64), answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
}

TEST_F(ArpTest, R1_R18_TwoTags) {
    Host host{.id = 5, .segment = segment_qinq};
    sleeper(host);
    for (const auto outer_tpid : U16{0x88a8, 0x8100}) {
        const Vlan outer{.vid = 100, .priority = 3, .drop_eligible = true, .tpid = outer_tpid};
        const Vlan inner{.vid = 200, .priority = 7};
        const auto request = tags({outer, inner}, broadcast_mac, client_mac) / Arp{};
        const auto reply = tags({outer, inner}, client_mac, host_mac) / Arp{.operation = 2,
                                                                            .sender_mac = host_mac,
                                                                            .sender_ip = host_ip4,
                                                                            .target_mac = client_mac,
                                                                            .target_ip = client_ip4};
        check(request, answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
        kernel().check(request.padded(68), answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
    }
}

TEST_F(ArpTest, R1_R18_PriorityTagIsNoTag) {
    for (std::uint8_t priority = 0; priority < 8; priority++) {
        const Vlan tag{.vid = 0, .priority = priority};
        const auto request = tags({tag}, broadcast_mac, client_mac) / Arp{};
        const auto reply = tags({tag}, client_mac, host_mac) / Arp{.operation = 2,
                                                                   .sender_mac = host_mac,
                                                                   .sender_ip = host_ip4,
                                                                   .target_mac = client_mac,
                                                                   .target_ip = client_ip4};
        check(request, answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
    }
}

TEST_F(ArpTest, R1_R18_PriorityTagOutsideOrInsideATagIsNoTag) {
    sleeper({.id = 5, .segment = segment_vlan100});
    for (const auto& [outer, inner] : {std::pair{Vlan{.vid = 0, .priority = 6}, Vlan{.vid = 100}},
                                       std::pair{Vlan{.vid = 100}, Vlan{.priority = 2}}}) {
        const auto reply = tags({outer, inner}, client_mac, host_mac) / Arp{.operation = 2,
                                                                            .sender_mac = host_mac,
                                                                            .sender_ip = host_ip4,
                                                                            .target_mac = client_mac,
                                                                            .target_ip = client_ip4};
        check(tags({outer, inner}, broadcast_mac, client_mac) / Arp{},
              answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
    }
}

TEST_F(ArpTest, R1_ThreeTagsAreIgnored) {
    const auto request = tags({{.vid = 100}, {.vid = 200}, {.vid = 300}}, broadcast_mac, client_mac) / Arp{};
    check(request, passed({PZ_REASON_UNKNOWN_L2}));
}

TEST_F(ArpTest, R1_TagWithoutASegmentIsNotServed) {
    check(tags({{.vid = 101}}, broadcast_mac, client_mac) / Arp{}, passed({PZ_REASON_NO_SEGMENT}));
}

TEST_F(ArpTest, SleeperOfAnotherSegmentIsNobodyHere) {
    // the default sleeper is untagged; the request comes by VLAN 100
    check(tags({{.vid = 100}}, broadcast_mac, client_mac) / Arp{}, passed({PZ_REASON_NOBODY}));
}

TEST_F(ArpTest, R18_SameAddressInTwoSegmentsIsTwoHosts) {
    const auto second_mac = "00:00:5e:00:53:20"_mac;
    Host host{.id = 5, .generation = 9, .segment = segment_vlan100, .macs = {second_mac}, .answer_mac = second_mac};
    sleeper(host);
    check(arp_request(), answered(PZ_REASON_ARP_ANSWERED, arp_reply().padded()));
    const auto reply = tags({{.vid = 100}}, client_mac, second_mac) / Arp{.operation = 2,
                                                                          .sender_mac = second_mac,
                                                                          .sender_ip = host_ip4,
                                                                          .target_mac = client_mac,
                                                                          .target_ip = client_ip4};
    check(tags({{.vid = 100}}, broadcast_mac, client_mac) / Arp{},
          answered(PZ_REASON_ARP_ANSWERED, (reply / arp_mark()).padded()));
}

} // namespace
} // namespace pz::test
