// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.h"

#include <algorithm>
#include <array>
#include <sstream>

#include <boost/program_options.hpp>
#include <proxzzy/control.h>

#include <spdlog/fmt/fmt.h>

#include "fastpath/attach.h"

namespace pz {

namespace po = boost::program_options;

namespace {

constexpr std::array<std::uint16_t, 3> default_magic_ports{7, 9, 40'000};
constexpr std::uint32_t largest_max_hosts = 4U << 20;

/// The port list and how many ports the kernel has room for.
Result<std::vector<std::uint16_t>> magic_ports(const std::vector<std::uint32_t>& more) {
    std::vector<std::uint16_t> ports(default_magic_ports.begin(), default_magic_ports.end());
    for (const auto port : more) {
        if (port == 0 || port > 65'535)
            return fail(Errc::invalid, fmt::format("--magic-port '{}' is not a UDP port: give 1 to 65535", port));
        if (std::ranges::find(ports, port) == ports.end())
            ports.push_back(static_cast<std::uint16_t>(port));
    }
    if (ports.size() > PZ_MAX_MAGIC_PORTS)
        return fail(Errc::invalid,
                    fmt::format("--magic-port is given {} times: there is room for {} next to 7, 9 and 40000",
                                more.size(), PZ_MAX_MAGIC_PORTS - default_magic_ports.size()));
    return ports;
}

} // namespace

Result<std::variant<DaemonOptions, PrintAndExit>> parse_options(int argc, const char* const* argv) {
    DaemonOptions options;
    std::string identity;
    std::uint32_t seconds = 0;
    std::vector<std::uint32_t> more_magic_ports;
    po::options_description description(
        "proxzzyd keeps sleeping hosts present on the network and wakes them for the packet that needs them.\n"
        "Usage: proxzzyd --interface IF [--interface IF]... [options]\n\nOptions");
    // clang-format off
    description.add_options()
        ("interface,i", po::value(&options.interfaces)->value_name("IF"),
         "an Ethernet interface to serve; may be given several times")
        ("control", po::value(&options.control)->value_name("PATH")->default_value(PZ_CONTROL_PATH),
         "the control socket")
        ("bpffs", po::value(&options.bpffs)->value_name("DIR")->default_value(fastpath::default_bpffs),
         "where the kernel programs and maps are pinned; one daemon each")
        ("identity", po::value(&identity)->value_name("host|proxy")->default_value("host"),
         "whose MAC goes into answers, for hosts that do not say")
        ("max-hosts", po::value(&options.max_hosts)->value_name("N")->default_value(options.max_hosts),
         "how many hosts the tables have room for")
        ("answer-without-daemon", po::value(&seconds)->value_name("SECONDS")->default_value(600),
         "how long the kernel goes on answering when the daemon was killed")
        ("magic-port", po::value(&more_magic_ports)->value_name("PORT"),
         "look for Magic Packets in UDP broadcasts to this port too, next to 7, 9 and 40000")
        ("log-level", po::value(&options.log_level)->value_name("LEVEL")->default_value(options.log_level),
         "debug, info, warn or error")
        ("help,h", "print this and exit")
        ("version", "print the version and exit");
    // clang-format on

    po::variables_map given;
    try { // Boost.Program_options reports by exception
        const auto parsed = po::parse_command_line(
            argc, argv, description, po::command_line_style::unix_style ^ po::command_line_style::allow_guessing);
        for (const auto& option : parsed.options)
            if (option.position_key != -1)
                return fail(Errc::invalid, fmt::format("'{}' is not an option: interfaces are given as --interface IF",
                                                       option.value.front()));
        po::store(parsed, given);
        po::notify(given);
    } catch (const po::error& error) {
        return fail(Errc::invalid, fmt::format("{} (see proxzzyd --help)", error.what()));
    }
    if (given.contains("help")) {
        std::ostringstream text;
        text << description;
        return PrintAndExit{text.str()};
    }
    if (given.contains("version"))
        return PrintAndExit{"proxzzyd " PROXZZY_VERSION "\n"};

    if (options.interfaces.empty())
        return fail(Errc::invalid,
                    "--interface is missing: name the Ethernet interface to serve, e.g. --interface eth0");
    for (auto it = options.interfaces.begin(); it != options.interfaces.end(); ++it)
        if (std::find(options.interfaces.begin(), it, *it) != it)
            return fail(Errc::invalid, fmt::format("--interface '{}' is given twice", *it));
    if (identity != "host" && identity != "proxy")
        return fail(Errc::invalid, fmt::format("--identity '{}' is unknown: host or proxy", identity));
    options.identity = identity == "proxy" ? Identity::proxy : Identity::host;
    if (options.max_hosts == 0 || options.max_hosts > largest_max_hosts)
        return fail(Errc::invalid,
                    fmt::format("--max-hosts '{}' is out of range: 1 to {}", options.max_hosts, largest_max_hosts));
    if (seconds == 0 || seconds > 86'400)
        return fail(Errc::invalid,
                    fmt::format("--answer-without-daemon '{}' is out of range: 1 to 86400 seconds", seconds));
    options.answer_without_daemon = std::chrono::seconds(seconds);
    options.magic_ports = PZ_TRY(magic_ports(more_magic_ports));
    static constexpr std::array<std::string_view, 4> levels{"debug", "info", "warn", "error"};
    if (std::ranges::find(levels, options.log_level) == levels.end())
        return fail(Errc::invalid,
                    fmt::format("--log-level '{}' is unknown: debug, info, warn or error", options.log_level));
    return options;
}

} // namespace pz
