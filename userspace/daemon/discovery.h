// SPDX-License-Identifier: Apache-2.0
// Where sleeping hosts are looked for by name, service and group: mDNS, LLMNR, IGMP and MLD of every segment.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/service.h"
#include "hosts/table.h"
#include "proto/groups/membership.h"
#include "proto/llmnr/responder.h"
#include "proto/mdns/responder.h"

namespace pz {

/// A segment as those see it who speak in it.
struct Surroundings {
    MacAddress mac;                                        // the gateway's own
    std::optional<IpAddress> link_local = std::nullopt;    // the same, IPv6
    std::vector<Network> prefixes = {};                    // on the link, besides link-local addresses
    TagStack tags = {};
};

/// A UDP datagram in a frame; ports in host order.
struct Datagram {
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    ByteView payload;
};

/// Hands frames to the options' modules, and what they say to the segment.  What is said in a host's name has its
/// address and the gateway's MAC: a frame that comes back, by a loop or an access point, must not pass for the host,
/// and there is no room for a mark in it.
class Discovery {
public:
    struct Hooks {
        /// nullopt: nothing can be sent there now.
        std::function<std::optional<Surroundings>(SegmentId)> look;
        /// In the host's name, if it still is in our care.
        std::function<void(SegmentId, HostId, ByteView frame, std::string_view what)> send;
        /// Another node has what is the host's, who has to settle that.
        std::function<void(HostId, std::string_view option, std::string text)> conflict;
        /// What comes to the group is to be copied to these options (enum pz_listen), or to none any more.
        std::function<void(SegmentId, const IpAddress& group, std::uint8_t options)> listen;
    };

    explicit Discovery(Hooks hooks) : hooks_(std::move(hooks)) {}
    Discovery(const Discovery&) = delete; // its modules choose times at random with it
    Discovery& operator=(const Discovery&) = delete;

    /// From now on, or with what is different now.  The groups that the host has to be heard by; empty: it offers
    /// nothing.
    std::vector<IpAddress> speak(const Host& host, Instant now);
    /// `goodbye`: nobody will answer for the host, and it will not come back by itself.
    void silence(HostId host, bool goodbye, Instant now);
    [[nodiscard]] bool speaks(HostId host) const { return speakers_.contains(host); }

    /// A copy of a frame that came to a group, or to a host's own address.
    void receive(SegmentId segment, ByteView frame, Instant now);
    /// A frame to a host's own address.  An answer that is due at once is written over it, if there is room; its
    /// length.
    std::optional<std::size_t> answer(SegmentId segment, std::span<std::uint8_t> room, std::size_t length, Instant now);

    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> next_deadline() const;

    [[nodiscard]] std::vector<control::Counter> counters() const;

private:
    struct Listeners {
        std::array<std::uint32_t, 3> hosts{}; // by bit of enum pz_listen
        std::uint8_t told = 0;
    };
    struct Segment {
        mdns::Responder mdns;
        llmnr::Responder llmnr;
        groups::Membership membership;
        std::map<IpAddress, Listeners> listeners;
        std::unordered_map<IpAddress, MacAddress> askers; // who asked lately
    };
    struct Speaker {
        SegmentId segment = PZ_NO_SEGMENT;
        std::uint32_t generation = 0;
        HostOffers offers;
        std::vector<IpAddress> addresses;
        std::map<IpAddress, std::uint8_t> listens; // groups, and for which options
        bool operator==(const Speaker&) const = default;
    };
    Segment& segment(SegmentId id);
    void count(SegmentId id, const Speaker& speaker, std::uint32_t change);
    static mdns::Outputs take(Segment& here, const Surroundings& around, const ParsedFrame& parsed,
                              const Datagram& datagram, Instant now);
    /// Without surroundings what is due is lost.
    void say(SegmentId id, const std::optional<Surroundings>& around, const std::vector<mdns::Output>& outputs,
             Instant now);
    void send(SegmentId id, HostId host, const Surroundings& around, const MacAddress& to, const IpAddress& source,
              const IpAddress& destination, std::uint16_t source_port, std::uint16_t port, ByteView message,
              std::string_view what);
    void conflict(HostId host, std::string_view option, std::string text);
    [[nodiscard]] TagStack tags_of(HostId host, const Surroundings& around) const;
    [[nodiscard]] std::optional<IpAddress> source_of(HostId host, const IpAddress& destination) const;

    Hooks hooks_;
    std::minstd_rand random_{std::random_device{}()};
    std::map<SegmentId, Segment> segments_;
    std::unordered_map<HostId, Speaker> speakers_;
    std::uint32_t identification_ = 0; // of fragments
};

} // namespace pz
