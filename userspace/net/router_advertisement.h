// SPDX-License-Identifier: Apache-2.0
// What Router Advertisements say of the addresses that hosts made for themselves.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "net/frame.h"

namespace pz {

/// A /64 in which hosts make their own addresses.
struct AdvertisedPrefix {
    IpAddress prefix;
    std::optional<std::chrono::seconds> valid; // nullopt = for ever
};

/// The prefixes for autonomous configuration in a Router Advertisement (RFC 4862 §5.5.3 a to d).  None when the frame
/// is another one, or fails a check of RFC 4861 §6.1.2.
std::vector<AdvertisedPrefix> advertised_prefixes(ByteView frame);

} // namespace pz
