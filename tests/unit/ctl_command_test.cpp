// SPDX-License-Identifier: Apache-2.0
// The command line of proxzzyctl: what it understands, and what it says to what it does not.
#include <netinet/in.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include <gtest/gtest.h>

#include "ctl/command.h"
#include "hosts/host_options.h"

namespace pz::ctl {
namespace {

Result<Command> parse(std::initializer_list<const char*> arguments) {
    return ctl::parse(std::span<const char* const>(arguments.begin(), arguments.size()));
}

std::string refusal(std::initializer_list<const char*> arguments) {
    const auto command = parse(arguments);
    return command ? "understood" : command.error().message;
}

/// `host add nas` with what a host must have, and more.
std::string refusal_of_add(std::initializer_list<const char*> more) {
    std::vector<const char*> arguments{"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto command = ctl::parse(arguments);
    return command ? "understood" : command.error().message;
}

/// A file that holds `text` until it goes out of scope.
class File {
public:
    explicit File(const std::string& text) {
        const int fd = mkstemp(path_.data());
        EXPECT_GE(fd, 0);
        ::close(fd);
        std::ofstream(path_) << text;
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { std::filesystem::remove(path_); }
    [[nodiscard]] const char* path() const { return path_.c_str(); }

private:
    std::string path_ = "/tmp/proxzzy-ctl-XXXXXX";
};

TEST(CtlCommand, AHostWithEverything) {
    const File password("01:23:45:67:89:ab\n");
    const auto command = parse({"host",
                                "add",
                                "nas",
                                "--mac",
                                "00:00:5e:00:53:01",
                                "--mac",
                                "00-00-5e-00-53-02",
                                "--ip",
                                "192.0.2.7",
                                "--ip",
                                "2001:db8::7",
                                "--temporary-ip",
                                "2001:db8::8",
                                "--wake",
                                "tcp/22",
                                "--wake",
                                "udp/any",
                                "--interface",
                                "lan0",
                                "--vlan",
                                "100.20",
                                "--echo",
                                "wake",
                                "--identity",
                                "proxy",
                                "--magic-port",
                                "40000",
                                "--secureon-file",
                                password.path(),
                                "--allow-from",
                                "192.0.2.0/24",
                                "--allow-from",
                                "2001:db8::/32",
                                "--deny-from",
                                "192.0.2.9",
                                "--wakes-per-hour",
                                "12",
                                "--wakes-per-source",
                                "0",
                                "--min-wake-interval",
                                "90",
                                "--quiet",
                                "23:00-07:00",
                                "--replace",
                                "--json",
                                "--control",
                                "/run/x.sock"});
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_EQ(command->verb, Verb::host_add);
    EXPECT_TRUE(command->replace);
    EXPECT_TRUE(command->json);
    EXPECT_EQ(command->control, "/run/x.sock");
    HostConfig expected;
    expected.name = "nas";
    expected.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}, {{0, 0, 0x5e, 0, 0x53, 2}}};
    expected.addresses = {{.ip = *IpAddress::parse("192.0.2.7")},
                          {.ip = *IpAddress::parse("2001:db8::7")},
                          {.ip = *IpAddress::parse("2001:db8::8"), .temporary = true}};
    expected.wake = {{IPPROTO_TCP, 22}, {IPPROTO_UDP, 0}};
    expected.interface = "lan0";
    expected.vlan = {100, 20};
    expected.echo = EchoMode::wake;
    expected.identity = Identity::proxy;
    expected.magic = {40'000, {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab}}};
    expected.policy = {.allow_from = {*Network::parse("192.0.2.0/24"), *Network::parse("2001:db8::/32")},
                       .deny_from = {*Network::parse("192.0.2.9")},
                       .wakes_per_hour = 12,
                       .wakes_per_source = 0,
                       .min_wake_interval = std::chrono::seconds(90),
                       .quiet = {{.from = 23 * 60, .to = 7 * 60}}};
    EXPECT_EQ(command->config, expected);
}

TEST(CtlCommand, APolicyTestChangesWhatItsWordsSay) {
    const auto command = parse({"policy", "test", "nas", "--deny-from", "192.0.2.9", "--quiet", "none",
                                "--wakes-per-hour", "none", "--wake", "udp/5060"});
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_EQ(command->verb, Verb::policy_test);
    EXPECT_EQ(command->config.name, "nas");
    HostConfig config;
    config.wake = {{IPPROTO_TCP, 22}};
    config.policy = {.allow_from = {*Network::parse("192.0.2.0/24")},
                     .deny_from = {*Network::parse("192.0.2.7")},
                     .wakes_per_source = 3,
                     .quiet = {{.from = 1, .to = 2}}};
    HostConfig expected = config;
    expected.wake = {{IPPROTO_UDP, 5060}};
    expected.policy.deny_from = {*Network::parse("192.0.2.9")};
    expected.policy.quiet.clear();
    expected.policy.wakes_per_hour = 0;
    const auto changed = command->changed(config);
    ASSERT_TRUE(changed) << changed.error().message;
    EXPECT_EQ(*changed, expected);
}

TEST(CtlCommand, AWrongPolicyIsRefusedBeforeTheDaemonIsAsked) {
    const auto wrong = parse({"policy", "test", "nas", "--deny-from", "192.0.2.9/24"});
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().message,
              "--deny-from \"192.0.2.9/24\" has bits set behind its prefix: 192.0.2.0/24 would be right");
    EXPECT_EQ(refusal_of_add({"--quiet", "7:00-8:00"}),
              "--quiet \"7:00-8:00\": must be two different times of the day from 00:00 to 23:59, as in 23:00-07:00");
    EXPECT_EQ(refusal_of_add({"--wakes-per-hour", "many"}),
              "--wakes-per-hour \"many\": must be a number from 1 to 3600, or 0 for no limit");
    EXPECT_EQ(refusal_of_add({"--min-wake-interval", "86401"}),
              "--min-wake-interval \"86401\": must be a number from 1 to 86400, or 0 for no limit");
}

TEST(CtlCommand, C15_C29_C30_WhatAHostOffers) {
    const auto command =
        parse({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7", "--hostname", "nas.local",
               "--service", R"(_http._tcp 80 "C# box" path=/)", "--service-wake=no", "--group", "ff02::1234"});
    ASSERT_TRUE(command) << command.error().message;
    const HostOffers expected{.hostnames = {"nas.local"},
                              .services = {{.type = "_http._tcp", .port = 80, .instance = "C# box", .txt = {"path=/"}}},
                              .groups = {*IpAddress::parse("ff02::1234")},
                              .service_ports_wake = false};
    EXPECT_EQ(command->config.offers, expected);
    EXPECT_EQ(refusal_of_add({"--hostname", "a", "--service", "_ssh._tcp 22"}),
              "--service '_ssh._tcp': has no host to point to, there must be a hostname in .local, as in desk.local");
    EXPECT_TRUE(refusal_of_add({"--service", "_ssh._tcp"}).starts_with("--service \"_ssh._tcp\": must be TYPE"));
    EXPECT_EQ(refusal_of_add({"--group", "192.0.2.1"}),
              "--group 192.0.2.1: is not multicast, must be a multicast address that the host takes part in, as in "
              "239.1.2.3 or ff02::1234");
}

TEST(CtlCommand, AHostWithTheLeast) {
    const auto command = parse({"host", "add", "nas", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"});
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_FALSE(command->replace);
    EXPECT_FALSE(command->json);
    EXPECT_EQ(command->control, "/run/proxzzy/control.sock");
    EXPECT_EQ(command->config.wake, std::vector<WakeRule>{});
    EXPECT_EQ(command->config.echo, EchoMode::answer);
    EXPECT_EQ(command->config.identity, std::nullopt);
    EXPECT_EQ(command->config.magic, MagicOptions{});
}

TEST(CtlCommand, OptionsMayStandAnywhere) {
    for (const auto& command : {parse({"--json", "host", "--control", "/x", "sleep", "nas"}),
                                parse({"host", "sleep", "--control=/x", "nas", "--json"}),
                                parse({"--control", "/x", "--json", "host", "sleep", "nas"})}) {
        ASSERT_TRUE(command) << command.error().message;
        EXPECT_EQ(command->verb, Verb::host_sleep);
        EXPECT_EQ(command->config.name, "nas");
        EXPECT_EQ(command->control, "/x");
        EXPECT_TRUE(command->json);
    }
}

TEST(CtlCommand, EveryCommandIsKnown) {
    EXPECT_EQ(parse({"host", "sleep", "x"})->verb, Verb::host_sleep);
    EXPECT_EQ(parse({"host", "wake", "x"})->verb, Verb::host_wake);
    EXPECT_EQ(parse({"host", "release", "x"})->verb, Verb::host_release);
    EXPECT_EQ(parse({"host", "remove", "x"})->verb, Verb::host_remove);
    EXPECT_EQ(parse({"host", "show", "x"})->verb, Verb::host_show);
    EXPECT_EQ(parse({"hosts"})->verb, Verb::hosts);
    EXPECT_EQ(parse({"status"})->verb, Verb::status);
    EXPECT_EQ(parse({"capabilities"})->verb, Verb::capabilities);
    EXPECT_EQ(parse({"stats"})->verb, Verb::stats);
    EXPECT_EQ(parse({"detach"})->verb, Verb::detach);
    EXPECT_EQ(parse({"detach"})->bpffs, "/sys/fs/bpf/proxzzy/default");
    EXPECT_EQ(parse({"detach", "--bpffs", "/b"})->bpffs, "/b");
    EXPECT_EQ(parse({"--version"})->verb, Verb::version);
}

TEST(CtlCommand, HelpIsAboutTheCommand) {
    const auto all = parse({"--help"});
    ASSERT_TRUE(all);
    EXPECT_EQ(all->verb, Verb::help);
    for (const char* expected : {"host add NAME", "hosts", "detach", "--control", "--json", "Exit status"})
        EXPECT_NE(all->text.find(expected), std::string::npos) << expected;
    const auto add = parse({"host", "add", "--help"});
    ASSERT_TRUE(add);
    for (const char* expected : {"host add NAME", "--mac", "--wake", "--secureon-file", "--json"})
        EXPECT_NE(add->text.find(expected), std::string::npos) << expected;
    EXPECT_EQ(parse({"hosts", "-h"})->text.find("--mac"), std::string::npos);
}

TEST(CtlCommand, UnknownCommandsAreToldTheKnownOnes) {
    const std::string known =
        "must be one of host add, host sleep, host wake, host release, host remove, host show, hosts, "
        "status, capabilities, stats, explain, detach, events, why, policy test, apply, export";
    EXPECT_EQ(refusal({}), "command: is missing, " + known);
    EXPECT_EQ(refusal({"--json"}), "command: is missing, " + known);
    EXPECT_EQ(refusal({"dance"}), "command \"dance\": " + known);
    EXPECT_EQ(refusal({"host"}), "command \"host\": " + known);
    EXPECT_EQ(refusal({"host", "dance", "nas"}), "command \"host dance\": " + known);
}

TEST(CtlCommand, NamesAndExtraArguments) {
    EXPECT_EQ(refusal({"host", "sleep"}), "NAME: is missing, must be a host's name, as in `proxzzyctl host sleep nas`");
    EXPECT_EQ(refusal({"host", "sleep", "a", "b"}), "argument \"b\": must not be there, `host sleep` takes one NAME");
    EXPECT_EQ(refusal({"apply"}),
              "FILE: is missing, must be a file as `proxzzyctl export` writes it, or - for standard input");
    EXPECT_EQ(refusal({"apply", "a", "b"}), "argument \"b\": must not be there, `apply` takes one FILE");
    EXPECT_EQ(parse({"apply", "-"})->file, "-");
    EXPECT_EQ(parse({"apply", "site.conf"})->file, "site.conf");
    EXPECT_EQ(parse({"export", "--json"})->verb, Verb::export_hosts);
    EXPECT_EQ(refusal({"hosts", "nas"}), "argument \"nas\": must not be there, `hosts` takes none");
    EXPECT_EQ(refusal({"host", "add", "a b", "--mac", "00:00:5e:00:53:01", "--ip", "192.0.2.7"}),
              "name 'a b': must be 1 to 63 letters, digits, '.', '_' or '-', the first a letter or digit");
}

TEST(CtlCommand, UnknownOptionsAreToldTheKnownOnes) {
    EXPECT_EQ(refusal({"hosts", "--nosuch"}),
              "--nosuch: is not an option of `hosts`, which has --control, --json, --help, --version");
    EXPECT_EQ(refusal({"hosts", "--js"}),
              "--js: is not an option of `hosts`, which has --control, --json, --help, --version");
    EXPECT_EQ(refusal({"hosts", "--mac", "00:00:5e:00:53:01"}),
              "--mac: is not an option of `hosts`, which has --control, --json, --help, --version");
    EXPECT_EQ(refusal({"hosts", "--control"}), "the required argument for option '--control' is missing");
    EXPECT_EQ(refusal_of_add({"--echo", "wake", "--echo", "ignore"}),
              "option '--echo' cannot be specified more than once");
    EXPECT_EQ(refusal_of_add({"--replace=yes"}), "option '--replace' does not take any arguments");
}

TEST(CtlCommand, AddressesAreNamed) {
    EXPECT_EQ(refusal({"host", "add", "nas", "--ip", "192.0.2.7"}), "--mac: 0 given, a host has 1 to 8");
    EXPECT_EQ(refusal({"host", "add", "nas", "--mac", "00:00:5e:00:53:01"}), "--ip: 0 given, a host has 1 to 64");
    EXPECT_EQ(refusal_of_add({"--mac", "00:00:5e:00:53"}),
              "--mac \"00:00:5e:00:53\" is not a MAC address: six pairs of hexadecimal digits are expected, like "
              "02:00:00:00:00:01 or 02-00-00-00-00-01");
    const std::string expected =
        " is not an IP address: IPv4 like 192.0.2.1 or IPv6 like 2001:db8::1 is expected, without "
        "prefix length or zone";
    EXPECT_EQ(refusal_of_add({"--ip", "192.0.2.300"}), "--ip \"192.0.2.300\"" + expected);
    EXPECT_EQ(refusal_of_add({"--temporary-ip", "fe80::1%lan0"}), "--temporary-ip \"fe80::1%lan0\"" + expected);
    EXPECT_TRUE(refusal_of_add({"--mac", "01:00:5e:00:00:01"}).starts_with("--mac 01:00:5e:00:00:01"));
    EXPECT_TRUE(refusal_of_add({"--ip", "ff02::1"}).starts_with("--ip ff02::1"));
}

TEST(CtlCommand, ChoicesAndNumbersAreNamed) {
    for (const char* wake : {"", "tcp", "tcp/", "tcp/0", "tcp/65536", "tcp/-1", "tcp/22x", "sctp/22", "22", "TCP/22"})
        EXPECT_EQ(refusal_of_add({"--wake", wake}),
                  "--wake \"" + std::string(wake) +
                      "\": must be tcp or udp, a slash, and a port from 1 to 65535 or "
                      "any, as in tcp/22 or tcp/any");
    EXPECT_EQ(refusal_of_add({"--echo", "sometimes"}), "--echo \"sometimes\": must be one of answer, ignore, wake");
    EXPECT_EQ(refusal_of_add({"--identity", "mine"}), "--identity \"mine\": must be one of host, proxy");
    for (const char* vlan : {"x", "0", "20.", ".20", "20.0", "1.2.3", "70000"})
        EXPECT_EQ(refusal_of_add({"--vlan", vlan}), "--vlan \"" + std::string(vlan) +
                                                        "\": must be a VLAN id from 1 to 4094, as in 20, or two, as in "
                                                        "100.20");
    EXPECT_EQ(refusal_of_add({"--vlan", "5000"}), "--vlan 5000: must be 1 to 4094, or 0 for none");
    for (const char* port : {"0", "65536", "nine", ""})
        EXPECT_EQ(refusal_of_add({"--magic-port", port}),
                  "--magic-port \"" + std::string(port) + "\": must be a UDP port from 1 to 65535");
}

TEST(CtlCommand, ThePasswordFileIsNamedButNotItsContent) {
    EXPECT_EQ(refusal_of_add({"--secureon-file", "/nonexistent/file"}),
              "--secureon-file \"/nonexistent/file\": No such file or directory");
    for (const char* content : {"", "secret", "01:23:45:67:89", "01:23:45:67:89:ab and more"}) {
        const File file(content);
        EXPECT_EQ(refusal_of_add({"--secureon-file", file.path()}),
                  "--secureon-file \"" + std::string(file.path()) +
                      "\": must hold six pairs of hexadecimal digits, as in 01:23:45:67:89:ab, and nothing else");
    }
}

TEST(CtlCommand, EventsWhyAndWatch) {
    const auto events = parse({"events", "--follow", "--new-only", "--host", "nas"});
    ASSERT_TRUE(events) << events.error().message;
    EXPECT_EQ(events->verb, Verb::events);
    EXPECT_TRUE(events->follow && events->new_only);
    EXPECT_EQ(events->config.name, "nas");
    EXPECT_FALSE(parse({"events"})->follow);
    EXPECT_EQ(refusal({"events", "--new-only"}),
              "--new-only: must come with --follow: nothing that is new is there yet");
    const auto why = parse({"why", "nas", "--pcap", "-"});
    ASSERT_TRUE(why) << why.error().message;
    EXPECT_EQ(why->config.name, "nas");
    EXPECT_EQ(why->pcap, "-");
    EXPECT_EQ(parse({"stats"})->watch, std::nullopt);
    EXPECT_EQ(parse({"stats", "--watch"})->watch, std::chrono::seconds(1));
    EXPECT_EQ(parse({"stats", "--watch=5"})->watch, std::chrono::seconds(5));
    for (const char* seconds : {"--watch=0", "--watch=-1", "--watch=x", "--watch=86401"})
        EXPECT_EQ(refusal({"stats", seconds}),
                  "--watch \"" + std::string(seconds).substr(8) + "\": must be a number of seconds from 1 to 86400");
}

TEST(CtlCommand, AFrameIsAskedForInOneWay) {
    const auto question = [](std::initializer_list<const char*> words) {
        std::vector<const char*> arguments{"explain"};
        arguments.insert(arguments.end(), words.begin(), words.end());
        const auto command = ctl::parse(arguments);
        EXPECT_TRUE(command) << command.error().message;
        EXPECT_EQ(command->verb, Verb::explain);
        return command->question;
    };
    auto asked = question({"--tcp", "nas", "[2001:db8::7]:22", "--ack", "--vlan", "100.20", "--interface", "lan0"});
    EXPECT_EQ(asked.kind, Question::Kind::tcp);
    EXPECT_EQ(asked.from, (Endpoint{.name = "nas", .address = {}, .port = 0}));
    EXPECT_EQ(asked.to, (Endpoint{.name = "", .address = *IpAddress::parse("2001:db8::7"), .port = 22}));
    EXPECT_EQ(asked.flags, 0x10);
    EXPECT_EQ(asked.vlan, (VlanTags{100, 20}));
    EXPECT_EQ(asked.interface, "lan0");
    EXPECT_EQ(question({"--tcp", "a", "b:1"}).flags, 0x02);
    EXPECT_EQ(question({"--echo", "2001:db8::7", "[2001:db8::8]"}).to.address, *IpAddress::parse("2001:db8::8"));
    EXPECT_EQ(question({"--ns", "::", "nas"}).from.address, IpAddress::v6({}));
    EXPECT_EQ(question({"--pcap", "f", "--packet", "7"}).packet, 7U);
    EXPECT_EQ(question({"--magic", "nas"}).name, "nas");
    EXPECT_EQ(question({"--magic", "00:00:5e:00:53:01"}).mac, (MacAddress{{0, 0, 0x5e, 0, 0x53, 1}}));
}

TEST(CtlCommand, HexadecimalDigitsMayComeFromStandardInput) {
    std::istringstream input("ff:ff\n02 AB\n");
    std::streambuf* before = std::cin.rdbuf(input.rdbuf());
    const auto command = parse({"explain", "--hex", "-", "--json"});
    std::cin.rdbuf(before);
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_EQ(command->question.frame, (Bytes{0xff, 0xff, 0x02, 0xab}));
    EXPECT_TRUE(command->json);
}

TEST(CtlCommand, WrongQuestionsAreNamed) {
    EXPECT_EQ(refusal({"explain"}), "a frame is missing: must be given by one of --hex, --pcap, --tcp, --udp, --echo, "
                                    "--arp, --ns, --magic");
    EXPECT_EQ(refusal({"explain", "--hex", "00", "--arp", "a", "b"}),
              "--arp must not be there beside --hex: one frame at a time");
    EXPECT_EQ(refusal({"explain", "--hex", "0g"}),
              "--hex \"g\": must be pairs of hexadecimal digits, with spaces and colons as you like");
    EXPECT_EQ(refusal({"explain", "--hex", "000"}), "--hex has 3 digits, must have pairs");
    EXPECT_EQ(refusal({"explain", "--tcp", "nas:22"}), "--tcp \"nas:22\": must be two, who sends and who is meant");
    EXPECT_EQ(refusal({"explain", "--echo", "a", "b", "c"}),
              "--echo \"a\" \"b\" \"c\": must be two, who sends and who is meant");
    EXPECT_EQ(refusal({"explain", "--tcp", "a", "nas"}),
              "--tcp \"nas\": lacks a port, as in nas:22 or [2001:db8::7]:22");
    EXPECT_EQ(refusal({"explain", "--udp", "a", "2001:db8::7"}),
              "--udp \"2001:db8::7\": lacks a port, as in nas:22 or [2001:db8::7]:22");
    for (const char* end : {"nas:0", "nas:65536", "nas:ssh", "nas:", "2001:db8::x"})
        EXPECT_EQ(refusal({"explain", "--tcp", "a", end}),
                  "--tcp \"" + std::string(end) + "\": must have a port from 1 to 65535 behind its last colon");
    EXPECT_EQ(refusal({"explain", "--tcp", "[2001:db8::7", "nas:22"}),
              "--tcp \"[2001:db8::7\": must be an IPv6 address in brackets, then a colon and a port, as in "
              "[2001:db8::7]:22");
    EXPECT_EQ(refusal({"explain", "--tcp", "[192.0.2.7]:22", "nas:22"}),
              "--tcp \"[192.0.2.7]:22\": must have an IPv6 address in its brackets, as in [2001:db8::7]:22");
    EXPECT_EQ(refusal({"explain", "--tcp", ":22", "nas:22"}),
              "--tcp \":22\": must begin with a host's name or an IP address");
    EXPECT_EQ(refusal({"explain", "--arp", "a", "nas:22"}), "--arp \"nas:22\": must have no port");
    EXPECT_EQ(refusal({"explain", "--tcp", "192.0.2.7", "[2001:db8::7]:22"}),
              "--tcp 192.0.2.7 [2001:db8::7]:22: must be two addresses of one family");
    EXPECT_EQ(refusal({"explain", "--arp", "2001:db8::7", "nas"}), "--arp 2001:db8::7: must be an IPv4 address");
    EXPECT_EQ(refusal({"explain", "--ns", "nas", "192.0.2.7"}), "--ns 192.0.2.7: must be an IPv6 address");
    EXPECT_EQ(refusal({"explain", "--udp", "a", "b:1", "--syn"}), "--syn must not be there: it is for --tcp");
    EXPECT_EQ(refusal({"explain", "--hex", "00", "--packet", "1"}), "--packet must not be there: it is for --pcap");
    EXPECT_EQ(refusal({"explain", "--pcap", "f", "--packet", "0"}), "--packet \"0\": must be a number from 1");
    EXPECT_EQ(refusal({"explain", "--pcap", "f", "--vlan", "7"}),
              "--vlan must not be there: it is for frames that are built from words");
    EXPECT_EQ(refusal({"explain", "--arp", "a", "b", "--vlan", "5000"}),
              "--vlan \"5000\": must be a VLAN id from 1 to 4094, as in 20, or two, as in 100.20");
    EXPECT_TRUE(
        refusal({"explain", "--arp", "a", "b", "--from-mac", "me"}).starts_with("--from-mac \"me\" is not a MAC"));
    EXPECT_EQ(refusal({"explain", "--bridge"}).substr(0, 41), "--bridge: is not an option of `explain`, ");
}

TEST(CtlCommand, WakeRulesReadAsTheyAreWritten) {
    for (const char* text : {"tcp/22", "tcp/any", "udp/5060", "udp/any", "tcp/65535"}) {
        const auto rule = parse_wake(text);
        ASSERT_TRUE(rule) << text;
        EXPECT_EQ(to_string(*rule), text);
    }
}

} // namespace
} // namespace pz::ctl
