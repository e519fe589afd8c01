// SPDX-License-Identifier: Apache-2.0
// What proxzzyd is told on its command line.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "hosts/record.h"

namespace pz {

struct DaemonOptions {
    std::vector<std::string> interfaces;
    std::string control;
    std::string bpffs;
    Identity identity = Identity::host;
    std::uint32_t max_hosts = 65'536;
    Duration answer_without_daemon = std::chrono::minutes(10);
    std::vector<std::uint16_t> magic_ports; // UDP ports of broadcasts in which Magic Packets are looked for
    std::string log_level = "info";
};

/// Text to print instead of running: --help or --version.
struct PrintAndExit {
    std::string text;
};

/// Errc::invalid names the option, its value and what would be right.
Result<std::variant<DaemonOptions, PrintAndExit>> parse_options(int argc, const char* const* argv);

} // namespace pz
