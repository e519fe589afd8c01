// SPDX-License-Identifier: Apache-2.0
// Messages of the control protocol to and from structures: libnl builds them, a strict walk of our own reads them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <proxzzy/control.h>

#include "base/result.h"
#include "control/schema.h"
#include "net/frame.h"

struct nl_msg;

namespace pz::control {

/// Why a message is not acceptable.
struct Refusal {
    Error error; // error.field is the attribute's name
    /// Of the attribute to blame, from the first byte of the message.
    std::optional<std::uint32_t> offset = std::nullopt;
    /// Type of a missing attribute, and the offset of the nest that lacks it unless it is the message itself.
    std::optional<std::uint32_t> missing_type = std::nullopt;
    std::optional<std::uint32_t> missing_nest = std::nullopt;
};

template <class T = void>
using Decoded = std::expected<T, Refusal>;

std::unexpected<Refusal> refuse(Error error, std::optional<std::uint32_t> offset = std::nullopt);

/// A message that was built here.
class Message {
public:
    explicit Message(nl_msg* message) : message_(message) {}
    /// All of it, nlmsghdr first.
    [[nodiscard]] std::span<const std::uint8_t> bytes() const;
    [[nodiscard]] nl_msg* get() const { return message_.get(); }

private:
    struct Free {
        void operator()(nl_msg* message) const;
    };
    std::unique_ptr<nl_msg, Free> message_;
};

struct Header {
    std::uint16_t type = 0;
    std::uint16_t flags = 0;
    std::uint32_t sequence = 0;
    std::uint32_t port = 0;
};

/// A message with `body`'s attributes.  Errc::limit when it would be longer than PZ_CONTROL_MAX_MESSAGE.
template <HasSchema T>
Result<Message> encode(const Header& header, const T& body);
/// NLMSG_ERROR for `request`; `error` is 0 or a positive errno.
Message encode_acknowledgement(const nlmsghdr& request, int error, Acknowledgement acknowledgement);
/// A whole message with attributes that were encoded before.
Bytes with_header(const Header& header, ByteView attributes);
/// A copy of a whole message that was encoded before, with another header.
Message readdress(std::span<const std::uint8_t> message, const Header& header);
/// NLMSG_DONE, the end of the dump that `request` asked for.
Message encode_done(const nlmsghdr& request);

/// A message that arrived: its parts, within the packet.
struct Received {
    nlmsghdr header{};
    nlmsgerr error{}; // of NLMSG_ERROR and (only `error`) NLMSG_DONE
    std::span<const std::uint8_t> attributes;
    std::uint32_t offset = 0; // of `attributes` in the message
};

/// Checks everything before the attributes: one whole message of a type from NLMSG_MIN_TYPE, our version.
/// What could be read of the nlmsghdr is in `header` even if the message is refused.
Decoded<Received> open_request(std::span<const std::uint8_t> packet, nlmsghdr& header);
/// The same for what a daemon sends, NLMSG_ERROR and NLMSG_DONE included.
Decoded<Received> open_answer(std::span<const std::uint8_t> packet);

/// What to do with attributes that are not in the table: a daemon refuses them in requests, a client skips them in
/// answers, so that a newer daemon can say more.
enum class Unknown : bool { refuse, skip };

/// One bit for each field of a schema, by position.
using Seen = std::uint64_t;

/// Reads all attributes of a message.  Refuses, by name and offset: unknown, duplicate, missing or truncated ones,
/// wrong lengths and values, padding that is missing or not zero, nests where none belong, bytes that are left over.
template <HasSchema T>
Decoded<T> decode(const Received& message, Unknown unknown = Unknown::refuse);

/// Reads the attributes of one part of a record into `config`; `seen` goes from part to part.
Decoded<> decode_part(const Received& message, HostConfig& config, Seen& seen);

/// What each attribute of a message holds: of a HostList, the attributes of each host.
std::vector<ByteView> payloads(const Received& message);

/// Where in the message the only attribute of T called `name` is; nullopt if there is none or several.
template <HasSchema T>
std::optional<std::uint32_t> find_attribute(const Received& message, std::string_view name);

/// The errno of NLMSG_ERROR that stands for an error code, and back.
int to_errno(Errc code);
Errc from_errno(int error);

} // namespace pz::control
