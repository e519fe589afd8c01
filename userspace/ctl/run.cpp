// SPDX-License-Identifier: Apache-2.0
#include "ctl/run.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <thread>

#include <spdlog/fmt/fmt.h>

#include "control/client.h"
#include "ctl/explain.h"
#include "ctl/json.h"
#include "ctl/pcap.h"
#include "ctl/replay.h"
#include "ctl/site.h"
#include "ctl/table.h"
#include "fastpath/attach.h"

namespace pz::ctl {

using namespace control;

namespace {

template <class T>
std::string shown(const Command& command, const T& body) {
    if (command.json)
        return to_json(body);
    std::string text = to_text(body);
    text.pop_back(); // the last newline
    return text;
}

template <class Answer>
Result<std::string> show_all(const Command& command, Client& client, std::uint16_t type) {
    std::vector<Answer> all;
    PZ_TRY(client.dump<Answer>(type, [&](Answer answer) { all.push_back(std::move(answer)); }));
    return shown(command, all);
}

std::string done(const Command& command, const Acknowledgement& acknowledgement, const char* what) {
    const bool durable = acknowledgement.durable == Durable::yes;
    if (command.json)
        return flag_to_json("durable", durable);
    return fmt::format("{}: {}{}", command.config.name, what,
                       durable ? "" : " (durable: no; it could not be written to disk)");
}

Result<std::string> change(const Command& command, Client& client, std::uint16_t type, const char* what) {
    return done(command, PZ_TRY(client.change(type, 0, HostName{command.config.name})), what);
}

Result<std::string> add(const Command& command, Client& client) {
    const auto flags = static_cast<std::uint16_t>(NLM_F_CREATE | (command.replace ? NLM_F_REPLACE : NLM_F_EXCL));
    return done(command, PZ_TRY(client.change(PZ_MSG_HOST_SET, flags, command.config)),
                command.replace ? "set" : "added");
}

/// No daemon is there to detach: what a killed one left is removed here.
Result<std::string> detach_without_daemon(const Command& command) {
    const bool found = PZ_TRY(fastpath::detach_pinned(command.bpffs));
    std::error_code error;
    if (std::filesystem::is_socket(command.control, error))
        std::filesystem::remove(command.control, error);
    if (error && error != std::errc::no_such_file_or_directory)
        return fail(Errc::system, fmt::format("{}: {}", command.control, error.message()), "control");
    if (command.json)
        return flag_to_json("detached", found);
    return found ? fmt::format("detached what a proxzzyd that is gone left below {}", command.bpffs)
                 : fmt::format("no proxzzyd at {}, and nothing of one below {}", command.control, command.bpffs);
}

Result<std::string> detach(const Command& command, Client& client) {
    PZ_TRY(client.change(PZ_MSG_DETACH));
    return command.json ? flag_to_json("detached", true) : std::string("detached; proxzzyd stops");
}

Result<std::string> events(const Command& command, Client& client, const Print& print) {
    if (command.follow)
        PZ_TRY(client.wait_for_ever());
    const EventsWanted wanted{.host = command.config.name, .follow = command.follow, .new_only = command.new_only};
    PZ_TRY(client.dump<Event>(
        PZ_MSG_EVENTS_GET, [&](const Event& event) { print((command.json ? to_json(event) : to_text(event)) + "\n"); },
        wanted));
    return std::string();
}

Result<std::string> why(const Command& command, Client& client) {
    std::vector<Wake> wakes;
    PZ_TRY(client.dump<Wake>(
        PZ_MSG_WAKES_GET, [&](Wake wake) { wakes.push_back(std::move(wake)); }, HostName{command.config.name}));
    if (!command.pcap.empty()) {
        PZ_TRY(write_pcap(command.pcap, wakes));
        return std::string();
    }
    if (command.json)
        return to_json(command.config.name, wakes);
    std::string text = to_text(command.config.name, wakes);
    text.pop_back();
    return text;
}

Result<std::string> policy_test(const Command& command, Client& client) {
    const HostName name{command.config.name};
    const auto host = PZ_TRY(client.get<HostStatus>(PZ_MSG_HOST_GET, name));
    const auto changed = PZ_TRY(command.changed(host.config));
    const auto status = PZ_TRY(client.get<DaemonStatus>(PZ_MSG_STATUS_GET));
    std::vector<Wake> wakes;
    PZ_TRY(client.dump<Wake>(PZ_MSG_WAKES_GET, [&](Wake wake) { wakes.push_back(std::move(wake)); }, name));
    const auto replayed = replay(wakes, changed, status.no_wake_from);
    if (command.json)
        return to_json(name.name, replayed);
    std::string text = to_text(name.name, replayed);
    text.pop_back();
    return text;
}

Result<std::string> export_hosts(const Command& command, Client& client, const Print& warn) {
    std::vector<HostStatus> hosts;
    PZ_TRY(client.dump<HostStatus>(PZ_MSG_HOST_GET, [&](HostStatus host) { hosts.push_back(std::move(host)); }));
    if (command.json)
        return to_json(hosts);
    for (const auto& line : not_in_text(hosts))
        warn(line);
    std::string text = site_text(hosts);
    text.pop_back();
    return text;
}

/// What was done is printed, also if hosts were refused, which is the error.
Result<std::string> apply_site(const Command& command, Site& site, Client& client, const Print& print) {
    const auto applied = PZ_TRY(site.is_large() ? apply_whole(site, client) : apply(std::move(site.hosts), client));
    std::string text = command.json ? to_json(applied) : to_text(applied);
    if (applied.refused.empty())
        return text;
    print(text + "\n");
    std::string refused = fmt::format("{} refused", applied.refused.size());
    for (const auto& [host, error] : applied.refused)
        refused += fmt::format("\n{}: {}", host, error);
    return fail(Errc::busy, refused);
}

/// Until it is interrupted or the daemon is gone.
Result<std::string> watch(const Command& command, std::chrono::seconds interval, Client& client, const Print& print) {
    const bool screen = !command.json && isatty(STDOUT_FILENO) != 0;
    std::map<std::string, std::uint64_t> before;
    auto then = std::chrono::steady_clock::now();
    for (bool first = true;; first = false) {
        std::vector<Counter> counters;
        PZ_TRY(
            client.dump<Counter>(PZ_MSG_STATS_GET, [&](Counter counter) { counters.push_back(std::move(counter)); }));
        const auto now = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(now - then).count();
        then = now;
        std::vector<double> rates;
        for (const Counter& counter : counters) {
            const auto last = std::exchange(before[counter.name], counter.value);
            rates.push_back(first ? 0.0 : static_cast<double>(counter.value - last) / seconds);
        }
        const auto wall = static_cast<std::uint64_t>(
            std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
        if (command.json)
            print(to_json(wall, counters, rates) + "\n");
        else
            print(fmt::format("{}{}\n{}\n", screen ? "\x1b[H\x1b[2J" : "", to_text(wall), to_text(counters, rates)));
        std::this_thread::sleep_for(interval);
    }
}

} // namespace

void print_now(std::string_view text) {
    (void)std::fwrite(text.data(), 1, text.size(), stdout);
    (void)std::fflush(stdout);
}

void warn_now(std::string_view line) {
    (void)std::fprintf(stderr, "proxzzyctl: %s\n", std::string(line).c_str());
}

Result<std::string> run(const Command& command, const Print& print, const Print& warn) {
    if (command.verb == Verb::help)
        return command.text;
    if (command.verb == Verb::version)
        return command.json ? text_to_json("version", PROXZZY_VERSION) : std::string("proxzzyctl " PROXZZY_VERSION);
    std::unique_ptr<Site> site;
    if (command.verb == Verb::apply)
        site = PZ_TRY(read_site(command.file));
    auto connected = Client::connect(command.control);
    if (!connected && connected.error().code == Errc::not_found && command.verb == Verb::detach)
        return detach_without_daemon(command);
    Client client = PZ_TRY(std::move(connected));
    switch (command.verb) {
    case Verb::host_add:
        return add(command, client);
    case Verb::host_remove:
        return change(command, client, PZ_MSG_HOST_DELETE, "removed");
    case Verb::host_sleep:
        return change(command, client, PZ_MSG_HOST_SLEEP, "goes to sleep");
    case Verb::host_wake:
        return change(command, client, PZ_MSG_HOST_WAKE, "is being woken");
    case Verb::host_release:
        return change(command, client, PZ_MSG_HOST_RELEASE, "released");
    case Verb::host_show:
        return shown(command, PZ_TRY(client.get<HostStatus>(PZ_MSG_HOST_GET, HostName{command.config.name})));
    case Verb::hosts:
        return show_all<HostStatus>(command, client, PZ_MSG_HOST_GET);
    case Verb::status:
        return shown(command, PZ_TRY(client.get<DaemonStatus>(PZ_MSG_STATUS_GET)));
    case Verb::capabilities:
        return shown(command, PZ_TRY(client.get<Capabilities>(PZ_MSG_CAPABILITIES_GET)));
    case Verb::events:
        return events(command, client, print);
    case Verb::why:
        return why(command, client);
    case Verb::policy_test:
        return policy_test(command, client);
    case Verb::stats:
        if (command.watch)
            return watch(command, *command.watch, client, print);
        return show_all<Counter>(command, client, PZ_MSG_STATS_GET);
    case Verb::explain:
        return explain(command.question, command.json, client);
    case Verb::apply:
        return apply_site(command, *site, client, print);
    case Verb::export_hosts:
        return export_hosts(command, client, warn);
    case Verb::detach:
        return detach(command, client);
    case Verb::help:
    case Verb::version:
        break;
    }
    return {};
}

} // namespace pz::ctl
