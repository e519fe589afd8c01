// SPDX-License-Identifier: Apache-2.0
// What proxzzyd is told on its command line and in its configuration file.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "hosts/record.h"
#include "hosts/table.h"

namespace pz {

struct DaemonOptions {
    std::vector<std::string> interfaces;
    std::string control;
    std::string bpffs;
    std::string state; // folder of the state file
    Identity identity = Identity::host;
    std::uint32_t max_hosts = 65'536;
    Duration answer_without_daemon = std::chrono::minutes(10);
    Duration wake_limit = Timers{}.wake_limit;
    Duration probe_interval = Timers{}.check_interval;
    std::vector<std::uint16_t> magic_ports; // UDP ports of broadcasts in which Magic Packets are looked for
    std::vector<Network> no_wake_from; // packets from there wake no host
    log::Level log_level = log::Level::info;
    std::string hosts; // folder of NAME.conf files; empty: none is read
    bool check_config = false;
};

/// Text to print instead of running: --help or --version.
struct PrintAndExit {
    std::string text;
};

inline constexpr const char* default_config = "/etc/proxzzy/proxzzyd.conf";
inline constexpr const char* default_state = "/var/lib/proxzzy";

/// `config` is the file that is read if --config is not given and the file is there.  Errors name the option or the
/// file and its key, the value and what would be right; Errc::system if it is not the person's fault.
Result<std::variant<DaemonOptions, PrintAndExit>> parse_options(int argc, const char* const* argv,
                                                                const std::string& config = default_config);

/// What of `now` takes a restart of a daemon that was started with `running`: names of options.
std::vector<std::string> needs_restart(const DaemonOptions& running, const DaemonOptions& now);

/// The sizes of the presence table.
TableOptions table_options(const DaemonOptions& options);

} // namespace pz
