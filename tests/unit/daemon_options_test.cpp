// SPDX-License-Identifier: Apache-2.0
// proxzzyd's command line: what it takes, and what it says to what it does not.
#include "daemon/options.h"

#include <gtest/gtest.h>

#include <initializer_list>

#include "../support/folder.h"

namespace pz {
namespace {

Result<std::variant<DaemonOptions, PrintAndExit>> parse(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv{"proxzzyd"};
    argv.insert(argv.end(), arguments);
    return parse_options(static_cast<int>(argv.size()), argv.data(), "/nonexistent/proxzzyd.conf");
}

std::string refusal(std::initializer_list<const char*> arguments) {
    const auto parsed = parse(arguments);
    return parsed ? "accepted" : parsed.error().message;
}

TEST(DaemonOptions, OneInterfaceIsEnough) {
    const auto parsed = parse({"--interface", "lan0"});
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& options = std::get<DaemonOptions>(*parsed);
    EXPECT_EQ(options.interfaces, std::vector<std::string>{"lan0"});
    EXPECT_EQ(options.control, "/run/proxzzy/control.sock");
    EXPECT_EQ(options.bpffs, "/sys/fs/bpf/proxzzy/default");
    EXPECT_EQ(options.identity, Identity::host);
    EXPECT_EQ(options.max_hosts, 65'536U);
    EXPECT_EQ(options.answer_without_daemon, std::chrono::minutes(10));
    EXPECT_EQ(options.wake_limit, std::chrono::minutes(1));
    EXPECT_EQ(options.magic_ports, (std::vector<std::uint16_t>{7, 9, 40'000}));
}

TEST(DaemonOptions, EverythingCanBeSet) {
    const auto parsed = parse({"-i",
                               "lan0",
                               "--interface=lan1",
                               "--control",
                               "/tmp/c",
                               "--bpffs",
                               "/sys/fs/bpf/x",
                               "--identity",
                               "proxy",
                               "--max-hosts",
                               "10",
                               "--answer-without-daemon",
                               "5",
                               "--wake-limit",
                               "300",
                               "--probe-interval",
                               "30",
                               "--magic-port",
                               "4711",
                               "--magic-port",
                               "9",
                               "--log-level",
                               "debug"});
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& options = std::get<DaemonOptions>(*parsed);
    EXPECT_EQ(options.interfaces, (std::vector<std::string>{"lan0", "lan1"}));
    EXPECT_EQ(options.control, "/tmp/c");
    EXPECT_EQ(options.bpffs, "/sys/fs/bpf/x");
    EXPECT_EQ(options.identity, Identity::proxy);
    EXPECT_EQ(options.max_hosts, 10U);
    EXPECT_EQ(options.answer_without_daemon, std::chrono::seconds(5));
    EXPECT_EQ(options.wake_limit, std::chrono::minutes(5));
    EXPECT_EQ(table_options(options).timers.wake_limit, std::chrono::minutes(5));
    EXPECT_EQ(options.probe_interval, std::chrono::seconds(30));
    EXPECT_EQ(table_options(options).timers.check_interval, std::chrono::seconds(30));
    EXPECT_EQ(options.magic_ports, (std::vector<std::uint16_t>{7, 9, 40'000, 4711}));
    EXPECT_EQ(options.log_level, log::Level::debug);
}

TEST(DaemonOptions, ARefusalNamesTheOptionTheValueAndWhatWouldBeRight) {
    EXPECT_EQ(refusal({}), "--interface is missing: name the Ethernet interface to serve, e.g. --interface eth0");
    EXPECT_EQ(refusal({"-i", "lan0", "-i", "lan0"}), "--interface 'lan0' is given twice");
    EXPECT_EQ(refusal({"-i", "lan0", "--identity", "router"}), "--identity 'router' is unknown: host or proxy");
    EXPECT_EQ(refusal({"-i", "lan0", "--max-hosts", "0"}), "--max-hosts '0' is out of range: 1 to 4194304");
    EXPECT_EQ(refusal({"-i", "lan0", "--answer-without-daemon", "86401"}),
              "--answer-without-daemon '86401' is out of range: 1 to 86400 seconds");
    EXPECT_EQ(refusal({"-i", "lan0", "--wake-limit", "0"}), "--wake-limit '0' is out of range: 1 to 3600 seconds");
    EXPECT_EQ(refusal({"-i", "lan0", "--no-wake-from", "192.0.2.9/24"}),
              "--no-wake-from \"192.0.2.9/24\" has bits set behind its prefix: 192.0.2.0/24 would be right");
    EXPECT_EQ(refusal({"-i", "lan0", "--magic-port", "70000"}),
              "--magic-port '70000' is not a UDP port: give 1 to 65535");
    EXPECT_EQ(refusal({"-i", "lan0", "--log-level", "loud"}),
              "--log-level 'loud' is unknown: debug, info, warn or error");
}

TEST(DaemonOptions, NumbersThatAreNoneAndUnknownOptionsAreRefusedByName) {
    EXPECT_NE(refusal({"-i", "lan0", "--max-hosts", "many"}).find("max-hosts"), std::string::npos);
    EXPECT_NE(refusal({"-i", "lan0", "--max-hosts", "-1"}).find("max-hosts"), std::string::npos);
    EXPECT_NE(refusal({"-i", "lan0", "--interfaces", "lan1"}).find("--interfaces"), std::string::npos);
    EXPECT_EQ(refusal({"-i", "lan0", "lan1"}), "'lan1' is not an option: interfaces are given as --interface IF");
}

TEST(DaemonOptions, TheKernelHasRoomForFiveMoreMagicPorts) {
    EXPECT_TRUE(parse({"-i", "lan0", "--magic-port", "1", "--magic-port", "2", "--magic-port", "3", "--magic-port", "4",
                       "--magic-port", "5"}));
    EXPECT_EQ(refusal({"-i", "lan0", "--magic-port", "1", "--magic-port", "2", "--magic-port", "3", "--magic-port", "4",
                       "--magic-port", "5", "--magic-port", "6"}),
              "--magic-port is given 6 times: there is room for 5 next to 7, 9 and 40000");
}

TEST(DaemonOptions, HelpAndVersionPrintWithoutAnInterface) {
    const auto help = parse({"--help"});
    ASSERT_TRUE(help);
    for (const char* option :
         {"--interface", "--control", "--bpffs", "--identity", "--max-hosts", "--answer-without-daemon", "--wake-limit",
          "--magic-port", "--no-wake-from", "--log-level", "--config", "--hosts", "--check-config"})
        EXPECT_NE(std::get<PrintAndExit>(*help).text.find(option), std::string::npos) << option;
    const auto version = parse({"--version"});
    ASSERT_TRUE(version);
    EXPECT_TRUE(std::get<PrintAndExit>(*version).text.starts_with("proxzzyd "));
}

class DaemonConfig : public testing::Test {
protected:
    /// What `text` in a file and the arguments say together.
    Result<std::variant<DaemonOptions, PrintAndExit>> parse_with(const std::string& text,
                                                                 std::vector<const char*> more = {}) {
        path_ = folder_.write("proxzzyd.conf", text);
        std::vector<const char*> argv{"proxzzyd", "--config", path_.c_str()};
        argv.insert(argv.end(), more.begin(), more.end());
        return parse_options(static_cast<int>(argv.size()), argv.data());
    }
    std::string refusal_of(const std::string& text) {
        const auto parsed = parse_with(text);
        if (parsed)
            return "accepted";
        const std::string& message = parsed.error().message;
        EXPECT_TRUE(message.starts_with(path_ + ": ")) << message;
        return message.substr(std::min(message.size(), path_.size() + 2));
    }

    test::Folder folder_;
    std::string path_;
};

TEST_F(DaemonConfig, TheFileHasEveryOption) {
    const auto parsed = parse_with("# a gateway\ninterface = lan0\ninterface=lan1 # two of them\n\n"
                                   "control = /tmp/c\nbpffs = /sys/fs/bpf/x\nidentity = proxy\nmax-hosts = 10\n"
                                   "answer-without-daemon = 5\nwake-limit = 300\nmagic-port = 4711\n"
                                   "log-level = error\n");
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& options = std::get<DaemonOptions>(*parsed);
    EXPECT_EQ(options.interfaces, (std::vector<std::string>{"lan0", "lan1"}));
    EXPECT_EQ(options.control, "/tmp/c");
    EXPECT_EQ(options.bpffs, "/sys/fs/bpf/x");
    EXPECT_EQ(options.identity, Identity::proxy);
    EXPECT_EQ(options.max_hosts, 10U);
    EXPECT_EQ(options.answer_without_daemon, std::chrono::seconds(5));
    EXPECT_EQ(options.wake_limit, std::chrono::minutes(5));
    EXPECT_EQ(options.magic_ports, (std::vector<std::uint16_t>{7, 9, 40'000, 4711}));
    EXPECT_EQ(options.log_level, log::Level::error);
    EXPECT_EQ(options.hosts, folder_.path() + "/hosts.d");
    EXPECT_FALSE(options.check_config);
}

TEST_F(DaemonConfig, TheCommandLineWins) {
    const auto parsed = parse_with("interface = lan0\ninterface = lan1\nidentity = proxy\nmagic-port = 1\n",
                                   {"--interface", "lan2", "--identity", "host", "--check-config", "--hosts", "/"});
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& options = std::get<DaemonOptions>(*parsed);
    EXPECT_EQ(options.interfaces, std::vector<std::string>{"lan2"});
    EXPECT_EQ(options.identity, Identity::host);
    EXPECT_EQ(options.magic_ports.back(), 1);
    EXPECT_EQ(options.hosts, "/");
    EXPECT_TRUE(options.check_config);
}

TEST_F(DaemonConfig, TheUsualFileIsReadIfItIsThere) {
    const std::string usual = folder_.write("usual.conf", "interface = lan7\n");
    const char* const name = "proxzzyd";
    const auto parsed = parse_options(1, &name, usual);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(std::get<DaemonOptions>(*parsed).interfaces, std::vector<std::string>{"lan7"});
    EXPECT_EQ(parse_options(1, &name, usual + "x").error().message,
              "--interface is missing: name the Ethernet interface to serve, e.g. --interface eth0");
}

TEST_F(DaemonConfig, ARefusalNamesTheFileTheKeyTheValueAndWhatWouldBeRight) {
    const std::string good = "interface = lan0\n";
    EXPECT_EQ(refusal_of(good + "identity = router\n"), "identity 'router' is unknown: host or proxy");
    EXPECT_EQ(refusal_of(good + "max-hosts = 0\n"), "max-hosts '0' is out of range: 1 to 4194304");
    EXPECT_EQ(refusal_of(good + "magic-port = 70000\n"), "magic-port '70000' is not a UDP port: give 1 to 65535");
    EXPECT_EQ(refusal_of(good + "log-level = loud\n"), "log-level 'loud' is unknown: debug, info, warn or error");
    EXPECT_EQ(refusal_of(good + good), "interface 'lan0' is given twice");
    EXPECT_EQ(refusal_of(good + "answer-without-daemon = long\n"),
              "the argument ('long') for option 'answer-without-daemon' is invalid");
    EXPECT_EQ(refusal_of(good + "identity = host\nidentity = proxy\n"),
              "option 'identity' cannot be specified more than once");
    EXPECT_EQ(refusal_of(good + "interfaces = lan1\n"),
              "key \"interfaces\": is unknown, must be one of interface, control, bpffs, state, identity, max-hosts, "
              "answer-without-daemon, wake-limit, probe-interval, magic-port, no-wake-from, log-level");
    EXPECT_EQ(refusal_of("[daemon]\ninterface = lan0\n").substr(0, 36), "key \"daemon.interface\": is unknown, ");
    EXPECT_EQ(refusal_of(good + "serve lan1\n"), "line \"serve lan1\": must be KEY = VALUE");
    // of what is for the command line alone
    for (const char* option : {"config", "hosts", "check-config", "help", "version"})
        EXPECT_NE(refusal_of(good + option + " = x\n").find("is unknown"), std::string::npos) << option;
}

TEST_F(DaemonConfig, FilesThatCannotBeReadAreNamed) {
    EXPECT_EQ(refusal({"--config", "/nonexistent"}), "/nonexistent: there is no such file");
    EXPECT_EQ(refusal({"--config", "/"}), "/: Is a directory");
    EXPECT_EQ(refusal({"--config", "/dev/zero"}), "/dev/zero: is longer than 1048576 bytes");
    EXPECT_EQ(refusal({"-i", "lan0", "--hosts", "/nonexistent"}),
              "--hosts '/nonexistent' is not a folder: name the one that has the hosts' NAME.conf files");
}

TEST(DaemonOptions, WhatTakesARestartIsNamed) {
    DaemonOptions running;
    running.interfaces = {"lan0"};
    DaemonOptions now = running;
    now.log_level = log::Level::debug;
    now.hosts = "/elsewhere";
    EXPECT_EQ(needs_restart(running, now), std::vector<std::string>{});
    now.interfaces.emplace_back("lan1");
    now.control = "/c";
    now.bpffs = "/b";
    now.identity = Identity::proxy;
    now.max_hosts = 1;
    now.answer_without_daemon = std::chrono::seconds(1);
    now.wake_limit = std::chrono::seconds(1);
    now.probe_interval = std::chrono::seconds(1);
    now.magic_ports = {1};
    now.no_wake_from = {*Network::parse("192.0.2.9")};
    EXPECT_EQ(needs_restart(running, now), (std::vector<std::string>{"interface", "control", "bpffs", "identity",
                                                                     "max-hosts", "answer-without-daemon", "wake-limit",
                                                                     "probe-interval", "magic-port", "no-wake-from"}));
}

} // namespace
} // namespace pz
