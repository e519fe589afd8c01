// SPDX-License-Identifier: Apache-2.0
// Interfaces of this machine, read by rtnetlink (libnl-route) and ethtool.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace pz {

struct Link {
    std::string name;
    int ifindex = 0;
    MacAddress mac;
    bool up = false; // IFF_UP and IFF_LOWER_UP: frames can pass
    std::string kind; // "bridge", "veth", ...; empty for hardware
    bool is_ethernet = false;
    int below = 0; // of a VLAN device: the interface that its tagged frames are on, and the tag
    std::uint16_t vid = 0;
    int master = 0; // the interface that it is a port of, a bridge say
    bool operator==(const Link&) const = default;
};

/// Errc::not_found names the interface and lists those that exist.
Result<Link> find_link(std::string_view name);
/// Every interface of this machine.
Result<std::vector<Link>> list_links();
/// The VLAN device of this machine for frames with that tag on the interface; nullopt: there is none.
std::optional<int> find_vlan_device(int ifindex, std::uint16_t vid);
/// The interface itself, and the VLAN devices over it.
std::vector<int> devices_over(int ifindex);
/// The interface's own addresses, in kernel order; tentative ones left out.
Result<std::vector<IpAddress>> link_addresses(int ifindex);
/// The networks of these addresses: who is in them is on the link.
Result<std::vector<Network>> link_networks(int ifindex);

/// Those of its own addresses that the gateway sends from; nullopt: it has none of that kind.
struct SourceAddresses {
    std::optional<IpAddress> ip4;
    std::optional<IpAddress> ip6; // link-local if there is one, because it is always on-link
    std::optional<IpAddress> link_local; // IPv6
    bool operator==(const SourceAddresses&) const = default;
};
SourceAddresses choose_sources(const std::vector<IpAddress>& own);

/// rx-vlan-offload hides the outer VLAN tag from XDP.  Turns it off; returns whether it was on before.
/// Errc::unsupported when the device has it fixed on.  The feature for 802.1ad tags alone (rx-vlan-stag-hw-parse) is
/// not touched.
Result<bool> disable_rx_vlan_offload(const std::string& interface);
Result<> enable_rx_vlan_offload(const std::string& interface);

} // namespace pz
