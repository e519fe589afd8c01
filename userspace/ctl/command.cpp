// SPDX-License-Identifier: Apache-2.0
#include "ctl/command.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

#include <boost/program_options.hpp>
#include <proxzzy/control.h>
#include <spdlog/fmt/fmt.h>

#include "base/ini.h"
#include "base/number.h"
#include "fastpath/attach.h"
#include "hosts/host_options.h"

namespace pz::ctl {

namespace po = boost::program_options;

namespace {

struct Form {
    const char* words; // as typed
    Verb verb;
    const char* argument; // what follows the words; nullptr: nothing
    const char* what;
};
constexpr std::array forms{
    Form{"host add", Verb::host_add, "NAME", "register a host"},
    Form{"host sleep", Verb::host_sleep, "NAME", "the host goes to sleep: the proxy takes over"},
    Form{"host wake", Verb::host_wake, "NAME", "wake the host"},
    Form{"host release", Verb::host_release, "NAME", "the host is awake: the proxy lets go"},
    Form{"host remove", Verb::host_remove, "NAME", "forget the host"},
    Form{"host show", Verb::host_show, "NAME", "all about one host"},
    Form{"hosts", Verb::hosts, nullptr, "all hosts and their states"},
    Form{"status", Verb::status, nullptr, "the daemon and its interfaces"},
    Form{"capabilities", Verb::capabilities, nullptr, "what this proxy can do"},
    Form{"stats", Verb::stats, nullptr, "frames counted by reason"},
    Form{"explain", Verb::explain, nullptr, "what would happen to a frame that comes in, and why"},
    Form{"detach", Verb::detach, nullptr, "take proxzzy off every interface and stop the daemon"},
    Form{"events", Verb::events, nullptr, "what happened lately, and what happens"},
    Form{"why", Verb::why, "NAME", "what woke the host lately, and what did not"},
    Form{"policy test", Verb::policy_test, "NAME", "what of that a changed wake policy would let wake it"},
    Form{"apply", Verb::apply, "FILE", "set the hosts of a file that export wrote; - is standard input"},
    Form{"export", Verb::export_hosts, nullptr, "all hosts as a file for apply, here or at another gateway"},
};

/// " NAME"
std::string argument_of(const Form& form) {
    return form.argument == nullptr ? "" : fmt::format(" {}", form.argument);
}

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
    const std::string caption = "Options of this command";
    if (verb == Verb::host_add) {
        auto options = host_options(caption);
        options.add_options()("replace", "change the host if there is one of that name");
        return options;
    }
    using Text = std::string;
    po::options_description options(caption, 100);
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
    if (verb == Verb::policy_test) {
        options.add_options()("wake", po::value<std::vector<Text>>()->value_name("PROTOCOL/PORT"),
                              "what wakes it, instead of its own; repeat for each");
        add_policy_options(options);
    }
    if (verb == Verb::detach)
        options.add_options()("bpffs", po::value<Text>()->value_name("DIR")->default_value(fastpath::default_bpffs),
                              "pins to remove when no daemon answers");
    return options;
}

std::string help_text(const Form* form) {
    std::ostringstream out;
    if (form != nullptr) {
        out << "usage: proxzzyctl " << form->words << argument_of(*form) << " [options]\n  " << form->what << "\n";
        if (const auto options = options_of(form->verb); !options.options().empty())
            out << "\n" << options;
    } else {
        out << "usage: proxzzyctl COMMAND [options]\n\nCommands:\n";
        for (const Form& each : forms)
            out << fmt::format("  {:<18} {}\n", each.words + argument_of(each), each.what);
        out << "\n`proxzzyctl COMMAND --help` lists the options of a command.\n";
    }
    out << "\n" << common_options() << "\nExit status: 0 done, 1 refused or failed, 2 bad usage.\n";
    return out.str();
}

/// The host that the options describe.
Result<HostConfig> parse_config(std::string name, const po::variables_map& values) {
    auto config = read_host(std::move(name), values);
    if (!config && !config.error().field.empty() && config.error().field != "name")
        config.error().message.insert(0, "--"); // the fields are called like the options
    return config;
}

/// `config` with the wake rules and the policy that the options give, each instead of its own.
Result<HostConfig> change_policy(HostConfig config, const po::variables_map& values) {
    if (values.contains("wake")) {
        config.wake.clear();
        for (const auto& wake : values["wake"].as<std::vector<std::string>>())
            config.wake.push_back(PZ_TRY(parse_wake(wake)));
    }
    config.policy = PZ_TRY(read_policy(std::move(config.policy), values));
    return config;
}

Result<std::chrono::seconds> parse_watch(const std::string& text) {
    const auto seconds = parse_number<std::uint32_t>(text);
    if (!seconds || *seconds == 0 || *seconds > 86'400)
        return fail(Errc::invalid, fmt::format("--watch {:?}: must be a number of seconds from 1 to 86400", text),
                    "watch");
    return std::chrono::seconds(*seconds);
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
                                               form->words, option_names(known, "--")));
    }
    words = values["word"].as<std::vector<std::string>>();
    const auto given =
        static_cast<std::size_t>(std::ranges::count(form->words, form->words + std::strlen(form->words), ' ')) + 1;
    const std::size_t expected = given + (form->argument == nullptr ? 0 : 1);
    if (words.size() < expected && form->verb == Verb::apply)
        return fail(Errc::invalid,
                    "FILE: is missing, must be a file as `proxzzyctl export` writes it, or - for standard input",
                    "file");
    if (words.size() < expected)
        return fail(Errc::invalid,
                    fmt::format("NAME: is missing, must be a host's name, as in `proxzzyctl {} nas`", form->words),
                    "name");
    if (words.size() > expected)
        return fail(Errc::invalid,
                    fmt::format("argument {:?}: must not be there, `{}` takes {}", words[expected], form->words,
                                form->argument == nullptr ? "none" : "one" + argument_of(*form)));
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
    else if (form->verb == Verb::apply)
        command.file = words.back();
    else if (form->argument != nullptr)
        command.config.name = words.back();
    if (form->verb == Verb::policy_test) {
        if (auto tried = change_policy({}, values); !tried)
            return fail(tried.error().code, "--" + tried.error().message, tried.error().field);
        command.changed = [values](HostConfig config) { return change_policy(std::move(config), values); };
    }
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

} // namespace pz::ctl
