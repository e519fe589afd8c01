// SPDX-License-Identifier: Apache-2.0
// What the daemon said, for people.
#pragma once

#include <string>
#include <vector>

#include "control/service.h"
#include "ctl/replay.h"

namespace pz::ctl {

/// A frame and what would happen to it.
struct ExplainedFrame {
    std::optional<std::size_t> packet = std::nullopt; // its number in a capture file
    Bytes frame;
    control::Explanation explanation;
};

std::string to_text(const control::Capabilities& capabilities);
std::string to_text(const control::DaemonStatus& status);
std::string to_text(const control::HostStatus& host);
std::string to_text(const std::vector<control::HostStatus>& hosts);
std::string to_text(const std::vector<control::Counter>& counters);
/// One line, without its end.
std::string to_text(const control::Event& event);
std::string to_text(const std::string& host, const std::vector<control::Wake>& wakes);
std::string to_text(const std::string& host, const std::vector<Replayed>& replayed);
/// Counters that are not 0, with frames a second.
std::string to_text(const std::vector<control::Counter>& counters, const std::vector<double>& rates);
/// "2001-02-03 13:29:01.123", local time.
std::string to_text(std::uint64_t time_ns);
std::string to_text(const ExplainedFrame& asked);

} // namespace pz::ctl
