// SPDX-License-Identifier: Apache-2.0
#include "hosts/wake_policy.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "base/number.h"

namespace pz {

namespace {

constexpr Duration hour = std::chrono::hours(1);
constexpr unsigned minutes_per_day = 24 * 60;

const Network* find(const std::vector<Network>& networks, const IpAddress& ip) {
    const auto found = std::ranges::find_if(networks, [&](const Network& each) { return each.contains(ip); });
    return found == networks.end() ? nullptr : &*found;
}

bool is_in(const QuietHours& quiet, unsigned minute) {
    return quiet.from < quiet.to ? minute >= quiet.from && minute < quiet.to
                                 : minute >= quiet.from || minute < quiet.to;
}

/// "07:00" in minutes
std::optional<std::uint16_t> parse_time(std::string_view text) {
    constexpr std::size_t length = 5;
    if (text.size() != length || text[2] != ':')
        return std::nullopt;
    const auto hours = parse_number<std::uint16_t>(text.substr(0, 2));
    const auto minutes = parse_number<std::uint16_t>(text.substr(3));
    if (!hours || !minutes || *hours >= 24 || *minutes >= 60)
        return std::nullopt;
    return static_cast<std::uint16_t>(*hours * 60 + *minutes);
}

Result<> check_networks(const char* field, const std::vector<Network>& networks) {
    if (networks.size() > max_networks)
        return fail(Errc::invalid,
                    fmt::format("{}: {} given, a host has at most {}", field, networks.size(), max_networks), field);
    for (const Network& network : networks)
        if (!network.is_valid())
            return fail(Errc::invalid,
                        fmt::format("{} {}: must be a prefix of its address's family, without bits set behind it, as "
                                    "in 192.0.2.0/24",
                                    field, network.to_string()),
                        field);
    return {};
}

Result<> check_limit(const char* field, std::uint64_t value, std::uint64_t largest, const char* unit) {
    if (value <= largest)
        return {};
    return fail(Errc::invalid, fmt::format("{} {}: must be 1 to {}{}, or 0 for no limit", field, value, largest, unit),
                field);
}

} // namespace

Result<> validate(const WakePolicy& policy) {
    PZ_TRY(check_networks("allow-from", policy.allow_from));
    PZ_TRY(check_networks("deny-from", policy.deny_from));
    PZ_TRY(check_limit("wakes-per-hour", policy.wakes_per_hour, max_wakes_per_hour, ""));
    PZ_TRY(check_limit("wakes-per-source", policy.wakes_per_source, max_wakes_per_hour, ""));
    PZ_TRY(check_limit("min-wake-interval", static_cast<std::uint64_t>(policy.min_wake_interval.count()),
                       static_cast<std::uint64_t>(max_wake_interval.count()), " seconds"));
    if (policy.quiet.size() > max_quiet)
        return fail(Errc::invalid,
                    fmt::format("quiet: {} given, a host has at most {}", policy.quiet.size(), max_quiet), "quiet");
    for (const QuietHours& quiet : policy.quiet)
        if (quiet.from >= minutes_per_day || quiet.to >= minutes_per_day || quiet.from == quiet.to)
            return fail(Errc::invalid,
                        fmt::format("quiet {} to {}: must be two different minutes of the day, from 0 to {}",
                                    quiet.from, quiet.to, minutes_per_day - 1),
                        "quiet");
    return {};
}

Result<QuietHours> parse_quiet(const std::string& text) {
    const std::size_t dash = std::min(text.find('-'), text.size());
    const auto from = parse_time(std::string_view(text).substr(0, dash));
    const auto to = parse_time(std::string_view(text).substr(std::min(dash + 1, text.size())));
    if (!from || !to || *from == *to)
        return fail(
            Errc::invalid,
            fmt::format("{:?}: must be two different times of the day from 00:00 to 23:59, as in 23:00-07:00", text));
    return QuietHours{.from = *from, .to = *to};
}

std::string to_string(const QuietHours& quiet) {
    return fmt::format("{:02}:{:02}-{:02}:{:02}", quiet.from / 60, quiet.from % 60, quiet.to / 60, quiet.to % 60);
}

Trigger trigger_of(ByteView frame, const MacAddress& mac, bool is_again) {
    Trigger trigger{.mac = mac, .is_known = !frame.empty(), .is_again = is_again};
    const auto parsed = parse_frame(frame);
    if (parsed.l3 == L3::ipv4 || parsed.l3 == L3::ipv6)
        trigger.source = parsed.ip_source;
    return trigger;
}

std::string rule_of(const Refusal& refusal) {
    switch (refusal.rule) {
    case Refusal::Rule::no_wake_from:
        return "no-wake-from " + refusal.network.to_string();
    case Refusal::Rule::deny_from:
        return "deny-from " + refusal.network.to_string();
    case Refusal::Rule::allow_from:
        return "allow-from";
    case Refusal::Rule::quiet:
        return "quiet " + to_string(refusal.quiet);
    case Refusal::Rule::min_wake_interval:
        return fmt::format("min-wake-interval {}", refusal.limit);
    case Refusal::Rule::wakes_per_source:
        return fmt::format("wakes-per-source {}", refusal.limit);
    case Refusal::Rule::wakes_per_hour:
    case Refusal::Rule::first_asked:
        break;
    }
    return fmt::format("wakes-per-hour {}", refusal.limit);
}

std::string to_string(const Refusal& refusal) {
    const std::string who = refusal.source ? refusal.source->to_string() : "its source";
    switch (refusal.rule) {
    case Refusal::Rule::no_wake_from:
    case Refusal::Rule::deny_from:
        return fmt::format("{} is in {}", who, rule_of(refusal));
    case Refusal::Rule::allow_from:
        return refusal.source ? fmt::format("{} is not in allow-from", who)
                              : std::string("nobody knows its source, and only some may wake the host");
    case Refusal::Rule::quiet:
        return "quiet hours " + to_string(refusal.quiet);
    case Refusal::Rule::min_wake_interval:
        return fmt::format("the last wake was {} s ago, min-wake-interval is {} s", refusal.count, refusal.limit);
    case Refusal::Rule::wakes_per_source:
        return fmt::format("{} wakes by {} in the last hour, wakes-per-source allows {}", refusal.count, who,
                           refusal.limit);
    case Refusal::Rule::first_asked:
        return fmt::format("{} wakes in the last hour of wakes-per-hour {}: the others are for who asks again",
                           refusal.count, refusal.limit);
    case Refusal::Rule::wakes_per_hour:
        break;
    }
    return fmt::format("{} wakes in the last hour, wakes-per-hour allows {}", refusal.count, refusal.limit);
}

void WakeBudget::add(const Trigger& trigger, Instant now) {
    while (!wakes_.empty() && (now - wakes_.front().at >= hour || wakes_.size() >= max_wakes_per_hour))
        wakes_.pop_front();
    wakes_.push_back({.at = now, .source = trigger.source, .mac = trigger.mac});
}

WakeBudget::Spent WakeBudget::spent(const Trigger& trigger, Instant now) const {
    Spent spent;
    for (const Wake& wake : wakes_) {
        if (now - wake.at >= hour)
            continue;
        ++spent.wakes;
        if (wake.source == trigger.source && (wake.source || wake.mac == trigger.mac))
            ++spent.by_source;
    }
    if (!wakes_.empty())
        spent.since_last = now - wakes_.back().at;
    return spent;
}

std::optional<Refusal> refuse_source(const WakePolicy& policy, const std::vector<Network>& no_wake_from,
                                     const Trigger& trigger) {
    using Rule = Refusal::Rule;
    if (!trigger.source) {
        // a Magic Packet in Ethernet has no IP source: SecureOn is for that
        const bool matters =
            !trigger.is_known && !(policy.allow_from.empty() && policy.deny_from.empty() && no_wake_from.empty());
        return matters ? std::optional(Refusal{.rule = Rule::allow_from}) : std::nullopt;
    }
    if (const Network* network = find(no_wake_from, *trigger.source))
        return Refusal{.rule = Rule::no_wake_from, .source = trigger.source, .network = *network};
    if (const Network* network = find(policy.deny_from, *trigger.source))
        return Refusal{.rule = Rule::deny_from, .source = trigger.source, .network = *network};
    if (!policy.allow_from.empty() && find(policy.allow_from, *trigger.source) == nullptr)
        return Refusal{.rule = Rule::allow_from, .source = trigger.source};
    return std::nullopt;
}

bool allows_every(const WakePolicy& policy, const std::vector<Network>& no_wake_from, const WakeBudget& budget,
                  Instant now) {
    if (!policy.allow_from.empty() || !policy.deny_from.empty() || !no_wake_from.empty() || !policy.quiet.empty())
        return false;
    // as time goes by there is only more left of a budget; at worst all was spent by whoever asks next, for the first
    // time
    const auto spent = budget.spent({}, now);
    const std::size_t limit = policy.wakes_per_hour;
    return (!spent.since_last || *spent.since_last >= policy.min_wake_interval) &&
           (policy.wakes_per_source == 0 || spent.wakes < policy.wakes_per_source) &&
           (limit == 0 || spent.wakes < limit - limit / 2);
}

std::optional<Refusal> refuse_wake(const WakePolicy& policy, const Trigger& trigger, const WakeBudget& budget,
                                   Instant now, unsigned minute) {
    using Rule = Refusal::Rule;
    for (const QuietHours& quiet : policy.quiet)
        if (is_in(quiet, minute))
            return Refusal{.rule = Rule::quiet, .source = trigger.source, .quiet = quiet};
    const auto refuse = [&](Rule rule, std::uint64_t count, std::uint64_t limit) {
        return Refusal{.rule = rule, .source = trigger.source, .count = count, .limit = limit};
    };
    const auto spent = budget.spent(trigger, now);
    if (spent.since_last && *spent.since_last < policy.min_wake_interval)
        return refuse(Rule::min_wake_interval,
                      static_cast<std::uint64_t>(std::chrono::floor<std::chrono::seconds>(*spent.since_last).count()),
                      static_cast<std::uint64_t>(policy.min_wake_interval.count()));
    if (policy.wakes_per_source != 0 && spent.by_source >= policy.wakes_per_source)
        return refuse(Rule::wakes_per_source, spent.by_source, policy.wakes_per_source);
    const std::size_t limit = policy.wakes_per_hour;
    if (limit != 0 && spent.wakes >= limit)
        return refuse(Rule::wakes_per_hour, spent.wakes, limit);
    // who sends from ever new addresses does not ask again: he leaves half of the budget to those who do
    if (limit != 0 && !trigger.is_again && spent.wakes >= limit - limit / 2)
        return refuse(Rule::first_asked, spent.wakes, limit);
    return std::nullopt;
}

} // namespace pz
