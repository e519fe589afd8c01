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
    config.offers = {.hostnames = {"desk.local"}, .services = {{.type = "_ssh._tcp", .port = 22}}};
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
    const auto hostname = [](const char* what, std::string text, const char* value, const char* right) {
        return Bad{what, [text = std::move(text)](HostConfig& c) { c.offers.hostnames.push_back(text); }, "hostname",
                   value, right};
    };
    const auto service = [](const char* what, std::function<void(Service&)> spoil, const char* value,
                            const char* right) {
        return Bad{what, [spoil = std::move(spoil)](HostConfig& c) { spoil(c.offers.services[0]); }, "service", value,
                   right};
    };
    const auto type = [&](const char* what, const char* text, const char* right) {
        return service(what, [text](Service& s) { s.type = text; }, text, right);
    };
    const auto txt = [&](const char* what, std::vector<std::string> list, const char* value, const char* right) {
        return service(what, [list = std::move(list)](Service& s) { s.txt = list; }, value, right);
    };
    const auto group = [](const char* what, const char* text, const char* right) {
        return Bad{what, [text](HostConfig& c) { c.offers.groups.push_back(ip(text)); }, "group", text, right};
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
        name("NameNotAscii", "d\xc3\xa4sk", "'d\xc3\xa4sk'"),
        name("NameNotUtf8", "d\xe4sk", "'d\\xe4sk'"),
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
        {"C29_FiveHostnames", [](HostConfig& c) { c.offers.hostnames = {"a", "b", "c", "d", "e"}; }, "hostname",
         "5 given", "at most 4"},
        hostname("C29_NoHostname", "", "''", "as in desk.local"),
        hostname("C29_NoLabel", "a..local", "'a..local'", "empty label"),
        hostname("C29_DotAtTheEnd", "a.local.", "'a.local.'", "as in desk.local"),
        hostname("C29_LongLabel", std::string(64, 'a') + ".local", "64 bytes", "1 to 63"),
        hostname("C29_LongHostname",
                 std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." +
                     std::string(56, 'd') + ".local",
                 "256 bytes", "at most 255"),
        hostname("C29_OtherDomain", "desk.example.com", "'desk.example.com'", "as in desk.local"),
        hostname("C29_TheDomain", "Local", "'Local'", "as in desk.local"),
        hostname("C29_Blank", "my desk.local", "'my desk.local'", "letters"),
        hostname("C29_Control", "de\x1bsk.local", "'de\\x1bsk.local'", "UTF-8"),
        hostname("C29_NotUtf8", "d\xe4sk.local", "'d\\xe4sk.local'", "UTF-8"),
        hostname("C29_Twice", "DESK.Local", "'DESK.Local'", "once"),

        {"C30_NoHostname", [](HostConfig& c) { c.offers.hostnames = {"desk"}; }, "service", "'_ssh._tcp'",
         "a hostname in .local"},
        {"C30_ThirtyThreeServices", [](HostConfig& c) { c.offers.services.assign(33, c.offers.services[0]); },
         "service", "33 given", "at most 32"},
        {"C30_InstanceTwice",
         [](HostConfig& c) { c.offers.services.push_back({.type = "_SSH._tcp", .port = 23, .instance = "Desk"}); },
         "service", "'Desk'", "once"},
        {"C30_TooManyRules",
         [](HostConfig& c) {
             c.wake.clear();
             for (std::uint16_t port = 1; port <= 31; ++port)
                 c.wake.push_back({IPPROTO_UDP, port});
             c.offers.services.push_back({.type = "_http._tcp", .port = 80});
         },
         "service", "33 wake rules", "at most 32"},
        {"C33_AllServicesTooLong",
         [](HostConfig& c) {
             c.offers.services.clear();
             for (char i = 0; i < 32; ++i)
                 c.offers.services.push_back({.type = "_http._tcp",
                                              .port = 80,
                                              .instance = std::string(1, static_cast<char>('A' + i)),
                                              .txt = {"a=" + std::string(250, 'x'), "b=" + std::string(250, 'x'),
                                                      "c=" + std::string(250, 'x'), "d=" + std::string(250, 'x')}});
         },
         "service", "bytes", "at most 32768"},
        type("C30_NoType", "", "as in _ipp._tcp"),
        type("C30_NoUnderscore", "ipp._tcp", "as in _ipp._tcp"),
        type("C30_Sctp", "_ipp._sctp", "_udp"),
        type("C30_NoProtocol", "_ipp", "_tcp"),
        type("C30_NoServiceName", "_._tcp", "1 to 15"),
        type("C30_LongServiceName", "_abcdefghijklmnop._tcp", "1 to 15"),
        type("C30_NoLetter", "_123._tcp", "letter"),
        type("C30_HyphenFirst", "_-a._tcp", "hyphens"),
        type("C30_HyphenLast", "_a-._tcp", "hyphens"),
        type("C30_TwoHyphens", "_a--b._tcp", "hyphens"),
        type("C30_DotInName", "_a.b._tcp", "letters"),
        service(
            "C30_PortZero", [](Service& s) { s.port = 0; }, "port 0", "1 to 65535"),
        service(
            "C30_PortOfMdns",
            [](Service& s) {
                s.type = "_x._udp";
                s.port = 5353;
            },
            "5353", "another one"),
        service(
            "C30_PortOfLlmnr", [](Service& s) { s.port = 5355; }, "5355", "another one"),
        service(
            "C32_LongInstance", [](Service& s) { s.instance = std::string(64, 'x'); }, "xxx", "at most 63"),
        service(
            "C32_InstanceWithControl", [](Service& s) { s.instance = "a\nb"; }, "'a\\x0ab'", "control"),
        service(
            "C32_InstanceWithC1", [](Service& s) { s.instance = "a\xc2\x9b"; }, "'a\\xc2\\x9b'", "control"),
        service(
            "C32_InstanceNotUtf8", [](Service& s) { s.instance = "\xed\xa0\x80"; }, "\\xed", "UTF-8"),
        service(
            "C32_NineSubtypes", [](Service& s) { s.subtypes.assign(9, "_a"); }, "9 subtypes", "at most 8"),
        service(
            "C32_EmptySubtype", [](Service& s) { s.subtypes = {""}; }, "''", "1 to 63"),
        service(
            "C32_LongSubtype", [](Service& s) { s.subtypes = {std::string(64, 'a')}; }, "aaa", "1 to 63"),
        service(
            "C32_SubtypeWithComma", [](Service& s) { s.subtypes = {"a,b"}; }, "'a,b'", "commas"),
        service(
            "C32_SubtypeTwice", [](Service& s) { s.subtypes = {"_a", "_A"}; }, "'_A'", "once"),
        txt("C33_EmptyTxt", {""}, "''", "KEY=VALUE"),
        txt("C33_NoKey", {"=x"}, "'=x'", "KEY=VALUE"),
        txt("C33_KeyWithControl", {"a\tb=1"}, "'a\\x09b=1'", "printable ASCII"),
        txt("C33_KeyNotAscii",
            {"gr\xc3\xb6\xc3\x9f"
             "e=1"},
            "'gr\xc3\xb6\xc3\x9f"
            "e=1'",
            "printable ASCII"),
        txt("C33_KeyTwice", {"note=a", "NOTE"}, "'NOTE'", "once"),
        txt("C33_LongTxt", {"a=" + std::string(254, 'x')}, "256 bytes", "at most 255"),
        txt("C33_TooMuchTxt",
            {"a=" + std::string(253, 'x'), "b=" + std::string(253, 'x'), "c=" + std::string(253, 'x'),
             "d=" + std::string(253, 'x'), "e=" + std::string(253, 'x'), "f=" + std::string(20, 'x')},
            "1303 bytes", "at most 1300"),

        {"C15_ThirtyThreeGroups",
         [](HostConfig& c) {
             for (std::uint8_t i = 0; i < 33; ++i)
                 c.offers.groups.push_back(IpAddress::v4({239, 1, 1, i}));
         },
         "group", "33 given", "at most 32"},
        group("C15_Unicast4", "192.0.2.1", "multicast"),
        group("C15_Unicast6", "2001:db8::1", "multicast"),
        group("C15_NoGroup", "224.0.0.0", "nobody joins"),
        group("C15_AllHosts", "224.0.0.1", "nobody joins"),
        group("C15_AllNodes", "ff02::1", "nobody joins"),
        group("C15_InterfaceLocal", "ff01::101", "does not leave"),
        group("C15_ReservedScope0", "ff10::1", "reserved"),
        group("C15_ReservedScopeF", "ff3f::1", "reserved"),
        {"C15_Twice", [](HostConfig& c) { c.offers.groups = {ip("ff02::1234"), ip("239.1.2.3"), ip("ff02:0::1234")}; },
         "group", "ff02::1234", "once"},

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
    config.offers.hostnames = {std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." +
                                   std::string(55, 'd') + ".LOCAL",
                               "b\xc3\xbcro", "1.local", std::string(63, '-')};
    config.offers.services.clear();
    config.offers.service_ports_wake = false;
    for (std::uint8_t i = 0; i < max_services; ++i)
        config.offers.services.push_back({.type = "_abcdefghijklm-9._udp",
                                          .port = 65535,
                                          .instance = std::string(62, '"') + static_cast<char>('A' + i)});
    config.offers.services[0] = {.type = "_1a._tcp",
                                 .subtypes = {"a b", "_2", "_3", "_4", "_5", "_6", "_7", std::string(63, 'x')},
                                 .port = 5353,
                                 .txt = {"a=" + std::string(253, '\0'), "b=" + std::string(253, '='),
                                         "c=" + std::string(253, 'x'), "d=" + std::string(253, 'x'),
                                         "e=" + std::string(253, 'x'), "f=" + std::string(17, 'x')}};
    for (std::uint8_t i = 0; i < max_groups; ++i)
        config.offers.groups.push_back(IpAddress::v4({224, 0, 0, static_cast<std::uint8_t>(i + 2)}));
    const Result<> checked = validate(config);
    EXPECT_TRUE(checked.has_value()) << checked.error().message;
}

std::string rules_of(const HostConfig& config) {
    std::string text;
    for (const WakeRule& rule : wake_rules(config, config.offers))
        text += (text.empty() ? "" : " ") + to_string(rule);
    return text;
}

TEST(Record, C30_PortsOfServicesWakeTheHost) {
    HostConfig config;
    EXPECT_EQ(rules_of(config), "tcp/any");
    config.offers.services = {
        {.type = "_ssh._tcp", .port = 22}, {.type = "_sip._udp", .port = 5060}, {.type = "_x._udp", .port = 5060}};
    EXPECT_EQ(rules_of(config), "tcp/any udp/5060") << "tcp/any covers ssh";
    config.wake = {{IPPROTO_TCP, 80}};
    EXPECT_EQ(rules_of(config), "tcp/80 tcp/22 udp/5060");
    EXPECT_EQ(find_wake_rule(config, config.offers, IPPROTO_UDP, 5060), (WakeRule{IPPROTO_UDP, 5060}));
    EXPECT_EQ(find_wake_rule(config, config.offers, IPPROTO_TCP, 22), (WakeRule{IPPROTO_TCP, 22}));
    EXPECT_EQ(find_wake_rule(config, config.offers, IPPROTO_TCP, 5060), std::nullopt);
    config.wake = {{IPPROTO_UDP, 0}};
    EXPECT_EQ(rules_of(config), "udp/any tcp/22");
    config.offers.service_ports_wake = false;
    EXPECT_EQ(rules_of(config), "udp/any");
    EXPECT_EQ(find_wake_rule(config, config.offers, IPPROTO_TCP, 22), std::nullopt);
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
