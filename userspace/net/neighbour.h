// SPDX-License-Identifier: Apache-2.0
// Entries of the kernel's neighbour tables that are ours: permanent, and tagged by their protocol (NDA_PROTOCOL).
#pragma once

#include <optional>

#include "net/address.h"

namespace pz {

/// The tag, as `ip neigh` shows it ("proto 122"); a number that linux/rtnetlink.h gives to nobody.
inline constexpr std::uint8_t neighbour_protocol = 122;

/// `address` is at `mac` on the device until unpin_neighbour(): the kernel does not ask.  False: somebody else's
/// permanent entry is there, and stays as it is.
Result<bool> pin_neighbour(int ifindex, const IpAddress& address, const MacAddress& mac);
/// Takes away what pin_neighbour() made, and nothing else.  With a MAC an entry of the kernel's own takes its place,
/// which is used at once and verified.
Result<> unpin_neighbour(int ifindex, const IpAddress& address, const std::optional<MacAddress>& mac);
/// Takes away all of ours on the device.
Result<> unpin_neighbours(int ifindex);

} // namespace pz
