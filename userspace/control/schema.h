// SPDX-License-Identifier: Apache-2.0
// The attribute tables: which member of which structure travels as which attribute.  Encoding, decoding, JSON and the
// names in error messages all come from here.
#pragma once

#include <array>
#include <tuple>

#include <proxzzy/control.h>

#include "control/service.h"

namespace pz::control {

/// The body of a request that names a host.
struct HostName {
    std::string name;
};

/// Hosts of an import.
struct HostList {
    std::vector<HostConfig> hosts;
};

/// The body of a message without attributes.
struct Nothing {};

/// What follows a struct nlmsgerr.
struct Acknowledgement {
    std::string message; // empty unless refused
    std::optional<std::uint32_t> offset = std::nullopt;
    std::optional<std::uint32_t> missing_type = std::nullopt;
    std::optional<std::uint32_t> missing_nest = std::nullopt;
    std::optional<Durable> durable = std::nullopt;
    std::optional<std::uint32_t> added = std::nullopt; // hosts of an import
    std::optional<std::uint32_t> changed = std::nullopt;
    std::optional<std::uint32_t> unchanged = std::nullopt;
};

enum class Presence : std::uint8_t {
    required,
    optional, // left out when it has the default-constructed value
    repeated, // a vector: one attribute for each element
    repeated_bytes, // a vector of strings: one binary attribute for each
};

/// `member` is a member pointer or a function from the structure to a reference.
template <class Member>
struct Field {
    std::uint16_t type;
    const char* name;
    Presence presence;
    Member member;
};

/// Names of an enumeration's values, from 0 upwards.
template <class E>
inline constexpr std::array<const char*, 0> enum_names{};
template <>
inline constexpr auto enum_names<EchoMode> = echo_names;
template <>
inline constexpr auto enum_names<Identity> = identity_names;
template <>
inline constexpr auto enum_names<HostState> = host_state_names;
template <>
inline constexpr std::array enum_names<FrameVerdict>{"pass", "drop", "answer"};
template <>
inline constexpr std::array enum_names<Durable>{"no", "yes"};

/// `fields` is a tuple of Field; `message` is the answer that carries the structure, where there is one.
template <class T>
struct Schema;

using enum Presence;

template <>
struct Schema<Nothing> {
    static constexpr std::tuple fields{};
};

template <>
struct Schema<HostName> {
    static constexpr std::tuple fields{Field{PZ_A_HOST_NAME, "name", required, &HostName::name}};
};

template <>
struct Schema<Acknowledgement> {
    static constexpr std::tuple fields{
        Field{NLMSGERR_ATTR_MSG, "message", optional, &Acknowledgement::message},
        Field{NLMSGERR_ATTR_OFFS, "offset", optional, &Acknowledgement::offset},
        Field{NLMSGERR_ATTR_MISS_TYPE, "missing-type", optional, &Acknowledgement::missing_type},
        Field{NLMSGERR_ATTR_MISS_NEST, "missing-nest", optional, &Acknowledgement::missing_nest},
        Field{PZ_ACK_A_DURABLE, "durable", optional, &Acknowledgement::durable},
        Field{PZ_ACK_A_ADDED, "added", optional, &Acknowledgement::added},
        Field{PZ_ACK_A_CHANGED, "changed", optional, &Acknowledgement::changed},
        Field{PZ_ACK_A_UNCHANGED, "unchanged", optional, &Acknowledgement::unchanged},
    };
};

template <>
struct Schema<Capabilities> {
    static constexpr std::uint16_t message = PZ_MSG_CAPABILITIES;
    static constexpr std::tuple fields{
        Field{PZ_A_CAPABILITIES_VERSION, "version", required, &Capabilities::version},
        Field{PZ_A_CAPABILITIES_OPTION, "option", repeated, &Capabilities::options},
        Field{PZ_A_CAPABILITIES_MAX_HOSTS, "max-hosts", required, &Capabilities::max_hosts},
        Field{PZ_A_CAPABILITIES_MAX_ADDRESSES, "max-addresses", required, &Capabilities::max_addresses_per_host},
        Field{PZ_A_CAPABILITIES_MAX_RULES, "max-rules", required, &Capabilities::max_rules_per_host},
        Field{PZ_A_CAPABILITIES_MAX_MACS, "max-macs", required, &Capabilities::max_macs_per_host},
        Field{PZ_A_CAPABILITIES_MAX_HOSTNAMES, "max-hostnames", optional, &Capabilities::max_hostnames_per_host},
        Field{PZ_A_CAPABILITIES_MAX_SERVICES, "max-services", optional, &Capabilities::max_services_per_host},
        Field{PZ_A_CAPABILITIES_MAX_GROUPS, "max-groups", optional, &Capabilities::max_groups_per_host},
    };
};

template <>
struct Schema<PortStatus> {
    static constexpr std::tuple fields{
        Field{PZ_A_PORT_NAME, "name", required, &PortStatus::name},
        Field{PZ_A_PORT_MODE, "mode", required, &PortStatus::mode},
        Field{PZ_A_PORT_UP, "up", required, &PortStatus::up},
        Field{PZ_A_PORT_SERVED, "served", required, &PortStatus::served},
    };
};

template <>
struct Schema<InterfaceStatus> {
    static constexpr std::tuple fields{
        Field{PZ_A_INTERFACE_NAME, "name", required, &InterfaceStatus::name},
        Field{PZ_A_INTERFACE_MODE, "mode", required, &InterfaceStatus::mode},
        Field{PZ_A_INTERFACE_MAC, "mac", required, &InterfaceStatus::mac},
        Field{PZ_A_INTERFACE_UP, "up", required, &InterfaceStatus::up},
        Field{PZ_A_INTERFACE_SERVED, "served", required, &InterfaceStatus::served},
        Field{PZ_A_INTERFACE_EGRESS, "egress", required, &InterfaceStatus::egress},
        Field{PZ_A_INTERFACE_PORT, "port", repeated, &InterfaceStatus::ports},
    };
};

template <>
struct Schema<Network> {
    static constexpr std::tuple fields{
        Field{PZ_A_NETWORK_ADDRESS, "address", required, &Network::address},
        Field{PZ_A_NETWORK_LENGTH, "length", required, &Network::length},
    };
};

template <>
struct Schema<QuietHours> {
    static constexpr std::tuple fields{
        Field{PZ_A_QUIET_FROM, "from", required, &QuietHours::from},
        Field{PZ_A_QUIET_TO, "to", required, &QuietHours::to},
    };
};

template <>
struct Schema<DaemonStatus> {
    static constexpr std::uint16_t message = PZ_MSG_STATUS;
    static constexpr std::tuple fields{
        Field{PZ_A_STATUS_VERSION, "version", required, &DaemonStatus::version},
        Field{PZ_A_STATUS_UPTIME_MS, "uptime-ms", required, &DaemonStatus::uptime_ms},
        Field{PZ_A_STATUS_INTERFACE, "interface", repeated, &DaemonStatus::interfaces},
        Field{PZ_A_STATUS_HOSTS, "hosts", required, &DaemonStatus::hosts},
        Field{PZ_A_STATUS_HOSTS_ASLEEP, "hosts-asleep", required, &DaemonStatus::hosts_asleep},
        Field{PZ_A_STATUS_HELD_PACKETS, "held-packets", required, &DaemonStatus::held_packets},
        Field{PZ_A_STATUS_HELD_BYTES, "held-bytes", required, &DaemonStatus::held_bytes},
        Field{PZ_A_STATUS_BPFFS, "bpffs", required, &DaemonStatus::bpffs},
        Field{PZ_A_STATUS_NO_WAKE_FROM, "no-wake-from", repeated, &DaemonStatus::no_wake_from},
    };
};

template <>
struct Schema<Counter> {
    static constexpr std::uint16_t message = PZ_MSG_COUNTER;
    static constexpr std::tuple fields{
        Field{PZ_A_COUNTER_NAME, "name", required, &Counter::name},
        Field{PZ_A_COUNTER_SENTENCE, "sentence", required, &Counter::sentence},
        Field{PZ_A_COUNTER_VALUE, "value", required, &Counter::value},
    };
};

template <>
struct Schema<HostAddress> {
    static constexpr std::tuple fields{
        Field{PZ_A_IP_ADDRESS, "address", required, &HostAddress::ip},
        Field{PZ_A_IP_TEMPORARY, "temporary", optional, &HostAddress::temporary},
        Field{PZ_A_IP_VALID_FOR, "valid-for", optional, &HostAddress::valid_for},
    };
};

template <>
struct Schema<WakeRule> {
    static constexpr std::tuple fields{
        Field{PZ_A_WAKE_PROTOCOL, "protocol", required, &WakeRule::protocol},
        Field{PZ_A_WAKE_PORT, "port", optional, &WakeRule::port},
    };
};

template <>
struct Schema<VlanTags> {
    static constexpr std::tuple fields{
        Field{PZ_A_VLAN_OUTER, "outer", optional, &VlanTags::outer},
        Field{PZ_A_VLAN_INNER, "inner", optional, &VlanTags::inner},
    };
};

template <>
struct Schema<pz::Service> {
    static constexpr std::tuple fields{
        Field{PZ_A_SERVICE_TYPE, "type", required, &pz::Service::type},
        Field{PZ_A_SERVICE_SUBTYPE, "subtype", repeated, &pz::Service::subtypes},
        Field{PZ_A_SERVICE_PORT, "port", required, &pz::Service::port},
        Field{PZ_A_SERVICE_INSTANCE, "instance", optional, &pz::Service::instance},
        Field{PZ_A_SERVICE_TXT, "txt", repeated_bytes, &pz::Service::txt},
    };
};

template <>
struct Schema<HostConfig> {
    static constexpr std::tuple fields{
        Field{PZ_A_HOST_NAME, "name", required, &HostConfig::name},
        Field{PZ_A_HOST_MAC, "mac", repeated, &HostConfig::macs},
        Field{PZ_A_HOST_IP, "ip", repeated, &HostConfig::addresses},
        Field{PZ_A_HOST_WAKE, "wake", repeated, &HostConfig::wake},
        Field{PZ_A_HOST_INTERFACE, "interface", optional, &HostConfig::interface},
        Field{PZ_A_HOST_VLAN, "vlan", optional, &HostConfig::vlan},
        Field{PZ_A_HOST_ECHO, "echo", optional, &HostConfig::echo},
        Field{PZ_A_HOST_IDENTITY, "identity", optional, &HostConfig::identity},
        Field{PZ_A_HOST_MAGIC_PORT, "magic-port", optional,
              [](auto& config) -> auto& { return config.magic.udp_port; }},
        Field{PZ_A_HOST_SECUREON, "secureon", optional, [](auto& config) -> auto& { return config.magic.secureon; }},
        Field{PZ_A_HOST_AUTO, "auto", optional, &HostConfig::agentless},
        Field{PZ_A_HOST_ALLOW_FROM, "allow-from", repeated,
              [](auto& config) -> auto& { return config.policy.allow_from; }},
        Field{PZ_A_HOST_DENY_FROM, "deny-from", repeated,
              [](auto& config) -> auto& { return config.policy.deny_from; }},
        Field{PZ_A_HOST_WAKES_PER_HOUR, "wakes-per-hour", optional,
              [](auto& config) -> auto& { return config.policy.wakes_per_hour; }},
        Field{PZ_A_HOST_WAKES_PER_SOURCE, "wakes-per-source", optional,
              [](auto& config) -> auto& { return config.policy.wakes_per_source; }},
        Field{PZ_A_HOST_MIN_WAKE_INTERVAL, "min-wake-interval", optional,
              [](auto& config) -> auto& { return config.policy.min_wake_interval; }},
        Field{PZ_A_HOST_QUIET, "quiet", repeated, [](auto& config) -> auto& { return config.policy.quiet; }},
        Field{PZ_A_HOST_LEARN, "learn", optional, &HostConfig::learn},
        Field{PZ_A_HOST_HOSTNAME, "hostname", repeated, [](auto& config) -> auto& { return config.offers.hostnames; }},
        Field{PZ_A_HOST_SERVICE, "service", repeated, [](auto& config) -> auto& { return config.offers.services; }},
        Field{PZ_A_HOST_SERVICE_WAKE, "service-wake", optional,
              [](auto& config) -> auto& { return config.offers.service_ports_wake; }},
        Field{PZ_A_HOST_GROUP, "group", repeated, [](auto& config) -> auto& { return config.offers.groups; }},
        Field{PZ_A_HOST_PRIORITY, "priority", optional, [](auto& config) -> auto& { return config.offers.priority; }},
    };
};

template <>
struct Schema<HostList> {
    static constexpr std::tuple fields{
        Field{PZ_A_IMPORT_HOST, "host", repeated, &HostList::hosts},
    };
};

template <>
struct Schema<HostStatus> {
    static constexpr std::uint16_t message = PZ_MSG_HOST;
    static constexpr std::tuple fields{
        Field{PZ_A_HOST_STATUS_CONFIG, "config", required, &HostStatus::config},
        Field{PZ_A_HOST_STATUS_ID, "id", required, &HostStatus::id},
        Field{PZ_A_HOST_STATUS_GENERATION, "generation", required, &HostStatus::generation},
        Field{PZ_A_HOST_STATUS_STATE, "state", required, &HostStatus::state},
        Field{PZ_A_HOST_STATUS_SINCE_REASON, "since-reason", required, &HostStatus::since_reason},
        Field{PZ_A_HOST_STATUS_SINCE_MS, "since-ms", required, &HostStatus::since_ms},
        Field{PZ_A_HOST_STATUS_IDENTITY, "identity", required, &HostStatus::identity},
        Field{PZ_A_HOST_STATUS_WAKES, "wakes", required, &HostStatus::wakes},
        Field{PZ_A_HOST_STATUS_HELD_PACKETS, "held-packets", required, &HostStatus::held_packets},
        Field{PZ_A_HOST_STATUS_LAST_WAKE_LATENCY_US, "last-wake-latency-us", required,
              &HostStatus::last_wake_latency_us},
        Field{PZ_A_HOST_STATUS_REFUSED, "refused", required, &HostStatus::refused},
        Field{PZ_A_HOST_STATUS_FILE, "file", optional, &HostStatus::file},
        Field{PZ_A_HOST_STATUS_LEARNED, "learned", repeated, &HostStatus::learned},
    };
};

template <>
struct Schema<EventsWanted> {
    static constexpr std::tuple fields{
        Field{PZ_A_EVENTS_HOST, "host", optional, &EventsWanted::host},
        Field{PZ_A_EVENTS_FOLLOW, "follow", optional, &EventsWanted::follow},
        Field{PZ_A_EVENTS_NEW_ONLY, "new-only", optional, &EventsWanted::new_only},
    };
};

template <>
struct Schema<ExplainRequest> {
    static constexpr std::tuple fields{
        Field{PZ_A_EXPLAIN_INTERFACE, "interface", optional, &ExplainRequest::interface},
        Field{PZ_A_EXPLAIN_FRAME, "frame", required, &ExplainRequest::frame},
        Field{PZ_A_EXPLAIN_EGRESS, "egress", optional, &ExplainRequest::egress},
    };
};

template <>
struct Schema<Event> {
    static constexpr std::uint16_t message = PZ_MSG_EVENT;
    static constexpr std::tuple fields{
        Field{PZ_A_EVENT_SEQUENCE, "sequence", required, &Event::sequence},
        Field{PZ_A_EVENT_TIME_NS, "time-ns", required, &Event::time_ns},
        Field{PZ_A_EVENT_KIND, "kind", required, &Event::kind},
        Field{PZ_A_EVENT_LEVEL, "level", required, &Event::level},
        Field{PZ_A_EVENT_TEXT, "text", optional, &Event::text},
        Field{PZ_A_EVENT_HOST, "host", optional, &Event::host},
        Field{PZ_A_EVENT_HOST_ID, "host-id", optional, &Event::host_id},
        Field{PZ_A_EVENT_GENERATION, "generation", optional, &Event::generation},
        Field{PZ_A_EVENT_INTERFACE, "interface", optional, &Event::interface},
        Field{PZ_A_EVENT_FROM, "from", optional, &Event::from},
        Field{PZ_A_EVENT_TO, "to", optional, &Event::to},
        Field{PZ_A_EVENT_REASON, "reason", optional, &Event::reason},
        Field{PZ_A_EVENT_SENTENCE, "sentence", optional, &Event::sentence},
        Field{PZ_A_EVENT_RULE, "rule", optional, &Event::rule},
        Field{PZ_A_EVENT_DECIDED_BY, "decided-by", optional, &Event::decided_by},
        Field{PZ_A_EVENT_PACKET, "packet", optional, &Event::packet},
        Field{PZ_A_EVENT_UID, "uid", optional, &Event::uid},
        Field{PZ_A_EVENT_PID, "pid", optional, &Event::pid},
        Field{PZ_A_EVENT_MISSED, "missed", optional, &Event::missed},
    };
};

template <>
struct Schema<ExplainedEvent> {
    static constexpr std::tuple fields{
        Field{PZ_A_EXPLAINED_EVENT_KIND, "kind", required, &ExplainedEvent::kind},
        Field{PZ_A_EXPLAINED_EVENT_HOST, "host", optional, &ExplainedEvent::host},
        Field{PZ_A_EXPLAINED_EVENT_ADDRESS, "address", optional, &ExplainedEvent::address},
        Field{PZ_A_EXPLAINED_EVENT_NEXT, "next", required, &ExplainedEvent::next},
    };
};

template <>
struct Schema<Wake> {
    static constexpr std::uint16_t message = PZ_MSG_WAKE;
    static constexpr std::tuple fields{
        Field{PZ_A_WAKE_LOG_TIME_NS, "time-ns", required, &Wake::time_ns},
        Field{PZ_A_WAKE_LOG_OUTCOME, "outcome", required, &Wake::outcome},
        Field{PZ_A_WAKE_LOG_REASON, "reason", optional, &Wake::reason},
        Field{PZ_A_WAKE_LOG_SENTENCE, "sentence", optional, &Wake::sentence},
        Field{PZ_A_WAKE_LOG_RULE, "rule", optional, &Wake::rule},
        Field{PZ_A_WAKE_LOG_DECIDED_BY, "decided-by", required, &Wake::decided_by},
        Field{PZ_A_WAKE_LOG_PACKET, "packet", optional, &Wake::packet},
        Field{PZ_A_WAKE_LOG_FRAME, "frame", optional, &Wake::frame},
        Field{PZ_A_WAKE_LOG_FRAME_LENGTH, "frame-length", optional, &Wake::frame_length},
        Field{PZ_A_WAKE_LOG_COUNT, "count", optional, &Wake::count},
        Field{PZ_A_WAKE_LOG_MAGIC_AFTER_US, "magic-after-us", optional, &Wake::magic_after_us},
        Field{PZ_A_WAKE_LOG_SIGN, "sign", optional, &Wake::sign},
        Field{PZ_A_WAKE_LOG_ALIVE_AFTER_US, "alive-after-us", optional, &Wake::alive_after_us},
        Field{PZ_A_WAKE_LOG_DELIVERED, "delivered", optional, &Wake::delivered},
        Field{PZ_A_WAKE_LOG_DELIVERED_AFTER_US, "delivered-after-us", optional, &Wake::delivered_after_us},
        Field{PZ_A_WAKE_LOG_DROPPED, "dropped", optional, &Wake::dropped},
    };
};

template <>
struct Schema<Explanation> {
    static constexpr std::uint16_t message = PZ_MSG_EXPLANATION;
    static constexpr std::tuple fields{
        Field{PZ_A_EXPLANATION_VERDICT, "verdict", required, &Explanation::verdict},
        Field{PZ_A_EXPLANATION_REASON, "reason", required, &Explanation::reason},
        Field{PZ_A_EXPLANATION_SENTENCE, "sentence", required, &Explanation::sentence},
        Field{PZ_A_EXPLANATION_INTERFACE, "interface", required, &Explanation::interface},
        Field{PZ_A_EXPLANATION_VLAN, "vlan", optional, &Explanation::vlan},
        Field{PZ_A_EXPLANATION_SEGMENT, "segment", optional, &Explanation::segment},
        Field{PZ_A_EXPLANATION_HOST, "host", optional, &Explanation::host},
        Field{PZ_A_EXPLANATION_HOST_STATE, "host-state", optional, &Explanation::host_state},
        Field{PZ_A_EXPLANATION_SENDER, "sender", optional, &Explanation::sender},
        Field{PZ_A_EXPLANATION_SENDER_STATE, "sender-state", optional, &Explanation::sender_state},
        Field{PZ_A_EXPLANATION_SIGN, "sign", optional, &Explanation::sign},
        Field{PZ_A_EXPLANATION_RULE, "rule", optional, &Explanation::rule},
        Field{PZ_A_EXPLANATION_EVENT, "event", repeated, &Explanation::events},
        Field{PZ_A_EXPLANATION_REPLY, "reply", optional, &Explanation::reply},
    };
};

/// Calls `visit(field, position)` for each field of T in turn.
template <class T, class Visit>
constexpr void for_each_field(Visit&& visit) {
    std::apply(
        [&](const auto&... field) {
            unsigned position = 0;
            (visit(field, position++), ...);
        },
        Schema<T>::fields);
}

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class T>
concept HasSchema = requires { Schema<T>::fields; };

} // namespace pz::control
