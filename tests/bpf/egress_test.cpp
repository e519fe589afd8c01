// SPDX-License-Identifier: Apache-2.0
// What leaves the gateway: the same decisions as for what comes in, in the words of tc, but nobody is a sender.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <set>

#include "corpus.h"

#include "tag_beside.skel.h"

namespace pz::test {
namespace {

/// As the gateway's own stack sends it: with the interface's MAC.
const Ether from_gateway{.destination = host_mac, .source = gateway_mac};

class EgressTest : public DataPathTest {
protected:
    void SetUp() override {
        DataPathTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure())
            kernel().turn_to_egress();
    }
    void TearDown() override {
        kernel().set_gso_size(0);
        kernel().put_before_egress(-1);
        kernel().turn_to_ingress();
    }
};

TEST_F(EgressTest, EchoIsAnsweredToTheGateway) {
    check(from_gateway / Ip4{} / Icmp4{} / Raw{"data"},
          answered(PZ_REASON_ECHO_ANSWERED,
                   (Ether{.destination = gateway_mac, .source = host_mac} /
                    Ip4{.source = host_ip4, .destination = client_ip4} / Icmp4{.type = 0} / Raw{"data"})
                       .bytes()));
    check(from_gateway / Ip6{} / Icmp6{} / Raw{"data"},
          answered(PZ_REASON_ECHO_ANSWERED,
                   (Ether{.destination = gateway_mac, .source = host_mac} /
                    Ip6{.source = host_ip6(), .destination = client_ip6()} / Icmp6{.type = 129} / Raw{"data"})
                       .bytes()));
}

TEST_F(EgressTest, TheGatewaysOwnQuestionsAreAnswered) {
    Bytes reply = arp_reply(host_mac, host_ip4, gateway_mac).bytes();
    reply.resize(60);
    const Arp request{.sender_mac = gateway_mac};
    check(Ether{.destination = broadcast_mac, .source = gateway_mac} / request, // 42 bytes: nobody has padded it yet
          answered(PZ_REASON_ARP_ANSWERED, reply));
    check(Ether{.destination = broadcast_mac, .source = gateway_mac} / request / Trailer{40, 0xaa},
          answered(PZ_REASON_ARP_ANSWERED, reply));
    check(solicitation(), answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
    check(solicitation_headers(host_ip6(), unspecified()) / Ns{},
          answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement().bytes()));
}

TEST_F(EgressTest, TriggersAreTakenOverAndTold) {
    check(from_gateway / Ip4{} / Tcp{},
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4, .port = 22, .protocol = proto_tcp}));
    check(from_gateway / Ip6{} / Tcp{},
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip6(), .port = 22, .protocol = proto_tcp}));
    check(from_gateway / Ip4{} / Udp{} / Raw{1000, 1},
          triggered(PZ_REASON_TRIGGER_UDP, {.address = host_ip4, .port = 5060, .protocol = proto_udp}));
    check(from_gateway / Ip4{} / Tcp{.checksum = 0x1234}, // half done
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4}));
    check(from_gateway / Ip4{} / Udp{} / Raw{2200, 1},
          triggered(PZ_REASON_TRIGGER_UDP, {.address = host_ip4, .carries_frame = false}));
}

TEST_F(EgressTest, TheGatewayMayMeanAnotherMac) {
    // a neighbour entry that somebody made by hand, or one of the host's other cards
    check(Ether{.destination = stranger_mac, .source = gateway_mac} / Ip4{} / Tcp{},
          triggered(PZ_REASON_TRIGGER_SYN, {.address = host_ip4}));
}

TEST_F(EgressTest, SeveralPacketsInOneWakeAndAreNotHeld) {
    kernel().set_gso_size(100);
    for (const std::size_t length : {300U, 1500U})
        check(from_gateway / Ip4{} / Udp{} / Raw{length, 1},
              triggered(PZ_REASON_TRIGGER_UDP, {.address = host_ip4, .carries_frame = false}));
}

TEST_F(EgressTest, NothingThatLeavesIsASignOfLifeOrAClaim) {
    const Ether as_owner{.destination = broadcast_mac, .source = host_mac};
    const std::vector<Packet> frames = {
        as_owner / Arp{.sender_mac = host_mac, .sender_ip = host_ip4, .target_ip = host_ip4},
        as_owner / Arp{.sender_mac = host_mac, .sender_ip = {}, .target_ip = host_ip4},
        as_owner / Ip4{.source = host_ip4, .destination = "192.0.2.255"_ip4} / Udp{.destination_port = 137},
        Ether{.destination = broadcast_mac, .source = gateway_mac} /
            Arp{.operation = 2, .sender_mac = gateway_mac, .sender_ip = host_ip4},
    };
    for (const auto& frame : frames) {
        const auto outcome = kernel().run(frame.bytes());
        EXPECT_TRUE(outcome.triggers.empty() && outcome.overheard.empty()) << outcome.to_string();
        EXPECT_EQ(kernel().live(Host{}.id).released, 0U) << outcome.to_string();
        EXPECT_EQ(kernel().live(Host{}.id).last_seen_ns, 0U) << outcome.to_string();
    }
}

TEST_F(EgressTest, TheGatewaysOwnRouterAdvertisementsAreCopied) {
    check(router_advertisement(),
          {.verdict = XDP_PASS, .reasons = {PZ_REASON_NOBODY}, .overheard = {{.kind = PZ_EVENT_ROUTER}}});
}

TEST_F(EgressTest, WithoutADaemonAndAfterTheReleaseEverythingPasses) {
    kernel().put_daemon(700'000'000'000);
    check(from_gateway / Ip4{} / Tcp{}, passed({PZ_REASON_DAEMON_GONE}));
    kernel().put_daemon();
    kernel().put_released(Host{}.id, Host{}.generation);
    check(from_gateway / Ip4{} / Tcp{}, passed({PZ_REASON_RELEASED}));
    check(from_gateway / Ip4{} / Icmp4{}, passed({PZ_REASON_RELEASED}));
}

TEST_F(EgressTest, EveryFrameInEveryStageIsDecidedAsIfItCameIn) {
    // but for what depends on the sender of a frame that comes in
    const std::set<std::uint32_t> of_senders = {PZ_REASON_SIGN_OF_LIFE, PZ_REASON_OWNER_ARMING, PZ_REASON_OWNER_SEEN,
                                                PZ_REASON_NIC_ANSWERS,  PZ_REASON_CONFLICT,     PZ_REASON_OWN_FRAME,
                                                PZ_REASON_SECOND_PROXY, PZ_REASON_NOT_ADDRESSED};
    std::set<std::uint32_t> seen;
    for (const auto stage : {PZ_STAGE_NONE, PZ_STAGE_ARMING, PZ_STAGE_ASLEEP, PZ_STAGE_WAKING, PZ_STAGE_UNANSWERED})
        for (const auto echo : {PZ_ECHO_ANSWER, PZ_ECHO_IGNORE, PZ_ECHO_WAKE})
            for (const auto& [what, frame, needed] : corpus()) {
                Host host;
                host.stage = static_cast<std::uint8_t>(stage);
                host.echo = static_cast<std::uint8_t>(echo);
                kernel().put_policy(host);
                kernel().put_daemon();
                const auto decide = [&] {
                    kernel().put_live(host.id, {});
                    return kernel().run(frame);
                };
                kernel().turn_to_ingress();
                const auto in = decide();
                kernel().turn_to_egress();
                const auto out = decide();
                ASSERT_EQ(in.counted.size(), 1U) << what;
                const auto reason = in.counted.begin()->first;
                if (of_senders.contains(reason) || std::ranges::equal(ByteView(frame).subspan(6, 6), host_mac.bytes))
                    continue;
                seen.insert(reason);
                const auto note = [&] { return what + "\n" + in.to_string() + "\n" + out.to_string(); };
                EXPECT_EQ(in.verdict, out.verdict) << note();
                EXPECT_EQ(in.counted == out.counted, true) << note();
                EXPECT_TRUE(std::ranges::equal(in.frame, out.frame)) << note() << hexdiff(in.frame, out.frame);
                ASSERT_EQ(in.triggers.size(), out.triggers.size()) << note();
                for (std::size_t i = 0; i < in.triggers.size(); i++)
                    EXPECT_EQ(in.triggers[i].frame == out.triggers[i].frame, true) << note();
                EXPECT_EQ(in.overheard.size(), out.overheard.size()) << note();
                EXPECT_EQ(in.non_wakes.size(), out.non_wakes.size()) << note();
            }
    for (const std::uint32_t reason :
         {PZ_REASON_ARP_ANSWERED, PZ_REASON_ARP_PROBE_ANSWERED, PZ_REASON_ND_ANSWERED, PZ_REASON_ND_DAD_ANSWERED,
          PZ_REASON_ECHO_ANSWERED, PZ_REASON_ECHO_IGNORED, PZ_REASON_TRIGGER_SYN, PZ_REASON_TRIGGER_UDP,
          PZ_REASON_TRIGGER_ECHO, PZ_REASON_TRIGGER_MAGIC, PZ_REASON_UNANSWERED, PZ_REASON_RELEASED})
        EXPECT_TRUE(seen.contains(reason)) << reason_name(reason) << " was not among them";
}

TEST_F(EgressTest, ATagBesideTheFrameCounts) {
    const std::unique_ptr<tag_beside_bpf, decltype(&tag_beside_bpf__destroy)> wrapper(tag_beside_bpf__open_and_load(),
                                                                                      &tag_beside_bpf__destroy);
    ASSERT_NE(wrapper, nullptr) << strerror(errno);
    const std::uint32_t zero = 0;
    const int program = kernel().egress_program();
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(wrapper->maps.under_test), &zero, &program, BPF_ANY), 0);
    kernel().put_before_egress(bpf_program__fd(wrapper->progs.tag_beside));
    Host host;
    host.segment = segment_vlan100;
    sleeper(host);
    const auto syn = from_gateway / Ip4{} / Tcp{};
    const auto echo = from_gateway / Ip4{} / Icmp4{} / Raw{"data"};
    const auto reply = Ether{.destination = gateway_mac, .source = host_mac} /
                       Ip4{.source = host_ip4, .destination = client_ip4} / Icmp4{.type = 0} / Raw{"data"};
    const auto run = [&](const Packet& packet, std::uint32_t protocol, std::uint32_t tci) {
        wrapper->bss->protocol = protocol;
        wrapper->bss->tci = tci;
        return kernel().run(packet.bytes());
    };
    for (const std::uint32_t protocol : {0x8100U, 0x88a8U}) {
        const Ether outer{.destination = host_mac, .source = gateway_mac, .type = static_cast<std::uint16_t>(protocol)};
        const Vlan tag{.vid = 100, .priority = 3, .tpid = static_cast<std::uint16_t>(protocol)};
        const auto woken = run(syn, protocol, 100 | 3U << 13);
        EXPECT_EQ(woken.verdict, std::uint32_t{XDP_DROP}) << woken.to_string();
        ASSERT_EQ(woken.triggers.size(), 1U) << woken.to_string();
        EXPECT_EQ(woken.triggers[0].header.segment, segment_vlan100);
        // the tag is in the frame that is held, or it would be delivered without
        const auto tagged = (outer / tag / Ip4{} / Tcp{}).bytes();
        EXPECT_EQ(woken.triggers[0].frame == tagged, true) << hexdiff(tagged, woken.triggers[0].frame);

        const auto answer = run(echo, protocol, 100); // and beside the answer
        EXPECT_EQ(answer.verdict, std::uint32_t{XDP_TX}) << answer.to_string();
        EXPECT_EQ(answer.frame == reply.bytes(), true) << hexdiff(reply.bytes(), answer.frame);
    }
    // another VLAN's frame passes as it was
    const auto other = run(syn, 0x8100, 7);
    EXPECT_EQ(other.verdict, std::uint32_t{XDP_PASS});
    EXPECT_EQ(other.frame == syn.bytes(), true) << hexdiff(syn.bytes(), other.frame);
    EXPECT_TRUE(other.counted.contains(PZ_REASON_NO_SEGMENT)) << other.to_string();
    // a priority tag is none
    host.segment = segment_lan;
    sleeper(host);
    const auto priority = run(syn, 0x8100, 5U << 13);
    ASSERT_EQ(priority.triggers.size(), 1U) << priority.to_string();
    EXPECT_EQ(priority.triggers[0].header.segment, segment_lan);
    // one in the frame is the inner one
    host.segment = segment_qinq;
    sleeper(host);
    const auto stacked =
        Ether{.destination = host_mac, .source = gateway_mac, .type = 0x8100} / Vlan{.vid = 200} / Ip4{} / Tcp{};
    const auto inner = run(stacked, 0x88a8, 100);
    ASSERT_EQ(inner.triggers.size(), 1U) << inner.to_string();
    EXPECT_EQ(inner.triggers[0].header.segment, segment_qinq);
    // three tags
    const auto deep = Ether{.destination = host_mac, .source = gateway_mac, .type = 0x8100} / Vlan{.vid = 200} /
                      Vlan{.vid = 3} / Ip4{} / Tcp{};
    const auto three = run(deep, 0x88a8, 100);
    EXPECT_TRUE(three.counted.contains(PZ_REASON_UNKNOWN_L2)) << three.to_string();
    EXPECT_EQ(three.frame == deep.bytes(), true) << hexdiff(deep.bytes(), three.frame);
}

TEST_F(EgressTest, TheProgramStaysWithinItsBudget) {
    bpf_prog_info info{};
    __u32 length = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(kernel().egress_program(), &info, &length), 0) << strerror(errno);
    std::printf("verified instructions %u, translated %u bytes, JIT %u bytes\n", info.verified_insns,
                info.xlated_prog_len, info.jited_prog_len);
    EXPECT_LT(info.verified_insns, 500'000U);
}

} // namespace
} // namespace pz::test
