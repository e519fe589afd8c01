// SPDX-License-Identifier: Apache-2.0
// The command line of proxzzyctl, parsed: no daemon is asked for anything.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "ctl/question.h"
#include "hosts/record.h"

namespace pz::ctl {

enum class Verb : std::uint8_t {
    help,
    version,
    host_add,
    host_remove,
    host_sleep,
    host_wake,
    host_release,
    host_show,
    hosts,
    status,
    capabilities,
    stats,
    explain,
    detach,
    events,
    why,
    policy_test,
    apply,
    export_hosts,
};

struct Command {
    Verb verb = Verb::help;
    std::string control; // path of the daemon's socket
    bool json = false;
    HostConfig config;    // `host add`: all of it; what else takes a host: the name
    bool replace = false; // `host add`
    Question question;    // `explain`
    std::string bpffs;    // `detach`: where a daemon that is gone left its pins
    bool follow = false;  // `events`
    bool new_only = false;
    std::optional<std::chrono::seconds> watch = std::nullopt; // `stats`: how often
    std::string pcap;                                         // `why`: file for the packets; "-" = standard output
    /// `policy test`: the host with the wake policy that the words ask for
    std::function<Result<HostConfig>(HostConfig)> changed;
    std::string file;     // `apply`; "-" = standard input
    std::string text;     // `help`
};

/// `arguments` without the program's name.  Errors name the argument, its value and what would be right.
Result<Command> parse(std::span<const char* const> arguments);

} // namespace pz::ctl
