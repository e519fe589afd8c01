// SPDX-License-Identifier: Apache-2.0
// Why an IGMP or MLD message changed nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pz::groups {

/// X(identifier, "name", "sentence")
#define PZ_GROUPS_IGNORED(X)                                                                                           \
    X(too_short, "too-short", "the message ends before what its type needs")                                           \
    X(bad_length, "bad-length", "a query of a length that no version has")                                             \
    X(bad_checksum, "bad-checksum", "the checksum is wrong")                                                           \
    X(bad_group, "bad-group", "the group is no multicast address")                                                     \
    X(hop_limit, "hop-limit", "TTL or hop limit is not 1: it may come from another link")                              \
    X(no_router_alert, "no-router-alert", "MLD without the Router Alert option")                                       \
    X(bad_source, "bad-source", "MLD from an address that is not link-local")                                          \
    X(bad_destination, "bad-destination", "not sent to where such a message belongs")                                  \
    X(unread_type, "unread-type", "a message that hosts do not read: a leave, a report of version 3 or of MLDv2")      \
    X(own, "own", "one of our own reports that came back")                                                             \
    X(no_member, "no-member", "no host here is in the group")                                                          \
    X(nothing_pending, "nothing-pending", "another node's report, when none of ours was due")                          \
    X(too_soon, "too-soon", "general queries follow each other faster than they are answered")

enum class Ignored : std::uint8_t {
#define X(identifier, name, sentence) identifier,
    PZ_GROUPS_IGNORED(X)
#undef X
};

inline constexpr std::array ignored_names{
#define X(identifier, name, sentence) std::string_view{name},
    PZ_GROUPS_IGNORED(X)
#undef X
};

constexpr std::string_view name_of(Ignored reason) {
    return ignored_names[static_cast<std::size_t>(reason)];
}

} // namespace pz::groups
