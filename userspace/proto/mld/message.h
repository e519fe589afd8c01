// SPDX-License-Identifier: Apache-2.0
// MLD messages as a listener reads and writes them (RFC 2710 §3, RFC 3810 §5).
#pragma once

#include <cstdint>
#include <expected>
#include <span>

#include "base/clock.h"
#include "net/frame.h"
#include "proto/groups/ignored.h"

namespace pz::mld {

enum class Type : std::uint8_t { query = 130, report_v1 = 131, done = 132, report_v2 = 143 };

struct Message {
    Type type = Type::query;  // a query, or a report of version 1
    IpAddress group;          // ::, a general query
    std::uint8_t version = 2; // of a query: by its length (RFC 3810 §8.1)
    Duration max_response{};  // of a query
    // Of a query of version 2; 0 where it says nothing.
    std::uint8_t robustness = 0;
    Duration query_interval{};
};

/// The payload of an IPv6 packet behind its Hop-by-Hop header; the addresses are for the checksum.  A query's sources
/// are not kept: who listens to all of them answers for the whole group.
std::expected<Message, groups::Ignored> parse(ByteView payload, const IpAddress& source, const IpAddress& destination);

enum class RecordType : std::uint8_t { is_exclude = 2, to_include = 3, to_exclude = 4 };

/// A Multicast Address Record without sources (RFC 3810 §5.2): with *_exclude the group is listened to, from everyone.
struct Record {
    RecordType type = RecordType::is_exclude;
    IpAddress group;
    auto operator<=>(const Record&) const = default;
};

// The checksum is left 0: build_mld() of net/frame.h sets it, as it knows the addresses.

/// Version 1, 24 bytes.
Bytes build(Type type, const IpAddress& group);
/// Version 2; at most records_that_fit().
Bytes build_report(std::span<const Record> records);
/// How many records an IPv6 packet of `mtu` bytes takes, at least one.
std::size_t records_that_fit(std::size_t mtu);

} // namespace pz::mld
