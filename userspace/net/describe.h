// SPDX-License-Identifier: Apache-2.0
// A frame in one line, for people.
#pragma once

#include <string>

#include "net/frame.h"

namespace pz {

/// "02:00:00:00:00:c1 192.0.2.2:40000 > 192.0.2.50:22 tcp syn 60 bytes".  `frame` may be only the beginning of a frame
/// of `length` bytes.
std::string describe_frame(ByteView frame, std::size_t length);

} // namespace pz
