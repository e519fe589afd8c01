// SPDX-License-Identifier: Apache-2.0
// Packets that wait for their host: bounds, fairness, and one SYN per connection attempt.
#include "hosts/hold_queue.h"

#include <netinet/in.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <tuple>

#include "net/frame.h"

namespace pz {
namespace {

/// Source, destination, source port and destination port as they stand in the segment.
using FourTuple = std::tuple<IpAddress, IpAddress, std::uint32_t>;

/// The connection that `frame` attempts, if it is a TCP SYN (RFC 9293 §3.5), also with ECE and CWR (RFC 3168 §6.1.1).
std::optional<FourTuple> connection_attempt(std::span<const std::uint8_t> frame) {
    constexpr std::size_t min_header = 20;
    constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, ack = 0x10;
    const ParsedFrame parsed = parse_frame(frame);
    if (parsed.status != ParseStatus::ok || (parsed.l3 != L3::ipv4 && parsed.l3 != L3::ipv6) ||
        parsed.protocol != IPPROTO_TCP || parsed.l4_length < min_header || parsed.l4_offset + min_header > frame.size())
        return std::nullopt;
    const auto tcp = frame.subspan(parsed.l4_offset, min_header);
    if ((tcp[13] & (fin | syn | rst | ack)) != syn)
        return std::nullopt;
    std::uint32_t ports = 0;
    for (const std::uint8_t byte : tcp.first(4))
        ports = ports << 8 | byte;
    return FourTuple{parsed.ip_source, parsed.ip_destination, ports};
}

} // namespace

HoldRefusal HoldQueue::push(HostId host, const IpAddress& destination, std::span<const std::uint8_t> frame,
                            Instant now) {
    const std::optional<FourTuple> attempt = connection_attempt(frame);
    const std::lock_guard lock(mutex_);

    const auto found = held_.find(host);
    if (found != held_.end()) {
        const Held& held = found->second;
        const auto same_attempt = [&](const HeldPacket& packet) { return connection_attempt(packet.frame) == attempt; };
        if (attempt && std::ranges::any_of(held.packets, same_attempt))
            return HoldRefusal::duplicate_syn;
        if (held.packets.size() >= limits_.packets_per_host || held.bytes + frame.size() > limits_.bytes_per_host)
            return HoldRefusal::host_full;
    } else if (limits_.packets_per_host == 0 || frame.size() > limits_.bytes_per_host) {
        return HoldRefusal::host_full;
    }

    while (packets_ + 1 > limits_.packets || bytes_ + frame.size() > limits_.bytes) {
        if (by_count_.empty() || by_count_.rbegin()->first < 2)
            return HoldRefusal::all_full; // nobody has more than one packet: each of them is somebody's first
        const HostId most = by_count_.rbegin()->second;
        erase_if(most, [first = true](const HeldPacket&) mutable { return std::exchange(first, false); });
        ++evicted_[most];
    }

    Held& held = held_[host];
    by_count_.erase({held.packets.size(), host});
    held.packets.push_back({destination, {frame.begin(), frame.end()}, now});
    held.bytes += frame.size();
    by_count_.emplace(held.packets.size(), host);
    ++packets_;
    bytes_ += frame.size();
    return HoldRefusal::none;
}

std::vector<HeldPacket> HoldQueue::take(HostId host, const IpAddress& destination) {
    const std::lock_guard lock(mutex_);
    return erase_if(host, [&](const HeldPacket& packet) { return packet.destination == destination; });
}

std::size_t HoldQueue::drop(HostId host, const std::optional<IpAddress>& destination) {
    const std::lock_guard lock(mutex_);
    return erase_if(host, [&](const HeldPacket& packet) { return !destination || packet.destination == *destination; })
        .size();
}

std::map<HostId, std::size_t> HoldQueue::take_evicted() {
    const std::lock_guard lock(mutex_);
    return std::exchange(evicted_, {});
}

HoldQueue::Usage HoldQueue::usage() const {
    const std::lock_guard lock(mutex_);
    return {packets_, bytes_};
}

HoldQueue::Usage HoldQueue::usage(HostId host) const {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(host);
    return found == held_.end() ? Usage{} : Usage{found->second.packets.size(), found->second.bytes};
}

template <class Predicate>
std::vector<HeldPacket> HoldQueue::erase_if(HostId host, Predicate matches) {
    std::vector<HeldPacket> erased;
    const auto found = held_.find(host);
    if (found == held_.end())
        return erased;
    Held& held = found->second;
    by_count_.erase({held.packets.size(), host});
    std::deque<HeldPacket> kept;
    for (HeldPacket& packet : held.packets) {
        if (!matches(packet)) {
            kept.push_back(std::move(packet));
            continue;
        }
        held.bytes -= packet.frame.size();
        bytes_ -= packet.frame.size();
        --packets_;
        erased.push_back(std::move(packet));
    }
    held.packets = std::move(kept);
    if (held.packets.empty())
        held_.erase(found);
    else
        by_count_.emplace(held.packets.size(), host);
    return erased;
}

} // namespace pz
