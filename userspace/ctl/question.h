// SPDX-License-Identifier: Apache-2.0
// What `proxzzyctl explain` is to explain, as it was typed: names are not looked up, files not opened.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include <boost/program_options.hpp>

#include "hosts/record.h"
#include "net/frame.h"

namespace pz::ctl {

/// One end of a packet: a host's name or an address.
struct Endpoint {
    std::string name; // empty: the address is given
    IpAddress address;
    std::uint16_t port = 0; // 0: not given
    bool operator==(const Endpoint&) const = default;
};

struct Question {
    enum class Kind : std::uint8_t { hex, pcap, tcp, udp, echo, arp, ns, magic };
    Kind kind = Kind::hex;
    Bytes frame;                       // hex
    std::string file;                  // pcap
    std::optional<std::size_t> packet; // pcap: only this one, counted from 1
    Endpoint from;                     // tcp, udp, echo, arp, ns
    Endpoint to;                       // the same
    std::uint8_t flags = 0;            // tcp
    std::string name;                  // magic: whom to wake, by name ...
    std::optional<MacAddress> mac;     // ... or by MAC
    bool egress = false;               // the frame leaves by the interface
    std::string interface;             // empty: the host's, or the only one served
    std::optional<VlanTags> vlan;      // nullopt: the host's
    std::optional<MacAddress> from_mac; // nullopt: the sending host's, or one that is nobody's
};

/// The options of `explain`.
boost::program_options::options_description question_options();
/// Errors name the option, its value and what would be right.  `--hex -` reads standard input.
Result<Question> parse_question(const boost::program_options::variables_map& values);

} // namespace pz::ctl
