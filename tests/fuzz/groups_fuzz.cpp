// SPDX-License-Identifier: Apache-2.0
// Fuzz target: IGMP and MLD messages, one after another, to a segment with sleeping hosts.  Whatever they are: reports
// for the hosts' groups alone, in well-formed frames, no more than the queries call for, and timers that end.
//
// The input is a sequence of steps: a byte whose lowest bit is the family and whose upper bits are time to pass, a
// byte's length, and the message.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "proto/groups/membership.h"

namespace {

using namespace pz;
using namespace pz::groups;
using namespace std::chrono_literals;

void require(bool holds, const char* what) {
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

const MacAddress mac{{2, 0, 0, 0, 0, 1}};
const IpAddress groups_of_both[] = {IpAddress::v4({239, 1, 2, 3}), IpAddress::v4({224, 0, 0, 251}),
                                    IpAddress::v6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb}),
                                    IpAddress::v6({0xff, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34})};
const Sources first{IpAddress::v4({192, 0, 2, 81}),
                    IpAddress::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51})};
const Sources second{IpAddress::v4({192, 0, 2, 82}),
                     IpAddress::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x52})};
const IpAddress router4 = IpAddress::v4({192, 0, 2, 1});
const IpAddress router6 = IpAddress::v6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});

void check(const std::vector<Report>& reports) {
    require(reports.size() <= 2 * std::size(groups_of_both), "a tick sends at most one report per host and group");
    for (const Report& report : reports) {
        require(report.host == 1 || report.host == 2, "only hosts that are here report");
        const Sources& own = report.host == 1 ? first : second;
        const bool v4 = report.destination.is_v4();
        require(report.source == (v4 ? own.v4 : own.v6), "a host reports from its own address");
        const Bytes frame = frame_of(report, mac, {});
        const auto back = received(frame);
        require(back && back->hop_limit == 1 && back->router_alert, "a frame holds the report");
        if (v4 || report.type() == 131) {
            const ByteView message = back->message;
            const auto group = IpAddress::from_bytes(v4 ? message.subspan(4, 4) : message.subspan(8, 16));
            require(group == report.destination, "a report goes to its group");
            require(std::ranges::find(groups_of_both, *group) != std::end(groups_of_both), "it is one of the host's");
            require(v4 ? igmp::parse(message).has_value()
                       : mld::parse(message, back->source, back->destination).has_value(),
                    "what we send can be read");
        }
    }
}

void pass(Membership& membership, Instant& now, Duration time) {
    const Instant end = now + time;
    for (int ticks = 0; membership.next_deadline() && *membership.next_deadline() <= end; ++ticks) {
        require(ticks < 1000, "timers end");
        now = std::max(now, *membership.next_deadline());
        check(membership.tick(now));
    }
    now = end;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Instant now{1h};
    std::uint32_t state = 1;
    Membership membership([&](Duration lo, Duration hi) {
        require(lo <= hi, "a random duration is between two bounds");
        state = state * 1664525 + 1013904223;
        return lo + (hi - lo) / 256 * (state >> 24);
    });
    membership.add(1, first, groups_of_both, now);
    membership.add(2, second, groups_of_both, now);

    ByteView rest(data, size);
    while (rest.size() >= 2) {
        const std::uint8_t control = rest[0];
        const bool v4 = (control & 1) == 0;
        const std::size_t length = std::min<std::size_t>(rest[1], rest.size() - 2);
        const auto given = rest.subspan(2, length);
        rest = rest.subspan(2 + length);

        // As it is, and with the checksum that a mutation broke, so that what lies behind it is reached.
        const IpAddress source = v4 ? router4 : router6;
        const IpAddress destination =
            v4 ? (control & 2) != 0 ? groups_of_both[0] : IpAddress::v4({224, 0, 0, 1}) : groups_of_both[2];
        Bytes mended(given.begin(), given.end());
        if (mended.size() >= 4) {
            mended[2] = mended[3] = 0;
            const auto sum = v4 ? 0 : pseudo_header_sum(source, destination, 58, mended.size());
            const auto checksum = checksum_fold(checksum_add(mended, sum));
            mended[2] = static_cast<std::uint8_t>(checksum >> 8);
            mended[3] = static_cast<std::uint8_t>(checksum & 0xff);
        }
        for (const ByteView message : {given, ByteView(mended)})
            (void)membership.receive({source, destination, 1, true, message}, now);
        check(membership.tick(now));
        pass(membership, now, (control >> 2) * 100ms);
    }
    membership.remove(1, true, now);
    membership.remove(2, true, now);
    for (int ticks = 0; membership.next_deadline(); ++ticks) {
        require(ticks < 10, "leaving ends");
        now = std::max(now, *membership.next_deadline());
        (void)membership.tick(now);
    }
    return 0;
}
