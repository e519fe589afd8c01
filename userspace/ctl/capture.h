// SPDX-License-Identifier: Apache-2.0
// Capture files, by libpcap.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "net/frame.h"

namespace pz::ctl {

struct CapturedPacket {
    std::size_t number = 0; // in the file, from 1
    Bytes frame;
};

/// All packets of a file of Ethernet frames, or the one with the number.  A packet of which the file has only the
/// beginning is an error: nobody can say what would happen to it.
Result<std::vector<CapturedPacket>> read_capture(const std::string& path, std::optional<std::size_t> number);

} // namespace pz::ctl
