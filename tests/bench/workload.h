// SPDX-License-Identifier: Apache-2.0
// The packets that the kernel program is measured with, and what becomes of each.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include <proxzzy/abi/reasons.h>

#include "../bpf/packet.h"

namespace pz::bench {

constexpr std::uint16_t wake_port = 22; // TCP, of all sleepers
constexpr std::uint16_t magic_port = 9; // UDP, where broadcast Magic Packets are looked for
constexpr std::uint16_t traffic_vid = 100; // of other people's tagged traffic
constexpr std::uint32_t nobody = 8'000'000; // hosts from here on are none of ours

/// Hosts of which the generator draws one for each packet.
struct Hosts {
    std::uint32_t first = 0;
    std::uint32_t count = 1;
};

struct Workload {
    std::string name = {};
    std::string generator = {};   // the program's name behind "generate_"
    test::Bytes frame = {};       // with key 0
    std::uint32_t first_key = 0;  // the generator's key of host 0
    std::size_t checksum = 24;    // where the generator writes it
    Hosts hosts = {};
    std::uint32_t action = XDP_PASS;
    pz_reason reason = PZ_REASON_NOBODY;
    bool resized = false; // the answer is longer
    bool wakes = false;   // each packet is an event on the ring
};

/// All of them, NAME-hot with one host, NAME-random with as many as there are sleepers, and NAME-dependent, where the
/// next host depends on the last answer.
std::vector<Workload> workloads(std::uint32_t sleepers);

/// Payloads of 1,472 bytes in which a Magic Packet is looked for and not found: "scan-none" is too short for one,
/// "scan-attack-..." are the work of who wants to keep us busy.
std::vector<Workload> scans();

} // namespace pz::bench
