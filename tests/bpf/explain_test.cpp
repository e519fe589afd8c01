// SPDX-License-Identifier: Apache-2.0
// The dry run: on every kind of frame the same verdict, reason, reply and events as the real program, and no byte of
// any map changed, nor a position of a ring.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "corpus.h"
#include "fastpath/dry_run.h"

#include "proxzzy.skel.h"

namespace pz::test {
namespace {

constexpr int loopback = test_ifindex;

/// The sender's event and the target's, as far as two runs of one frame have them alike.
using Events = std::array<std::optional<std::string>, PZ_SLOT_COUNT>;

void add(Events& events, pz_event event) {
    event.time_ns = 0;
    const bool of_target = event.kind == PZ_EVENT_TRIGGER || event.kind == PZ_EVENT_CONFLICT ||
                           event.kind == PZ_EVENT_NON_WAKE || event.kind == PZ_EVENT_SECOND_PROXY ||
                           event.kind == PZ_EVENT_OPTION;
    auto& slot = events.at(of_target ? PZ_SLOT_TARGET : PZ_SLOT_SENDER);
    EXPECT_FALSE(slot) << "two events of one slot";
    slot = std::string(reinterpret_cast<const char*>(&event), sizeof event);
}

class ExplainTest : public DataPathTest {
protected:
    void SetUp() override {
        DataPathTest::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        auto opened = fastpath::DryRun::open(*kernel().skeleton());
        ASSERT_TRUE(opened) << opened.error().message;
        dry_ = std::move(*opened);
    }

    fastpath::Verdict explain(ByteView frame) {
        auto verdict = dry_->run(loopback, frame, direction_);
        EXPECT_TRUE(verdict) << verdict.error().message;
        return verdict ? std::move(*verdict) : fastpath::Verdict{};
    }
    fastpath::Verdict explain(const Packet& packet) { return explain(packet.bytes()); }

    /// Every key and value of every map, and where the rings stand.
    static std::map<std::string, std::string> everything() {
        std::map<std::string, std::string> all;
        bpf_map* map = nullptr;
        bpf_object__for_each_map(map, kernel().skeleton()->obj) {
            std::string& bytes = all[bpf_map__name(map)];
            if (bpf_map__type(map) == BPF_MAP_TYPE_XSKMAP)
                continue; // cannot be read
            if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF)
                bytes = ring_positions(bpf_map__fd(map));
            else
                append_entries(bytes, map);
        }
        return all;
    }

    /// The dry run of `frame` first, then the real one, and what they have in common.
    void compare(ByteView frame, const std::string& what) {
        const auto before = everything();
        const auto dry = explain(frame);
        const auto after = everything();
        for (const auto& [name, bytes] : before)
            EXPECT_EQ(bytes == after.at(name), true) << what << ": the dry run changed " << name;
        const auto real = kernel().run(frame);
        const auto note = [&] { return what + ": " + real.to_string(); };
        EXPECT_EQ(dry.action, real.verdict) << note();
        EXPECT_TRUE(std::ranges::equal(dry.frame, real.frame)) << note() << "\n" << hexdiff(real.frame, dry.frame);
        ASSERT_EQ(real.counted.size(), 1U) << note();
        EXPECT_EQ(reason_name(dry.found.reason), reason_name(real.counted.begin()->first)) << note();
        Events said;
        for (auto event : dry.found.events) {
            // half a second after the first time it asks again: between the two runs, maybe
            if (event.kind == PZ_EVENT_TRIGGER && event.detail == PZ_ASKED_FIRST && real.triggers.size() == 1)
                event.detail = real.triggers[0].header.detail;
            if (event.kind != 0)
                add(said, event);
        }
        Events sent;
        for (const auto* ring : {&real.triggers, &real.overheard, &real.non_wakes})
            for (const auto& event : *ring)
                add(sent, event.header);
        EXPECT_EQ(said == sent, true) << note();
        seen_.insert(dry.found.reason);
    }

    void turn_to_egress() {
        kernel().turn_to_egress();
        direction_ = fastpath::Direction::egress;
    }
    void TearDown() override { kernel().turn_to_ingress(); }

    std::unique_ptr<fastpath::DryRun> dry_;
    fastpath::Direction direction_ = fastpath::Direction::ingress;
    std::set<std::uint32_t> seen_; // reasons

private:
    static std::string ring_positions(int fd) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        std::string bytes;
        for (const std::size_t offset : {std::size_t{0}, page}) { // the consumer's, the producer's
            void* mapped = mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
            EXPECT_NE(mapped, MAP_FAILED) << strerror(errno);
            bytes.append(static_cast<const char*>(mapped), sizeof(unsigned long));
            munmap(mapped, page);
        }
        return bytes;
    }
    static void append_entries(std::string& bytes, const bpf_map* map) {
        const bool per_cpu = bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY;
        const std::size_t copies = per_cpu ? static_cast<std::size_t>(libbpf_num_possible_cpus()) : 1;
        const std::size_t value_size = per_cpu ? (bpf_map__value_size(map) + 7) / 8 * 8 : bpf_map__value_size(map);
        std::string key(bpf_map__key_size(map), '\0');
        const int fd = bpf_map__fd(map);
        if (bpf_map__max_entries(map) == PZ_ASKERS) // too large to be read twice for each frame
            return;
        if (bpf_map__type(map) == BPF_MAP_TYPE_ARRAY) { // all at once
            __u32 count = bpf_map__max_entries(map);
            std::vector<__u32> keys(count);
            bytes.resize(count * value_size);
            __u32 position = 0;
            bpf_map_batch_opts options{};
            options.sz = sizeof options;
            const int result =
                bpf_map_lookup_batch(fd, nullptr, &position, keys.data(), bytes.data(), &count, &options);
            EXPECT_TRUE(result == 0 || result == -ENOENT) << strerror(-result); // ENOENT: that was the last one
            EXPECT_EQ(count, bpf_map__max_entries(map));
            return;
        }
        std::string next = key;
        std::string value(copies * value_size, '\0');
        for (bool more = bpf_map_get_next_key(fd, nullptr, next.data()) == 0; more;
             more = bpf_map_get_next_key(fd, key.data(), next.data()) == 0) {
            key = next;
            EXPECT_EQ(bpf_map_lookup_elem(fd, key.data(), value.data()), 0) << strerror(errno);
            bytes += key + value;
        }
    }
};

const Mac neighbour_mac = {{0x00, 0x00, 0x5e, 0x00, 0x53, 0x20}};
const Ip4Address neighbour_ip4 = {{192, 0, 2, 32}};

/// Another sleeper, of the same generation: not to be taken for the first one.
Host neighbour() {
    return {.id = 4, .macs = {neighbour_mac}, .answer_mac = neighbour_mac, .ip4 = {neighbour_ip4}, .ip6 = {}};
}

const Ether from_owner{.destination = gateway_mac, .source = host_mac};

/// Frames in which one thing that the real program does changes another.
std::vector<std::pair<std::string, Packet>> entangled() {
    return {
        {"the owner's SYN to another sleeper", Ether{.destination = neighbour_mac, .source = host_mac} /
                                                   Ip4{.source = host_ip4, .destination = neighbour_ip4} / Tcp{}},
        {"the owner's ARP request for another sleeper",
         Ether{.destination = broadcast_mac, .source = host_mac} /
             Arp{.sender_mac = host_mac, .sender_ip = host_ip4, .target_ip = neighbour_ip4}},
        {"the owner's ARP with another sender address", // released, so no conflict
         Ether{.destination = broadcast_mac, .source = host_mac} /
             Arp{.sender_mac = stranger_mac, .sender_ip = host_ip4, .target_ip = client_ip4}},
        {"the owner claims another sleeper's address",
         Ether{.destination = broadcast_mac, .source = host_mac} /
             Arp{.sender_mac = host_mac, .sender_ip = neighbour_ip4, .target_ip = client_ip4}},
        {"the owner's Magic Packet for itself", // released, so it repeats
         Ether{.destination = broadcast_mac, .source = host_mac} /
             Ip4{.source = host_ip4, .destination = "255.255.255.255"_ip4} / Udp{.destination_port = 9} / Raw{magic()}},
        {"ARP reply of the owner", from_owner / Arp{.operation = 2, .sender_mac = host_mac, .sender_ip = host_ip4}},
        {"NA of the owner",
         from_owner / Ip6{.source = host_ip6(), .destination = client_ip6(), .hop_limit = 255} / Na{} / target_lla()},
        {"our announcement comes back", Ether{.destination = broadcast_mac, .source = host_mac} /
                                            Arp{.sender_mac = host_mac, .sender_ip = host_ip4, .target_ip = host_ip4} /
                                            arp_mark()},
        {"another gateway's announcement", Ether{.destination = broadcast_mac, .source = host_mac} /
                                               Arp{.sender_mac = host_mac, .sender_ip = host_ip4} /
                                               arp_mark(stranger_mac)},
        {"our advertisement comes back", dad_advertisement()},
        {"our echo reply comes back", echo4_reply()},
        {"SYN to a closed port", Ether{} / Ip4{} / Tcp{.destination_port = 23}},
        {"SYN to another MAC", Ether{.destination = stranger_mac} / Ip4{} / Tcp{}},
        {"SYN that is too long to be held", Ether{} / Ip4{} / Tcp{} / Raw{PZ_EVENT_LARGE_FRAME, 1}},
        {"echo that is longer than a page", Ether{} / Ip4{} / Icmp4{} / Raw{8000, 1}},
        {"mDNS question to the sleeper itself", Ether{} / Ip4{} / Udp{.destination_port = 5353} / Raw{40, 1}},
        {"mDNS question to the group", mdns_question()},
        {"long mDNS message to the group", mdns_question(Raw{8000, 1})},
        {"the owner's mDNS message", // a sign of life, and copied
         Ether{.destination = mdns_mac, .source = host_mac} / Ip4{.source = host_ip4, .destination = mdns_ip4} /
             Udp{.source_port = 5353, .destination_port = 5353} / Raw{40, 1}},
    };
}

TEST_F(ExplainTest, EveryFrameInEveryStateIsToldAsItHappens) {
    kernel().put(neighbour());
    kernel().put_index(segment_lan, mdns_ip4, listeners(PZ_LISTEN_MDNS));
    std::vector<std::pair<std::string, Bytes>> frames;
    for (const auto& [what, frame, needed] : corpus())
        frames.emplace_back(what, frame);
    for (const auto& [what, packet] : entangled())
        frames.emplace_back(what, packet.bytes());
    for (const auto stage :
         {PZ_STAGE_NONE, PZ_STAGE_ARMING, PZ_STAGE_ASLEEP, PZ_STAGE_WAKING, PZ_STAGE_UNANSWERED, PZ_STAGE_WATCHED})
        for (const auto echo : {PZ_ECHO_ANSWER, PZ_ECHO_IGNORE, PZ_ECHO_WAKE})
            for (const bool released : {false, true}) {
                Host host;
                host.stage = static_cast<std::uint8_t>(stage);
                host.flags = PZ_POLICY_LEARN | PZ_POLICY_MDNS;
                host.echo = static_cast<std::uint8_t>(echo);
                host.secureon = {{1, 2, 3, 4, 5, 6}};
                if (echo == PZ_ECHO_ANSWER)
                    host.secureon.reset();
                kernel().put_policy(host);
                for (const auto& [what, frame] : frames) {
                    kernel().put_daemon(); // on a busy machine a heartbeat grows old between two frames
                    pz_live live{};
                    live.released = released ? host.generation : 0;
                    kernel().put_live(host.id, live);
                    kernel().put_live(neighbour().id, {});
                    compare(frame, what + ", stage " + std::to_string(stage) + (released ? ", released" : ""));
                }
            }
    for (const std::uint32_t reason :
         {PZ_REASON_TRIGGER_SYN,    PZ_REASON_TRIGGER_MAGIC,   PZ_REASON_TRIGGER_ECHO,    PZ_REASON_MAGIC_REPEATS,
          PZ_REASON_MAGIC_PASSWORD, PZ_REASON_ARP_ANSWERED,    PZ_REASON_ND_DAD_ANSWERED, PZ_REASON_ECHO_ANSWERED,
          PZ_REASON_SIGN_OF_LIFE,   PZ_REASON_OWNER_ARMING,    PZ_REASON_OWNER_WATCHED,   PZ_REASON_OWNER_SEEN,
          PZ_REASON_NIC_ANSWERS,    PZ_REASON_CONFLICT,        PZ_REASON_UNANSWERED,      PZ_REASON_OWN_FRAME,
          PZ_REASON_SECOND_PROXY,   PZ_REASON_PORT_CLOSED,     PZ_REASON_RELEASED,        PZ_REASON_NOT_ADDRESSED,
          PZ_REASON_STEERED,        PZ_REASON_MULTICAST_COPIED})
        EXPECT_TRUE(seen_.contains(reason)) << reason_name(reason) << " was not among them";
}

TEST_F(ExplainTest, WhatBecomesAMagicPacketIsToldAsItHappens) {
    Host host;
    host.flags = PZ_POLICY_AT_ONCE;
    host.echo = PZ_ECHO_WAKE;
    kernel().put_policy(host);
    for (const auto& frame :
         {(Ether{} / Ip4{} / Tcp{}).bytes(), (Ether{} / Ip6{} / Tcp{}).bytes(), (Ether{} / Ip4{} / Icmp4{}).bytes(),
          (Ether{} / Ip4{} / Udp{.destination_port = 5060} / Raw{1400, 1}).bytes()}) {
        kernel().put_daemon();
        compare(frame, hexdump(frame));
        EXPECT_EQ(kernel().wait_for_triggers(), 0) << "that the daemon is woken is no event, but changes the ring";
    }
    EXPECT_EQ(explain(Ether{} / Ip4{} / Tcp{}).action, std::uint32_t{XDP_TX});
}

TEST_F(ExplainTest, DamagedFramesAreToldAsTheyHappen) {
    kernel().put(neighbour());
    Mutator mutator(20'260'101);
    for (int i = 0; i < 1500 && !HasFailure(); i++) {
        const auto frame = mutator.next();
        kernel().put_daemon();
        kernel().put_live(Host{}.id, {});
        kernel().put_live(neighbour().id, {});
        compare(frame, "mutant " + std::to_string(i) + "\n" + hexdump(frame));
    }
}

TEST_F(ExplainTest, WhatLeavesIsToldAsItHappens) {
    turn_to_egress();
    kernel().put(neighbour());
    for (const auto stage : {PZ_STAGE_NONE, PZ_STAGE_ASLEEP, PZ_STAGE_UNANSWERED}) {
        Host host;
        host.stage = static_cast<std::uint8_t>(stage);
        kernel().put_policy(host);
        for (const auto& [what, frame, needed] : corpus()) {
            kernel().put_daemon();
            kernel().put_live(host.id, {});
            compare(frame, what + ", leaving, stage " + std::to_string(stage));
        }
    }
    for (const std::uint32_t reason : {PZ_REASON_TRIGGER_SYN, PZ_REASON_ECHO_ANSWERED, PZ_REASON_ARP_ANSWERED,
                                       PZ_REASON_ND_ANSWERED, PZ_REASON_UNANSWERED, PZ_REASON_RELEASED})
        EXPECT_TRUE(seen_.contains(reason)) << reason_name(reason) << " was not among them";
}

TEST_F(ExplainTest, WithoutADaemonOrASegment) {
    kernel().put_daemon(700'000'000'000);
    compare(arp_request().bytes(), "no daemon");
    EXPECT_TRUE(seen_.contains(PZ_REASON_DAEMON_GONE));
    kernel().put_daemon();
    compare((Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 7} / Arp{}).bytes(), "no segment");
    EXPECT_TRUE(seen_.contains(PZ_REASON_NO_SEGMENT));
}

TEST_F(ExplainTest, AnAllowanceIsLookedAtAndNotTaken) {
    Host host;
    host.event_interval_ms = 60'000;
    host.event_burst = 2;
    sleeper(host);
    for (int i = 0; i < 3; i++) {
        // another one each time: the same, after a while, has an allowance of its own
        const auto syn = (Ether{} / Ip4{} / Tcp{.source_port = static_cast<std::uint16_t>(40000 + i)}).bytes();
        for (int again = 0; again < 3; again++)
            EXPECT_EQ(explain(syn).found.reason,
                      i < 2 ? std::uint32_t{PZ_REASON_TRIGGER_SYN} : std::uint32_t{PZ_REASON_TRIGGER_THROTTLED});
        compare(syn, "SYN " + std::to_string(i));
    }
}

TEST_F(ExplainTest, AFullRingIsForeseen) {
    const auto large = (Ether{} / Ip4{} / Tcp{} / Raw{600, 1}).bytes();
    const auto small = (Ether{} / Ip4{} / Tcp{}).bytes();
    Bytes out;
    int lost = 0;
    for (const auto* frame : {&large, &small}) {
        const auto records = kernel().trigger_ring_size() / (frame == &large ? PZ_EVENT_LARGE_SIZE : 256) + 1;
        for (std::size_t i = 0; i < records && lost < (frame == &large ? 1 : 2); i++) {
            const auto before = kernel().counters().at(PZ_REASON_RING_FULL);
            const bool foretold = explain(*frame).found.reason == PZ_REASON_RING_FULL;
            (void)kernel().run_quickly(*frame, out);
            const bool happened = kernel().counters().at(PZ_REASON_RING_FULL) != before;
            ASSERT_EQ(foretold, happened) << "record " << i << " of " << frame->size() << " bytes";
            lost += happened ? 1 : 0;
        }
    }
    EXPECT_EQ(lost, 2);
    kernel().drain();
}

TEST_F(ExplainTest, WhoAndWhichRuleAreTold) {
    kernel().put(neighbour());
    const auto syn = explain(Ether{} / Ip4{} / Tcp{}).found;
    EXPECT_EQ(syn.segment, segment_lan);
    EXPECT_EQ(syn.target.host, Host{}.id);
    EXPECT_EQ(syn.target.generation, Host{}.generation);
    EXPECT_EQ(syn.sender.generation, 0U);
    EXPECT_EQ(syn.rule.protocol, proto_tcp);
    EXPECT_EQ(syn.rule.port, 22);
    EXPECT_EQ(syn.rule.action, PZ_RULE_WAKE);
    EXPECT_EQ(syn.events[PZ_SLOT_TARGET].kind, std::uint32_t{PZ_EVENT_TRIGGER});
    EXPECT_EQ(syn.events[PZ_SLOT_TARGET].ifindex, test_ifindex);

    const auto both = explain(entangled()[0].second).found;
    EXPECT_EQ(both.sender.host, Host{}.id);
    EXPECT_EQ(both.target.host, neighbour().id);
    EXPECT_EQ(both.sign, std::uint32_t{PZ_SIGN_IP});
    EXPECT_EQ(both.released, 1U);
    EXPECT_EQ(both.events[PZ_SLOT_SENDER].kind, std::uint32_t{PZ_EVENT_RELEASE});
    EXPECT_EQ(both.events[PZ_SLOT_TARGET].kind, std::uint32_t{PZ_EVENT_TRIGGER});

    // nothing is left over for the next one
    const auto nobody = explain(Ether{.destination = gateway_mac} / Ip4{.destination = other_ip4} / Tcp{}).found;
    EXPECT_EQ(nobody.reason, std::uint32_t{PZ_REASON_NOBODY});
    pz_explanation nothing{};
    nothing.reason = PZ_REASON_NOBODY;
    EXPECT_EQ(std::memcmp(&nobody, &nothing, sizeof nothing), 0);
}

TEST_F(ExplainTest, FramesThatNoEthernetHasAreRefused) {
    for (const std::size_t size : {0U, 13U, 9217U}) {
        const auto refused = dry_->run(loopback, Bytes(size));
        ASSERT_FALSE(refused) << size;
        EXPECT_EQ(refused.error().message,
                  "frame: has " + std::to_string(size) + " bytes, an Ethernet frame has 14 to 9216");
    }
    EXPECT_TRUE(dry_->run(loopback, Bytes(14)));
    EXPECT_TRUE(dry_->run(loopback, Bytes(9216)));
    const auto nowhere = dry_->run(0x7ffffff0, Bytes(60));
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(nowhere.error().field, "interface");
}

/// The ids of the maps that the instructions of a loaded program name.
std::set<std::uint32_t> maps_named(int program) {
    bpf_prog_info info{};
    __u32 length = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(program, &info, &length), 0) << strerror(errno);
    std::vector<bpf_insn> instructions(info.xlated_prog_len / sizeof(bpf_insn));
    const auto size = info.xlated_prog_len;
    info = {};
    info.xlated_prog_insns = reinterpret_cast<std::uintptr_t>(instructions.data());
    info.xlated_prog_len = size;
    EXPECT_EQ(bpf_obj_get_info_by_fd(program, &info, &length), 0) << strerror(errno);
    std::set<std::uint32_t> ids;
    for (const auto& instruction : instructions)
        if (instruction.code == (BPF_LD | BPF_IMM | BPF_DW) &&
            (instruction.src_reg == BPF_PSEUDO_MAP_FD || instruction.src_reg == BPF_PSEUDO_MAP_VALUE))
            ids.insert(static_cast<std::uint32_t>(instruction.imm));
    return ids;
}

std::uint32_t map_id(const bpf_map* map) {
    bpf_map_info info{};
    __u32 length = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &length), 0) << strerror(errno);
    return info.id;
}

TEST_F(ExplainTest, TheVerifierRemovesTheOtherHalf) {
    const auto& maps = kernel().skeleton()->maps;
    const auto real = maps_named(kernel().program());
    EXPECT_TRUE(real.contains(map_id(maps.pz_counters_v1)));
    EXPECT_FALSE(real.contains(map_id(maps.bss))) << "frames on the wire pay for the dry run";
    const auto dry = maps_named(dry_->program());
    EXPECT_TRUE(dry.contains(map_id(maps.pz_policy_v2))) << "the maps are not shared";
    EXPECT_FALSE(dry.contains(map_id(maps.pz_counters_v1))) << "the dry run counts";
}

} // namespace
} // namespace pz::test
