// SPDX-License-Identifier: Apache-2.0
// What a host is found by on its link besides its addresses: names, services, groups.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace pz {

/// A service instance (RFC 6763; ECMA-393 C30, C32, C33).
struct Service {
    std::string type;                       // "_ipp._tcp"
    std::vector<std::string> subtypes = {}; // "_universal" (RFC 6763 §7.1)
    std::uint16_t port = 0;                 // host order
    std::string instance = {};              // one label of UTF-8; empty: the host's name
    std::vector<std::string> txt = {};      // "key=value" or "key", bytes (RFC 6763 §6)
    auto operator<=>(const Service&) const = default;
};

/// What of this is configured for one host.
struct HostOffers {
    /// "desk.local": by mDNS, and its first label by LLMNR; "desk": by LLMNR alone (C29, C36).
    std::vector<std::string> hostnames = {};
    std::vector<Service> services = {}; // they need a name that ends with .local, the first one is their target
    std::vector<IpAddress> groups = {}; // C15: multicast groups that the host takes part in
    /// The services' ports wake the host, as if there were a rule for each.
    bool service_ports_wake = true;
    auto operator<=>(const HostOffers&) const = default;
};

/// Whether mDNS answers for it: it ends with .local, whatever the case (RFC 6762 §3).
bool is_local_name(std::string_view hostname);
/// What LLMNR answers for: its first label.
std::string_view single_label(std::string_view hostname);

} // namespace pz
