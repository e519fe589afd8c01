// SPDX-License-Identifier: Apache-2.0
// MLD messages: queries, reports and Done of version 1, reports of version 2.
#include "proto/mld/message.h"

#include <netinet/in.h>

#include <algorithm>

#include "proto/igmp/message.h"

namespace pz::mld {
namespace {

using groups::Ignored;

constexpr std::size_t v1_size = 24;
constexpr std::size_t smallest_v2_query = 28;
constexpr std::size_t group_offset = 8;
constexpr std::size_t report_header = 8;
constexpr std::size_t record_size = 20;
constexpr std::size_t ip_headers = 40 + 8; // IPv6, Hop-by-Hop with Router Alert

std::uint32_t read16(ByteView bytes, std::size_t at) {
    return static_cast<std::uint32_t>(bytes[at] << 8 | bytes[at + 1]);
}

/// RFC 3810 §5.1.3: milliseconds, or a floating-point value of them.
Duration decode_response(std::uint32_t code) {
    return std::chrono::milliseconds(code < 0x8000 ? code : ((code & 0xfffU) | 0x1000U) << ((code >> 12 & 7U) + 3));
}

} // namespace

std::expected<Message, Ignored> parse(ByteView payload, const IpAddress& source, const IpAddress& destination) {
    if (payload.size() < v1_size)
        return std::unexpected(Ignored::too_short);
    const auto sum = pseudo_header_sum(source, destination, IPPROTO_ICMPV6, payload.size());
    if (checksum_fold(checksum_add(payload, sum)) != 0)
        return std::unexpected(Ignored::bad_checksum);

    Message message{.type = static_cast<Type>(payload[0]), .group = IpAddress::v6({})};
    std::ranges::copy(payload.subspan(group_offset, message.group.bytes.size()), message.group.bytes.begin());
    switch (message.type) {
    case Type::query:
        if (payload.size() != v1_size && payload.size() < smallest_v2_query)
            return std::unexpected(Ignored::bad_length);
        if (!message.group.is_unspecified() && !message.group.is_multicast())
            return std::unexpected(Ignored::bad_group);
        if (payload.size() == v1_size) {
            message.version = 1;
            message.max_response = std::chrono::milliseconds(read16(payload, 4));
            return message;
        }
        message.max_response = decode_response(read16(payload, 4));
        message.robustness = payload[24] & 7;
        message.query_interval = std::chrono::seconds(igmp::decode_code(payload[25]));
        return message;
    case Type::report_v1:
        if (!message.group.is_multicast())
            return std::unexpected(Ignored::bad_group);
        return message;
    default:
        return std::unexpected(Ignored::unread_type);
    }
}

Bytes build(Type type, const IpAddress& group) {
    Bytes message(v1_size);
    message[0] = static_cast<std::uint8_t>(type);
    std::ranges::copy(group.octets(), message.begin() + group_offset);
    return message;
}

Bytes build_report(std::span<const Record> records) {
    Bytes message(report_header);
    message[0] = static_cast<std::uint8_t>(Type::report_v2);
    message[6] = static_cast<std::uint8_t>(records.size() >> 8);
    message[7] = static_cast<std::uint8_t>(records.size() & 0xff);
    for (const Record& record : records) {
        message.insert(message.end(), {static_cast<std::uint8_t>(record.type), 0, 0, 0}); // no auxiliary data, sources
        message.insert(message.end(), record.group.bytes.begin(), record.group.bytes.end());
    }
    return message;
}

std::size_t records_that_fit(std::size_t mtu) {
    constexpr std::size_t fixed = ip_headers + report_header;
    return mtu < fixed + record_size ? 1 : (mtu - fixed) / record_size;
}

} // namespace pz::mld
