// SPDX-License-Identifier: Apache-2.0
// proxzzyd's command line: what it takes, and what it says to what it does not.
#include "daemon/options.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace pz {
namespace {

Result<std::variant<DaemonOptions, PrintAndExit>> parse(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv{"proxzzyd"};
    argv.insert(argv.end(), arguments);
    return parse_options(static_cast<int>(argv.size()), argv.data());
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
    EXPECT_EQ(options.magic_ports, (std::vector<std::uint16_t>{7, 9, 40'000}));
}

TEST(DaemonOptions, EverythingCanBeSet) {
    const auto parsed = parse({"-i", "lan0", "--interface=lan1", "--control", "/tmp/c", "--bpffs", "/sys/fs/bpf/x",
                               "--identity", "proxy", "--max-hosts", "10", "--answer-without-daemon", "5",
                               "--magic-port", "4711", "--magic-port", "9", "--log-level", "debug"});
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& options = std::get<DaemonOptions>(*parsed);
    EXPECT_EQ(options.interfaces, (std::vector<std::string>{"lan0", "lan1"}));
    EXPECT_EQ(options.control, "/tmp/c");
    EXPECT_EQ(options.bpffs, "/sys/fs/bpf/x");
    EXPECT_EQ(options.identity, Identity::proxy);
    EXPECT_EQ(options.max_hosts, 10U);
    EXPECT_EQ(options.answer_without_daemon, std::chrono::seconds(5));
    EXPECT_EQ(options.magic_ports, (std::vector<std::uint16_t>{7, 9, 40'000, 4711}));
    EXPECT_EQ(options.log_level, "debug");
}

TEST(DaemonOptions, ARefusalNamesTheOptionTheValueAndWhatWouldBeRight) {
    EXPECT_EQ(refusal({}), "--interface is missing: name the Ethernet interface to serve, e.g. --interface eth0");
    EXPECT_EQ(refusal({"-i", "lan0", "-i", "lan0"}), "--interface 'lan0' is given twice");
    EXPECT_EQ(refusal({"-i", "lan0", "--identity", "router"}), "--identity 'router' is unknown: host or proxy");
    EXPECT_EQ(refusal({"-i", "lan0", "--max-hosts", "0"}), "--max-hosts '0' is out of range: 1 to 4194304");
    EXPECT_EQ(refusal({"-i", "lan0", "--answer-without-daemon", "86401"}),
              "--answer-without-daemon '86401' is out of range: 1 to 86400 seconds");
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
    for (const char* option : {"--interface", "--control", "--bpffs", "--identity", "--max-hosts",
                               "--answer-without-daemon", "--magic-port", "--log-level"})
        EXPECT_NE(std::get<PrintAndExit>(*help).text.find(option), std::string::npos) << option;
    const auto version = parse({"--version"});
    ASSERT_TRUE(version);
    EXPECT_TRUE(std::get<PrintAndExit>(*version).text.starts_with("proxzzyd "));
}

} // namespace
} // namespace pz
