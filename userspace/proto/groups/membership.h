// SPDX-License-Identifier: Apache-2.0
// The multicast groups of one segment's sleeping hosts: IGMP version 2, MLD version 2 and its version 1 mode.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/clock.h"
#include "net/frame.h"
#include "proto/groups/ignored.h"
#include "proto/igmp/message.h"
#include "proto/mld/message.h"

namespace pz::groups {

/// An IGMP or MLD message as it came in.
struct Received {
    IpAddress source;
    IpAddress destination;
    std::uint8_t hop_limit = 0; // TTL
    bool router_alert = false;
    ByteView message; // the payload of the IP packet
};
/// What of a frame is for Membership::receive(); nullopt for any other frame.
std::optional<Received> received(ByteView frame);

/// A message to send in a host's name.
struct Report {
    std::uint32_t host = 0;
    IpAddress source;
    IpAddress destination;
    Bytes message; // payload of the IP packet; its first byte is the type.  The checksum of MLD is left to build_mld()

    [[nodiscard]] std::uint8_t type() const { return message.front(); }
    auto operator<=>(const Report&) const = default;
};
/// The Ethernet frame that sends it.
Bytes frame_of(const Report& report, const MacAddress& sender, TagStack tags);

/// Whether membership of it is ever reported: not for 224.0.0.1 (RFC 2236 §6), ff02::1, and the scopes 0 and 1 (RFC
/// 3810 §6), nor for what is no group.
bool is_reported(const IpAddress& group);

/// What a host's reports are sent from.  Unspecified if it has none: routers take an IGMP report from 0.0.0.0, but no
/// MLD report from :: (RFC 3376 §4.2.13, RFC 3810 §5.2.13), so that a gateway's own link-local address is better.
struct Sources {
    IpAddress v4 = IpAddress::v4({});
    IpAddress v6 = IpAddress::v6({}); // link-local or ::
};

/// Each host is a host of its own to the protocols, with its own timers.  With IGMP and MLD version 1 a report that one
/// of them sends suppresses the others' for the same group, as if they had heard it; with MLD version 2 each reports.
/// Messages are due at once or later: call tick() after every other call, and at next_deadline().
class Membership {
public:
    /// A duration between two others.
    using Random = std::function<Duration(Duration lo, Duration hi)>;

    explicit Membership(Random random, std::size_t mtu = 1500) : random_(std::move(random)), mtu_(mtu) {}

    /// On take-over: each group is reported at once and once more (ECMA-393 R39).  Replaces what is known of the host.
    void add(std::uint32_t host, const Sources& sources, std::span<const IpAddress> groups, Instant now);
    /// `leave`: for good, so that groups which no other host here is in are left.  Else silently: an awake host reports
    /// for itself.
    void remove(std::uint32_t host, bool leave, Instant now);
    /// Why it was ignored, if it was.
    std::optional<Ignored> receive(const Received& received, Instant now);

    /// What is due.
    std::vector<Report> tick(Instant now);
    [[nodiscard]] std::optional<Instant> next_deadline() const;

    [[nodiscard]] std::uint64_t ignored(Ignored reason) const { return ignored_[static_cast<std::size_t>(reason)]; }
    /// The versions spoken at that time: 1 while an older querier is about.
    [[nodiscard]] unsigned igmp_version(Instant now) const { return now < igmp_v1_until_ ? 1 : 2; }
    [[nodiscard]] unsigned mld_version(Instant now) const { return now < mld_v1_until_ ? 1 : 2; }

private:
    struct Group {
        std::optional<Instant> due;
        unsigned unsolicited = 0; // reports of the take-over that are still to be sent
    };
    struct Member {
        Sources sources;
        std::map<IpAddress, Group> groups;
        std::optional<Instant> general; // MLD version 2: when all IPv6 groups are reported
    };
    /// A group's due, or with :: for the group a member's general.
    struct Timer {
        Instant due;
        std::uint32_t host = 0;
        IpAddress group;
        auto operator<=>(const Timer&) const = default;
    };
    /// Groups that are left; a state change of MLD version 2 is told twice (RFC 3810 §6.1).
    struct Departure {
        Instant due;
        std::uint32_t host = 0;
        Sources sources;
        std::vector<IpAddress> groups;
        unsigned left = 0;
    };
    using Records = std::vector<mld::Record>;

    [[nodiscard]] std::optional<Ignored> receive_igmp(const Received& received, Instant now);
    [[nodiscard]] std::optional<Ignored> receive_mld(const Received& received, Instant now);
    [[nodiscard]] std::optional<Ignored> schedule(IpAddress::Family family, const IpAddress& group,
                                                  Duration max_response, Instant now);
    /// Another node, or another host here, reported it.  False if nothing was due.
    bool suppress(const IpAddress& group, std::optional<std::uint32_t> speaker);
    void update_mld_version(Instant now);
    void cancel_mld();
    void arm(std::uint32_t host, const IpAddress& group, std::optional<Instant>& due, Instant when);
    void disarm(std::uint32_t host, const IpAddress& group, std::optional<Instant>& due);
    void fire(std::uint32_t host, Member& member, const IpAddress& group, Instant now, std::vector<Report>& out,
              Records& records);
    void depart(Departure& departure, Instant now, std::vector<Report>& out) const;
    void append_reports(std::uint32_t host, const IpAddress& source, std::span<const mld::Record> records,
                        std::vector<Report>& out) const;

    Random random_;
    std::size_t mtu_;
    std::map<std::uint32_t, Member> members_;
    std::map<IpAddress, std::set<std::uint32_t>> by_group_;
    std::map<IpAddress, unsigned> own_sources_; // how many members use it
    std::set<Timer> timers_;
    std::vector<Departure> departures_;

    Instant igmp_v1_until_ = Instant::min();
    Instant mld_v1_until_ = Instant::min();
    bool mld_v1_ = false; // as of the last call; a change cancels what is pending
    Duration mld_older_querier_{}; // of RFC 3810 §9.12, less the response interval
    std::array<Instant, 2> general_after_{}; // IPv4, IPv6
    std::array<std::uint64_t, ignored_names.size()> ignored_{};
};

} // namespace pz::groups
