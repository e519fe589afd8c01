// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <sstream>

#include <boost/program_options.hpp>
#include <proxzzy/control.h>

#include <spdlog/fmt/fmt.h>

#include "base/ini.h"
#include "fastpath/attach.h"
#include "hosts/host_index.h"

namespace pz {

namespace po = boost::program_options;

namespace {

constexpr std::array<std::uint16_t, 3> default_magic_ports{7, 9, 40'000};
constexpr std::uint32_t largest_max_hosts = 4U << 20;
static_assert(largest_max_hosts <= HostIndex::end_of_ids);

constexpr std::array<std::string_view, 4> levels{"debug", "info", "warn", "error"}; // log::Level
constexpr int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

/// The values of options as they are written.
struct Given {
    DaemonOptions options; // those that need no reading
    std::string identity;
    std::string log_level;
    std::uint32_t answer_without_daemon = 0; // seconds
    std::uint32_t wake_limit = 0;            // seconds
    std::uint32_t probe_interval = 0;        // seconds
    std::vector<std::uint32_t> magic_ports;
    std::vector<std::string> no_wake_from;
};

/// What may be in a file too.
po::options_description file_options(Given& given) {
    po::options_description description("Options, on the command line or in the file", 100);
    DaemonOptions& options = given.options;
    // clang-format off
    description.add_options()
        ("interface,i", po::value(&options.interfaces)->value_name("IF"),
         "an Ethernet interface to serve; may be given several times")
        ("control", po::value(&options.control)->value_name("PATH")->default_value(PZ_CONTROL_PATH),
         "the control socket")
        ("bpffs", po::value(&options.bpffs)->value_name("DIR")->default_value(fastpath::default_bpffs),
         "where the kernel programs and maps are pinned; one daemon each")
        ("state", po::value(&options.state)->value_name("DIR")->default_value(default_state),
         "where the hosts are kept, on disk; one daemon each")
        ("identity", po::value(&given.identity)->value_name("WHOSE")->default_value("host"),
         "whose MAC goes into answers, for hosts that do not say: host or proxy")
        ("max-hosts", po::value(&options.max_hosts)->value_name("N")->default_value(options.max_hosts),
         "how many hosts the tables have room for")
        ("answer-without-daemon",
         po::value(&given.answer_without_daemon)->value_name("SECONDS")->default_value(600),
         "how long the kernel goes on answering when the daemon was killed")
        ("wake-limit", po::value(&given.wake_limit)->value_name("SECONDS")->default_value(60),
         "how long a woken host may take; then it is unreachable and what was held for it is dropped")
        ("probe-interval", po::value(&given.probe_interval)->value_name("SECONDS")->default_value(12),
         "how often a host with `auto` that is silent is probed; asleep after three probes without an answer")
        ("magic-port", po::value(&given.magic_ports)->value_name("PORT"),
         "look for Magic Packets in UDP broadcasts to this port too, next to 7, 9 and 40000")
        ("no-wake-from", po::value(&given.no_wake_from)->value_name("NET"),
         "packets from this network wake no host: monitoring, and the like, as in 192.0.2.9 or 192.0.2.0/28; may be "
         "given several times")
        ("log-level", po::value(&given.log_level)->value_name("LEVEL")->default_value("info"),
         "debug, info, warn or error");
    // clang-format on
    return description;
}

po::options_description command_line_options() {
    po::options_description description("Options on the command line alone", 100);
    // clang-format off
    description.add_options()
        ("config", po::value<std::string>()->value_name("FILE"),
         fmt::format("lines OPTION = VALUE; none given: {} if it is there", default_config).c_str())
        ("hosts", po::value<std::string>()->value_name("DIR"),
         "NAME.conf files, a host each; none given: hosts.d next to the configuration file")
        ("check-config", "say what is wrong with the configuration and the hosts, touch nothing")
        ("help,h", "print this and exit")
        ("version", "print the version and exit");
    // clang-format on
    return description;
}

/// The port list and how many ports the kernel has room for.
Result<std::vector<std::uint16_t>> magic_ports(const std::string& option, const std::vector<std::uint32_t>& more) {
    std::vector<std::uint16_t> ports(default_magic_ports.begin(), default_magic_ports.end());
    for (const auto port : more) {
        if (port == 0 || port > 65'535)
            return fail(Errc::invalid, fmt::format("{} '{}' is not a UDP port: give 1 to 65535", option, port));
        if (std::ranges::find(ports, port) == ports.end())
            ports.push_back(static_cast<std::uint16_t>(port));
    }
    if (ports.size() > PZ_MAX_MAGIC_PORTS)
        return fail(Errc::invalid, fmt::format("{} is given {} times: there is room for {} next to 7, 9 and 40000",
                                               option, more.size(), PZ_MAX_MAGIC_PORTS - default_magic_ports.size()));
    return ports;
}

/// `name` says where an option was given: "--identity", "/etc/proxzzy/proxzzyd.conf: identity".
template <class Name>
Result<DaemonOptions> check(Given given, const Name& name) {
    DaemonOptions& options = given.options;
    if (options.interfaces.empty())
        return fail(Errc::invalid,
                    "--interface is missing: name the Ethernet interface to serve, e.g. --interface eth0");
    for (auto it = options.interfaces.begin(); it != options.interfaces.end(); ++it)
        if (std::find(options.interfaces.begin(), it, *it) != it)
            return fail(Errc::invalid, fmt::format("{} '{}' is given twice", name("interface"), *it));
    if (given.identity != "host" && given.identity != "proxy")
        return fail(Errc::invalid, fmt::format("{} '{}' is unknown: host or proxy", name("identity"), given.identity));
    options.identity = given.identity == "proxy" ? Identity::proxy : Identity::host;
    if (options.max_hosts == 0 || options.max_hosts > largest_max_hosts)
        return fail(Errc::invalid, fmt::format("{} '{}' is out of range: 1 to {}", name("max-hosts"), options.max_hosts,
                                               largest_max_hosts));
    const auto seconds = given.answer_without_daemon;
    if (seconds == 0 || seconds > 86'400)
        return fail(Errc::invalid,
                    fmt::format("{} '{}' is out of range: 1 to 86400 seconds", name("answer-without-daemon"), seconds));
    options.answer_without_daemon = std::chrono::seconds(seconds);
    if (given.wake_limit == 0 || given.wake_limit > 3600)
        return fail(Errc::invalid,
                    fmt::format("{} '{}' is out of range: 1 to 3600 seconds", name("wake-limit"), given.wake_limit));
    options.wake_limit = std::chrono::seconds(given.wake_limit);
    if (given.probe_interval == 0 || given.probe_interval > 3600)
        return fail(Errc::invalid, fmt::format("{} '{}' is out of range: 1 to 3600 seconds", name("probe-interval"),
                                               given.probe_interval));
    options.probe_interval = std::chrono::seconds(given.probe_interval);
    if (options.state.empty())
        return fail(Errc::invalid,
                    fmt::format("{} '' is not a folder: name one, e.g. {}", name("state"), default_state));
    options.magic_ports = PZ_TRY(magic_ports(name("magic-port"), given.magic_ports));
    for (const auto& text : given.no_wake_from) {
        const auto network = Network::parse(text);
        if (!network)
            return fail(Errc::invalid, fmt::format("{} {}", name("no-wake-from"), network.error().message));
        options.no_wake_from.push_back(*network);
    }
    const auto level = std::ranges::find(levels, given.log_level);
    if (level == levels.end())
        return fail(Errc::invalid,
                    fmt::format("{} '{}' is unknown: debug, info, warn or error", name("log-level"), given.log_level));
    options.log_level = static_cast<log::Level>(level - levels.begin());
    return options;
}

/// Adds to `values` what is in the file and not on the command line.
Result<> read_config(const std::string& path, const po::options_description& options, po::variables_map& values) {
    const std::string text = PZ_TRY(read_file(path));
    const auto parsed = PZ_TRY(parse_ini(path, text, options));
    try {
        po::store(parsed, values);
    } catch (const po::error& error) {
        return fail(Errc::invalid, fmt::format("{}: {}", path, error.what()));
    }
    return {};
}

} // namespace

Result<std::variant<DaemonOptions, PrintAndExit>> parse_options(int argc, const char* const* argv,
                                                                const std::string& config) {
    namespace fs = std::filesystem;
    Given given;
    const auto in_file = file_options(given);
    po::options_description all("", 100);
    const auto on_command_line_alone = command_line_options();
    all.add(in_file).add(on_command_line_alone);

    po::variables_map values;
    try { // Boost.Program_options reports by exception
        const auto parsed = po::parse_command_line(argc, argv, all, style);
        for (const auto& option : parsed.options)
            if (option.position_key != -1)
                return fail(Errc::invalid, fmt::format("'{}' is not an option: interfaces are given as --interface IF",
                                                       option.value.front()));
        po::store(parsed, values);
    } catch (const po::error& error) {
        return fail(Errc::invalid, fmt::format("{} (see proxzzyd --help)", error.what()));
    }
    if (values.contains("help")) {
        std::ostringstream text;
        text << "proxzzyd keeps sleeping hosts present on the network and wakes them for the packet that needs them.\n"
                "Usage: proxzzyd --interface IF [--interface IF]... [options]\n\n"
             << in_file << "\n"
             << on_command_line_alone;
        return PrintAndExit{text.str()};
    }
    if (values.contains("version"))
        return PrintAndExit{"proxzzyd " PROXZZY_VERSION "\n"};

    const auto on_command_line = [first = values](const char* option) {
        return first.contains(option) && !first[option].defaulted();
    };
    std::string file;
    std::error_code ignored;
    if (values.contains("config"))
        file = values["config"].as<std::string>();
    else if (fs::exists(config, ignored))
        file = config;
    if (!file.empty())
        PZ_TRY(read_config(file, in_file, values));
    po::notify(values);
    DaemonOptions options = PZ_TRY(check(std::move(given), [&](const char* option) {
        return on_command_line(option) || file.empty() ? fmt::format("--{}", option)
                                                       : fmt::format("{}: {}", file, option);
    }));
    options.check_config = values.contains("check-config");
    if (values.contains("hosts")) {
        options.hosts = values["hosts"].as<std::string>();
        if (!fs::is_directory(options.hosts, ignored))
            return fail(Errc::invalid, fmt::format("--hosts '{}' is not a folder: name the one that has the hosts' "
                                                   "NAME.conf files",
                                                   options.hosts));
    } else if (!file.empty()) {
        options.hosts = (fs::path(file).parent_path() / "hosts.d").string();
    }
    return options;
}

std::vector<std::string> needs_restart(const DaemonOptions& running, const DaemonOptions& now) {
    std::vector<std::string> names;
    const auto compare = [&](const char* name, const auto& before, const auto& after) {
        if (before != after)
            names.emplace_back(name);
    };
    compare("interface", running.interfaces, now.interfaces);
    compare("control", running.control, now.control);
    compare("bpffs", running.bpffs, now.bpffs);
    compare("state", running.state, now.state);
    compare("identity", running.identity, now.identity);
    compare("max-hosts", running.max_hosts, now.max_hosts);
    compare("answer-without-daemon", running.answer_without_daemon, now.answer_without_daemon);
    compare("wake-limit", running.wake_limit, now.wake_limit);
    compare("probe-interval", running.probe_interval, now.probe_interval);
    compare("magic-port", running.magic_ports, now.magic_ports);
    compare("no-wake-from", running.no_wake_from, now.no_wake_from);
    return names;
}

TableOptions table_options(const DaemonOptions& options) {
    return {.max_hosts = options.max_hosts,
            .max_addresses4 = 2 * options.max_hosts,
            .max_addresses6 = 4 * options.max_hosts,
            .max_macs = 2 * options.max_hosts,
            .default_identity = options.identity,
            .timers = {.wake_limit = options.wake_limit, .check_interval = options.probe_interval}};
}

} // namespace pz
