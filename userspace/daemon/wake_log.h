// SPDX-License-Identifier: Apache-2.0
// C14: what woke each host lately, how long each step took, and what did not wake it.  Plain functions of (event, now).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "control/service.h"

namespace pz {

struct WakeLogLimits {
    std::size_t wakes_per_host = 16;
    std::size_t non_wakes_per_host = 16;
    std::size_t bytes = 32 << 20; // of all hosts; the oldest go first
};

class WakeLog {
public:
    explicit WakeLog(WakeLogLimits limits = {}) : limits_(limits) {}

    /// The host is being woken, for what happened at `at`.
    void begin(HostId host, control::Wake wake, Instant at);
    // Of the wake that is under way; without one nothing happens.  The first time of each counts.
    void magic_sent(HostId host, Instant at);
    void alive(HostId host, std::string sign, Instant at);
    void delivered(HostId host, Instant at);
    void dropped(HostId host, std::size_t packets);
    void outcome(HostId host, std::string outcome);
    /// What comes now has nothing to do with the last wake any more.
    void end(HostId host);

    /// A packet did not wake the host.  Those that are alike in a row are one entry with a count.
    void not_woken(HostId host, control::Wake packet);

    void forget(HostId host);
    /// In order of time.
    [[nodiscard]] std::vector<control::Wake> of(HostId host) const;
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

private:
    struct Record {
        std::uint64_t number = 0; // in the order in which they came
        Instant at{};
        control::Wake wake;
    };
    using Records = std::deque<Record>;
    struct History {
        Records wakes;
        Records non_wakes;
        bool under_way = false; // the last wake
    };

    Record* under_way(HostId host);
    void add(HostId host, Records History::* list, Record record, std::size_t limit);
    void drop_oldest(HostId host, Records History::* list);

    WakeLogLimits limits_;
    std::map<HostId, History> hosts_;
    std::map<std::uint64_t, std::pair<HostId, Records History::*>> by_number_;
    std::uint64_t next_number_ = 0;
    std::size_t bytes_ = 0;
};

} // namespace pz
