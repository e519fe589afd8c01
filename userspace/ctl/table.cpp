// SPDX-License-Identifier: Apache-2.0
#include "ctl/table.h"

#include <algorithm>
#include <ctime>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "control/journal.h"
#include "control/schema.h"
#include "net/describe.h"

namespace pz::ctl {

namespace {

using Row = std::vector<std::string>;

/// Columns as wide as their widest cell, two spaces between them.
std::string align(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths;
    for (const Row& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i)
            text += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
        text += "\n";
    }
    return text;
}

/// The two largest units: "3 d 4 h", "2 min 5 s", "1.25 s".
std::string duration(std::uint64_t ms) {
    const std::uint64_t s = ms / 1000;
    if (s < 60)
        return fmt::format("{}.{:03} s", s, ms % 1000);
    if (s < 3600)
        return fmt::format("{} min {} s", s / 60, s % 60);
    if (s < 86'400)
        return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
    return fmt::format("{} d {} h", s / 86'400, s / 3600 % 24);
}

template <class E>
const char* name_of(E value) {
    return control::enum_names<E>.at(static_cast<std::size_t>(value));
}

std::string place(const std::string& interface, VlanTags vlan) {
    std::string text = interface.empty() ? "(the only one)" : interface;
    if (vlan.outer != 0)
        text += fmt::format(" vlan {}", vlan.outer);
    if (vlan.inner != 0)
        text += fmt::format(".{}", vlan.inner);
    return text;
}

std::string host_in(const std::string& name, std::optional<HostState> state) {
    return state ? fmt::format("{}, {}", name, name_of(*state)) : name;
}

template <class T>
std::string all_of(const std::vector<T>& values) {
    std::string text;
    for (const T& value : values) {
        if constexpr (requires { value.to_string(); })
            text += (text.empty() ? "" : " ") + value.to_string();
        else
            text += (text.empty() ? "" : " ") + to_string(value);
    }
    return text;
}

/// What of the wake policy limits anything.
void add_policy(std::vector<Row>& rows, const WakePolicy& policy) {
    if (!policy.allow_from.empty())
        rows.push_back({"allow from", all_of(policy.allow_from)});
    if (!policy.deny_from.empty())
        rows.push_back({"deny from", all_of(policy.deny_from)});
    const auto limit = [](std::uint32_t number) { return number == 0 ? "any number" : fmt::format("{}", number); };
    rows.push_back({"budget", fmt::format("{} wakes an hour, {} by one source{}", limit(policy.wakes_per_hour),
                                          limit(policy.wakes_per_source),
                                          policy.min_wake_interval.count() == 0
                                              ? ""
                                              : fmt::format(", {} s apart", policy.min_wake_interval.count()))});
    if (!policy.quiet.empty())
        rows.push_back({"quiet", all_of(policy.quiet)});
}

} // namespace

std::string to_text(const control::Capabilities& capabilities) {
    return align(
        {{"version", capabilities.version},
         {"options", fmt::format("{}", fmt::join(capabilities.options, " "))},
         {"hosts", fmt::format("up to {}", capabilities.max_hosts)},
         {"per host", fmt::format("up to {} addresses, {} MACs, {} wake rules", capabilities.max_addresses_per_host,
                                  capabilities.max_macs_per_host, capabilities.max_rules_per_host)},
         {"", fmt::format("up to {} host names, {} services, {} groups", capabilities.max_hostnames_per_host,
                          capabilities.max_services_per_host, capabilities.max_groups_per_host)}});
}

std::string to_text(const control::DaemonStatus& status) {
    std::vector<Row> rows{{"version", status.version},
                          {"up for", duration(status.uptime_ms)},
                          {"hosts", fmt::format("{}, {} of them not awake", status.hosts, status.hosts_asleep)},
                          {"held", fmt::format("{} packets, {} bytes", status.held_packets, status.held_bytes)},
                          {"bpffs", status.bpffs}};
    if (!status.no_wake_from.empty())
        rows.push_back({"no wake from", all_of(status.no_wake_from)});
    for (const auto& interface : status.interfaces) {
        rows.push_back({"interface", interface.served
                                         ? fmt::format("{} {} {}, {}, {} egress filter", interface.name,
                                                       interface.mac.to_string(), interface.up ? "up" : "down",
                                                       interface.mode, interface.egress ? "with" : "no")
                                         : fmt::format("{} not there", interface.name)});
        for (const auto& port : interface.ports)
            rows.push_back({"  port", fmt::format("{} {}, {}", port.name, port.up ? "up" : "down",
                                                  port.served ? port.mode : "not served")});
    }
    return align(rows);
}

std::string to_text(const control::HostStatus& host) {
    const HostConfig& config = host.config;
    std::vector<Row> rows{{"name", config.name},
                          {"state", fmt::format("{} for {}{}{}", name_of(host.state), duration(host.since_ms),
                                                host.since_reason.empty() ? "" : ": ", host.since_reason)},
                          {"interface", place(config.interface, config.vlan)}};
    if (host.file)
        rows.push_back({"file", *host.file});
    for (const auto& mac : config.macs)
        rows.push_back({"mac", mac.to_string()});
    for (const auto& address : config.addresses)
        rows.push_back({"ip", fmt::format("{}{}{}", address.ip.to_string(), address.temporary ? ", temporary" : "",
                                          address.valid_for ? fmt::format(", valid for {} s from when it was set",
                                                                          address.valid_for->count())
                                                            : "")});
    for (const auto& ip : host.learned)
        rows.push_back({"ip", ip.to_string() + ", learned"});
    for (const auto& hostname : config.offers.hostnames)
        rows.push_back({"hostname", hostname});
    for (const auto& service : config.offers.services)
        rows.push_back({"service", to_string(service)});
    for (const auto& group : config.offers.groups)
        rows.push_back({"group", group.to_string()});
    if (config.offers.priority != 0)
        rows.push_back({"priority", fmt::format("{}", config.offers.priority)});
    rows.push_back({"wake", all_of(wake_rules(config, config.offers)) + " and Magic Packet"});
    add_policy(rows, config.policy);
    rows.push_back({"echo", name_of(config.echo)});
    rows.push_back({"identity", host.identity == Identity::host
                                    ? "host"
                                    : "proxy: answers carry the gateway's MAC, so ECMA-393 R22 does not hold"});
    rows.push_back({"magic", fmt::format("UDP port {}{}", config.magic.udp_port,
                                         config.magic.secureon ? ", SecureOn password set" : "")});
    if (config.agentless)
        rows.push_back({"auto", "yes: it is probed while awake, and asleep when it does not answer"});
    if (config.learn)
        rows.push_back({"learn", "yes: what it uses while awake is answered for too"});
    rows.push_back({"wakes", host.wakes == 0 || host.last_wake_latency_us == 0
                                 ? fmt::format("{}", host.wakes)
                                 : fmt::format("{}, the last one took {}", host.wakes,
                                               duration(host.last_wake_latency_us / 1000))});
    rows.push_back({"refused", fmt::format("{} packets, by its wake policy", host.refused)});
    rows.push_back({"held", fmt::format("{} packets", host.held_packets)});
    rows.push_back({"id", fmt::format("{}, generation {}", host.id, host.generation)});
    return align(rows);
}

std::string to_text(const std::vector<control::HostStatus>& hosts) {
    std::vector<Row> rows{{"NAME", "STATE", "FOR", "MAC", "ADDRESSES"}};
    for (const auto& host : hosts) {
        std::string addresses;
        for (const auto& address : host.config.addresses)
            addresses += (addresses.empty() ? "" : " ") + address.ip.to_string();
        for (const auto& ip : host.learned)
            addresses += (addresses.empty() ? "" : " ") + ip.to_string();
        rows.push_back({host.config.name, name_of(host.state), duration(host.since_ms),
                        host.config.macs.empty() ? "-" : host.config.macs.front().to_string(), addresses});
    }
    return align(rows);
}

std::string to_text(const std::vector<control::Counter>& counters) {
    std::vector<Row> rows{{"REASON", "FRAMES", ""}};
    for (const auto& counter : counters)
        rows.push_back({counter.name, fmt::format("{}", counter.value), counter.sentence});
    return align(rows);
}

std::string to_text(std::uint64_t time_ns) {
    const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000);
    std::tm local{};
    localtime_r(&seconds, &local);
    return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}", local.tm_year + 1900, local.tm_mon + 1,
                       local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, time_ns / 1'000'000 % 1000);
}

std::string to_text(const control::Event& event) {
    return fmt::format("{}  {:<15}  {:<15}  {}", to_text(event.time_ns), event.host.empty() ? "-" : event.host,
                       event.kind, control::describe(event));
}

std::string to_text(const std::string& host, const std::vector<control::Wake>& wakes) {
    if (wakes.empty())
        return fmt::format("{}: nothing woke it, and no packet that could have was seen while it slept\n", host);
    std::string text;
    for (const auto& wake : wakes) {
        const bool woken = wake.outcome != "not-woken";
        std::string what = wake.packet;
        if (wake.decided_by == "operator")
            what = "a request on the control socket";
        else if (wake.decided_by == "daemon" && what.empty())
            what = "proxzzyd: " + wake.sentence;
        else if (what.empty())
            what = "something that was not captured";
        std::vector<Row> rows;
        const auto step = [&](const char* name, const std::optional<std::uint64_t>& after_us, const std::string& more) {
            if (!after_us)
                return;
            rows.push_back({std::string("  ") + name, to_text(wake.time_ns + *after_us * 1000).substr(11),
                            fmt::format("+{}.{:03} ms", *after_us / 1000, *after_us % 1000)});
            if (!more.empty())
                rows.back().push_back(more);
        };
        text += fmt::format("{}  {} {}{}\n", to_text(wake.time_ns),
                            wake.decided_by == "host" ? "woke by itself:"
                            : woken                   ? "woken by"
                                                      : "not woken by",
                            what, wake.count > 1 ? fmt::format(", {} times", wake.count) : "");
        if (!wake.reason.empty())
            text += fmt::format("  why           {}: {}\n", wake.reason, wake.sentence);
        text += fmt::format("  decided by    {}{}\n", wake.decided_by,
                            wake.rule.empty() ? "" : fmt::format(", rule {}", wake.rule));
        step("Magic Packet", wake.magic_after_us, "");
        step("sign of life", wake.alive_after_us, wake.sign);
        step("delivered", wake.delivered_after_us, fmt::format("held packets: {}", wake.delivered));
        text += align(rows);
        if (wake.dropped > 0)
            text += fmt::format("  dropped       held packets: {}\n", wake.dropped);
        if (woken)
            text += fmt::format("  outcome       {}\n", wake.outcome);
    }
    return text;
}

std::string to_text(const std::string& host, const std::vector<Replayed>& replayed) {
    if (replayed.empty())
        return fmt::format("{}: no packet that could wake it was recorded\n", host);
    const auto verdict = [](bool woken, const std::string& rule, const std::string& why) {
        if (woken)
            return fmt::format("woken, rule {}", rule);
        return fmt::format("not woken: {}", why);
    };
    std::string text;
    for (const Replayed& each : replayed) {
        const control::Wake& wake = each.wake;
        text += fmt::format("{}  {}\n", to_text(wake.time_ns),
                            wake.packet.empty() ? "something that was not captured" : wake.packet);
        text += fmt::format("  then  {}\n", verdict(each.woken_then(), wake.rule, wake.sentence));
        text += fmt::format("  now   {}\n", verdict(each.woken, each.rule, each.why));
    }
    const auto count = [&](auto matches) { return std::ranges::count_if(replayed, matches); };
    text += fmt::format("{} packets: {} woke it, {} would\n", replayed.size(),
                        count([](const Replayed& each) { return each.woken_then(); }),
                        count([](const Replayed& each) { return each.woken; }));
    return text;
}

std::string to_text(const std::vector<control::Counter>& counters, const std::vector<double>& rates) {
    std::vector<Row> rows{{"REASON", "FRAMES", "PER SECOND", ""}};
    for (std::size_t i = 0; i < counters.size(); ++i)
        if (counters[i].value > 0)
            rows.push_back({counters[i].name, fmt::format("{}", counters[i].value), fmt::format("{:.1f}", rates[i]),
                            counters[i].sentence});
    return align(rows);
}

std::string to_text(const ExplainedFrame& asked) {
    const control::Explanation& explanation = asked.explanation;
    std::vector<Row> rows;
    if (asked.packet)
        rows.push_back({"packet", fmt::format("{}", *asked.packet)});
    rows.push_back({"frame", describe(asked.frame)});
    rows.push_back({"on", place(explanation.interface, explanation.vlan)});
    rows.push_back({"verdict", name_of(explanation.verdict)});
    rows.push_back({"reason", fmt::format("{}: {}", explanation.reason, explanation.sentence)});
    if (explanation.host)
        rows.push_back({"host", host_in(*explanation.host, explanation.host_state)});
    if (explanation.sender)
        rows.push_back({"sender", fmt::format("{}{}", host_in(*explanation.sender, explanation.sender_state),
                                              explanation.sign ? fmt::format(" ({})", *explanation.sign) : "")});
    if (explanation.rule)
        rows.push_back({"rule", *explanation.rule});
    for (const auto& event : explanation.events) {
        rows.push_back({"event", fmt::format("{}{}{}", event.kind, event.host ? ": " + *event.host : "",
                                             event.address ? ", " + event.address->to_string() : "")});
        rows.push_back({"next", event.next});
    }
    if (explanation.reply) {
        rows.push_back({"reply", describe(explanation.reply->bytes)});
        const ByteView bytes = explanation.reply->bytes;
        for (std::size_t at = 0; at < bytes.size(); at += 16)
            rows.push_back(
                {"", fmt::format("{:04x}  {:02x}", at,
                                 fmt::join(bytes.subspan(at, std::min<std::size_t>(16, bytes.size() - at)), " "))});
    }
    return align(rows);
}

} // namespace pz::ctl
