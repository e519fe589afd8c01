// SPDX-License-Identifier: Apache-2.0
// The records that a host has in mDNS (RFC 6762, RFC 6763), from what it offers.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"
#include "proto/dns/message.h"
#include "proto/offers.h"

namespace pz::mdns {

/// What mDNS says of a host (ECMA-393 C28 to C33).
struct Offer {
    std::vector<std::string> hostnames = {}; // those that do not end with .local are left out
    std::vector<Service> services = {};      // at the first of these names
    std::vector<IpAddress> addresses = {};
    bool operator==(const Offer&) const = default;
};

struct OwnRecord {
    enum class Kind : std::uint8_t {
        unique,    // the host is the only one who has records of this name and type (RFC 6762 §2)
        shared,    // others have more of them
        directory, // a type of service that exists: shared, and without goodbye, since others may offer it too
        negative,  // NSEC: what the name does not have; sent only to say so
    };
    dns::Record record;
    Kind kind = Kind::unique;
    [[nodiscard]] bool is_positive() const { return kind != Kind::negative; }
    [[nodiscard]] bool is_unique() const { return kind == Kind::unique || kind == Kind::negative; }
};

/// Empty for a host without a name in .local or without an address.  What makes no valid name is left out.
std::vector<OwnRecord> records_of(const Offer& offer);

} // namespace pz::mdns
