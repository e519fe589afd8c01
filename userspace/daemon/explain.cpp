// SPDX-License-Identifier: Apache-2.0
#include "daemon/explain.h"

#include <linux/bpf.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>

#include <algorithm>
#include <array>

#include <spdlog/fmt/fmt.h>

#include "daemon/trigger_thread.h"
#include "fastpath/fastpath.h"

namespace pz {

namespace {

/// The host that the kernel means, unless it left that stay in proxy care meanwhile.
const Host* find(const PresenceTable& table, const pz_party& party) {
    const Host* host = party.generation == 0 ? nullptr : table.get(party.host);
    return host != nullptr && host->generation == party.generation ? host : nullptr;
}

/// The address that a frame is about: what ARP and Neighbour Discovery ask for, else where a packet goes.
std::optional<IpAddress> address_meant(ByteView frame, const ParsedFrame& parsed) {
    const auto at = [&](std::size_t offset, std::size_t size) -> std::optional<IpAddress> {
        if (offset > frame.size() || frame.size() - offset < size)
            return std::nullopt;
        return IpAddress::from_bytes(frame.subspan(offset, size));
    };
    if (parsed.status != ParseStatus::ok)
        return std::nullopt;
    if (parsed.l3 == L3::arp)
        return at(parsed.l3_offset + offsetof(ether_arp, arp_tpa), 4);
    if (parsed.l3 == L3::ipv6 && parsed.protocol == IPPROTO_ICMPV6 && parsed.l4_length >= sizeof(nd_neighbor_solicit) &&
        frame[parsed.l4_offset] == ND_NEIGHBOR_SOLICIT)
        return at(parsed.l4_offset + offsetof(nd_neighbor_solicit, nd_ns_target), 16);
    if (parsed.l3 == L3::ipv4 || parsed.l3 == L3::ipv6)
        return parsed.ip_destination;
    return std::nullopt;
}

/// What of the host's configuration decided, if any of it did.
std::optional<std::string> rule_that_decided(const pz_explanation& found, const Host& host) {
    if (found.rule.action != 0)
        return to_string(WakeRule{.protocol = found.rule.protocol, .port = found.rule.port});
    switch (found.reason) {
    case PZ_REASON_TRIGGER_MAGIC:
    case PZ_REASON_MAGIC_REPEATS:
    case PZ_REASON_MAGIC_PASSWORD:
        return "magic";
    case PZ_REASON_TRIGGER_ECHO:
    case PZ_REASON_ECHO_ANSWERED:
    case PZ_REASON_ECHO_IGNORED:
        return fmt::format("echo {}", echo_names.at(static_cast<std::size_t>(host.options.get().echo)));
    default:
        return std::nullopt;
    }
}

std::string all_rules(const Host& host) {
    std::string rules;
    for (const auto& rule : wake_rules(host.options, *host.offers))
        rules += (rules.empty() ? "" : ", ") + to_string(rule);
    return rules;
}

/// As the trigger thread and PresenceTable::on_trigger() do.
std::string after_trigger(const pz_event& event, const Host& host, const Refuses& refuses) {
    const std::string& name = host.name;
    if (const auto refusal = refuses(event, host))
        return fmt::format("nothing: the wake policy of {} refuses the packet: {}", name, to_string(*refusal));
    const auto address = event_address(event);
    std::string packet;
    if (event.reason == PZ_REASON_TRIGGER_MAGIC || !address)
        packet.clear(); // it has done its work
    else if (event.frame_captured == 0)
        packet = "the packet is too long to be held, and dropped";
    else if (is_served(host, *address))
        packet = fmt::format("holds the packet until {} is back with {}", name, address->to_string());
    else
        packet = fmt::format("drops the packet: {} has expired", address->to_string());
    if (host.state == HostState::asleep)
        return fmt::format("wakes {} by Magic Packets{}{}{}", name,
                           event.at_once == 0 ? "" : ", the first from the kernel at once", packet.empty() ? "" : "; ",
                           packet);
    return fmt::format("{} is already {}{}{}", name, to_string(host.state), packet.empty() ? "" : ": ", packet);
}

/// As Daemon::on_notice() and PresenceTable::on_owner() do.
std::string after_owner(const pz_event& event, const Host& host, const NicAnswers& nic_answers) {
    const std::string& name = host.name;
    const bool reply = event.detail == PZ_SIGN_REPLY;
    if (reply && nic_answers(host.id, host.generation))
        return fmt::format("nothing: the NIC of {} answers by itself, which proves nothing", name);
    if (host.state == HostState::awake)
        return fmt::format("delivers what is held for {}, if anything", name);
    const auto address = event_address(event);
    const bool asked =
        host.state == HostState::waking || host.state == HostState::unreachable || host.activity->resumes;
    if (reply && (!asked || !address || !is_served(host, *address)))
        return fmt::format("nothing: {} is {}, and its reply proves nothing", name, to_string(host.state));
    return fmt::format("{} is awake; it gets what is held for it, each packet when its address is proven", name);
}

/// As Daemon::on_conflict() and PresenceTable::on_conflict() do.
std::string after_conflict(const pz_event& event, const Host& host, const PresenceTable& table, Instant now) {
    const std::string& name = host.name;
    if (const auto address = event_address(event)) {
        const std::string claimed = address->to_string();
        switch (table.defence(host, *address, now)) {
        case Defence::none:
            break;
        case Defence::defend:
            return fmt::format("defends {} once; {} stays {}", claimed, name, to_string(host.state));
        case Defence::forget:
            return fmt::format("no longer answers for {}, which was learned; {} stays {}", claimed, name,
                               to_string(host.state));
        case Defence::let_go:
            return fmt::format("no longer answers for {}{}", claimed,
                               host.state == HostState::asleep ? fmt::format(", and wakes {}", name) : "");
        }
    }
    return fmt::format("reports the conflict; {} stays {}", name, to_string(host.state));
}

std::string_view option_of(const pz_event& event) {
    switch (event.detail) {
    case PZ_LISTEN_MDNS:
        return "mDNS";
    case PZ_LISTEN_LLMNR:
        return "LLMNR";
    default:
        return "IGMP and MLD";
    }
}

std::string after(const pz_event& event, const Host* host, const PresenceTable& table, const NicAnswers& nic_answers,
                  const Refuses& refuses, Instant now) {
    if (event.kind == PZ_EVENT_ROUTER)
        return "extends the validity of hosts' addresses in its prefixes (RFC 4862)";
    if (event.kind == PZ_EVENT_ADDRESS)
        return "learns the address for the sender, unless another host or the gateway has it";
    if (event.kind == PZ_EVENT_OPTION && event.generation == 0)
        return fmt::format("gives the message to {}, which answers for the hosts that it is about", option_of(event));
    if (host == nullptr)
        return "nothing: the host has left proxy care";
    switch (event.kind) {
    case PZ_EVENT_TRIGGER:
        return after_trigger(event, *host, refuses);
    case PZ_EVENT_RELEASE:
    case PZ_EVENT_PROOF:
        return after_owner(event, *host, nic_answers);
    case PZ_EVENT_CONFLICT:
        return after_conflict(event, *host, table, now);
    case PZ_EVENT_NON_WAKE:
        if (event.reason == PZ_REASON_UNANSWERED && host->state == HostState::unreachable)
            return fmt::format("sends {} a Magic Packet and a probe, unless it did lately", host->name);
        return fmt::format("notes that {} slept on; `proxzzyctl why {}` shows it", host->name, host->name);
    case PZ_EVENT_SECOND_PROXY:
        return fmt::format("reports that another gateway stands in for {} too", host->name);
    case PZ_EVENT_OPTION:
        return fmt::format("gives the message to {}, which answers for {}", option_of(event), host->name);
    default: // PZ_EVENT_NIC_ANSWERS
        return fmt::format("remembers that the NIC of {} answers by itself", host->name);
    }
}

std::string_view name_of(pz_event_kind kind) {
    constexpr std::array<std::string_view, 11> names{"",         "trigger",     "release",  "proof",
                                                     "conflict", "nic-answers", "non-wake", "second-proxy",
                                                     "router",   "address",     "option"};
    return names.at(kind);
}

control::FrameVerdict verdict_of(const fastpath::Verdict& verdict) {
    if (verdict.action == XDP_TX && verdict.found.events[PZ_SLOT_TARGET].kind != PZ_EVENT_TRIGGER)
        return control::FrameVerdict::answer;
    // what is steered does not get to the sleeper either, nor what a Magic Packet took the place of
    return verdict.action == XDP_PASS ? control::FrameVerdict::pass : control::FrameVerdict::drop;
}

} // namespace

control::Explanation explain(const fastpath::Verdict& verdict, ByteView frame, SegmentId segment,
                             const PresenceTable& table, const NicAnswers& nic_answers, const Refuses& refuses,
                             Instant now) {
    const pz_explanation& found = verdict.found;
    const auto parsed = parse_frame(frame);
    control::Explanation explanation;
    explanation.verdict = verdict_of(verdict);
    explanation.reason = fastpath::reason_name(found.reason);
    explanation.sentence = fastpath::reason_sentence(found.reason);
    explanation.vlan = {.outer = parsed.outer_vid, .inner = parsed.inner_vid};
    explanation.segment = found.segment;
    if (explanation.verdict == control::FrameVerdict::answer)
        explanation.reply = control::Frame{verdict.frame};

    const Host* target = find(table, found.target);
    if (target != nullptr) {
        explanation.rule = rule_that_decided(found, *target);
        if (found.reason == PZ_REASON_PORT_CLOSED)
            explanation.sentence += fmt::format("; {} wakes for {}", target->name, all_rules(*target));
    } else if (const auto address = address_meant(frame, parsed)) {
        target = table.find(segment, *address); // the kernel knows only the addresses that it answers for
    }
    if (target != nullptr) {
        explanation.host = target->name;
        explanation.host_state = target->state;
    }
    if (const Host* sender = find(table, found.sender)) {
        explanation.sender = sender->name;
        explanation.sender_state = sender->state;
        if (found.sign != PZ_SIGN_NONE)
            explanation.sign = name_of(static_cast<pz_sign>(found.sign));
    }
    for (const auto& event : found.events) {
        if (event.kind == 0)
            continue;
        const Host* host = find(table, {.host = event.host, .generation = event.generation});
        explanation.events.push_back({.kind = std::string(name_of(static_cast<pz_event_kind>(event.kind))),
                                      .host = host == nullptr ? std::nullopt : std::optional(host->name),
                                      .address = event_address(event),
                                      .next = after(event, host, table, nic_answers, refuses, now)});
    }
    return explanation;
}

} // namespace pz
