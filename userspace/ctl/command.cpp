// SPDX-License-Identifier: Apache-2.0
#include "ctl/command.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include <boost/program_options.hpp>
#include <proxzzy/control.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "control/schema.h"
#include "ctl/number.h"
#include "fastpath/attach.h"

namespace pz::ctl {

namespace po = boost::program_options;

namespace {

struct Form {
    const char* words; // as typed
    Verb verb;
    bool takes_name;
    const char* what;
};
constexpr std::array forms{
    Form{"host add", Verb::host_add, true, "register a host"},
    Form{"host sleep", Verb::host_sleep, true, "the host goes to sleep: the proxy takes over"},
    Form{"host wake", Verb::host_wake, true, "wake the host"},
    Form{"host release", Verb::host_release, true, "the host is awake: the proxy lets go"},
    Form{"host remove", Verb::host_remove, true, "forget the host"},
    Form{"host show", Verb::host_show, true, "all about one host"},
    Form{"hosts", Verb::hosts, false, "all hosts and their states"},
    Form{"status", Verb::status, false, "the daemon and its interfaces"},
    Form{"capabilities", Verb::capabilities, false, "what this proxy can do"},
    Form{"stats", Verb::stats, false, "frames counted by reason"},
    Form{"explain", Verb::explain, false, "what would happen to a frame that comes in, and why"},
    Form{"detach", Verb::detach, false, "take proxzzy off every interface and stop the daemon"},
    Form{"events", Verb::events, false, "what happened lately, and what happens"},
    Form{"why", Verb::why, true, "what woke the host lately, and what did not"},
};

std::string all_words() {
    std::string words;
    for (const Form& form : forms)
        words += fmt::format("{}{}", words.empty() ? "" : ", ", form.words);
    return words;
}

po::options_description common_options() {
    po::options_description options("Options everywhere", 100);
    options.add_options()("control", po::value<std::string>()->value_name("PATH")->default_value(PZ_CONTROL_PATH),
                          "the daemon's control socket")("json", "print JSON")("help,h", "print this help")(
        "version", "print the version");
    return options;
}

po::options_description options_of(Verb verb) {
    using Text = std::string;
    using Texts = std::vector<std::string>;
    po::options_description options("Options of this command", 100);
    if (verb == Verb::host_add)
        options.add_options()(
            "mac", po::value<Texts>()->value_name("MAC"),
            "MAC address; the first one is answered with and woken, others (dock, Wi-Fi) are signs of life")(
            "ip", po::value<Texts>()->value_name("ADDRESS"), "IPv4 or IPv6 address of the host; repeat for each")(
            "temporary-ip", po::value<Texts>()->value_name("ADDRESS"), "temporary IPv6 address (RFC 8981)")(
            "wake", po::value<Texts>()->value_name("PROTOCOL/PORT"),
            "what wakes it: tcp/22, tcp/any, udp/5060; repeat for each; none given: tcp/any")(
            "interface", po::value<Text>()->value_name("IF"), "where the host is; needed if proxzzyd serves several")(
            "vlan", po::value<Text>()->value_name("VID"), "VLAN: one tag, N, or two, OUTER.INNER")(
            "echo", po::value<Text>()->value_name("MODE"), "ping while it sleeps: answer (default), ignore or wake")(
            "identity", po::value<Text>()->value_name("WHOSE"),
            "MAC in answers: host or proxy; none given: as proxzzyd was started")(
            "magic-port", po::value<Text>()->value_name("PORT"), "UDP port of Magic Packets; none given: 9")(
            "secureon-file", po::value<Text>()->value_name("FILE"),
            "file with the SecureOn password, as 01:23:45:67:89:ab")("replace",
                                                                     "change the host if there is one of that name");
    if (verb == Verb::events)
        options.add_options()("follow,f", "go on with what happens from now on")(
            "new-only", "with --follow: without what happened before")("host", po::value<Text>()->value_name("NAME"),
                                                                       "only events of this host");
    if (verb == Verb::why)
        options.add_options()("pcap", po::value<Text>()->value_name("FILE"),
                              "write the packets that woke it to FILE, - for standard output, and print nothing else");
    if (verb == Verb::stats)
        options.add_options()("watch", po::value<Text>()->value_name("SECONDS")->implicit_value("1"),
                              "again and again, with rates; every second if no number is given, as in --watch=5");
    if (verb == Verb::explain)
        return question_options();
    if (verb == Verb::detach)
        options.add_options()("bpffs", po::value<Text>()->value_name("DIR")->default_value(fastpath::default_bpffs),
                              "pins to remove when no daemon answers");
    return options;
}

std::string help_text(const Form* form) {
    std::ostringstream out;
    if (form != nullptr) {
        out << "usage: proxzzyctl " << form->words << (form->takes_name ? " NAME" : "") << " [options]\n  "
            << form->what << "\n";
        if (const auto options = options_of(form->verb); !options.options().empty())
            out << "\n" << options;
    } else {
        out << "usage: proxzzyctl COMMAND [options]\n\nCommands:\n";
        for (const Form& each : forms)
            out << fmt::format("  {:<18} {}\n", fmt::format("{}{}", each.words, each.takes_name ? " NAME" : ""),
                               each.what);
        out << "\n`proxzzyctl COMMAND --help` lists the options of a command.\n";
    }
    out << "\n" << common_options() << "\nExit status: 0 done, 1 refused or failed, 2 bad usage.\n";
    return out.str();
}

template <class E>
Result<E> parse_choice(const char* option, const std::string& text) {
    const auto& names = control::enum_names<E>;
    const auto found = std::ranges::find(names, text, [](const char* name) { return std::string_view(name); });
    if (found == names.end())
        return fail(Errc::invalid, fmt::format("--{} {:?}: must be one of {}", option, text, fmt::join(names, ", ")),
                    option);
    return static_cast<E>(found - names.begin());
}

/// The value stays out of the error: it is a password.
Result<std::array<std::uint8_t, PZ_SECUREON_LEN>> read_secureon(const std::string& path) {
    std::ifstream file(path);
    if (!file)
        return fail_errno(fmt::format("--secureon-file {:?}", path), errno);
    std::string text;
    file >> text;
    const auto password = MacAddress::parse(text);
    std::string more;
    if (!password || file >> more)
        return fail(Errc::invalid,
                    fmt::format("--secureon-file {:?}: must hold six pairs of hexadecimal digits, as in "
                                "01:23:45:67:89:ab, and nothing else",
                                path),
                    "secureon-file");
    return password->bytes;
}

/// An error of `option`'s value, worded by somebody who did not know the option.
template <class T>
Result<T> in_option(const char* option, Result<T> result) {
    if (!result)
        return fail(result.error().code, fmt::format("--{} {}", option, result.error().message), option);
    return result;
}

Result<HostConfig> parse_config(std::string name, const po::variables_map& values) {
    const auto texts = [&](const char* option) {
        return values.contains(option) ? values[option].as<std::vector<std::string>>() : std::vector<std::string>{};
    };
    const auto text = [&](const char* option) -> const std::string* {
        return values.contains(option) ? &values[option].as<std::string>() : nullptr;
    };
    HostConfig config;
    config.name = std::move(name);
    for (const auto& mac : texts("mac"))
        config.macs.push_back(PZ_TRY(in_option("mac", MacAddress::parse(mac))));
    for (const auto& ip : texts("ip"))
        config.addresses.push_back({.ip = PZ_TRY(in_option("ip", IpAddress::parse(ip)))});
    for (const auto& ip : texts("temporary-ip"))
        config.addresses.push_back({.ip = PZ_TRY(in_option("temporary-ip", IpAddress::parse(ip))), .temporary = true});
    for (const auto& wake : texts("wake"))
        config.wake.push_back(PZ_TRY(parse_wake(wake)));
    if (const auto* interface = text("interface"))
        config.interface = *interface;
    if (const auto* vlan = text("vlan"))
        config.vlan = PZ_TRY(parse_vlan(*vlan));
    if (const auto* echo = text("echo"))
        config.echo = PZ_TRY(parse_choice<EchoMode>("echo", *echo));
    if (const auto* identity = text("identity"))
        config.identity = PZ_TRY(parse_choice<Identity>("identity", *identity));
    if (const auto* port = text("magic-port")) {
        const auto number = parse_number<std::uint16_t>(*port);
        if (!number || *number == 0)
            return fail(Errc::invalid, fmt::format("--magic-port {:?}: must be a UDP port from 1 to 65535", *port),
                        "magic-port");
        config.magic.udp_port = *number;
    }
    if (const auto* path = text("secureon-file"))
        config.magic.secureon = PZ_TRY(read_secureon(*path));
    if (auto valid = validate(config); !valid) {
        // the fields are called like the options
        Error error = std::move(valid.error());
        if (values.contains(error.field) || (!error.field.empty() && error.field != "name"))
            error.message.insert(0, "--");
        return std::unexpected(std::move(error));
    }
    return config;
}

Result<std::chrono::seconds> parse_watch(const std::string& text) {
    const auto seconds = parse_number<std::uint32_t>(text);
    if (!seconds || *seconds == 0 || *seconds > 86'400)
        return fail(Errc::invalid, fmt::format("--watch {:?}: must be a number of seconds from 1 to 86400", text),
                    "watch");
    return std::chrono::seconds(*seconds);
}

std::string option_names(const po::options_description& options) {
    std::string names;
    for (const auto& option : options.options())
        names += fmt::format("{}--{}", names.empty() ? "" : ", ", option->long_name());
    return names;
}

/// The command that the words name, however many words follow.
Result<const Form*> find_form(const std::vector<std::string>& words) {
    for (const Form& form : forms) {
        const bool two = std::strchr(form.words, ' ') != nullptr;
        if (words.size() >= (two ? 2 : 1) && form.words == (two ? words[0] + " " + words[1] : words[0]))
            return &form;
    }
    const std::string given = words[0] == "host" && words.size() > 1 ? words[0] + " " + words[1] : words[0];
    return fail(Errc::invalid, fmt::format("command {:?}: must be one of {}", given, all_words()));
}

constexpr int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

Result<Command> parse_checked(const std::vector<std::string>& arguments) {
    po::options_description all = common_options();
    all.add_options()("word", po::value<std::vector<std::string>>()->default_value({}, ""));
    po::positional_options_description positional;
    positional.add("word", -1);

    // first only the words that say which command it is, and so which options there are
    po::variables_map first;
    po::store(
        po::command_line_parser(arguments).options(all).positional(positional).style(style).allow_unregistered().run(),
        first);
    Command command;
    auto words = first["word"].as<std::vector<std::string>>();
    if (first.contains("version")) {
        command.verb = Verb::version;
        command.json = first.contains("json");
        return command;
    }
    if (words.empty()) {
        if (!first.contains("help"))
            return fail(Errc::invalid, fmt::format("command: is missing, must be one of {}", all_words()));
        command.text = help_text(nullptr);
        return command;
    }
    const Form* form = PZ_TRY(find_form(words));
    if (first.contains("help")) {
        command.text = help_text(form);
        return command;
    }

    all.add(options_of(form->verb));
    po::variables_map values;
    try {
        po::store(po::command_line_parser(arguments).options(all).positional(positional).style(style).run(), values);
    } catch (const po::unknown_option& error) {
        po::options_description known = common_options();
        known.add(options_of(form->verb));
        return fail(Errc::invalid, fmt::format("{}: is not an option of `{}`, which has {}", error.get_option_name(),
                                               form->words, option_names(known)));
    }
    words = values["word"].as<std::vector<std::string>>();
    const auto given =
        static_cast<std::size_t>(std::ranges::count(form->words, form->words + std::strlen(form->words), ' ')) + 1;
    const std::size_t expected = given + (form->takes_name ? 1 : 0);
    if (words.size() < expected)
        return fail(Errc::invalid,
                    fmt::format("NAME: is missing, must be a host's name, as in `proxzzyctl {} nas`", form->words),
                    "name");
    if (words.size() > expected)
        return fail(Errc::invalid, fmt::format("argument {:?}: must not be there, `{}` takes {}", words[expected],
                                               form->words, form->takes_name ? "one NAME" : "none"));
    command.verb = form->verb;
    command.json = values.contains("json");
    command.control = values["control"].as<std::string>();
    command.replace = values.contains("replace");
    if (values.contains("bpffs"))
        command.bpffs = values["bpffs"].as<std::string>();
    command.follow = values.contains("follow");
    command.new_only = values.contains("new-only");
    if (command.new_only && !command.follow)
        return fail(Errc::invalid, "--new-only: must come with --follow: nothing that is new is there yet", "new-only");
    if (values.contains("host"))
        command.config.name = values["host"].as<std::string>();
    if (values.contains("pcap"))
        command.pcap = values["pcap"].as<std::string>();
    if (values.contains("watch"))
        command.watch = PZ_TRY(parse_watch(values["watch"].as<std::string>()));
    if (form->verb == Verb::host_add)
        command.config = PZ_TRY(parse_config(words.back(), values));
    else if (form->verb == Verb::explain)
        command.question = PZ_TRY(parse_question(values));
    else if (form->takes_name)
        command.config.name = words.back();
    return command;
}

} // namespace

Result<Command> parse(std::span<const char* const> arguments) {
    try {
        return parse_checked({arguments.begin(), arguments.end()});
    } catch (const po::error& error) {
        return fail(Errc::invalid, error.what());
    }
}

Result<VlanTags> parse_vlan(const std::string& text) {
    const auto dot = text.find('.');
    const auto outer = parse_number<std::uint16_t>(std::string_view(text).substr(0, dot));
    const auto inner = dot == std::string::npos ? std::uint16_t{0}
                                                : parse_number<std::uint16_t>(std::string_view(text).substr(dot + 1));
    if (!outer || !inner || *outer == 0 || (dot != std::string::npos && *inner == 0))
        return fail(Errc::invalid,
                    fmt::format("--vlan {:?}: must be a VLAN id from 1 to 4094, as in 20, or two, as in "
                                "100.20",
                                text),
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
                    fmt::format("--wake {:?}: must be tcp or udp, a slash, and a port from 1 to 65535 or "
                                "any, as in tcp/22 or tcp/any",
                                text),
                    "wake");
    rule.port = *number;
    return rule;
}

} // namespace pz::ctl
