// SPDX-License-Identifier: Apache-2.0
// IGMP messages: eight bytes, or a query of version 3.
#include "proto/igmp/message.h"

#include <algorithm>

namespace pz::igmp {
namespace {

using groups::Ignored;

constexpr std::size_t size = 8;
constexpr std::size_t smallest_v3_query = 12;
constexpr Duration unit = std::chrono::milliseconds(100); // of the Max Resp Code
constexpr Duration v1_max_response = std::chrono::seconds(10);

} // namespace

std::uint32_t decode_code(std::uint8_t code) {
    return code < 128 ? code : ((code & 0xfU) | 0x10U) << ((code >> 4 & 7U) + 3);
}

std::expected<Message, Ignored> parse(ByteView payload) {
    if (payload.size() < size)
        return std::unexpected(Ignored::too_short);
    if (checksum_fold(checksum_add(payload)) != 0) // over all of it, however much is read (RFC 2236 §2.3)
        return std::unexpected(Ignored::bad_checksum);

    Message message{.type = static_cast<Type>(payload[0]),
                    .group = IpAddress::v4({payload[4], payload[5], payload[6], payload[7]})};
    const std::uint8_t code = payload[1];
    switch (message.type) {
    case Type::query:
        if (payload.size() != size && payload.size() < smallest_v3_query)
            return std::unexpected(Ignored::bad_length);
        message.version = payload.size() > size ? 3 : code == 0 ? 1 : 2;
        message.max_response = message.version == 1   ? v1_max_response
                               : message.version == 2 ? code * unit
                                                      : decode_code(code) * unit;
        if (message.version == 1)
            message.group = {}; // "zeroed when sent, ignored when received" (RFC 1112, appendix I)
        if (!message.group.is_unspecified() && !message.group.is_multicast())
            return std::unexpected(Ignored::bad_group);
        return message;
    case Type::report_v1:
    case Type::report_v2:
        if (!message.group.is_multicast())
            return std::unexpected(Ignored::bad_group);
        return message;
    default:
        return std::unexpected(Ignored::unread_type);
    }
}

Bytes build(Type type, const IpAddress& group) {
    Bytes message(size);
    message[0] = static_cast<std::uint8_t>(type);
    std::ranges::copy(group.octets(), message.begin() + 4);
    const std::uint16_t checksum = checksum_fold(checksum_add(message));
    message[2] = static_cast<std::uint8_t>(checksum >> 8);
    message[3] = static_cast<std::uint8_t>(checksum & 0xff);
    return message;
}

} // namespace pz::igmp
