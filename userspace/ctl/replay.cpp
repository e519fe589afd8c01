// SPDX-License-Identifier: Apache-2.0
#include "ctl/replay.h"

#include <map>

namespace pz::ctl {

namespace {

/// Ages at which a source counts as one that asks again: as in bpf/verdict.h.
constexpr Duration again_min = std::chrono::milliseconds(500);
constexpr Duration again_max = std::chrono::seconds(64);

/// "tcp/22" that lets the packet wake the host, as pz_wakes_for() of the kernel finds it; nullopt: its port does not.
std::optional<std::string> rule_for(ByteView frame, const HostConfig& config) {
    const auto parsed = parse_frame(frame);
    if (parsed.l4_offset + 4 > frame.size())
        return std::nullopt;
    const auto port = static_cast<std::uint16_t>(frame[parsed.l4_offset + 2] << 8 | frame[parsed.l4_offset + 3]);
    return find_wake_rule(config, config.offers, parsed.protocol, port).transform([](const WakeRule& rule) {
        return to_string(rule);
    });
}

/// Whether `changed` lets the packet wake the host, as far as its kind says.
void judge_kind(Replayed& replayed, const HostConfig& changed) {
    const control::Wake& wake = replayed.wake;
    replayed.woken = true;
    replayed.rule = wake.reason == "trigger-magic" ? "magic" : wake.reason == "trigger-echo" ? "echo" : wake.rule;
    if (wake.reason == "trigger-magic" || wake.reason == "trigger-echo" || wake.frame.bytes.empty())
        return;
    const auto rule = rule_for(wake.frame.bytes, changed);
    replayed.woken = rule.has_value();
    replayed.rule = rule.value_or("");
    if (!rule)
        replayed.why = "its port does not wake the host";
}

bool is_trigger(const control::Wake& wake) {
    return wake.reason.starts_with("trigger-") || wake.reason == "port-closed";
}

} // namespace

std::vector<Replayed> replay(const std::vector<control::Wake>& wakes, const HostConfig& changed,
                             const std::vector<Network>& no_wake_from) {
    std::vector<Replayed> all;
    WakeBudget budget;
    std::map<std::pair<std::optional<IpAddress>, MacAddress>, Instant> asked; // when first
    for (const control::Wake& wake : wakes) {
        if (!is_trigger(wake))
            continue;
        const Instant at = instant_from_ns(wake.time_ns);
        Replayed replayed{.wake = wake};
        judge_kind(replayed, changed);
        Trigger trigger = trigger_of(wake.frame.bytes, parse_frame(wake.frame.bytes).source, false);
        auto& since =
            asked.try_emplace({trigger.source, trigger.source ? MacAddress{} : trigger.mac}, at).first->second;
        if (at - since > again_max)
            since = at;
        trigger.is_again = at - since >= again_min;
        if (replayed.woken) {
            const std::chrono::system_clock::time_point wall{Duration(wake.time_ns)};
            auto refusal = refuse_source(changed.policy, no_wake_from, trigger);
            if (!refusal)
                refusal = refuse_wake(changed.policy, trigger, budget, at, local_minute(wall));
            if (refusal) {
                replayed.woken = false;
                replayed.rule = rule_of(*refusal);
                replayed.why = to_string(*refusal);
            } else {
                budget.add(trigger, at);
            }
        }
        all.push_back(std::move(replayed));
    }
    return all;
}

} // namespace pz::ctl
