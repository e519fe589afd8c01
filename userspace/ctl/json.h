// SPDX-License-Identifier: Apache-2.0
// What the daemon said, as JSON: members are called like the attributes of the control protocol, with _ for -.
#pragma once

#include <string>
#include <vector>

#include "control/schema.h"
#include "ctl/site.h"
#include "ctl/table.h"

namespace pz::ctl {

/// All members are there; what is not set is null.  A password is only said to be "set".
std::string to_json(const control::Capabilities& capabilities);
std::string to_json(const control::DaemonStatus& status);
std::string to_json(const control::HostStatus& host);
std::string to_json(const std::vector<control::HostStatus>& hosts);
/// One line for each event.
std::string to_json(const control::Event& event);
/// {"host": NAME, "wakes": [...]}; a frame is hexadecimal digits.
std::string to_json(const std::string& host, const std::vector<control::Wake>& wakes);
/// {"host": NAME, "triggers": [...]}: "time_ns", "packet", and "then" and "now" with "woken", "rule" and "why".
std::string to_json(const std::string& host, const std::vector<Replayed>& replayed);
/// {"time_ns": ..., "counters": [...]}, each with "rate", in frames a second.
std::string to_json(std::uint64_t time_ns, const std::vector<control::Counter>& counters,
                    const std::vector<double>& rates);
/// The explanation, and "frame": the frame in hexadecimal digits.
std::string to_json(const ExplainedFrame& asked);
std::string to_json(const std::vector<ExplainedFrame>& asked);
/// {"counters": [...]}
std::string to_json(const std::vector<control::Counter>& counters);
/// {"added": N, "changed": N, "unchanged": N, "refused": [{"host": NAME, "error": TEXT}, ...]}
std::string to_json(const Applied& applied);
/// {"NAME": VALUE}
std::string flag_to_json(const char* name, bool value);
/// {"NAME": "TEXT"}, made valid UTF-8.
std::string text_to_json(const char* name, std::string text);

} // namespace pz::ctl
