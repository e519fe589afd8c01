// SPDX-License-Identifier: Apache-2.0
// What a Linux bridge lets pass by its ports, read by rtnetlink: VLANs (`vlan_filtering 1`) and spanning tree.
#pragma once

#include <bitset>
#include <cstdint>
#include <map>

#include "base/result.h"

namespace pz {

struct BridgePort {
    bool held_back = false; // spanning tree lets nothing pass: listening, learning, blocking
    std::uint16_t pvid = 0; // the VLAN of untagged frames that come in; 0: they are dropped
    std::bitset<4096> vlans; // of frames that come in
    bool operator==(const BridgePort&) const = default;
};

struct Bridge {
    bool filters_vlans = false;
    bool is_8021ad = false; // the VLANs are those of 802.1ad tags
    std::map<int, BridgePort> ports; // by index; that of the bridge says which VLANs the gateway itself is in
    bool operator==(const Bridge&) const = default;
};

/// The bridge with that interface index.  Errc::not_found if there is none.
Result<Bridge> read_bridge(int ifindex);

} // namespace pz
