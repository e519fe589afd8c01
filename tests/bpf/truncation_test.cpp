// SPDX-License-Identifier: Apache-2.0
// Every valid frame cut at every length: never answered, never a trigger, never a group frame dropped (R36).
#include "corpus.h"

namespace pz::test {
namespace {

class TruncationTest : public DataPathTest {};

TEST_F(TruncationTest, R36_EveryFrameCutAtEveryLength) {
    sleeper({.id = 9, .segment = segment_qinq});
    for (const auto& [what, frame, needed] : corpus()) {
        const auto whole = kernel().run(frame);
        const bool group = (frame[0] & 1) != 0;
        for (std::size_t length = 14; length < frame.size(); length++) {
            kernel().put_live(Host{}.id, {});
            const auto outcome = kernel().run(ByteView(frame).first(length));
            const auto note = [&] {
                return what + " cut to " + std::to_string(length) + " of " + std::to_string(needed) + "+" +
                       std::to_string(frame.size() - needed) + ": " + outcome.to_string();
            };
            std::uint64_t counted = 0;
            for (const auto& [reason, count] : outcome.counted)
                counted += count;
            ASSERT_EQ(counted, 1U) << note();
            ASSERT_TRUE(outcome.verdict == XDP_PASS || outcome.verdict == XDP_DROP || outcome.verdict == XDP_TX)
                << note();
            if (length >= needed) {
                // only padding is missing
                EXPECT_EQ(outcome.verdict, whole.verdict) << note();
                continue;
            }
            EXPECT_NE(outcome.verdict, std::uint32_t{XDP_TX}) << note();
            if (group) {
                EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << note();
            }
            EXPECT_TRUE(std::ranges::equal(outcome.frame, ByteView(frame).first(length))) << note();
            for (const auto& event : outcome.triggers)
                EXPECT_NE(event.header.kind, std::uint32_t{PZ_EVENT_TRIGGER}) << note();
        }
        kernel().put_live(Host{}.id, {});
    }
}

} // namespace
} // namespace pz::test
