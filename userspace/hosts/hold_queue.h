// SPDX-License-Identifier: Apache-2.0
// Packets that wait for their host: filled by the trigger thread, emptied by the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/priority_mutex.h"
#include "hosts/record.h"

namespace pz {

/// A whole Ethernet frame, tags included, as it came in.
struct HeldPacket {
    IpAddress destination;
    std::vector<std::uint8_t> frame;
    Instant arrived;
};

struct HoldLimits {
    std::size_t packets_per_host = 64;
    std::size_t bytes_per_host = 64 * 1024;
    std::size_t packets = 16'384;
    std::size_t bytes = 16 * 1024 * 1024;
};

/// Why a packet was not kept.
enum class HoldRefusal : std::uint8_t { none, duplicate_syn, host_full, all_full };

/// Bounded per host and in all; one SYN per 4-tuple; order of arrival is kept.  Safe for concurrent use.
class HoldQueue {
public:
    explicit HoldQueue(HoldLimits limits) : limits_(limits) {}

    /// Keeps a copy.  When everything is full, the host that holds most packets loses its oldest first, so that one
    /// host's flood cannot take another's only packet: all_full only when nobody holds two.
    HoldRefusal push(HostId host, const IpAddress& destination, std::span<const std::uint8_t> frame, Instant now);
    /// Hands over the packets to `destination`, oldest first.
    std::vector<HeldPacket> take(HostId host, const IpAddress& destination);
    /// Drops the host's packets (to `destination`, or all); returns how many.
    std::size_t drop(HostId host, const std::optional<IpAddress>& destination = std::nullopt);

    struct Usage {
        std::size_t packets = 0;
        std::size_t bytes = 0;
    };
    [[nodiscard]] Usage usage() const;
    [[nodiscard]] Usage usage(HostId host) const;

    /// How many packets of which hosts made room for those of others since the last call.
    std::map<HostId, std::size_t> take_evicted();

private:
    struct Held {
        std::deque<HeldPacket> packets; // never empty
        std::size_t bytes = 0;
    };
    /// Takes out the host's packets that match, in order.  The caller holds the lock.
    template <class Predicate>
    std::vector<HeldPacket> erase_if(HostId host, Predicate matches);

    HoldLimits limits_;
    mutable PriorityMutex mutex_;
    std::map<HostId, Held> held_;
    std::set<std::pair<std::size_t, HostId>> by_count_; // packets held, host
    std::size_t bytes_ = 0;
    std::size_t packets_ = 0;
    std::map<HostId, std::size_t> evicted_;
};

} // namespace pz
