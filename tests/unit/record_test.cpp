// SPDX-License-Identifier: Apache-2.0
// What a host's configuration may contain, and that an error names the field, the value and what would be right.
#include "hosts/record.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <functional>

namespace pz {
namespace {

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

MacAddress mac(const char* text) {
    return MacAddress::parse(text).value();
}
IpAddress ip(const char* text) {
    return IpAddress::parse(text).value();
}

HostConfig good() {
    HostConfig config;
    config.name = "desk";
    config.macs = {mac("02:00:00:00:00:01")};
    config.addresses = {{ip("192.0.2.1")}, {ip("2001:db8::1"), true, std::chrono::hours(1)}, {ip("fe80::1")}};
    config.wake = {{IPPROTO_TCP, 22}, {IPPROTO_TCP, 0}, {IPPROTO_UDP, 22}};
    config.interface = "lan0";
    config.vlan = {100, 200};
    return config;
}

struct Bad {
    const char* what;
    std::function<void(HostConfig&)> spoil;
    const char* field;
    const char* value; // in the message
    const char* right; // in the message
};

void PrintTo(const Bad& bad, std::ostream* out) {
    *out << bad.what;
}

class RecordRefuses : public testing::TestWithParam<Bad> {};

TEST_P(RecordRefuses, NamingFieldValueAndWhatWouldBeRight) {
    const Bad& bad = GetParam();
    HostConfig config = good();
    bad.spoil(config);
    const Result<> checked = validate(config);
    ASSERT_FALSE(checked.has_value());
    EXPECT_EQ(checked.error().code, Errc::invalid);
    EXPECT_EQ(checked.error().field, bad.field);
    EXPECT_TRUE(checked.error().message.starts_with(bad.field)) << checked.error().message;
    EXPECT_TRUE(contains(checked.error().message, bad.value)) << checked.error().message;
    EXPECT_TRUE(contains(checked.error().message, bad.right)) << checked.error().message;
    EXPECT_FALSE(contains(checked.error().message, "\n")) << checked.error().message;
}

std::vector<Bad> bad_configs() {
    const auto name = [](const char* what, std::string text, const char* value) {
        return Bad{what, [text = std::move(text)](HostConfig& c) { c.name = text; }, "name", value, "1 to 63 letters"};
    };
    const auto add_ip = [](const char* what, const char* text, const char* why) {
        return Bad{what, [text](HostConfig& c) { c.addresses.push_back({ip(text)}); }, "ip", text, why};
    };
    return {
        name("EmptyName", "", "''"),
        name("NameOf64", std::string(64, 'a'), "aaaa"),
        name("VeryLongName", std::string(100'000, 'a'), "aaaa...'"),
        name("NameWithSpace", "my desk", "'my desk'"),
        name("NameWithSlash", "../desk", "'../desk'"),
        name("NameStartsWithDot", ".desk", "'.desk'"),
        name("NameStartsWithMinus", "-desk", "'-desk'"),
        name("NameWithNewline", "desk\n", "'desk\\x0a'"),
        name("NameNotAscii", "d\xc3\xa4sk", "'d\\xc3\\xa4sk'"),
        name("NameWithNul", std::string("desk\0", 5), "'desk\\x00'"),

        {"NoMac", [](HostConfig& c) { c.macs.clear(); }, "mac", "0 given", "1 to 8"},
        {"NineMacs",
         [](HostConfig& c) {
             for (std::uint8_t i = 2; i <= 9; ++i)
                 c.macs.push_back({{2, 0, 0, 0, 0, i}});
         },
         "mac", "9 given", "1 to 8"},
        {"ZeroMac", [](HostConfig& c) { c.macs.push_back({}); }, "mac", "00:00:00:00:00:00", "unicast MAC"},
        {"MulticastMac", [](HostConfig& c) { c.macs[0] = mac("01:00:5e:00:00:01"); }, "mac", "01:00:5e:00:00:01",
         "unicast MAC"},
        {"BroadcastMac", [](HostConfig& c) { c.macs[0] = MacAddress::broadcast(); }, "mac", "ff:ff:ff:ff:ff:ff",
         "unicast MAC"},
        {"MacTwice", [](HostConfig& c) { c.macs.push_back(c.macs[0]); }, "mac", "02:00:00:00:00:01", "once"},

        {"NoAddress", [](HostConfig& c) { c.addresses.clear(); }, "ip", "0 given", "1 to 64"},
        {"SixtyFiveAddresses",
         [](HostConfig& c) {
             c.addresses.clear();
             for (std::uint8_t i = 1; i <= 65; ++i)
                 c.addresses.push_back({IpAddress::v4({198, 51, 100, i})});
         },
         "ip", "65 given", "1 to 64"},
        add_ip("Unspecified4", "0.0.0.0", "unspecified"),
        add_ip("Unspecified6", "::", "unspecified"),
        add_ip("Loopback4", "127.8.9.10", "loopback"),
        add_ip("Loopback6", "::1", "loopback"),
        add_ip("Multicast4", "224.0.0.251", "multicast"),
        add_ip("Multicast6", "ff02::fb", "multicast"),
        add_ip("Broadcast", "255.255.255.255", "broadcast"),
        add_ip("AddressTwice", "2001:db8::1", "once"),
        {"TemporaryIpv4", [](HostConfig& c) { c.addresses = {{*IpAddress::parse("192.0.2.7"), true}}; }, "ip",
         "192.0.2.7: is given as temporary", "IPv6"},
        {"NoValidity", [](HostConfig& c) { c.addresses[0].valid_for = std::chrono::seconds(0); }, "ip",
         "192.0.2.1: valid for 0 s", "1 to 4294967295 s"},
        {"NegativeValidity", [](HostConfig& c) { c.addresses[0].valid_for = std::chrono::seconds(-1); }, "ip",
         "valid for -1 s", "1 to 4294967295 s"},
        {"EndlessValidity", [](HostConfig& c) { c.addresses[0].valid_for = std::chrono::seconds::max(); }, "ip",
         "valid for 9223372036854775807 s", "1 to 4294967295 s"},

        {"ThirtyThreeRules",
         [](HostConfig& c) {
             c.wake.clear();
             for (std::uint16_t port = 1; port <= 33; ++port)
                 c.wake.push_back({IPPROTO_TCP, port});
         },
         "wake", "33 rules", "at most 32"},
        {"RuleForIcmp", [](HostConfig& c) { c.wake.push_back({IPPROTO_ICMP, 0}); }, "wake", "IP protocol 1",
         "tcp or udp"},
        {"RuleForNothing", [](HostConfig& c) { c.wake.push_back({}); }, "wake", "IP protocol 0", "tcp or udp"},
        {"TcpRuleTwice", [](HostConfig& c) { c.wake.push_back({IPPROTO_TCP, 22}); }, "wake", "tcp/22", "once"},
        {"AnyRuleTwice", [](HostConfig& c) { c.wake.push_back({IPPROTO_TCP, 0}); }, "wake", "tcp/any", "once"},
        {"UdpRuleTwice", [](HostConfig& c) { c.wake.push_back({IPPROTO_UDP, 22}); }, "wake", "udp/22", "once"},

        {"LongInterface", [](HostConfig& c) { c.interface = "abcdefghijklmnop"; }, "interface", "'abcdefghijklmnop'",
         "at most 15"},
        {"InterfaceWithSlash", [](HostConfig& c) { c.interface = "lan/0"; }, "interface", "'lan/0'", "as in eth0"},
        {"InterfaceWithSpace", [](HostConfig& c) { c.interface = "lan 0"; }, "interface", "'lan 0'", "as in eth0"},
        {"InterfaceDots", [](HostConfig& c) { c.interface = ".."; }, "interface", "'..'", "as in eth0"},
        {"ReservedVid", [](HostConfig& c) { c.vlan = {4095, 0}; }, "vlan", "4095", "1 to 4094"},
        {"HugeInnerVid", [](HostConfig& c) { c.vlan = {1, 65535}; }, "vlan", "65535", "1 to 4094"},
        {"InnerVidAlone", [](HostConfig& c) { c.vlan = {0, 7}; }, "vlan", "inner 7", "outer"},

        {"UnknownEcho", [](HostConfig& c) { c.echo = static_cast<EchoMode>(3); }, "echo", "3",
         "answer, ignore or wake"},
        {"UnknownIdentity", [](HostConfig& c) { c.identity = static_cast<Identity>(2); }, "identity", "2",
         "host or proxy"},
        {"MagicPortZero", [](HostConfig& c) { c.magic.udp_port = 0; }, "magic-port", "0", "1 to 65535"},
    };
}

INSTANTIATE_TEST_SUITE_P(All, RecordRefuses, testing::ValuesIn(bad_configs()),
                         [](const testing::TestParamInfo<Bad>& tested) { return tested.param.what; });

TEST(Record, AcceptsAWholeConfiguration) {
    EXPECT_TRUE(validate(good()).has_value());
}

TEST(Record, AcceptsTheSmallestConfiguration) {
    HostConfig config;
    config.name = "1";
    config.macs = {mac("00:00:00:00:00:01")};
    config.addresses = {{ip("fe80::1")}};
    EXPECT_TRUE(validate(config).has_value());
}

TEST(Record, AcceptsEveryBound) {
    HostConfig config = good();
    config.name = "A" + std::string(59, 'z') + "._-";
    ASSERT_EQ(config.name.size(), max_name_length);
    config.macs.clear();
    for (std::uint8_t i = 1; i <= max_macs; ++i)
        config.macs.push_back({{2, 0, 0, 0, 0, i}});
    config.addresses.clear();
    for (std::uint8_t i = 1; i <= max_addresses; ++i)
        config.addresses.push_back({IpAddress::v4({198, 51, 100, i}), false, std::chrono::seconds(4'294'967'295)});
    config.wake.clear();
    for (std::uint16_t i = 0; i < PZ_MAX_RULES; ++i)
        config.wake.push_back({IPPROTO_UDP, static_cast<std::uint16_t>(65535 - i)});
    config.interface = "abcdefghijklmno";
    config.vlan = {4094, 4094};
    config.echo = EchoMode::wake;
    config.identity = Identity::proxy;
    config.magic.udp_port = 65535;
    const Result<> checked = validate(config);
    EXPECT_TRUE(checked.has_value()) << checked.error().message;
}

TEST(Record, StatesHaveTheNamesOfTheDocumentation) {
    EXPECT_EQ(to_string(HostState::awake), "awake");
    EXPECT_EQ(to_string(HostState::arming), "arming");
    EXPECT_EQ(to_string(HostState::asleep), "asleep");
    EXPECT_EQ(to_string(HostState::waking), "waking");
    EXPECT_EQ(to_string(HostState::unreachable), "unreachable");
}

} // namespace
} // namespace pz
