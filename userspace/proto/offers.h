// SPDX-License-Identifier: Apache-2.0
// What a host is found by on its link besides its addresses: names, services, groups.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
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
    /// IEEE 802.1p, 0 to 7, of what options send in the host's name (ECMA-393 R23); not 0: also on a link without VLAN,
    /// in a tag of VID 0.
    std::uint8_t priority = 0;
    auto operator<=>(const HostOffers&) const = default;
};

inline constexpr std::uint8_t max_priority = 7;

/// Whether mDNS answers for it: it ends with .local, whatever the case (RFC 6762 §3).
bool is_local_name(std::string_view hostname);
/// What LLMNR answers for: its first label.
std::string_view single_label(std::string_view hostname);

/// What the services' SRV records point to: the first name that ends with .local; empty: there is none.
std::string_view service_target(const HostOffers& offers);
/// The service's own instance name, or the first label of the target.
std::string_view instance_name(const HostOffers& offers, const Service& service);
/// IPPROTO_TCP or IPPROTO_UDP, as the type says.
std::uint8_t protocol_of(const Service& service);

/// Names and bounds that they must keep; errors name the field: hostname, service or group.
Result<> validate(const HostOffers& offers);

/// A service in words, TYPE[,SUBTYPE...] PORT [INSTANCE] [KEY[=VALUE]...]: split at blanks; within "..." blanks are
/// kept, and \" \\ \xNN stand for a quote, a backslash, and the byte NN.  The third word is the instance, "" the host's
/// name.
Result<Service> parse_service(std::string_view text);
/// As parse_service() reads it: one line, without a # (which begins a comment in files).
std::string to_string(const Service& service);

inline constexpr std::size_t max_hostnames = 4;
inline constexpr std::size_t max_services = 32;
inline constexpr std::size_t max_subtypes = 8; // of a service
inline constexpr std::size_t max_groups = 32;
/// Of a TXT record, as on the wire (RFC 6763 §6.2).
inline constexpr std::size_t max_txt_size = 1300;
/// Of all services, as they are stored: a host has to fit into one message of the control protocol.
inline constexpr std::size_t max_services_size = 32'768;

} // namespace pz
