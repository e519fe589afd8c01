// SPDX-License-Identifier: Apache-2.0
// A frame in one line, for people.
#pragma once

#include <string>

#include "net/frame.h"

namespace pz {

/// Ethernet addresses and tags, then what the frame carries: "02:… > 02:…, 192.0.2.2:40000 > 192.0.2.50:22 TCP SYN".
std::string describe(ByteView frame);

/// The same of a frame of `length` bytes, of which `captured` may be only the beginning, and its length.
std::string describe_captured(ByteView captured, std::size_t length);

} // namespace pz
