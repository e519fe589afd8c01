// SPDX-License-Identifier: Apache-2.0
// Checks of a host's configuration, and names of its states.
#include "hosts/record.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "base/text.h"

namespace pz {
namespace {

constexpr std::uint16_t max_vid = 4094;              // IEEE 802.1Q: 4095 is reserved
constexpr std::size_t max_interface_name = 15;       // IFNAMSIZ with its terminator
constexpr std::chrono::seconds max_validity{UINT32_MAX}; // lease and prefix lifetimes are 32-bit seconds

/// The first element of which `part` is there twice, or end().
template <class List, class Part = std::identity>
auto find_repeated(const List& list, Part part = {}) {
    for (auto it = list.begin(); it != list.end(); ++it)
        if (std::ranges::find(list.begin(), it, std::invoke(part, *it), part) != it)
            return it;
    return list.end();
}

Result<> check_name(const std::string& name) {
    const bool good = !name.empty() && name.size() <= max_name_length && is_alnum(name.front()) &&
                      std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
    if (!good)
        return fail(
            Errc::invalid,
            fmt::format("name {}: must be 1 to {} letters, digits, '.', '_' or '-', the first a letter or digit",
                        in_quotes(name), max_name_length),
            "name");
    return {};
}

Result<> check_macs(const std::vector<MacAddress>& macs) {
    if (macs.empty() || macs.size() > max_macs)
        return fail(Errc::invalid, fmt::format("mac: {} given, a host has 1 to {}", macs.size(), max_macs), "mac");
    for (const MacAddress& mac : macs)
        if (mac.is_zero() || mac.is_multicast())
            return fail(Errc::invalid,
                        fmt::format("mac {}: is {}, must be the unicast MAC of the host's interface", mac.to_string(),
                                    mac.is_zero() ? "zero" : "multicast"),
                        "mac");
    if (const auto twice = find_repeated(macs); twice != macs.end())
        return fail(Errc::invalid, fmt::format("mac {}: given twice, once is right", twice->to_string()), "mac");
    return {};
}

std::string_view why_not_a_host_address(const IpAddress& ip) {
    if (ip.is_unspecified())
        return "unspecified";
    if (ip.is_loopback())
        return "loopback";
    if (ip.is_multicast())
        return "multicast";
    if (ip.is_limited_broadcast())
        return "broadcast";
    return {};
}

Result<> check_addresses(const std::vector<HostAddress>& addresses, bool learn) {
    if ((addresses.empty() && !learn) || addresses.size() > max_addresses)
        return fail(Errc::invalid, fmt::format("ip: {} given, a host has 1 to {}", addresses.size(), max_addresses),
                    "ip");
    for (const HostAddress& address : addresses) {
        if (const std::string_view why = why_not_a_host_address(address.ip); !why.empty())
            return fail(
                Errc::invalid,
                fmt::format("ip {}: is {}, must be a unicast address that the host holds", address.ip.to_string(), why),
                "ip");
        if (address.temporary && address.ip.is_v4())
            return fail(Errc::invalid,
                        fmt::format("ip {}: is given as temporary, which only an IPv6 address can be (RFC 8981)",
                                    address.ip.to_string()),
                        "ip");
        if (address.valid_for && (*address.valid_for <= std::chrono::seconds(0) || *address.valid_for > max_validity))
            return fail(Errc::invalid,
                        fmt::format("ip {}: valid for {} s, must be 1 to {} s or without limit", address.ip.to_string(),
                                    address.valid_for->count(), max_validity.count()),
                        "ip");
    }
    if (const auto twice = find_repeated(addresses, &HostAddress::ip); twice != addresses.end())
        return fail(Errc::invalid, fmt::format("ip {}: given twice, once is right", twice->ip.to_string()), "ip");
    return {};
}

std::string rule_name(const WakeRule& rule) {
    return fmt::format("{}/{}", rule.protocol == IPPROTO_TCP ? "tcp" : "udp",
                       rule.port == 0 ? std::string("any") : fmt::to_string(rule.port));
}

Result<> check_rules(const std::vector<WakeRule>& rules) {
    if (rules.size() > PZ_MAX_RULES)
        return fail(Errc::invalid,
                    fmt::format("wake: {} rules given, a host has at most {}", rules.size(), PZ_MAX_RULES), "wake");
    for (const WakeRule& rule : rules)
        if (rule.protocol != IPPROTO_TCP && rule.protocol != IPPROTO_UDP)
            return fail(
                Errc::invalid,
                fmt::format("wake: IP protocol {}, must be tcp or udp as in tcp/22, udp/5060, tcp/any", rule.protocol),
                "wake");
    if (const auto twice = find_repeated(rules); twice != rules.end())
        return fail(Errc::invalid, fmt::format("wake {}: given twice, once is right", rule_name(*twice)), "wake");
    return {};
}

std::optional<WakeRule> find_rule(const std::vector<WakeRule>& rules, std::uint8_t protocol, std::uint16_t port) {
    const auto found = std::ranges::find_if(rules, [&](const WakeRule& rule) {
        return rule.protocol == protocol && (rule.port == 0 || rule.port == port);
    });
    return found == rules.end() ? std::nullopt : std::optional(*found);
}

/// The kernel has room for so many.
Result<> check_rules_in_force(const HostConfig& config) {
    if (config.offers.services.empty()) // then there are no others
        return {};
    const std::size_t count = wake_rules(config, config.offers).size();
    if (count > PZ_MAX_RULES)
        return fail(Errc::invalid,
                    fmt::format("service: with their ports a host would have {} wake rules, must be at most {}; leave "
                                "some out, or say service-wake = no",
                                count, PZ_MAX_RULES),
                    "service");
    return {};
}

Result<> check_place(const std::string& interface, const VlanTags& vlan) {
    const bool good =
        interface.size() <= max_interface_name && interface != "." && interface != ".." &&
        std::ranges::all_of(interface, [](char c) { return c > ' ' && c <= '~' && c != '/' && c != ':'; });
    if (!good)
        return fail(Errc::invalid,
                    fmt::format("interface {}: must be an interface's name, at most {} characters, as in eth0",
                                in_quotes(interface), max_interface_name),
                    "interface");
    for (const std::uint16_t vid : {vlan.outer, vlan.inner})
        if (vid > max_vid)
            return fail(Errc::invalid, fmt::format("vlan {}: must be 1 to {}, or 0 for none", vid, max_vid), "vlan");
    if (vlan.inner != 0 && vlan.outer == 0)
        return fail(Errc::invalid,
                    fmt::format("vlan: inner {} without an outer one, must be 1 to {}", vlan.inner, max_vid), "vlan");
    return {};
}

Result<> check_choices(const HostConfig& config) {
    if (config.echo > EchoMode::wake)
        return fail(Errc::invalid,
                    fmt::format("echo {}: must be answer, ignore or wake", static_cast<unsigned>(config.echo)), "echo");
    if (config.identity && *config.identity > Identity::proxy)
        return fail(Errc::invalid,
                    fmt::format("identity {}: must be host or proxy", static_cast<unsigned>(*config.identity)),
                    "identity");
    if (config.magic.udp_port == 0)
        return fail(Errc::invalid, "magic-port 0: must be 1 to 65535, as in 9", "magic-port");
    return {};
}

} // namespace

Result<> validate(const HostConfig& config) {
    Result<> checked = check_name(config.name);
    if (checked)
        checked = check_macs(config.macs);
    if (checked)
        checked = check_addresses(config.addresses, config.learn);
    if (checked)
        checked = check_rules(config.wake);
    if (checked)
        checked = check_place(config.interface, config.vlan);
    if (checked)
        checked = check_choices(config);
    if (checked)
        checked = validate(config.policy);
    if (checked)
        checked = validate(config.offers);
    if (checked)
        checked = check_rules_in_force(config);
    return checked;
}

bool is_host_address(const IpAddress& ip) {
    return why_not_a_host_address(ip).empty();
}

std::string_view to_string(HostState state) {
    const auto index = static_cast<std::size_t>(state);
    return index < host_state_names.size() ? host_state_names[index] : "unknown";
}

std::string to_string(const WakeRule& rule) {
    const auto protocol = rule.protocol == IPPROTO_TCP   ? std::string("tcp")
                          : rule.protocol == IPPROTO_UDP ? std::string("udp")
                                                         : std::to_string(rule.protocol);
    return protocol + "/" + (rule.port == 0 ? std::string("any") : std::to_string(rule.port));
}

std::vector<WakeRule> wake_rules(const HostOptions& options, const HostOffers& offers) {
    std::vector<WakeRule> rules = options.wake;
    if (rules.empty())
        rules.push_back({.protocol = IPPROTO_TCP, .port = 0});
    if (!offers.service_ports_wake)
        return rules;
    for (const Service& service : offers.services) {
        const WakeRule rule{.protocol = protocol_of(service), .port = service.port};
        if (!find_rule(rules, rule.protocol, rule.port))
            rules.push_back(rule);
    }
    return rules;
}

std::optional<WakeRule> find_wake_rule(const HostOptions& options, const HostOffers& offers, std::uint8_t protocol,
                                       std::uint16_t port) {
    return find_rule(wake_rules(options, offers), protocol, port);
}

} // namespace pz
