// SPDX-License-Identifier: Apache-2.0
// Random damage: whatever comes in, what the program does is one of the things that it may do, and what it sends is a
// reply that a second implementation finds right (R36).
#include <proxzzy/abi/mark.h>

#include "corpus.h"

namespace pz::test {
namespace {

class MutationTest : public DataPathTest {};

std::uint32_t read16(ByteView bytes, std::size_t at) {
    return static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
}
bool same(ByteView bytes, std::size_t at, ByteView wanted) {
    return at + wanted.size() <= bytes.size() && std::ranges::equal(bytes.subspan(at, wanted.size()), wanted);
}
bool is_ours(ByteView address) {
    const Host host;
    return std::ranges::any_of(host.ip4, [&](const auto& a) { return std::ranges::equal(a.bytes, address); }) ||
           std::ranges::any_of(host.ip6, [&](const auto& a) { return std::ranges::equal(a.bytes, address); });
}

/// What is wrong with a frame that was sent; empty if nothing.
std::string judge_reply(ByteView in, ByteView out) {
    std::size_t l3 = 14;
    if (out.size() < 42)
        return "short";
    if ((out[0] & 1) != 0 && !same(out, 0, group_mac(all_nodes()).bytes))
        return "to a group that is not all nodes";
    if (!same(out, 6, host_mac.bytes))
        return "not from the host's MAC";
    auto type = read16(out, 12);
    if (type != read16(in, 12))
        return "another EtherType";
    while (type == 0x8100 || type == 0x88a8 || type == 0x9100) {
        if (!same(out, l3, in.subspan(l3, 4)))
            return "another tag";
        type = read16(out, l3 + 2);
        l3 += 4;
    }
    const auto body = out.subspan(l3);
    if (type == 0x0806) {
        const Bytes head = {0, 1, 8, 0, 6, 4, 0, 2};
        if (out.size() != 60 || !same(body, 0, head))
            return "no 60-byte ARP reply";
        if (!same(body, 8, host_mac.bytes) || !is_ours(body.subspan(14, 4)))
            return "ARP about somebody else";
        if (!same(body, 18, out.subspan(0, 6)) || !same(in, l3 + 8, out.subspan(0, 6)))
            return "ARP to somebody else";
        const Bytes mark = PZ_ARP_MARK;
        if (!same(body, 28, mark) || !same(body, 32, gateway_mac.bytes) ||
            std::ranges::any_of(body.subspan(38), [](auto byte) { return byte != 0; }))
            return "ARP padding is not the mark and zeros";
        return {};
    }
    if (type == 0x0800) {
        const std::size_t total = read16(body, 2);
        if (body[0] != 0x45 || total < 28 || total > body.size() || ones_sum(body.first(20)) != 0xffff)
            return "IPv4 header";
        if (body[9] != proto_icmp || body[20] != 0 || body[8] != 64 || (read16(body, 6) & 0x3fff) != 0)
            return "no ICMP echo reply";
        if (!is_ours(body.subspan(12, 4)) || ones_sum(body.subspan(20, total - 20)) != 0xffff)
            return "source or ICMP checksum";
        if ((body[16] & 0xf0) == 0xe0 || body[16] == 127 || read16(body, 16) + read16(body, 18) == 0)
            return "to an address that nobody has";
        return {};
    }
    if (type == 0x86dd) {
        const std::size_t payload = read16(body, 4);
        if (body[0] >> 4 != 6 || body[6] != proto_icmp6 || body.size() < 40 + payload || payload < 8)
            return "IPv6 header";
        if (!is_ours(body.subspan(8, 16)))
            return "not from a held address";
        if (ones_sum(body.subspan(40, payload),
                     pseudo_sum(body.subspan(8, 16), body.subspan(24, 16), proto_icmp6, payload)) != 0xffff)
            return "ICMPv6 checksum";
        const bool to_all = same(body, 24, all_nodes().bytes);
        if (body[40] == 129)
            return body[7] == 64 && body[24] != 0xff ? "" : "echo reply";
        if (body[40] != 136 || payload != 40 || body[7] != 255 || body[41] != 0 || out.size() != l3 + 80)
            return "no Neighbor Advertisement";
        if (body[44] != (to_all ? 0x20 : 0x60) || (body[24] == 0xff && !to_all))
            return "flags";
        const Bytes option = {2, 1};
        const Bytes mark = {PZ_ND_OPT_MARK, 1};
        if (!same(body, 48, body.subspan(8, 16)) || !same(body, 64, option) || !same(body, 66, host_mac.bytes) ||
            !same(body, 72, mark) || !same(body, 74, gateway_mac.bytes))
            return "target or option";
        return {};
    }
    return "another protocol";
}

TEST_F(MutationTest, R36_DamagedFramesNeverGetAWrongAnswer) {
    Mutator mutator(393);
    std::map<std::uint32_t, std::size_t> verdicts;
    std::map<std::uint32_t, std::size_t> reasons;
    constexpr int rounds = 150'000;
    for (int round = 0; round < rounds; round++) {
        const auto frame = mutator.next();
        kernel().put_live(Host{}.id, {});
        const auto outcome = kernel().run(frame);
        const auto note = [&] {
            return "round " + std::to_string(round) + "\n" + hexdump(frame) + outcome.to_string() + "\n" +
                   hexdump(outcome.frame);
        };
        std::uint64_t counted = 0;
        for (const auto& [reason, count] : outcome.counted)
            counted += count;
        ASSERT_EQ(counted, 1U) << note();
        verdicts[outcome.verdict]++;
        reasons[outcome.counted.begin()->first]++;
        const bool group = (frame[0] & 1) != 0;
        const bool from_owner = same(frame, 6, host_mac.bytes);
        switch (outcome.verdict) {
        case XDP_TX:
            ASSERT_EQ(judge_reply(frame, outcome.frame), "") << note();
            ASSERT_FALSE(from_owner) << "the owner was answered\n" << note();
            break;
        case XDP_DROP:
            ASSERT_FALSE(group) << "a group frame was dropped\n" << note();
            ASSERT_TRUE(same(frame, 0, host_mac.bytes) || same(frame, 0, gateway_mac.bytes))
                << "somebody else's frame was dropped\n"
                << note();
            [[fallthrough]];
        case XDP_PASS:
            ASSERT_EQ(outcome.frame, frame) << note();
            break;
        default:
            FAIL() << note();
        }
        ASSERT_LE(outcome.triggers.size() + outcome.overheard.size(), 2U) << note();
        for (const auto& event : outcome.triggers) {
            ASSERT_EQ(event.header.host, Host{}.id) << note();
            ASSERT_EQ(event.frame, frame) << note();
        }
    }
    // the damage must leave something to look at
    EXPECT_GT(verdicts[XDP_TX], std::size_t{rounds / 50});
    EXPECT_GT(verdicts[XDP_DROP], std::size_t{rounds / 20});
    EXPECT_GT(reasons.size(), 25U);
    for (const auto& [reason, count] : reasons)
        std::printf("%8zu %s\n", count, std::string(reason_name(reason)).c_str());
}

} // namespace
} // namespace pz::test
