// SPDX-License-Identifier: Apache-2.0
// IGMP messages as a host of version 2 reads and writes them (RFC 2236 §2).
#pragma once

#include <cstdint>
#include <expected>

#include "base/clock.h"
#include "net/frame.h"
#include "proto/groups/ignored.h"

namespace pz::igmp {

enum class Type : std::uint8_t { query = 0x11, report_v1 = 0x12, report_v2 = 0x16, leave = 0x17, report_v3 = 0x22 };

struct Message {
    Type type = Type::query; // a query, or a report of version 1 or 2
    IpAddress group;         // 0.0.0.0: a general query
    std::uint8_t version = 2; // of a query: by its length and its Max Resp Code (RFC 3376 §7.1)
    Duration max_response{};  // of a query; 10 s for version 1 (RFC 2236 §4)
};

/// The payload of an IPv4 packet, checksum included.  A query of version 3 is read as one of version 2 but for the
/// larger values of its Max Resp Code (RFC 3376 §4.1.1): its sources do not matter to who takes all of them.
std::expected<Message, groups::Ignored> parse(ByteView payload);
/// Eight bytes with their checksum.
Bytes build(Type type, const IpAddress& group);

/// RFC 3376 §4.1.1, §4.1.7 and RFC 3810 §5.1.9: a number up to 127, or a floating-point value up to 31,744.
std::uint32_t decode_code(std::uint8_t code);

} // namespace pz::igmp
