// SPDX-License-Identifier: Apache-2.0
#include "hosts/host_options.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>

#include <boost/program_options.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/ini.h"
#include "base/number.h"

namespace pz {

namespace po = boost::program_options;

namespace {

template <class E, std::size_t size>
Result<E> parse_choice(const char* option, const std::array<const char*, size>& names, const std::string& text) {
    const auto found = std::ranges::find(names, text, [](const char* name) { return std::string_view(name); });
    if (found == names.end())
        return fail(Errc::invalid, fmt::format("{} {:?}: must be one of {}", option, text, fmt::join(names, ", ")),
                    option);
    return static_cast<E>(found - names.begin());
}

/// The value stays out of the error: it is a password.
Result<std::array<std::uint8_t, PZ_SECUREON_LEN>> read_secureon(const std::filesystem::path& path) {
    constexpr const char* option = "secureon-file";
    std::ifstream file(path);
    if (!file) {
        Error error = fail_errno(fmt::format("{} {:?}", option, path.string()), errno).error();
        error.field = option;
        return std::unexpected(std::move(error));
    }
    std::string text;
    file >> text;
    const auto password = MacAddress::parse(text);
    std::string more;
    if (!password || file >> more)
        return fail(Errc::invalid,
                    fmt::format("{} {:?}: must hold six pairs of hexadecimal digits, as in 01:23:45:67:89:ab, and "
                                "nothing else",
                                option, path.string()),
                    option);
    return password->bytes;
}

/// An error of `option`'s value, worded by somebody who did not know the option.
template <class T>
Result<T> in_option(const char* option, Result<T> result) {
    if (!result)
        return fail(result.error().code, fmt::format("{} {}", option, result.error().message), option);
    return result;
}

/// What hosts differ in, in the order in which a record has it.
constexpr std::array<std::string_view, 4> own_options{"mac", "ip", "temporary-ip", "hostname"};

/// Adds one value of one of these options.
Result<> add_own(HostConfig& config, std::string_view option, std::string_view value) {
    if (option == "mac")
        config.macs.push_back(PZ_TRY(in_option("mac", MacAddress::parse(value))));
    else if (option == "ip")
        config.addresses.push_back({.ip = PZ_TRY(in_option("ip", IpAddress::parse(value)))});
    else if (option == "temporary-ip")
        config.addresses.push_back(
            {.ip = PZ_TRY(in_option("temporary-ip", IpAddress::parse(value))), .temporary = true});
    else
        config.offers.hostnames.emplace_back(value);
    return {};
}

/// So many kinds of hosts are remembered.
constexpr std::size_t max_alike = 256;

/// The host that `text` at `place` describes.
Result<HostConfig> parse_host(std::string name, const std::string& place, const std::string& text,
                              const po::options_description& options, const std::filesystem::path& folder) {
    const auto parsed = PZ_TRY(parse_ini(place, text, options));
    po::variables_map values;
    try { // Boost.Program_options reports by exception
        po::store(parsed, values);
    } catch (const po::error& error) {
        return fail(Errc::invalid, fmt::format("{}: {}", place, error.what()));
    }
    auto config = read_host(std::move(name), values, folder);
    if (!config)
        return fail(config.error().code, fmt::format("{}: {}", place, config.error().message), config.error().field);
    return config;
}

} // namespace

po::options_description host_options(const std::string& caption) {
    using Text = std::string;
    using Texts = std::vector<std::string>;
    po::options_description options(caption, 100);
    // clang-format off
    options.add_options()
        ("mac", po::value<Texts>()->value_name("MAC"),
         "MAC address; the first one is answered with and woken, others (dock, Wi-Fi) are signs of life")
        ("ip", po::value<Texts>()->value_name("ADDRESS"), "IPv4 or IPv6 address of the host; repeat for each")
        ("temporary-ip", po::value<Texts>()->value_name("ADDRESS"), "temporary IPv6 address (RFC 8981)")
        ("wake", po::value<Texts>()->value_name("PROTOCOL/PORT"),
         "what wakes it: tcp/22, tcp/any, udp/5060; repeat for each; none given: tcp/any")
        ("hostname", po::value<Texts>()->value_name("HOSTNAME"),
         "its name on its network: desk.local by mDNS, and desk by LLMNR; desk by LLMNR alone; repeat for each")
        ("service", po::value<Texts>()->value_name("SERVICE"),
         "what it offers by DNS-SD: TYPE[,SUBTYPE...] PORT [INSTANCE] [KEY[=VALUE]...], as in '_ssh._tcp 22', or "
         "'_ipp._tcp,_universal 631 \"Front office\" rp=ipp/print'; the third word is the instance, \"\" the host's "
         "name; needs a hostname in .local; repeat for each")
        ("service-wake", po::value<Text>()->value_name("yes|no"),
         "ports of services wake it too, as if there were a wake line for each; none given: yes")
        ("group", po::value<Texts>()->value_name("GROUP"),
         "multicast address that it takes part in: 239.1.2.3 or ff02::1234; repeat for each")
        ("priority", po::value<Text>()->value_name("N"),
         "IEEE 802.1p priority, 0 to 7, of what is sent for its names, services and groups; none given: 0")
        ("interface", po::value<Text>()->value_name("IF"), "where the host is; needed if proxzzyd serves several")
        ("vlan", po::value<Text>()->value_name("VID"), "VLAN: one tag, N, or two, OUTER.INNER")
        ("auto", po::value<Text>()->implicit_value("yes")->value_name("yes|no"),
         "no software on the host says when it sleeps: it is probed, and asleep when it does not answer")
        ("learn", po::value<Text>()->implicit_value("yes")->value_name("yes|no"),
         "the addresses that it uses while awake are answered for too when it sleeps; ip need not be given")
        ("echo", po::value<Text>()->value_name("MODE"), "ping while it sleeps: answer (default), ignore or wake")
        ("identity", po::value<Text>()->value_name("WHOSE"),
         "MAC in answers: host or proxy; none given: as proxzzyd was started")
        ("magic-port", po::value<Text>()->value_name("PORT"), "UDP port of Magic Packets; none given: 9")
        ("secureon-file", po::value<Text>()->value_name("FILE"),
         "file with the SecureOn password, as 01:23:45:67:89:ab");
    // clang-format on
    add_policy_options(options);
    return options;
}

void add_policy_options(po::options_description& options) {
    using Text = std::string;
    using Texts = std::vector<std::string>;
    // clang-format off
    options.add_options()
        ("allow-from", po::value<Texts>()->value_name("NET"),
         "only packets from this network wake it, as in 192.0.2.0/24; repeat for each; none given: from anywhere")
        ("deny-from", po::value<Texts>()->value_name("NET"),
         "packets from this network do not, whatever --allow-from says; repeat for each")
        ("wakes-per-hour", po::value<Text>()->value_name("N"),
         "how often packets may wake it; 60 if not given, 0 for no limit; half is for sources that ask again")
        ("wakes-per-source", po::value<Text>()->value_name("N"),
         "how often in an hour those of one source may; 30 if not given, 0 for no limit")
        ("min-wake-interval", po::value<Text>()->value_name("SECONDS"),
         "from one wake by a packet to the next; none given: 0")
        ("quiet", po::value<Texts>()->value_name("HH:MM-HH:MM"),
         "time of the day in which packets do not wake it, local time, maybe over midnight; repeat for each");
    // clang-format on
}

Result<WakePolicy> read_policy(WakePolicy policy, const po::variables_map& values) {
    const auto read_list = [&](const char* option, auto& list, auto parse) -> Result<> {
        if (!values.contains(option))
            return {};
        const auto& texts = values[option].as<std::vector<std::string>>();
        list.clear();
        if (texts == std::vector<std::string>{"none"})
            return {};
        for (const auto& text : texts)
            list.push_back(PZ_TRY(in_option(option, parse(text))));
        return {};
    };
    const auto read_number = [&](const char* option, std::uint32_t largest, auto& number) -> Result<> {
        if (!values.contains(option))
            return {};
        const auto& text = values[option].as<std::string>();
        const auto value = text == "none" ? std::optional(0U) : parse_number<std::uint32_t>(text);
        if (!value || *value > largest)
            return fail(Errc::invalid,
                        fmt::format("{} {:?}: must be a number from 1 to {}, or 0 for no limit", option, text, largest),
                        option);
        number = std::remove_cvref_t<decltype(number)>(*value);
        return {};
    };
    PZ_TRY(read_list("allow-from", policy.allow_from, [](const auto& text) { return Network::parse(text); }));
    PZ_TRY(read_list("deny-from", policy.deny_from, [](const auto& text) { return Network::parse(text); }));
    PZ_TRY(read_list("quiet", policy.quiet, [](const auto& text) { return parse_quiet(text); }));
    PZ_TRY(read_number("wakes-per-hour", max_wakes_per_hour, policy.wakes_per_hour));
    PZ_TRY(read_number("wakes-per-source", max_wakes_per_hour, policy.wakes_per_source));
    PZ_TRY(read_number("min-wake-interval", static_cast<std::uint32_t>(max_wake_interval.count()),
                       policy.min_wake_interval));
    PZ_TRY(validate(policy));
    return policy;
}

Result<HostConfig> read_host(std::string name, const po::variables_map& values, const std::filesystem::path& folder) {
    const auto texts = [&](const std::string& option) {
        return values.contains(option) ? values[option].as<std::vector<std::string>>() : std::vector<std::string>{};
    };
    const auto text = [&](const char* option) -> const std::string* {
        return values.contains(option) ? &values[option].as<std::string>() : nullptr;
    };
    HostConfig config;
    config.name = std::move(name);
    for (const std::string_view option : own_options)
        for (const auto& value : texts(std::string(option)))
            PZ_TRY(add_own(config, option, value));
    for (const auto& wake : texts("wake"))
        config.wake.push_back(PZ_TRY(parse_wake(wake)));
    for (const auto& service : texts("service"))
        config.offers.services.push_back(PZ_TRY(parse_service(service)));
    if (const auto* wakes = text("service-wake"))
        config.offers.service_ports_wake = PZ_TRY(parse_choice<bool>("service-wake", std::array{"no", "yes"}, *wakes));
    if (const auto* priority = text("priority")) {
        const auto number = parse_number<std::uint8_t>(*priority);
        if (!number || *number > max_priority)
            return fail(Errc::invalid,
                        fmt::format("priority {:?}: must be 0 to {} (IEEE 802.1p)", *priority, max_priority),
                        "priority");
        config.offers.priority = *number;
    }
    for (const auto& group : texts("group"))
        config.offers.groups.push_back(PZ_TRY(in_option("group", IpAddress::parse(group))));
    if (const auto* interface = text("interface"))
        config.interface = *interface;
    if (const auto* vlan = text("vlan"))
        config.vlan = PZ_TRY(parse_vlan(*vlan));
    if (const auto* automatic = text("auto"))
        config.agentless = PZ_TRY(parse_choice<bool>("auto", std::array{"no", "yes"}, *automatic));
    if (const auto* learn = text("learn"))
        config.learn = PZ_TRY(parse_choice<bool>("learn", std::array{"no", "yes"}, *learn));
    if (const auto* echo = text("echo"))
        config.echo = PZ_TRY(parse_choice<EchoMode>("echo", echo_names, *echo));
    if (const auto* identity = text("identity"))
        config.identity = PZ_TRY(parse_choice<Identity>("identity", identity_names, *identity));
    if (const auto* port = text("magic-port")) {
        const auto number = parse_number<std::uint16_t>(*port);
        if (!number || *number == 0)
            return fail(Errc::invalid, fmt::format("magic-port {:?}: must be a UDP port from 1 to 65535", *port),
                        "magic-port");
        config.magic.udp_port = *number;
    }
    if (const auto* path = text("secureon-file"))
        config.magic.secureon = PZ_TRY(read_secureon(folder / *path));
    config.policy = PZ_TRY(read_policy({}, values));
    PZ_TRY(validate(config)); // its fields are called like the options
    return config;
}

std::vector<std::pair<std::string, std::string>> words_of(const HostConfig& config) {
    std::vector<std::pair<std::string, std::string>> words;
    const auto add = [&](const char* option, std::string value) { words.emplace_back(option, std::move(value)); };
    for (const auto& mac : config.macs)
        add("mac", mac.to_string());
    for (const bool temporary : {false, true})
        for (const auto& address : config.addresses)
            if (address.temporary == temporary)
                add(temporary ? "temporary-ip" : "ip", address.ip.to_string());
    for (const auto& rule : config.wake)
        add("wake", to_string(rule));
    for (const auto& hostname : config.offers.hostnames)
        add("hostname", hostname);
    for (const auto& service : config.offers.services)
        add("service", to_string(service));
    if (!config.offers.service_ports_wake)
        add("service-wake", "no");
    for (const auto& group : config.offers.groups)
        add("group", group.to_string());
    if (config.offers.priority != 0)
        add("priority", fmt::format("{}", config.offers.priority));
    if (!config.interface.empty())
        add("interface", config.interface);
    if (config.vlan.inner != 0)
        add("vlan", fmt::format("{}.{}", config.vlan.outer, config.vlan.inner));
    else if (config.vlan.outer != 0)
        add("vlan", fmt::format("{}", config.vlan.outer));
    add("auto", config.agentless ? "yes" : "no");
    add("learn", config.learn ? "yes" : "no");
    add("echo", echo_names.at(static_cast<std::size_t>(config.echo)));
    if (config.identity)
        add("identity", identity_names.at(static_cast<std::size_t>(*config.identity)));
    add("magic-port", fmt::format("{}", config.magic.udp_port));
    for (const auto& network : config.policy.allow_from)
        add("allow-from", network.to_string());
    for (const auto& network : config.policy.deny_from)
        add("deny-from", network.to_string());
    add("wakes-per-hour", fmt::format("{}", config.policy.wakes_per_hour));
    add("wakes-per-source", fmt::format("{}", config.policy.wakes_per_source));
    add("min-wake-interval", fmt::format("{}", config.policy.min_wake_interval.count()));
    for (const auto& quiet : config.policy.quiet)
        add("quiet", to_string(quiet));
    return words;
}

Result<HostConfig> parse_host_file(const std::filesystem::path& path, const std::string& text) {
    return parse_host(path.stem().string(), path.string(), text, host_options(""), path.parent_path());
}

HostReader::HostReader(std::string path, std::string_view text, std::filesystem::path folder)
    : sections_(std::move(path), text), folder_(std::move(folder)),
      options_(std::make_unique<po::options_description>(host_options(""))) {}

HostReader::~HostReader() = default;

Result<std::optional<HostConfig>> HostReader::next() {
    if (!PZ_TRY(sections_.next(section_)))
        return std::nullopt;
    if (HostConfig config; read_alike(config))
        return config;
    const std::string place = fmt::format("{}: section [{}]", sections_.path(), section_.name);
    const std::string text = fmt::format("{}\n", fmt::join(section_.lines, "\n"));
    HostConfig config = PZ_TRY(parse_host(std::string(section_.name), place, text, *options_, folder_));
    if (alike_.size() == max_alike)
        alike_.clear();
    HostConfig& alike = alike_[others_] = config;
    alike.name.clear();
    alike.macs.clear();
    alike.addresses.clear();
    alike.offers.hostnames.clear();
    return config;
}

/// The host of section_, in the place of `config`, if one with the same other lines was read before:
/// Boost.Program_options takes 20 us for a section.  False: it has to be read like the first one, also if something is
/// wrong with it.
bool HostReader::read_alike(HostConfig& config) {
    own_.clear();
    others_.clear();
    for (const std::string_view line : section_.lines) {
        const std::size_t equals = line.find('=');
        const std::string_view key = trimmed(line.substr(0, equals));
        if (equals != std::string_view::npos && std::ranges::find(own_options, key) != own_options.end())
            own_.emplace_back(key, trimmed(line.substr(equals + 1)));
        else
            (others_ += line) += '\n';
    }
    const auto found = alike_.find(others_);
    if (found == alike_.end())
        return false;
    config = found->second;
    config.name = section_.name;
    for (const auto& [option, value] : own_) {
        if (option == "ip" && !config.addresses.empty() && config.addresses.back().temporary)
            return false; // out of their order
        if (!add_own(config, option, value))
            return false;
    }
    return validate(config).has_value();
}

Result<VlanTags> parse_vlan(const std::string& text) {
    const auto dot = text.find('.');
    const auto outer = parse_number<std::uint16_t>(std::string_view(text).substr(0, dot));
    const auto inner = dot == std::string::npos ? std::uint16_t{0}
                                                : parse_number<std::uint16_t>(std::string_view(text).substr(dot + 1));
    if (!outer || !inner || *outer == 0 || (dot != std::string::npos && *inner == 0))
        return fail(Errc::invalid,
                    fmt::format("vlan {:?}: must be a VLAN id from 1 to 4094, as in 20, or two, as in 100.20", text),
                    "vlan");
    return VlanTags{*outer, *inner};
}

Result<WakeRule> parse_wake(const std::string& text) {
    const auto slash = text.find('/');
    const std::string_view protocol = std::string_view(text).substr(0, slash);
    const std::string_view port = slash == std::string::npos ? "" : std::string_view(text).substr(slash + 1);
    WakeRule rule;
    rule.protocol = protocol == "tcp" ? IPPROTO_TCP : protocol == "udp" ? IPPROTO_UDP : 0;
    const auto number = port == "any" ? std::uint16_t{0} : parse_number<std::uint16_t>(port);
    if (rule.protocol == 0 || !number || (*number == 0 && port != "any"))
        return fail(Errc::invalid,
                    fmt::format("wake {:?}: must be tcp or udp, a slash, and a port from 1 to 65535 or any, as in "
                                "tcp/22 or tcp/any",
                                text),
                    "wake");
    rule.port = *number;
    return rule;
}

} // namespace pz
