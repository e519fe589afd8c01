// SPDX-License-Identifier: Apache-2.0
// Packets of the wake log as a capture file.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/service.h"

namespace pz::ctl {

/// Writes the packets of those that are wakes, with nanoseconds.  `path` "-" is standard output.
Result<> write_pcap(const std::string& path, const std::vector<control::Wake>& wakes);

} // namespace pz::ctl
