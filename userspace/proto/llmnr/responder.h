// SPDX-License-Identifier: Apache-2.0
// LLMNR (RFC 4795, with the profile of MS-LLMNRP) in the names of one segment's sleeping hosts.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "net/frame.h"
#include "proto/dns/message.h"

namespace pz::llmnr {

inline constexpr std::uint16_t port = 5355;
inline constexpr IpAddress group4{.bytes = {224, 0, 0, 252}};
inline constexpr IpAddress group6{.family = IpAddress::Family::v6,
                                  .bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3}};

/// X(identifier, "name", "sentence")
#define PZ_LLMNR_IGNORED(X)                                                                                            \
    X(malformed, "malformed", "no DNS header with one whole question behind it")                                       \
    X(unicast_query, "unicast-query", "a query that was not sent to the LLMNR group")                                  \
    X(bad_port, "bad-port", "not sent to port 5355")                                                                   \
    X(bad_opcode, "bad-opcode", "no standard query, or a response with an error")                                      \
    X(bad_counts, "bad-counts", "other than one question, or a query with answers")                                    \
    X(bad_class, "bad-class", "a question that is not of class IN")                                                    \
    X(bad_source, "bad-source", "from an address or a port that nobody can answer to")                                 \
    X(own, "own", "from the host itself")                                                                              \
    X(not_ours, "not-ours", "a name that no host here has")                                                            \
    X(conflicted, "conflicted", "a name that another node has too")                                                    \
    X(no_address, "no-address", "the host has no address of the query's family to answer from")                        \
    X(rate_limited, "rate-limited", "its source asks too often")                                                       \
    X(queue_full, "queue-full", "too many responses wait to be sent")                                                  \
    X(unexpected_response, "unexpected-response", "a response to no query of ours")                                    \
    X(yields, "yields", "a tentative response of a node that has to give way")                                         \
    X(too_soon, "too-soon", "the name is being verified, or just was")

enum class Ignored : std::uint8_t {
#define X(identifier, name, sentence) identifier,
    PZ_LLMNR_IGNORED(X)
#undef X
};
inline constexpr std::array ignored_names{
#define X(identifier, name, sentence) std::string_view{name},
    PZ_LLMNR_IGNORED(X)
#undef X
};
constexpr std::string_view name_of(Ignored reason) {
    return ignored_names[static_cast<std::size_t>(reason)];
}

/// What is answered for one host (ECMA-393 C35, C36).
struct Offer {
    std::vector<std::string> hostnames; // their first labels, UTF-8
    std::vector<IpAddress> addresses;
    /// The names are known to be unique on this link: the host, or this responder, has verified them there.
    bool verified = false;
};

/// A UDP datagram to or from port 5355 as it came in.
struct Received {
    MacAddress source_mac;
    IpAddress source;
    std::uint16_t source_port = 0; // host order
    IpAddress destination;
    std::uint16_t destination_port = 0; // host order
    ByteView payload;
};

/// A UDP datagram to send from port 5355 in a host's name.
struct Datagram {
    std::uint32_t host = 0;
    MacAddress destination_mac; // of who asked, or of the group
    IpAddress source;
    IpAddress destination;
    std::uint16_t destination_port = port; // host order
    std::uint8_t hop_limit = 255;          // TTL (RFC 4795 §2.5, ECMA-393 R88)
    Bytes payload = {};                    // up to the largest of UDP: it may need fragments
    auto operator<=>(const Datagram&) const = default;
};

/// Another node has the host's name: it is no longer answered here, and the host is to be woken (ECMA-393 R89).
struct Conflict {
    std::uint32_t host = 0;
    std::string name;
    IpAddress other; // who answered
    auto operator<=>(const Conflict&) const = default;
};

struct Output {
    std::vector<Datagram> datagrams = {};
    std::vector<Conflict> conflicts = {};
};

/// Datagrams are due at once or later: call tick() after every other call, and at next_deadline().
class Responder {
public:
    /// A duration between two others.
    using Random = std::function<Duration(Duration lo, Duration hi)>;

    explicit Responder(Random random) : random_(std::move(random)) {}

    /// On take-over: the names are answered at once and verified (RFC 4795 §4.1).  Replaces what is known of the host.
    void add(std::uint32_t host, const Offer& offer, Instant now);
    void remove(std::uint32_t host, Instant now);
    /// Why it was ignored, if it was.
    std::optional<Ignored> receive(const Received& received, Instant now);

    /// What is due.
    Output tick(Instant now);
    [[nodiscard]] std::optional<Instant> next_deadline() const;

    /// Whether all names of the host have been verified: what Offer::verified may say at the next take-over.
    [[nodiscard]] bool is_verified(std::uint32_t host) const;
    [[nodiscard]] std::uint64_t ignored(Ignored reason) const { return ignored_[static_cast<std::size_t>(reason)]; }

private:
    /// Queries of ours for a name of ours.
    struct Verification {
        std::uint16_t id = 0;
        std::uint16_t type = dns::type::any;
        unsigned sent = 0;
        Instant due; // of the next query, or of the end
    };
    struct OwnName {
        dns::Name name;
        bool verified = false;
        bool conflicted = false;
        std::optional<Verification> verification = {};
        Instant verify_after = Instant::min(); // on a stranger's advice not before
    };
    struct Host {
        std::vector<OwnName> names;
        std::vector<IpAddress> addresses;
    };
    struct Timer {
        Instant due;
        std::uint32_t host = 0;
        std::size_t name = 0; // index
        auto operator<=>(const Timer&) const = default;
    };
    /// A name or reverse name to the hosts that have it; never an empty list.
    using Index = std::unordered_map<dns::Name, std::vector<std::uint32_t>>;

    [[nodiscard]] std::optional<Ignored> handle(const Received& received, Instant now);
    [[nodiscard]] std::optional<Ignored> handle_query(const Received& received, const dns::Message& query, Instant now);
    [[nodiscard]] std::optional<Ignored> handle_conflict_query(const dns::Question& question,
                                                               const std::vector<std::uint32_t>& hosts, Instant now);
    [[nodiscard]] std::optional<Ignored> handle_response(const Received& received, const dns::Message& response);
    [[nodiscard]] std::optional<Ignored> answer_for(std::uint32_t host, bool is_reverse, const Received& received,
                                                    const dns::Message& query, Instant now);
    [[nodiscard]] bool is_shared(const dns::Name& name) const;
    [[nodiscard]] std::size_t index_of(std::uint32_t host, const dns::Name& name) const;
    void begin(std::uint32_t host, std::size_t name, std::uint16_t type, Instant now);
    void end(std::uint32_t host, std::size_t name);
    void step(std::uint32_t host, std::size_t name, Instant now, Output& out);
    bool take_token(const IpAddress& source, Instant now);
    Duration jitter();

    Random random_;
    std::map<std::uint32_t, Host> hosts_;
    Index by_name_;
    Index by_reverse_name_;
    std::set<Timer> timers_; // one for each verification
    std::multimap<Instant, Datagram> pending_;
    std::vector<Conflict> conflicts_;
    std::vector<Instant> buckets_ = std::vector<Instant>(1024, Instant::min()); // when one is full again
    std::array<std::uint64_t, ignored_names.size()> ignored_{};
};

} // namespace pz::llmnr
