// SPDX-License-Identifier: Apache-2.0
// The hold queue: order, bounds, fairness between hosts, one SYN per connection attempt, several threads.
#include "hosts/hold_queue.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <numeric>
#include <thread>

#include "net/frame.h"

namespace pz {
namespace {

const IpAddress host4 = IpAddress::v4({192, 0, 2, 1});
const IpAddress other4 = IpAddress::v4({192, 0, 2, 2});
const IpAddress client4 = IpAddress::v4({192, 0, 2, 99});
const IpAddress host6 = IpAddress::parse("2001:db8::1").value();
const IpAddress client6 = IpAddress::parse("2001:db8::99").value();

constexpr std::uint8_t syn = 0x02;
constexpr std::uint8_t ack = 0x10;
constexpr std::uint8_t ece_cwr = 0xc0;

void append16(Bytes& out, unsigned value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
}

struct Segment {
    IpAddress source = client4;
    IpAddress destination = host4;
    std::uint16_t source_port = 40000;
    std::uint16_t destination_port = 22;
    std::uint8_t protocol = IPPROTO_TCP;
    std::uint8_t flags = syn;
    std::uint8_t sequence = 1;
    std::vector<std::uint16_t> vids = {};
    std::uint8_t cut = 0;  // bytes by which the IP header makes the packet shorter than it is
    bool fragment = false; // IPv4: more fragments follow
    std::size_t payload = 0;
};

std::string name_of(const Segment& s) {
    return std::string(s.destination.is_v4() ? "v4" : "v6") + "Tags" + std::to_string(s.vids.size()) + "Flags" +
           std::to_string(s.flags) + "Payload" + std::to_string(s.payload);
}
void PrintTo(const Segment& s, std::ostream* out) {
    *out << name_of(s);
}

/// An Ethernet frame around a TCP segment (or, for another protocol, bytes of the same length).
Bytes frame_of(const Segment& s) {
    Bytes frame = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9};
    for (std::size_t i = 0; i < s.vids.size(); ++i) {
        append16(frame, i + 1 < s.vids.size() ? 0x88a8 : 0x8100);
        append16(frame, s.vids[i]);
    }
    Bytes tcp;
    append16(tcp, s.source_port);
    append16(tcp, s.destination_port);
    tcp.insert(tcp.end(), {0, 0, 0, s.sequence, 0, 0, 0, 0, 0x50, s.flags, 0xff, 0xff, 0, 0, 0, 0});
    tcp.resize(tcp.size() + s.payload);
    if (s.destination.is_v4()) {
        append16(frame, 0x0800);
        Bytes header = {0x45, 0};
        append16(header, static_cast<unsigned>(20 + tcp.size() - s.cut));
        // The IP id differs between retransmissions.
        header.insert(header.end(),
                      {0, s.sequence, static_cast<std::uint8_t>(s.fragment ? 0x20 : 0), 0, 64, s.protocol, 0, 0});
        header.insert(header.end(), s.source.octets().begin(), s.source.octets().end());
        header.insert(header.end(), s.destination.octets().begin(), s.destination.octets().end());
        unsigned sum = 0; // RFC 1071, by hand, so that the parser's own sum is not its witness
        for (std::size_t i = 0; i < header.size(); i += 2)
            sum += static_cast<unsigned>(header[i] << 8 | header[i + 1]);
        while (sum > 0xffff)
            sum = (sum & 0xffff) + (sum >> 16);
        header[10] = static_cast<std::uint8_t>(~sum >> 8);
        header[11] = static_cast<std::uint8_t>(~sum);
        frame.insert(frame.end(), header.begin(), header.end());
    } else {
        append16(frame, 0x86dd);
        frame.insert(frame.end(), {0x60, 0, 0, 0});
        append16(frame, static_cast<unsigned>(tcp.size() - s.cut));
        frame.insert(frame.end(), {s.protocol, 64});
        frame.insert(frame.end(), s.source.octets().begin(), s.source.octets().end());
        frame.insert(frame.end(), s.destination.octets().begin(), s.destination.octets().end());
    }
    frame.insert(frame.end(), tcp.begin(), tcp.end());
    return frame;
}

/// A frame that is no connection attempt, told from others by its first byte.
Bytes plain(std::uint8_t mark, std::size_t size = 60) {
    Bytes frame(size, 0);
    frame[0] = mark;
    return frame;
}

std::vector<int> marks(const std::vector<HeldPacket>& packets) {
    std::vector<int> out;
    for (const HeldPacket& packet : packets)
        out.push_back(packet.frame[0]);
    return out;
}

Instant at(int seconds) {
    return Instant{std::chrono::seconds(seconds)};
}

TEST(HoldQueue, HandsOverInOrderOfArrivalWhatWentToOneAddress) {
    HoldQueue queue({});
    EXPECT_EQ(queue.push(7, host4, plain(1), at(1)), HoldRefusal::none);
    EXPECT_EQ(queue.push(7, other4, plain(2), at(2)), HoldRefusal::none);
    EXPECT_EQ(queue.push(7, host4, plain(3), at(3)), HoldRefusal::none);
    EXPECT_EQ(queue.push(8, host4, plain(4), at(4)), HoldRefusal::none);

    const std::vector<HeldPacket> taken = queue.take(7, host4);
    EXPECT_EQ(marks(taken), (std::vector<int>{1, 3}));
    EXPECT_EQ(taken[0].destination, host4);
    EXPECT_EQ(taken[0].arrived, at(1));
    EXPECT_EQ(taken[1].arrived, at(3));
    EXPECT_EQ(taken[0].frame, plain(1));

    EXPECT_TRUE(queue.take(7, host4).empty());
    EXPECT_EQ(marks(queue.take(7, other4)), (std::vector<int>{2}));
    EXPECT_EQ(marks(queue.take(8, host4)), (std::vector<int>{4}));
    EXPECT_EQ(queue.usage().packets, 0U);
    EXPECT_EQ(queue.usage().bytes, 0U);
}

TEST(HoldQueue, DropsOneAddressOrAll) {
    HoldQueue queue({});
    for (std::uint8_t i = 0; i < 3; ++i)
        queue.push(1, host4, plain(i), at(0));
    queue.push(1, host6, plain(9), at(0));
    queue.push(2, host4, plain(10), at(0));
    EXPECT_EQ(queue.drop(1, host4), 3U);
    EXPECT_EQ(queue.drop(1, host4), 0U);
    EXPECT_EQ(queue.usage(1).packets, 1U);
    EXPECT_EQ(queue.drop(1), 1U);
    EXPECT_EQ(queue.drop(1), 0U);
    EXPECT_EQ(queue.drop(99), 0U);
    EXPECT_EQ(marks(queue.take(2, host4)), (std::vector<int>{10}));
}

TEST(HoldQueue, CountsPacketsAndBytes) {
    HoldQueue queue({});
    queue.push(1, host4, plain(1, 100), at(0));
    queue.push(1, host4, plain(2, 50), at(0));
    queue.push(2, host4, plain(3, 7), at(0));
    EXPECT_EQ(queue.usage().packets, 3U);
    EXPECT_EQ(queue.usage().bytes, 157U);
    EXPECT_EQ(queue.usage(1).packets, 2U);
    EXPECT_EQ(queue.usage(1).bytes, 150U);
    EXPECT_EQ(queue.usage(3).packets, 0U);
    queue.drop(1);
    EXPECT_EQ(queue.usage().bytes, 7U);
}

TEST(HoldQueue, OneHostHoldsAtMostItsPackets) {
    HoldQueue queue({.packets_per_host = 3});
    for (std::uint8_t i = 1; i <= 3; ++i)
        EXPECT_EQ(queue.push(1, host4, plain(i), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.push(1, host4, plain(4), at(0)), HoldRefusal::host_full);
    EXPECT_EQ(queue.push(1, other4, plain(5), at(0)), HoldRefusal::host_full);
    EXPECT_EQ(queue.push(2, host4, plain(6), at(0)), HoldRefusal::none);
    // The first stay: the oldest is the connection attempt that the rest follows.
    EXPECT_EQ(marks(queue.take(1, host4)), (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(queue.push(1, host4, plain(7), at(0)), HoldRefusal::none);
}

TEST(HoldQueue, OneHostHoldsAtMostItsBytes) {
    HoldQueue queue({.bytes_per_host = 100});
    EXPECT_EQ(queue.push(1, host4, plain(1, 101), at(0)), HoldRefusal::host_full);
    EXPECT_EQ(queue.push(1, host4, plain(2, 60), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.push(1, host4, plain(3, 41), at(0)), HoldRefusal::host_full);
    EXPECT_EQ(queue.push(1, host4, plain(4, 40), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.usage(1).bytes, 100U);

    queue.push(2, host4, plain(5, 60), at(0));
    queue.push(2, other4, plain(6, 40), at(0));
    queue.take(2, host4);
    EXPECT_EQ(queue.usage(2).bytes, 40U);
    EXPECT_EQ(queue.push(2, host4, plain(7, 60), at(0)), HoldRefusal::none);
}

TEST(HoldQueue, NothingIsKeptWhereTheBoundIsZero) {
    HoldQueue none_per_host({.packets_per_host = 0});
    EXPECT_EQ(none_per_host.push(1, host4, plain(1), at(0)), HoldRefusal::host_full);
    HoldQueue none_at_all({.packets = 0});
    EXPECT_EQ(none_at_all.push(1, host4, plain(1), at(0)), HoldRefusal::all_full);
}

TEST(HoldQueue, WhenAllIsFullTheHostWithMostLosesItsOldest) {
    HoldQueue queue({.packets = 6});
    queue.push(3, host4, plain(30), at(0));
    for (std::uint8_t i = 0; i < 3; ++i)
        queue.push(1, host4, plain(static_cast<std::uint8_t>(10 + i)), at(0));
    queue.push(2, host4, plain(20), at(0));
    queue.push(2, host4, plain(21), at(0));

    EXPECT_EQ(queue.push(4, host4, plain(40), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.usage().packets, 6U);
    EXPECT_EQ(marks(queue.take(1, host4)), (std::vector<int>{11, 12}));
    EXPECT_EQ(marks(queue.take(2, host4)), (std::vector<int>{20, 21}));
    EXPECT_EQ(marks(queue.take(3, host4)), (std::vector<int>{30}));
    EXPECT_EQ(marks(queue.take(4, host4)), (std::vector<int>{40}));
}

TEST(HoldQueue, AFloodToOneHostNeverTakesTheOnlyPacketOfAnother) {
    HoldQueue queue({.packets_per_host = 64, .packets = 20});
    for (HostId host = 0; host < 10; ++host)
        ASSERT_EQ(queue.push(host, host4, plain(static_cast<std::uint8_t>(host)), at(0)), HoldRefusal::none);
    for (int i = 0; i < 1000; ++i)
        ASSERT_EQ(queue.push(99, host4, plain(200), at(1)), HoldRefusal::none);
    EXPECT_EQ(queue.usage().packets, 20U);
    EXPECT_EQ(queue.usage(99).packets, 10U);
    EXPECT_EQ(queue.take_evicted(), (std::map<HostId, std::size_t>{{99, 990}})) << "whoever lost packets can be told";
    EXPECT_TRUE(queue.take_evicted().empty());
    for (HostId host = 0; host < 10; ++host)
        EXPECT_EQ(marks(queue.take(host, host4)), (std::vector<int>{static_cast<int>(host)}));
}

TEST(HoldQueue, RefusesOnlyWhenEveryHostHoldsASinglePacket) {
    HoldQueue queue({.packets = 3});
    for (HostId host = 0; host < 3; ++host)
        queue.push(host, host4, plain(static_cast<std::uint8_t>(host)), at(0));
    EXPECT_EQ(queue.push(9, host4, plain(9), at(0)), HoldRefusal::all_full);
    EXPECT_EQ(queue.push(0, host4, plain(10), at(0)), HoldRefusal::all_full);
    for (HostId host = 0; host < 3; ++host)
        EXPECT_EQ(marks(queue.take(host, host4)), (std::vector<int>{static_cast<int>(host)}));
}

TEST(HoldQueue, WhatWasHeldBeforeDoesNotCountForWhoHoldsMost) {
    HoldQueue queue({.packets = 3});
    for (std::uint8_t i = 0; i < 3; ++i)
        queue.push(7, host4, plain(i), at(0));
    queue.drop(7);
    for (std::uint8_t i = 0; i < 3; ++i)
        queue.push(8, host4, plain(i), at(0));
    queue.take(8, host4);
    for (HostId host = 0; host < 3; ++host)
        EXPECT_EQ(queue.push(host, host4, plain(1), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.push(9, host4, plain(9), at(0)), HoldRefusal::all_full);
}

TEST(HoldQueue, ManyPacketsMakeRoomForOneOfManyBytes) {
    HoldQueue queue({.bytes = 1000});
    for (std::uint8_t i = 0; i < 10; ++i)
        queue.push(1, host4, plain(i, 100), at(0));
    EXPECT_EQ(queue.push(2, host4, plain(99, 250), at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.usage().bytes, 950U);
    EXPECT_EQ(marks(queue.take(1, host4)), (std::vector<int>{3, 4, 5, 6, 7, 8, 9}));
}

class HoldQueueSyn : public testing::TestWithParam<Segment> {};

TEST_P(HoldQueueSyn, IsHeldOncePerFourTuple) {
    const Segment first = GetParam();
    const auto push = [queue = std::make_unique<HoldQueue>(HoldLimits{})](const Segment& segment) {
        return queue->push(1, segment.destination, frame_of(segment), at(0));
    };
    ASSERT_EQ(parse_frame(frame_of(first)).status, ParseStatus::ok);
    EXPECT_EQ(push(first), HoldRefusal::none);

    Segment again = first;
    EXPECT_EQ(push(again), HoldRefusal::duplicate_syn);
    again.sequence = 2; // another IP id, another initial sequence number
    EXPECT_EQ(push(again), HoldRefusal::duplicate_syn);
    again.flags = syn | ece_cwr; // a retransmission may drop or keep ECN (RFC 3168 §6.1.1.1)
    EXPECT_EQ(push(again), HoldRefusal::duplicate_syn);

    Segment other = first;
    other.source_port = 40001;
    EXPECT_EQ(push(other), HoldRefusal::none);
    other = first;
    other.destination_port = 23;
    EXPECT_EQ(push(other), HoldRefusal::none);
    other = first;
    other.source = first.source.is_v4() ? other4 : IpAddress::parse("2001:db8::98").value();
    EXPECT_EQ(push(other), HoldRefusal::none);
    other = first;
    other.destination = first.destination.is_v4() ? other4 : IpAddress::parse("2001:db8::2").value();
    EXPECT_EQ(push(other), HoldRefusal::none);
}

TEST_P(HoldQueueSyn, OnlyAConnectionAttemptIsADuplicate) {
    HoldQueue queue({});
    Segment segment = GetParam();
    const auto push = [&] { return queue.push(1, segment.destination, frame_of(segment), at(0)); };
    for (const std::uint8_t flags : {std::uint8_t{ack}, std::uint8_t{syn | ack}, std::uint8_t{0},
                                     std::uint8_t{syn | 0x01}, std::uint8_t{syn | 0x04}}) {
        segment.flags = flags;
        EXPECT_EQ(push(), HoldRefusal::none) << int{flags};
        EXPECT_EQ(push(), HoldRefusal::none) << int{flags};
    }
    segment.flags = syn;
    EXPECT_EQ(push(), HoldRefusal::none);
    segment.protocol = IPPROTO_UDP;
    EXPECT_EQ(push(), HoldRefusal::none);
    EXPECT_EQ(push(), HoldRefusal::none);
}

INSTANTIATE_TEST_SUITE_P(All, HoldQueueSyn,
                         testing::Values(Segment{}, Segment{.flags = syn | ece_cwr}, Segment{.vids = {5}},
                                         Segment{.vids = {5, 6}}, Segment{.payload = 100},
                                         Segment{.source = client6, .destination = host6},
                                         Segment{.source = client6, .destination = host6, .vids = {5}},
                                         Segment{.source = client6, .destination = host6, .vids = {5, 6}}),
                         [](const testing::TestParamInfo<Segment>& tested) { return name_of(tested.param); });

TEST(HoldQueueSyn, IsTheSameConnectionOnlyForTheSameHost) {
    HoldQueue queue({});
    const Bytes frame = frame_of({});
    EXPECT_EQ(queue.push(1, host4, frame, at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.push(2, host4, frame, at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.push(1, host4, frame, at(0)), HoldRefusal::duplicate_syn);
}

TEST(HoldQueueSyn, IsNotSeenInPaddingOrInAFragment) {
    HoldQueue queue({});
    for (const Segment& segment :
         {Segment{.cut = 8}, Segment{.source = client6, .destination = host6, .cut = 8}, Segment{.fragment = true}}) {
        const Bytes frame = frame_of(segment);
        EXPECT_EQ(queue.push(1, segment.destination, frame, at(0)), HoldRefusal::none);
        EXPECT_EQ(queue.push(1, segment.destination, frame, at(0)), HoldRefusal::none);
    }
}

TEST(HoldQueueSyn, MayComeAgainAfterDelivery) {
    HoldQueue queue({});
    const Bytes frame = frame_of({});
    EXPECT_EQ(queue.push(1, host4, frame, at(0)), HoldRefusal::none);
    EXPECT_EQ(queue.take(1, host4).size(), 1U);
    EXPECT_EQ(queue.push(1, host4, frame, at(0)), HoldRefusal::none);
}

TEST(HoldQueueSyn, CutShortIsNotReadBeyondItsEnd) {
    const Bytes whole = frame_of({});
    for (std::size_t length = 0; length < whole.size(); ++length) {
        HoldQueue queue({});
        const Bytes cut(whole.begin(),
                        whole.begin() + static_cast<std::ptrdiff_t>(length)); // its own block: ASan sees a read past it
        EXPECT_EQ(queue.push(1, host4, cut, at(0)), HoldRefusal::none) << length;
        EXPECT_EQ(queue.push(1, host4, cut, at(0)), HoldRefusal::none) << length;
    }
}

TEST(HoldQueue, KeepsItsCountsWhenThreadsPushTakeAndDrop) {
    constexpr HostId hosts = 8;
    constexpr int per_thread = 5000;
    const HoldLimits limits{.packets_per_host = 16, .bytes_per_host = 16 * 60, .packets = 64, .bytes = 64 * 60};
    HoldQueue queue(limits);
    std::vector<std::size_t> kept(3, 0);
    std::vector<std::size_t> gone(3, 0);
    {
        std::vector<std::jthread> threads;
        for (std::size_t t = 0; t < 3; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < per_thread; ++i) {
                    const HostId host = static_cast<HostId>(i * 7 + static_cast<int>(t)) % hosts;
                    if (queue.push(host, host4, plain(static_cast<std::uint8_t>(i)), at(i)) == HoldRefusal::none)
                        ++kept[t];
                    if (i % 5 == 0)
                        gone[t] += queue.take((host + 1) % hosts, host4).size();
                    if (i % 11 == 0)
                        gone[t] += queue.drop((host + 2) % hosts);
                    EXPECT_LE(queue.usage().packets, limits.packets);
                    EXPECT_LE(queue.usage(host).packets, limits.packets_per_host);
                }
            });
    }
    std::size_t left = 0;
    for (HostId host = 0; host < hosts; ++host)
        left += queue.usage(host).packets;
    EXPECT_EQ(queue.usage().packets, left);
    EXPECT_EQ(queue.usage().bytes, left * 60);
    // What was kept was taken, dropped, is still there, or made room for another host's.
    EXPECT_GE(std::accumulate(kept.begin(), kept.end(), std::size_t{0}),
              left + std::accumulate(gone.begin(), gone.end(), std::size_t{0}));
    for (HostId host = 0; host < hosts; ++host)
        left -= queue.take(host, host4).size();
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(queue.usage().bytes, 0U);
}

} // namespace
} // namespace pz
